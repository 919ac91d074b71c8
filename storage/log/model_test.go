package log

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/tandembroker/tandem/storage/vfs"
)

// naive is what a log must give, by looking at every batch.
type naive struct {
	list  []made
	start int64
}

// read gives the batches that Read may return when segments had no ends: a real answer is a prefix of it, not empty unless it is.
func (n *naive) read(offset, bytesMax, limit int64, one bool) []byte {
	var b []byte
	for _, m := range n.list {
		switch {
		case m.row.LastOffset < offset:
			continue
		case m.row.LastOffset >= limit:
			return b
		case int64(len(b)+len(m.bytes)) > bytesMax && (len(b) > 0 || !one):
			return b
		}
		b = append(b, m.bytes...)
	}
	return b
}

func (n *naive) byTime(ts, limit int64) (offset, at int64) {
	for _, m := range n.list {
		for i, s := range m.stamp {
			if o := m.row.BaseOffset + int64(i); s >= ts && o >= n.start {
				if o >= limit {
					return -1, -1
				}
				return o, s
			}
		}
	}
	return -1, -1
}

// Random appends, truncations, checkpoints, retention and restarts, compared with the naive model in every way to read.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(30) {
		w := newWorld(t, 1000+seed)
		for i := range 120 {
			if err := w.step(); err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, i, err)
			}
			if w.rng.IntN(25) == 0 {
				w.restart()
			}
			if i%3 == 0 {
				compare(t, w, seed, i)
			}
		}
		if err := w.l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// restart opens the log again, now after a clean Close, now after a kill that lost nothing.
func (w *world) restart() {
	w.t.Helper()
	if w.rng.IntN(2) == 0 {
		if err := w.l.Close(); err != nil {
			w.t.Fatal(err)
		}
	}
	l, n, err := w.recover(w.fsys)
	if err != nil || n != len(w.journal) {
		w.t.Fatalf("restart: %d of %d entries, %v", n, len(w.journal), err)
	}
	w.l = l
	if err := l.SetLogStart(w.start); err != nil { // as the caller's log says when it is applied again
		w.t.Fatal(err)
	}
}

func compare(t *testing.T, w *world, seed uint64, step int) {
	t.Helper()
	n := naive{list: w.all(), start: w.l.LogStart()}
	if w.l.LogEnd() != w.end() || n.start != w.start {
		t.Fatalf("seed %d, step %d: log %d to %d, want %d to %d", seed, step, n.start, w.l.LogEnd(), w.start, w.end())
	}
	if w.end() == w.start {
		return
	}
	for range 10 {
		var offset int64
		if k := w.rng.IntN(len(n.list)); n.list[k].row.LastOffset >= n.start {
			offset = max(n.start, n.list[k].row.BaseOffset+int64(w.rng.IntN(3))-1)
		} else {
			offset = n.start
		}
		limit := w.end()
		if w.rng.IntN(2) == 0 {
			limit = n.list[w.rng.IntN(len(n.list))].row.LastOffset + int64(w.rng.IntN(2))
		}
		bytesMax, one := int64(w.rng.IntN(3000)), w.rng.IntN(2) == 0
		e, err := w.l.Read(offset, bytesMax, limit, one)
		if err != nil {
			t.Fatalf("seed %d, step %d: read %d: %v", seed, step, offset, err)
		}
		got, err := e.ReadAll()
		want := n.read(offset, bytesMax, limit, one)
		if err != nil || !bytes.HasPrefix(want, got) || len(got) == 0 && len(want) > 0 {
			t.Fatalf("seed %d, step %d: read %d, %d bytes, below %d, %v: %d bytes, want %d, %v", seed, step, offset, bytesMax, limit, one, len(got), len(want), err)
		}
		if len(got) < len(want) && w.l.EpochAt(e.Next()) >= 0 { // only the end of a segment may cut it short
			w.mustBegin(t, e.Next())
		}
		e.Release()
		ts := w.ts - int64(w.rng.IntN(200)) + 10
		o, at, _, found, err := w.l.OffsetForTimestamp(ts, limit)
		wo, wat := n.byTime(ts, limit)
		if err != nil || o != wo || at != wat || found != (wo >= 0) {
			t.Fatalf("seed %d, step %d: timestamp %d below %d: %d at %d %v, want %d at %d, %v", seed, step, ts, limit, o, at, found, wo, wat, err)
		}
	}
}

