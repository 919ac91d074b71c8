package partition

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

// newSitesBroker is a broker of format level 2.
func newSitesBroker(t testing.TB) *broker { return startSitesBroker(t, nil) }

// startSitesBroker has its data on mem; nil = on disk.
func startSitesBroker(t testing.TB, mem *vfs.Mem) *broker {
	t.Helper()
	b := &broker{dir: t.TempDir(), mem: mem, level: entry.LevelSites, config: topicConfig(), clock: &clock{now: time.Unix(1_800_000_000, 0)}}
	b.config.SegmentBytes = 1000
	b.start(t)
	t.Cleanup(func() { b.kill(t) })
	return b
}

func (p *Partition) control(t testing.TB, kind entry.Kind, siteEpoch uint32, body []byte) {
	t.Helper()
	_, err := p.group.Propose(&entry.Header{Kind: kind, SiteEpoch: siteEpoch, Body: body}, nil, nil).Wait(waitContext(t))
	if err != nil {
		t.Fatalf("kind %d: %v", kind, err)
	}
}

func transactional(t testing.TB, producer int64, seq int32) record.Batch {
	t.Helper()
	builder := record.NewBuilder()
	builder.ProducerID, builder.ProducerEpoch, builder.BaseSequence, builder.Transactional = producer, 0, seq, true
	builder.Append(1, nil, []byte("x"))
	batch, err := builder.Batch()
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

// someBatches are what producers write, transactions and their markers among them.
func someBatches(t testing.TB, rng *rand.Rand, n int) []record.Batch {
	var list []record.Batch
	seq := map[int64]int32{}
	open := map[int64]bool{}
	for range n {
		id := int64(1 + rng.IntN(4))
		switch k := rng.IntN(8); {
		case k < 2 && open[id]:
			list = append(list, record.ControlBatch(record.Control{Type: record.ControlType(rng.IntN(2)), ProducerID: id, CoordinatorEpoch: 3, Timestamp: 1}))
			delete(open, id)
		case k < 5 || open[id]:
			list = append(list, transactional(t, id, seq[id]))
			seq[id]++
			open[id] = true
		case k < 7:
			count := 1 + rng.IntN(3)
			list = append(list, write{producer: id, sequence: seq[id], count: count, size: rng.IntN(300)}.batch(t))
			seq[id] += int32(count)
		default:
			list = append(list, write{count: 1 + rng.IntN(3), size: rng.IntN(300)}.batch(t))
		}
	}
	return list
}

// view is what clients can see of a partition, and what decides over their next batch.
type view struct {
	start, hw, lso, end int64
	producers           map[int64]producer
	aborted             []AbortedTxn
}

func viewOf(t testing.TB, p *Partition) view {
	t.Helper()
	var v view
	v.start, v.hw, v.lso, v.end = p.Offsets()
	p.mu.Lock()
	defer p.mu.Unlock()
	v.producers = map[int64]producer{}
	for id, x := range p.mu.producers.byID {
		c := *x
		c.touched, c.pending = 0, nil
		if n := len(c.batches); n > 0 { // a producer snapshot has the last one only
			c.batches = slices.Clone(c.batches[n-1:])
		}
		v.producers[id] = c
	}
	v.aborted = abortedTxns(p.log.AbortedIn(0, v.hw))
	return v
}

// A truncated partition is as one that never had the tail: what is readable, the producers, the aborted transactions; at once, and
// behind a restart from a snapshot in front of the truncation, from the entries alone, and from one behind it.
func TestTruncationLeavesWhatWasThereBefore(t *testing.T) {
	for seed := range uint64(3) {
		for _, checkpoint := range []string{"none", "early", "late", "at the cut"} {
			t.Run(fmt.Sprintf("%d,%s", seed, checkpoint), func(t *testing.T) {
				b := newSitesBroker(t)
				p := b.create(t, 0)
				batches := someBatches(t, rand.New(rand.NewPCG(seed, 1)), 30)
				keep := 5 + int(seed)*9
				var want view
				for i, batch := range batches {
					if i == keep {
						want = viewOf(t, p)
					}
					if checkpoint == "early" && i == keep/2 || checkpoint == "late" && i == (keep+30)/2 || checkpoint == "at the cut" && i == keep {
						if err := b.host.Checkpoint(waitContext(t)); err != nil {
							t.Fatal(err)
						}
					}
					if _, err := wait(t, p.Append(slices.Clone(batch), func() {})); err != nil {
						t.Fatal(err)
					}
				}
				p.control(t, entry.Follow, 1, entry.Followed{SiteEpoch: 1, Shared: -1}.Append(nil))
				p.control(t, entry.TruncateTo, 1, entry.Truncation{Offset: want.hw, LeaderEpoch: 0}.Append(nil))
				for i, end := range []func(testing.TB){nil, b.kill, b.kill, b.stop, b.kill} {
					if end != nil {
						end(t)
						b.start(t)
						p = b.get(t, 0)
					}
					if got := viewOf(t, p); !reflect.DeepEqual(got, want) {
						t.Fatalf("restart %d:\n%+v, was\n%+v", i, got, want)
					}
				}
				// And it goes on as that one would: with its own data. By switchover, since a failover lets producers skip
				// what was lost.
				p.control(t, entry.Follow, 1, entry.Followed{SiteEpoch: 1, Shared: want.hw}.Append(nil))
				p.control(t, entry.Promote, 4, entry.Promotion{SiteEpoch: 4, Planned: true, Base: want.hw, Shared: want.hw}.Append(nil))
				term, _ := p.group.Leads()
				p.control(t, entry.EpochBase, 4, entry.EpochBaseBody(term, 0))
				if err := p.WaitReady(waitContext(t)); err != nil {
					t.Fatal(err)
				}
				written := int64(0)
				for id, x := range want.producers {
					n := len(x.batches)
					if n == 0 {
						continue
					}
					written++
					last := x.batches[n-1]
					wantError(t, p, write{producer: id, sequence: last.lastSequence + 2}, ErrOutOfOrderSequence)
					mustAppend(t, p, write{producer: id, sequence: last.lastSequence + 1})
				}
				if _, hw, _, _ := p.Offsets(); hw != want.hw+written {
					t.Fatalf("high watermark %d, want %d", hw, want.hw+written)
				}
			})
		}
	}
}

// The other site's records come in the place of those that went. Behind a restart the old ones are applied again, by their entries, and
// must leave no trace: neither producers, nor aborted transactions at the offsets of others.
func TestTruncatedRecordsLeaveNoTraceBehindARestart(t *testing.T) {
	for seed := range uint64(4) {
		for _, early := range []bool{false, true} {
			b := newSitesBroker(t)
			p := b.create(t, 0)
			for i, batch := range someBatches(t, rand.New(rand.NewPCG(seed, 3)), 30) {
				if _, err := wait(t, p.Append(batch, func() {})); err != nil {
					t.Fatal(err)
				}
				if i == 5 && early {
					if err := b.host.Checkpoint(waitContext(t)); err != nil {
						t.Fatal(err)
					}
				}
			}
			p.control(t, entry.Follow, 1, entry.Followed{SiteEpoch: 1, Shared: -1}.Append(nil))
			p.control(t, entry.TruncateTo, 1, entry.Truncation{Offset: 0, LeaderEpoch: -1}.Append(nil))
			p.control(t, entry.Follow, 1, entry.Followed{SiteEpoch: 1, Shared: 0}.Append(nil))
			at := int64(0)
			for _, batch := range someBatches(t, rand.New(rand.NewPCG(seed, 4)), 40) {
				batch.SetBaseOffset(at)
				batch.SetLeaderEpoch(1 << entry.LeaderEpochBits)
				at = batch.LastOffset() + 1
				rows, _, err := entry.RowsOf(batch)
				if err != nil {
					t.Fatal(err)
				}
				h := &entry.Header{Kind: entry.Data, SiteEpoch: 1, Rows: rows, PayloadLength: uint32(len(batch))}
				if _, err := p.group.Propose(h, batch, nil).Wait(waitContext(t)); err != nil {
					t.Fatal(err)
				}
			}
			want := viewOf(t, p)
			for i, end := range []func(testing.TB){b.kill, b.kill, b.stop, b.kill} {
				end(t)
				b.start(t)
				if got := viewOf(t, b.get(t, 0)); !reflect.DeepEqual(got, want) {
					t.Fatalf("seed %d, early %v, restart %d:\n%+v, was\n%+v", seed, early, i, got, want)
				}
			}
			b.kill(t)
		}
	}
}

// A snapshot that is being written while the log is cut speaks of records that are gone: it must not be found by a later one.
func TestProducerSnapshotUnderWayDoesNotOutliveATruncation(t *testing.T) {
	b := newSitesBroker(t)
	p := b.create(t, 0)
	for seq := range int32(4) {
		mustAppend(t, p, write{producer: 9, sequence: seq})
	}
	encode, err := machine{p}.SnapshotLater()
	if err != nil {
		t.Fatal(err)
	}
	p.control(t, entry.Follow, 1, entry.Followed{SiteEpoch: 1, Shared: -1}.Append(nil))
	p.control(t, entry.TruncateTo, 1, entry.Truncation{Offset: 2, LeaderEpoch: 0}.Append(nil))
	if _, err := encode(); !errors.Is(err, errCut) {
		t.Fatalf("got %v", err)
	}
	if offsets, err := p.log.ProducerSnapshots(); err != nil || len(offsets) != 0 {
		t.Fatalf("files at %v, %v", offsets, err)
	}
	p.mu.Lock()
	last := p.mu.producers.byID[9].batches
	p.mu.Unlock()
	if len(last) != 2 {
		t.Fatalf("batches %+v", last)
	}
}

// Rows that are rebuilt from stored batches are those that the entries had: shipping needs them once the entries are gone.
func TestRowsOfStoredBatchesAreThoseOfTheirEntries(t *testing.T) {
	for seed := range uint64(6) {
		b := newSitesBroker(t)
		p := b.create(t, 0)
		for _, batch := range someBatches(t, rand.New(rand.NewPCG(seed, 2)), 25) {
			if _, err := wait(t, p.Append(batch, func() {})); err != nil {
				t.Fatal(err)
			}
		}
		var want []entry.Row
		sg := p.group.Storage()
		for i := sg.FirstIndex(); i <= sg.LastIndex(); i++ {
			e, _ := sg.Entry(i)
			var h entry.Header
			if e.Type != 0 || h.Decode(e.Data) != nil {
				continue
			}
			want = append(want, h.Rows...)
		}
		var got []entry.Row
		for at, end := p.log.LogStart(), p.log.LogEnd(); at < end; {
			x, err := p.log.Read(at, 1<<20, end, true)
			if err != nil {
				t.Fatal(err)
			}
			payload, err := x.ReadAll()
			x.Release()
			if err != nil {
				t.Fatal(err)
			}
			rows, n, err := entry.RowsOf(payload)
			if err != nil || n != len(payload) {
				t.Fatal(n, err)
			}
			h := &entry.Header{Kind: entry.Data, Rows: rows, PayloadLength: uint32(n)}
			if err := h.CheckLinked(payload); err != nil {
				t.Fatal(err)
			}
			got, at = append(got, rows...), rows[len(rows)-1].LastOffset+1
		}
		for i := range got {
			got[i].Pos = 0 // in its own payload
		}
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d:\n%+v, stored were\n%+v", seed, got, want)
		}
		b.kill(t)
	}
}
