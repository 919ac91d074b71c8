package partition

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/entry"
)

func TestAppendThenRead(t *testing.T) {
	b := newBroker(t)
	p := b.create(t, 0)
	for i, want := range []int64{0, 3, 6} {
		r, err := wait(t, write{count: 3, ts: 5}.append(t, p))
		if err != nil || r.BaseOffset != want || r.LogAppendTimeMs != -1 || r.LogStartOffset != 0 {
			t.Fatalf("append %d: %+v, %v", i, r, err)
		}
	}
	start, hw, lso, leo := p.Offsets()
	if start != 0 || hw != 9 || lso != 9 || leo != 9 {
		t.Fatalf("offsets %d, %d, %d, %d", start, hw, lso, leo)
	}
	r, err := p.Read(4, 1<<20, ReadUncommitted, -1, true)
	if err != nil || r.HW != 9 || r.Epoch != 0 || r.Aborted != nil {
		t.Fatalf("%+v, %v", r, err)
	}
	defer r.Extent.Release()
	raw, err := r.Extent.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	first, _, err := record.Next(raw)
	if err != nil || first.BaseOffset() != 3 { // the whole batch that holds the offset
		t.Fatalf("base offset %d, %v", first.BaseOffset(), err)
	}
}

func TestReadOutsideTheLog(t *testing.T) {
	p := newBroker(t).create(t, 0)
	mustAppend(t, p, write{count: 5})
	for _, c := range []struct {
		offset int64
		epoch  int32
		want   error
	}{
		{-1, -1, ErrOffsetOutOfRange}, {6, -1, ErrOffsetOutOfRange}, {5, -1, nil}, {5, 0, nil},
		{0, 1, ErrUnknownEpoch},
	} {
		r, err := p.Read(c.offset, 1<<20, ReadCommitted, c.epoch, true)
		if !errors.Is(err, c.want) || r.Extent != nil {
			t.Errorf("offset %d, epoch %d: %v, want %v", c.offset, c.epoch, err, c.want)
		}
		if c.want == nil && r.Aborted == nil {
			t.Errorf("offset %d: read_committed needs a list of aborted transactions", c.offset)
		}
	}
}

// What is stored but not committed can not be read, whatever the client asks.
func TestNothingAboveTheHighWatermarkIsServed(t *testing.T) {
	p := newBroker(t).create(t, 0)
	mustAppend(t, p, write{count: 2})
	p.mu.Lock() // Apply waits for this
	a := write{count: 3}.append(t, p)
	<-a.Stored()
	_, hw, _, leo := p.Offsets()
	r, err := p.Read(2, 1<<20, ReadUncommitted, -1, true)
	offset, _, _, errList := p.ListOffset(LatestTimestamp, ReadUncommitted, -1)
	whole, errWhole := p.Read(0, 1<<20, ReadUncommitted, -1, true)
	if whole.Extent != nil {
		defer whole.Extent.Release()
	}
	p.mu.Unlock()
	if hw != 2 || leo != 5 {
		t.Fatalf("high watermark %d, log end %d", hw, leo)
	}
	if err != nil || r.Extent != nil {
		t.Fatalf("read above the high watermark: %v", err)
	}
	if errList != nil || offset != 2 {
		t.Fatalf("latest offset %d, %v", offset, errList)
	}
	if errWhole != nil || whole.Extent.Next() != 2 {
		t.Fatalf("read up to %d, %v", whole.Extent.Next(), errWhole)
	}
	if stored, err := a.Result(); err != nil || stored.BaseOffset != 2 { // acks=1
		t.Fatalf("%+v, %v", stored, err)
	}
	if _, err := wait(t, a); err != nil {
		t.Fatal(err)
	}
	if _, hw, _, _ := p.Offsets(); hw != 5 {
		t.Fatalf("high watermark %d", hw)
	}
}

func TestSubscribersHearOfTheHighWatermark(t *testing.T) {
	p := newBroker(t).create(t, 0)
	ch := make(chan struct{}, 1)
	cancel := p.Subscribe(ch)
	mustAppend(t, p, write{})
	select {
	case <-ch:
	case <-time.After(patience):
		t.Fatal("not woken")
	}
	cancel()
	cancel() // twice does nothing
	mustAppend(t, p, write{})
	select {
	case <-ch:
		t.Fatal("woken after cancel")
	default:
	}
}