// mustBegin checks that the batch at or behind offset is the first of its segment.
func (w *world) mustBegin(t *testing.T, offset int64) {
	t.Helper()
	e, err := w.l.Read(offset, 1, w.end(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Release()
	if _, pos, n := e.File(); n > 0 && pos != 0 {
		t.Fatalf("a read ended early: the next batch is at byte %d", pos)
	}
}

// Appends, syncs, reads, truncations of the unread end, retention and checkpoints at the same time: readers see whole batches that
// were written, in order.
func TestConcurrent(t *testing.T) {
	fsys := vfs.NewMem()
	o := testOptions()
	l := create(t, fsys, o)
	var mu sync.Mutex
	written := map[int64][]byte{}
	hw := int64(0) // below it nothing is truncated
	done := make(chan struct{})
	var wg sync.WaitGroup
	spawn := func(f func(rng *rand.Rand) error) {
		seed := rand.Uint64()
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 0))
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := f(rng); err != nil {
					t.Errorf("%v", err)
					return
				}
			}
		})
	}
	limit := func() int64 { mu.Lock(); defer mu.Unlock(); return hw }
	for range 2 {
		spawn(func(rng *rand.Rand) error {
			high, start := limit(), l.LogStart()
			if high <= start {
				return nil
			}
			e, err := l.Read(start+rng.Int64N(high-start), rng.Int64N(5000), high, true)
			if err != nil {
				return ignoreRange(err)
			}
			defer e.Release()
			b, err := e.ReadAll()
			if err != nil {
				return err
			}
			return whole(&mu, written, b)
		})
	}
	spawn(func(*rand.Rand) error { return l.Sync() })
	spawn(func(*rand.Rand) error { return l.Flush() })
	spawn(func(rng *rand.Rand) error {
		if high := limit(); high > 600 {
			if err := l.SetLogStart(high - 500); err != nil {
				return err
			}
		}
		_, err := l.DeleteBelow(l.LogStart())
		return err
	})
	spawn(func(rng *rand.Rand) error {
		_, _, _, _, err := l.OffsetForTimestamp(rng.Int64N(20000), limit())
		return ignoreRange(err)
	})
	rng := rand.New(rand.NewPCG(5, 5))
	for epoch := int32(0); epoch < 300; epoch++ {
		for range 1 + rng.IntN(6) {
			m := makeBatch(t, batchSpec{base: l.LogEnd(), ts: l.LogEnd(), count: 1 + rng.IntN(3), valueLen: rng.IntN(300), epoch: epoch})
			mu.Lock()
			written[m.row.BaseOffset] = m.bytes
			mu.Unlock()
			mustAppend(t, l, m)
		}
		if rng.IntN(3) == 0 {
			if err := l.Truncate(limit()); err != nil {
				t.Fatal(err)
			}
		}
		mu.Lock()
		hw = l.LogEnd()
		mu.Unlock()
		mustAppend(t, l, makeBatch(t, batchSpec{base: l.LogEnd(), count: 1, epoch: epoch})) // not committed, truncated or overtaken
		if err := l.Truncate(limit()); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	wg.Wait()
}

func ignoreRange(err error) error {
	if err != nil && bytes.Contains([]byte(err.Error()), []byte("out of range")) {
		return nil // retention was faster
	}
	return err
}

// whole checks that b is a run of batches that were written.
func whole(mu *sync.Mutex, written map[int64][]byte, b []byte) error {
	mu.Lock()
	defer mu.Unlock()
	for len(b) > 0 {
		want := written[baseOffsetOf(b)]
		if len(want) == 0 || !bytes.HasPrefix(b, want) {
			return errWrongData
		}
		b = b[len(want):]
	}
	return nil
}
