package group

import (
	"bytes"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/tandembroker/tandem/broker/partition"
	"github.com/tandembroker/tandem/protocol/record"
)

// patience bounds waits: far above what anything takes.
const patience = 20 * time.Second

// fakePartition is a partition of __consumer_offsets in memory, whose appends wait or fail when the test says so.
type fakePartition struct {
	mu      sync.Mutex
	changed sync.Cond
	epoch   int32
	leading bool
	max     int
	batches [][]byte
	next    int64
	held    bool  // appends wait for release
	outcome error // of appends
	lost    bool  // with an outcome: the batch is in the log all the same
	blocked bool  // reads wait
	refused error // of reads
	waiting []func()
	appends int
}

func newFakePartition() *fakePartition {
	p := &fakePartition{epoch: 1, leading: true, max: 1 << 20}
	p.changed.L = &p.mu
	return p
}

func (p *fakePartition) set(fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn()
	if !p.held {
		for _, settle := range p.waiting {
			settle()
		}
		p.waiting = nil
	}
	p.changed.Broadcast()
}

func (p *fakePartition) serving() (int32, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.epoch, p.leading
}

func (p *fakePartition) led() bool { return true }

func (p *fakePartition) bytesMax() int { return p.max }

func (p *fakePartition) bounds() (start, end int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return 0, p.next
}

func (p *fakePartition) read(offset int64, _ int32) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.blocked {
		p.changed.Wait()
	}
	if p.refused != nil {
		return nil, p.refused
	}
	for _, b := range p.batches {
		if record.Batch(b).LastOffset() >= offset {
			return bytes.Clone(b), nil
		}
	}
	return nil, nil
}

func (p *fakePartition) append(b record.Batch, epoch int32) (<-chan struct{}, func() error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.appends++
	done := make(chan struct{})
	var err error
	if !p.leading || epoch != p.epoch {
		close(done)
		p.changed.Broadcast()
		return done, func() error { return partition.ErrNotLeader }
	}
	settle := func() {
		if err = p.outcome; err == nil || p.lost {
			p.putLocked(b)
		}
		close(done)
	}
	if p.held {
		p.waiting = append(p.waiting, settle)
	} else {
		settle()
	}
	p.changed.Broadcast()
	return done, func() error { return err }
}

func (p *fakePartition) putLocked(b record.Batch) {
	b.SetBaseOffset(p.next)
	p.next = b.LastOffset() + 1
	p.batches = append(p.batches, bytes.Clone(b))
}

// put writes a record past the coordinator.
func (p *fakePartition) put(t testing.TB, change func(*record.Builder), list ...keyValue) {
	t.Helper()
	b := record.NewBuilder()
	if change != nil {
		change(b)
	}
	for _, kv := range list {
		b.Append(1, kv.key, kv.value)
	}
	batch, err := b.Batch()
	if err != nil {
		t.Fatal(err)
	}
	p.set(func() { p.putLocked(batch) })
}

// await waits until a number of appends have begun.
func (p *fakePartition) await(count int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.appends < count {
		p.changed.Wait()
	}
}

func (p *fakePartition) subscribe(chan<- struct{}) func() { return func() {} }

// hand is a Coordinator of one partition whose clock and leadership the test moves by hand; run does not run.
type hand struct {
	*Coordinator
	t   testing.TB
	log *fakePartition
	out *safeBuffer
	mu  sync.Mutex
	now time.Time
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newHand(t testing.TB, p *fakePartition) *hand {
	return newHandAt(t, p, time.UnixMilli(1_000_000_000))
}

func newHandAt(t testing.TB, p *fakePartition, now time.Time) *hand {
	h := &hand{t: t, log: p, out: &safeBuffer{}, now: now}
	h.Coordinator = New(Options{Logger: slog.New(slog.NewTextHandler(h.out, nil)), Now: h.time})
	h.named, h.kept = func(string) bool { return true }, func(string) bool { return false }
	h.table.Store(&table{slots: make([]slot, 1)})
	h.begin(h.slot(), newShard(h.Coordinator, 0, p, 1))
	t.Cleanup(func() {
		p.set(func() { p.held, p.blocked = false, false })
		h.Close()
	})
	return h
}

func (h *hand) time() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *hand) advance(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

func (h *hand) set(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = now
}

func (h *hand) slot() *slot { return &h.table.Load().slots[0] }

// ready waits until the partition has been read.
func (h *hand) ready() *hand {
	h.t.Helper()
	eventually(h.t, func() bool { return !errors.Is(h.with("", func(*membership, time.Time) {}), ErrCoordinatorLoading) })
	return h
}

// reload is another leadership.
func (h *hand) reload() {
	h.slot().drop()
	epoch := int32(0)
	h.log.set(func() { h.log.epoch++; epoch = h.log.epoch })
	h.begin(h.slot(), newShard(h.Coordinator, 0, h.log, epoch))
	h.ready()
}

func (h *hand) locked(fn func(s *shard)) {
	s := h.slot().shard.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(s)
}

// idle waits until nothing is on its way into the log.
func (h *hand) idle() {
	h.t.Helper()
	eventually(h.t, func() (idle bool) {
		h.locked(func(s *shard) { idle = !s.mu.writing })
		return idle
	})
}

func (h *hand) expire() {
	h.locked(func(s *shard) { s.expireLocked(h.time()) })
	h.idle()
}

// outcome of a call with a reply.
type outcome struct {
	each []error
	err  error
}

func offsetsOf(group string, offset int64, partitions ...int32) CommitRequest {
	r := CommitRequest{GroupID: group, Generation: -1, RetentionMs: -1}
	for _, p := range partitions {
		r.Offsets = append(r.Offsets, Commit{TopicPartition: TopicPartition{"t", p}, Offset: offset, LeaderEpoch: 3, Metadata: "m"})
	}
	return r
}

func (h *hand) begun(r CommitRequest) <-chan outcome {
	ch := make(chan outcome, 1)
	h.Commit(r, func(each []error, err error) { ch <- outcome{each, err} })
	return ch
}

func (h *hand) commit(r CommitRequest) outcome { return receive(h.t, h.begun(r)) }

func (h *hand) deleteGroup(id string) error {
	ch := make(chan error, 1)
	h.DeleteGroups([]string{id}, func(each []error) { ch <- each[0] })
	return receive(h.t, ch)
}

func (h *hand) deleteOffsets(id string, list ...TopicPartition) outcome {
	ch := make(chan outcome, 1)
	h.DeleteOffsets(id, list, func(each []error, err error) { ch <- outcome{each, err} })
	return receive(h.t, ch)
}

// at is the committed offset of a partition of "t"; -1 = none.
func (h *hand) at(group string, partition int32) int64 {
	h.t.Helper()
	got, err := h.Fetch(group, []TopicPartition{{"t", partition}})
	if err != nil {
		h.t.Fatal(err)
	}
	return got[0].Offset
}

func receive[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatal("no answer")
		panic("unreachable")
	}
}

func eventually(t testing.TB, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come")
		}
	}
}

var (
	errUncertain = partition.ErrStorage
	errDefinite  = partition.ErrRetriable
)