func TestDuplicatesAcrossRestarts(t *testing.T) {
	for _, end := range []string{"kill", "stop", "checkpoint and kill"} {
		t.Run(end, func(t *testing.T) {
			b := newBroker(t)
			p := b.create(t, 0)
			for seq := range int32(7) {
				mustAppend(t, p, write{producer: 1000, epoch: 2, sequence: seq})
			}
			mustAppend(t, p, write{count: 3}) // no producer
			switch end {
			case "kill":
				b.kill(t)
			case "stop":
				b.stop(t)
			default:
				if err := b.host.Checkpoint(waitContext(t)); err != nil {
					t.Fatal(err)
				}
				mustAppend(t, p, write{producer: 1000, epoch: 2, sequence: 7})
				b.kill(t)
			}
			b.start(t)
			p = b.get(t, 0)
			next := int32(7)
			if end == "checkpoint and kill" {
				if got := mustAppend(t, p, write{producer: 1000, epoch: 2, sequence: 7}); got != 10 {
					t.Fatalf("duplicate of the last batch answered with offset %d", got)
				}
				next = 8
			}
			for seq := next - 5; seq < 7; seq++ {
				if got := mustAppend(t, p, write{producer: 1000, epoch: 2, sequence: seq}); got != int64(seq) {
					t.Fatalf("duplicate of sequence %d answered with offset %d", seq, got)
				}
			}
			wantError(t, p, write{producer: 1000, epoch: 2, sequence: next - 6}, ErrOutOfOrderSequence)
			wantError(t, p, write{producer: 1000, epoch: 1, sequence: next}, ErrProducerFenced)
			_, hw, _, _ := p.Offsets()
			if got := mustAppend(t, p, write{producer: 1000, epoch: 2, sequence: next}); got != hw {
				t.Fatalf("next batch at offset %d, high watermark %d", got, hw)
			}
			if p.Epoch() != 1 {
				t.Fatalf("leader epoch %d after a restart", p.Epoch())
			}
		})
	}
}

