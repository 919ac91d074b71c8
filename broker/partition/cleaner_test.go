package partition

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/compact"
	"github.com/tandembroker/tandem/storage/log"
)

func compactConfig() Config {
	c := topicConfig()
	c.Compact, c.Delete, c.SegmentBytes, c.IndexInterval = true, false, 10_000, 500
	c.DeleteRetentionMs, c.CompactionLagMaxMs, c.MinCleanableDirtyRatio = 60_000, 1<<63-1, 0.5
	return c
}

func newCompacted(t testing.TB) *broker {
	t.Helper()
	b := newBroker(t)
	b.config = compactConfig()
	return b
}

// put appends one record and waits.
func put(t testing.TB, p *Partition, key, value string, ts int64) int64 {
	t.Helper()
	b := record.NewBuilder()
	v := []byte(value)
	if value == "" {
		v = nil
	}
	b.Append(ts, []byte(key), v)
	batch, err := b.Batch()
	if err != nil {
		t.Fatal(err)
	}
	r, err := wait(t, p.Append(batch, func() {}))
	if err != nil {
		t.Fatal(err)
	}
	return r.BaseOffset
}

// all reads the partition from its start: the last value of each key, and how many records there are.
func all(t testing.TB, p *Partition, isolation Isolation) (last map[string]string, records int) {
	t.Helper()
	last = map[string]string{}
	start, hw, lso, _ := p.Offsets()
	if isolation == ReadCommitted {
		hw = lso
	}
	for at := start; at < hw; {
		r, err := p.Read(at, 4000, isolation, -1, true)
		if err != nil || r.Extent == nil {
			t.Fatalf("read at %d of %d: %v", at, hw, err)
		}
		raw, err := r.Extent.ReadAll()
		next := r.Extent.Next()
		r.Extent.Release()
		if err != nil || next <= at {
			t.Fatalf("read at %d ends at %d: %v", at, next, err)
		}
		for at = next; len(raw) > 0; {
			b, rest, err := record.Next(raw)
			if err != nil {
				t.Fatal(err)
			}
			raw = rest
			err = b.Each(0, func(r record.Record) error {
				records++
				last[string(r.Key)] = fmt.Sprintf("%d:%.8s", r.Offset, r.Value)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return last, records
}

func (b *broker) checkpoint(t testing.TB) {
	t.Helper()
	if err := b.host.Checkpoint(waitContext(t)); err != nil {
		t.Fatal(err)
	}
}

// cleanNow does one round, with a map for all.
func (b *broker) cleanNow(t testing.TB, p *Partition) log.Cleaned {
	t.Helper()
	done, err := p.clean(waitContext(t), log.CleanOptions{Map: &compact.Map{}, MapBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// fillKeys writes rounds values of each of ten keys.
func (b *broker) fillKeys(t testing.TB, p *Partition, rounds int) {
	t.Helper()
	for r := range rounds {
		for k := range 10 {
			put(t, p, fmt.Sprintf("k%d", k), fmt.Sprintf("%04d%0900d", r, 0), b.clock.Now().UnixMilli())
		}
	}
}

// What no checkpoint covers is not compacted; what is, serves the same last values before and after a restart, clean or not.
func TestCompaction(t *testing.T) {
	b := newCompacted(t)
	p := b.create(t, 0)
	b.fillKeys(t, p, 20)
	if done := b.cleanNow(t, p); done.Replaced > 0 {
		t.Fatalf("compacted before a checkpoint: %+v", done)
	}
	b.checkpoint(t)
	before, n := all(t, p, ReadUncommitted)
	size := p.Size()
	done := b.cleanNow(t, p)
	after, left := all(t, p, ReadUncommitted)
	if !maps.Equal(before, after) || n != 200 || left >= 60 || p.Size() >= size/2 || done.RecordsKept >= done.RecordsRead {
		t.Fatalf("%d of %d records are left, %d of %d bytes: %+v\n%v\n%v", left, n, p.Size(), size, done, before, after)
	}
	for _, stop := range []func(testing.TB){b.kill, b.stop} {
		stop(t)
		b.start(t)
		p = b.get(t, 0)
		again, count := all(t, p, ReadUncommitted)
		if !maps.Equal(before, again) || count != left {
			t.Fatalf("after a restart: %d records, want %d\n%v\n%v", count, left, before, again)
		}
		if done := b.cleanNow(t, p); done.First != done.End {
			t.Fatalf("a restart forgot what was compacted: %+v", done)
		}
	}
	// It goes on from there.
	b.fillKeys(t, p, 10)
	if done := b.cleanNow(t, p); done.End > done.First {
		t.Fatalf("compacted above the checkpoint: %+v", done)
	}
	b.checkpoint(t)
	before, _ = all(t, p, ReadUncommitted)
	b.cleanNow(t, p)
	if after, count := all(t, p, ReadUncommitted); !maps.Equal(before, after) || count >= left+60 {
		t.Fatalf("%d records", count)
	}
}

// A tombstone stays for delete.retention.ms from the round that found nothing else of its key, then goes.
func TestCompactionOfTombstones(t *testing.T) {
	b := newCompacted(t)
	p := b.create(t, 0)
	put(t, p, "gone", "value", b.clock.Now().UnixMilli())
	put(t, p, "gone", "", b.clock.Now().UnixMilli())
	round := func() (there bool) {
		b.fillKeys(t, p, 3)
		b.checkpoint(t)
		b.cleanNow(t, p)
		last, _ := all(t, p, ReadUncommitted)
		_, there = last["gone"]
		return there
	}
	if !round() {
		t.Fatal("the tombstone went at once")
	}
	b.clock.add(59 * time.Second)
	if !round() {
		t.Fatal("the tombstone went before its time")
	}
	b.clock.add(2 * time.Second)
	if round() {
		t.Fatal("the tombstone is still there")
	}
}

// The cleaner takes what has the largest share of records that were not compacted, above min.cleanable.dirty.ratio, or that has
// waited longer than max.compaction.lag.ms; never what min.compaction.lag.ms protects.
func TestCleanerTakesTheFilthiest(t *testing.T) {
	b := newCompacted(t)
	b.config.MinCleanableDirtyRatio = 0.9
	c := &cleaner{m: b.Manager, opts: CleanerOptions{}.withDefaults(), rate: &throttle{perSecond: 1e12, now: time.Now}}
	p, q := b.create(t, 0), b.create(t, 1)
	if got, _ := c.take(context.Background()); got != nil {
		t.Fatalf("took partition %d of two empty ones", got.ID())
	}
	b.fillKeys(t, p, 10)
	b.fillKeys(t, q, 10)
	b.checkpoint(t)
	b.cleanNow(t, p)
	b.fillKeys(t, p, 3) // about two thirds of it are dirty
	b.checkpoint(t)
	config := func(change func(*Config)) {
		conf := b.config
		change(&conf)
		p.SetConfig(conf)
		q.SetConfig(conf)
	}
	take := func(want *Partition) {
		t.Helper()
		got, _ := c.take(context.Background())
		if got != want {
			t.Fatalf("took %v, want %v", got, want)
		}
		if again, _ := c.take(context.Background()); again != nil {
			t.Fatalf("another thread took partition %d", again.ID())
		}
		if got != nil {
			c.release(context.Background(), got, &log.Cleaned{}, nil)
		}
	}
	take(q)
	config(func(c *Config) { c.CompactionLagMinMs = 1000 })
	take(nil)
	b.clock.add(2 * time.Second)
	take(q)
	b.cleanNow(t, q)
	config(func(c *Config) { c.MinCleanableDirtyRatio = 0.99 })
	take(nil)
	config(func(c *Config) { c.MinCleanableDirtyRatio, c.CompactionLagMaxMs = 0.99, 3000 })
	take(nil)
	b.clock.add(2 * time.Second)
	take(p)
	config(func(c *Config) { c.Compact = false })
	take(nil)
}

// A failure is not tried again at once, damage never.
func TestCleanerAfterFailures(t *testing.T) {
	b := newCompacted(t)
	c := &cleaner{m: b.Manager, opts: CleanerOptions{}.withDefaults(), rate: &throttle{perSecond: 1e12, now: time.Now}}
	p := b.create(t, 0)
	b.fillKeys(t, p, 5)
	b.checkpoint(t)
	for _, f := range []struct {
		err   error
		later bool
	}{{log.ErrSpace, true}, {&log.CorruptError{Reason: "a test"}, false}} {
		if got, _ := c.take(context.Background()); got != p {
			t.Fatal("not taken")
		}
		c.release(context.Background(), p, &log.Cleaned{}, f.err)
		if got, _ := c.take(context.Background()); got != nil {
			t.Fatalf("tried again at once after %v", f.err)
		}
		b.clock.add(retryAfter)
		if got, _ := c.take(context.Background()); (got == p) != f.later {
			t.Fatalf("after %v and a while: took %v", f.err, got)
		} else if got != nil {
			c.release(context.Background(), p, &log.Cleaned{}, nil)
		}
	}
	if s := b.CleanerStats(); s.Failures != 2 || s.Rounds != 1 {
		t.Fatalf("%+v", s)
	}
}

// The cleaner of a running broker, its options changed on the way, a topic deleted under it, and the end of all.
func TestCleanerRuns(t *testing.T) {
	b := newCompacted(t)
	p := b.create(t, 0)
	b.fillKeys(t, p, 20)
	b.checkpoint(t)
	before, n := all(t, p, ReadUncommitted)
	b.SetCleaner(CleanerOptions{Backoff: time.Millisecond, Threads: 2, ReserveBytes: 1 << 60})
	waitFor(t, "a failure for want of space", func() bool { return b.CleanerStats().Failures > 0 })
	if b.CleanerStats().Rounds > 0 {
		t.Fatal("the reserve was not kept")
	}
	b.clock.add(retryAfter)
	b.SetCleaner(CleanerOptions{Backoff: time.Millisecond, Threads: 2})
	waitFor(t, "a round", func() bool { return b.CleanerStats().Rounds > 0 })
	if after, left := all(t, p, ReadUncommitted); !maps.Equal(before, after) || left > n/2 {
		t.Fatalf("%d of %d records are left", left, n)
	}
	b.SetCleaner(CleanerOptions{Disabled: true})
	q := b.create(t, 1)
	b.fillKeys(t, q, 20)
	b.checkpoint(t)
	b.SetCleaner(CleanerOptions{Backoff: time.Millisecond, BytesPerSecond: 1000})
	rate := b.cleaner.rate
	waitFor(t, "a round that is held up", func() bool { rate.mu.Lock(); defer rate.mu.Unlock(); return rate.mu.free.After(b.clock.Now()) })
	deleted := make(chan error, 1)
	go func() { deleted <- b.Delete(context.Background(), topicID, 1) }()
	select {
	case err := <-deleted:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("the deletion waits for compaction")
	}
	if _, err := os.Stat(filepath.Join(b.dir, "t-1")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the folder of the deleted partition: %v", err)
	}
}

func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s", what)
		}
	}
}

// A read_committed reader never sees aborted records, whatever is compacted while it reads.
func TestCompactionOfTransactions(t *testing.T) {
	b := newCompacted(t)
	p := b.create(t, 0)
	appendBatch := func(batch record.Batch) {
		t.Helper()
		if _, err := wait(t, p.Append(batch, func() {})); err != nil {
			t.Fatal(err)
		}
	}
	txn := func(id int64, seq int32, key, value string) {
		t.Helper()
		bb := record.NewBuilder()
		bb.ProducerID, bb.ProducerEpoch, bb.BaseSequence, bb.Transactional = id, 0, seq, true
		bb.Append(b.clock.Now().UnixMilli(), []byte(key), []byte(value))
		batch, err := bb.Batch()
		if err != nil {
			t.Fatal(err)
		}
		appendBatch(batch)
	}
	marker := func(id int64, kind record.ControlType) {
		t.Helper()
		appendBatch(record.ControlBatch(record.Control{Type: kind, ProducerID: id, Timestamp: b.clock.Now().UnixMilli()}))
	}
	txn(1, 0, "a", "good")
	marker(1, record.Commit)
	txn(1, 1, "a", "aborted")
	txn(2, 0, "b", "good")
	marker(1, record.Abort)
	marker(2, record.Commit)
	txn(3, 0, "c", "open")
	b.fillKeys(t, p, 5)
	b.checkpoint(t)
	if done := b.cleanNow(t, p); done.Replaced > 0 {
		t.Fatalf("compacted behind an open transaction: %+v", done)
	}
	marker(3, record.Abort)
	b.fillKeys(t, p, 2)
	b.checkpoint(t)
	for range 4 {
		b.cleanNow(t, p)
		last, _ := all(t, p, ReadUncommitted)
		if last["a"] != "0:good" || last["b"] != "3:good" || last["c"] != "" {
			t.Fatalf("a = %s, b = %s, c = %s", last["a"], last["b"], last["c"])
		}
		b.clock.add(time.Hour)
		b.fillKeys(t, p, 2)
		b.checkpoint(t)
	}
	r, err := p.Read(0, 1<<20, ReadCommitted, -1, true)
	if err != nil || len(r.Aborted) > 0 {
		t.Fatalf("aborted transactions of which nothing is left: %v, %v", r.Aborted, err)
	}
	r.Extent.Release()
}

// While somebody appends, compaction rests longer than it works.
func TestPace(t *testing.T) {
	var records uint64
	now := time.Unix(1000, 0)
	clock := func() time.Time { return now }
	p := &pacer{rate: &throttle{perSecond: 1e15, now: clock}, others: newForeground(func() uint64 { return records }, clock), now: clock, last: now,
		temper: newTemper(clock)}
	p.temper.begin()
	step := func(worked time.Duration) time.Duration {
		t.Helper()
		now = now.Add(worked)
		begin := time.Now()
		if err := p.wait(context.Background(), 32<<20); err != nil {
			t.Fatal(err)
		}
		return time.Since(begin)
	}
	for range 3 {
		if rest := step(100 * time.Millisecond); rest > pauseMax/2 {
			t.Fatalf("rested %v while nobody appends", rest)
		}
	}
	for range 3 {
		records++
		if rest := step(20 * time.Millisecond); rest < shareFirst*20*time.Millisecond {
			t.Fatalf("rested %v from 20 ms", rest)
		}
	}
	if rest := step(foregroundMemory); rest > pauseMax/2 {
		t.Fatalf("rested %v after the last append was long ago", rest)
	}
}

// The throttle lets through what it is told to.
func TestThrottle(t *testing.T) {
	now := time.Unix(1000, 0)
	th := &throttle{perSecond: 1e6, now: func() time.Time { return now }}
	begin := time.Now()
	for range 5 {
		if err := th.wait(context.Background(), 10_000); err != nil { // 10 ms each; the clock stands still
			t.Fatal(err)
		}
	}
	if took := time.Since(begin); took < 100*time.Millisecond {
		t.Fatalf("5 x 10 ms behind each other took %v", took)
	}
	now = now.Add(time.Hour)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := th.wait(ctx, 1<<40); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}