func TestDuplicateInFlightWaitsForTheCommit(t *testing.T) {
	b := newMemBroker(t)
	p := b.create(t, 0)
	disk := b.holdSyncs(t)
	w := write{producer: 5, size: 100_000} // in the segment, which is synced
	first := w.append(t, p)
	disk.wait(t)
	released := 0
	again := p.Append(w.batch(t), func() { released++ })
	for name, answered := range map[string]<-chan struct{}{"acks=1": again.Stored(), "acks=all": again.Done()} {
		select {
		case <-answered:
			r, err := again.Result()
			t.Errorf("%s: the duplicate is answered before its batch is stored: %+v, %v", name, r, err)
		default:
		}
	}
	if released != 1 {
		t.Errorf("the duplicate's buffer is released %d times", released)
	}
	disk.release()
	for _, a := range []*Append{first, again} {
		if r, err := wait(t, a); err != nil || r.BaseOffset != 0 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if _, hw, _, _ := p.Offsets(); hw != 1 || released != 1 {
		t.Fatalf("high watermark %d, released %d times", hw, released)
	}

	// One that never commits: its duplicate is the same Append, and fails with it.
	lost := &Append{partition: p, producerID: none}
	if err := lost.describe(write{producer: 5, sequence: 1}.batch(t), entry.Synced); err != nil {
		t.Fatal(err)
	}
	if _, err := p.admit(lost); err != nil {
		t.Fatal(err)
	}
	if got := (write{producer: 5, sequence: 1}).append(t, p); got != lost {
		t.Fatal("the duplicate does not wait for the batch in flight")
	}
	lost.ProposalDone(ErrRetriable)
	if got := mustAppend(t, p, write{producer: 5, sequence: 1}); got != 1 {
		t.Fatalf("sent again, it went to offset %d", got)
	}
}

// A batch that is given up leaves no trace in the producer state: the same sequence is taken again, the next one is not.
func TestVoidRollsTheSequenceBack(t *testing.T) {
	p := newBroker(t).create(t, 0)
	mustAppend(t, p, write{producer: 5, sequence: 0})
	lost := &Append{partition: p, producerID: none}
	if err := lost.describe(write{producer: 5, sequence: 1}.batch(t), entry.Synced); err != nil {
		t.Fatal(err)
	}
	if _, err := p.admit(lost); err != nil {
		t.Fatal(err)
	}
	next := write{producer: 5, sequence: 2}.append(t, p) // in flight behind it
	lost.ProposalDone(errors.New("refused"))             // as the Raft group says when it was voided
	if _, err := wait(t, next); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	pending := len(p.mu.producers.byID[5].pending)
	p.mu.Unlock()
	if pending != 0 {
		t.Fatalf("%d still in flight", pending)
	}
}

func TestTopicsWithLogAppendTime(t *testing.T) {
	b := newBroker(t)
	b.config.LogAppendTime = true
	p := b.create(t, 0)
	now := b.clock.Now().UnixMilli()
	r, err := wait(t, write{ts: 7, producer: 3}.append(t, p))
	if err != nil || r.LogAppendTimeMs != now {
		t.Fatalf("%+v, %v, want time %d", r, err, now)
	}
	b.clock.add(time.Minute)
	if again, err := wait(t, write{ts: 7, producer: 3}.append(t, p)); err != nil || again != r {
		t.Fatalf("duplicate: %+v, %v, want %+v", again, err, r)
	}
	offset, ts, epoch, err := p.ListOffset(now, ReadUncommitted, -1)
	if err != nil || offset != 0 || ts != now || epoch != 0 {
		t.Fatalf("offset %d, time %d, epoch %d, %v", offset, ts, epoch, err)
	}
}

func TestListOffset(t *testing.T) {
	b := newBroker(t)
	p := b.create(t, 0)
	for i, ts := range []int64{100, 300, 200} {
		mustAppend(t, p, write{ts: ts, count: i + 1}) // offsets 0, 1-2, 3-5
	}
	b.kill(t)
	b.start(t) // leader epoch 1
	p = b.get(t, 0)
	mustAppend(t, p, write{ts: 250})
	for _, c := range []struct {
		ts                int64
		offset, timestamp int64
		epoch             int32
	}{
		{LatestTimestamp, 7, -1, 1},
		{EarliestTimestamp, 0, -1, 0},
		{EarliestLocalTimestamp, 0, -1, 0},
		{MaxTimestamp, 1, 300, 0},
		{LatestTieredTimestamp, -1, -1, -1},
		{EarliestPendingUploadTimestamp, -1, -1, -1},
		{0, 0, 100, 0}, {101, 1, 300, 0}, {300, 1, 300, 0}, {301, -1, -1, -1},
	} {
		offset, ts, epoch, err := p.ListOffset(c.ts, ReadUncommitted, -1)
		if err != nil || offset != c.offset || ts != c.timestamp || epoch != c.epoch {
			t.Errorf("ListOffset(%d) = %d, %d, epoch %d, %v; want %d, %d, %d", c.ts, offset, ts, epoch, err, c.offset, c.timestamp, c.epoch)
		}
	}
	if _, _, _, err := p.ListOffset(LatestTimestamp, ReadUncommitted, 0); !errors.Is(err, ErrFencedEpoch) {
		t.Errorf("old epoch: %v", err)
	}
	if _, _, _, err := p.ListOffset(LatestTimestamp, ReadUncommitted, 2); !errors.Is(err, ErrUnknownEpoch) {
		t.Errorf("future epoch: %v", err)
	}
}

func TestEpochEnd(t *testing.T) {
	b := newBroker(t)
	mustAppend(t, b.create(t, 0), write{count: 4})
	for range 2 { // epoch 1 writes nothing
		b.kill(t)
		b.start(t)
	}
	p := b.get(t, 0)
	// A consumer that waits at the end knows epoch 1, in which nothing was written, from ListOffsets: told that it is unknown, it
	// would reset its position.
	for epoch, found := range map[int32]int32{0: 0, 1: 0, 2: 2} {
		if got, end, err := p.EpochEnd(-1, epoch); err != nil || got != found || end != 4 {
			t.Errorf("before epoch 2 has a record, EpochEnd(%d) = %d, %d, %v; want %d, 4", epoch, got, end, err, found)
		}
	}
	mustAppend(t, p, write{count: 2})
	for _, c := range []struct {
		epoch, found int32
		end          int64
	}{{0, 0, 4}, {1, 0, 4}, {2, 2, 6}, {3, -1, -1}, {-1, -1, -1}} {
		found, end, err := p.EpochEnd(2, c.epoch)
		if err != nil || found != c.found || end != c.end {
			t.Errorf("EpochEnd(%d) = %d, %d, %v; want %d, %d", c.epoch, found, end, err, c.found, c.end)
		}
	}
}

func TestEpochEndOfAnEmptyLog(t *testing.T) {
	b := newBroker(t)
	b.create(t, 0)
	b.kill(t)
	b.start(t)
	for epoch := range int32(2) {
		if got, end, err := b.get(t, 0).EpochEnd(-1, epoch); err != nil || got != epoch || end != 0 {
			t.Errorf("EpochEnd(%d) = %d, %d, %v; want itself, 0", epoch, got, end, err)
		}
	}
}

func TestDeleteRecordsSurvivesRestart(t *testing.T) {
	b := newBroker(t)
	p := b.create(t, 0)
	mustAppend(t, p, write{count: 10})
	if start, err := p.DeleteRecords(waitContext(t), 4); err != nil || start != 4 {
		t.Fatalf("log start %d, %v", start, err)
	}
	if start, err := p.DeleteRecords(waitContext(t), 2); err != nil || start != 4 { // never back
		t.Fatalf("log start %d, %v", start, err)
	}
	if _, err := p.DeleteRecords(waitContext(t), 11); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Fatal(err)
	}
	if _, err := p.Read(3, 100, ReadUncommitted, -1, true); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Fatal(err)
	}
	for _, end := range []func(testing.TB){b.kill, b.stop, b.kill} {
		end(t)
		b.start(t)
		if start, hw, _, _ := b.get(t, 0).Offsets(); start != 4 || hw != 10 {
			t.Fatalf("log start %d, high watermark %d", start, hw)
		}
	}
	p = b.get(t, 0)
	if start, err := p.DeleteRecords(waitContext(t), -1); err != nil || start != 10 {
		t.Fatalf("log start %d, %v", start, err)
	}
	c := b.config
	c.Delete, c.Compact = false, true
	p.SetConfig(c)
	if _, err := p.DeleteRecords(waitContext(t), 10); !errors.Is(err, ErrPolicy) {
		t.Fatal(err)
	}
}

func TestLifecycle(t *testing.T) {
	b := newBroker(t)
	p := b.create(t, 0)
	mustAppend(t, p, write{})
	spec := Spec{Topic: "t", TopicID: topicID, Config: b.config}
	if again, err := b.Create(waitContext(t), spec); err != nil || again != p {
		t.Fatalf("second create: %v", err)
	}
	spec.TopicID = uuid.New()
	if _, err := b.Create(waitContext(t), spec); !errors.Is(err, ErrExists) {
		t.Fatalf("another topic id: %v", err)
	}
	if err := b.Delete(waitContext(t), topicID, 0); err != nil {
		t.Fatal(err)
	}
	wantError(t, p, write{}, ErrNotLeader)
	if _, err := p.Read(0, 1, ReadUncommitted, -1, true); !errors.Is(err, ErrNotLeader) {
		t.Fatalf("read of a deleted partition: %v", err)
	}
	if err := b.Delete(waitContext(t), topicID, 0); !errors.Is(err, ErrUnknown) {
		t.Fatalf("second delete: %v", err)
	}
	// A topic created again under the old name begins above the old epochs.
	spec.EpochFloor = 5
	p, err := b.Create(waitContext(t), spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.WaitReady(waitContext(t)); err != nil {
		t.Fatal(err)
	}
	if got := mustAppend(t, p, write{}); got != 0 || p.Epoch() != 5 {
		t.Fatalf("offset %d, leader epoch %d", got, p.Epoch())
	}
}

// What could not be opened can be opened later, and deleted.
func TestPartitionThatCouldNotBeOpened(t *testing.T) {
	b := newBroker(t)
	spec := Spec{Topic: "t", TopicID: topicID, Config: b.config}
	sg, err := b.store.CreateGroup(spec.groupID(), spec.folder(), 0, b.options.logOptions(spec.groupID(), &spec.Config))
	if err != nil {
		t.Fatal(err)
	}
	p := b.newPartition(&spec)
	p.log, p.opened = sg.Log(), errors.New("no luck")
	b.Manager.mu.Lock() // the cleaner looks at all partitions
	b.Manager.mu.byName[name{"t", 0}] = p
	b.Manager.mu.Unlock()
	wantError(t, p, write{}, ErrStorage)
	if _, err := p.Read(0, 1, ReadUncommitted, -1, true); !errors.Is(err, ErrStorage) {
		t.Fatal(err)
	}
	mustAppend(t, b.create(t, 0), write{})
	b.Manager.mu.Lock()
	delete(b.Manager.mu.byName, name{"t", 0})
	b.Manager.mu.Unlock()
	if err := b.Delete(waitContext(t), topicID, 0); err != nil {
		t.Fatal(err)
	}
	if _, ok := b.store.Group(spec.groupID()); ok {
		t.Fatal("still stored")
	}
}

func TestProducerSnapshotIsRebuiltFromTheLog(t *testing.T) {
	b := newBroker(t)
	p := b.create(t, 0)
	for seq := range int32(6) {
		mustAppend(t, p, write{producer: 9, sequence: seq})
	}
	b.stop(t)
	files, err := filepath.Glob(filepath.Join(b.dir, "t-0", "*.snapshot"))
	if err != nil || len(files) == 0 {
		t.Fatal("no producer snapshot", err)
	}
	for _, f := range files {
		if err := os.WriteFile(f, []byte("damaged"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b.start(t)
	p = b.get(t, 0)
	if got := mustAppend(t, p, write{producer: 9, sequence: 3}); got != 3 {
		t.Fatalf("duplicate answered with offset %d", got)
	}
	wantError(t, p, write{producer: 9, sequence: 7}, ErrOutOfOrderSequence)
	mustAppend(t, p, write{producer: 9, sequence: 6})
}

func TestTransactionsHoldTheLastStableOffset(t *testing.T) {
	b := newBroker(t)
	p := b.create(t, 0)
	txn := func(producer int64, seq int32) record.Batch {
		builder := record.NewBuilder()
		builder.ProducerID, builder.ProducerEpoch, builder.BaseSequence, builder.Transactional = producer, 0, seq, true
		builder.Append(1, nil, []byte("x"))
		batch, err := builder.Batch()
		if err != nil {
			t.Fatal(err)
		}
		return batch
	}
	marker := func(producer int64, kind record.ControlType) record.Batch {
		return record.ControlBatch(record.Control{Type: kind, ProducerID: producer, Timestamp: 1})
	}
	for _, batch := range []record.Batch{
		txn(1, 0), txn(2, 0), marker(2, record.Commit), marker(1, record.Abort), txn(3, 0),
	} {
		if _, err := wait(t, p.Append(batch, func() {})); err != nil {
			t.Fatal(err)
		}
		want := map[int64]int64{1: 0, 2: 0, 3: 0, 4: 4, 5: 4}
		if _, hw, lso, _ := p.Offsets(); lso != want[hw] {
			t.Fatalf("high watermark %d, last stable offset %d", hw, lso)
		}
	}
	check := func() {
		t.Helper()
		p := b.get(t, 0)
		r, err := p.Read(0, 1<<20, ReadCommitted, -1, true)
		if err != nil || r.LSO != 4 || r.HW != 5 {
			t.Fatalf("%+v, %v", r, err)
		}
		defer r.Extent.Release()
		if r.Extent.Next() != 4 || len(r.Aborted) != 1 || r.Aborted[0] != (AbortedTxn{ProducerID: 1, FirstOffset: 0}) {
			t.Fatalf("up to offset %d, aborted %+v", r.Extent.Next(), r.Aborted)
		}
	}
	check()
	for _, end := range []func(testing.TB){b.kill, b.stop, b.kill} {
		end(t)
		b.start(t)
		check()
	}
}

// TestAppendIn: a batch for one leadership is not written in another.
func TestAppendIn(t *testing.T) {
	p := newBroker(t).create(t, 0)
	first := p.Epoch()
	p.group.Elect()
	for end := time.Now().Add(patience); !p.Ready() || p.Epoch() == first; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not elected")
		}
	}
	epoch := p.Epoch()
	for _, wrong := range []int32{first, epoch + 1} {
		released := 0
		a := p.AppendIn(wrong, write{size: 10}.batch(t), func() { released++ })
		if _, err := wait(t, a); !errors.Is(err, ErrNotLeader) || released != 1 {
			t.Errorf("epoch %d instead of %d: %v, released %d times", wrong, epoch, err, released)
		}
	}
	a, err := wait(t, p.AppendIn(epoch, write{size: 10}.batch(t), func() {}))
	if err != nil || a.BaseOffset != 0 {
		t.Errorf("%+v, %v", a, err)
	}
}
