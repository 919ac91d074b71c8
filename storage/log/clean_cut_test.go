package log

import (
	"context"
	"errors"
	"testing"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/compact"
)

// cutDown cuts the log at offset, and makes it durable.
func (w *cleanWorld) cutDown(offset int64) {
	w.t.Helper()
	err := w.l.Cut(offset, func(c Cutting) error {
		w.cp = Checkpoint{LogStart: c.LogStart, LogEnd: c.Offset, End: c.End}
		w.setCheckpoint(c.Sealed, nil)
		return nil
	})
	if err != nil || w.l.Sync() != nil {
		w.t.Error(err)
	}
}

// once is a log of many values of a key, and of two of another one: one at the beginning, one at the end.
func once(t *testing.T) (w *cleanWorld, o CleanOptions, below int64) {
	w = newCleanWorld(t, 5)
	for i := range 200 {
		b := record.NewBuilder()
		b.BaseOffset = w.l.LogEnd()
		b.Append(w.now, []byte("often"), make([]byte, 150))
		if i == 0 || i == 150 {
			b.Append(w.now, []byte("once"), []byte("value"))
		}
		batch, err := b.Batch()
		if err != nil {
			t.Fatal(err)
		}
		if i == 100 {
			below = b.BaseOffset
		}
		w.put(batch)
	}
	w.checkpoint()
	return w, CleanOptions{Bound: CleanBound{Below: w.cp.End.Segment}, Map: &compact.Map{}, MapBytes: 1 << 16}, below
}

// A log that is cut under a round of compaction loses nothing below the cut for what was above it, nothing above it comes back, and
// what is written there later is not taken for compacted.
func TestCleanEndsWhereTheLogIsCut(t *testing.T) {
	for _, late := range []bool{false, true} {
		w, o, cut := once(t)
		segments := w.l.Segments()
		final := segments[len(segments)-2].Base
		var left []modelBatch
		called := 0
		o.Replace = func(r Replacement) error {
			called++
			if late {
				if err := w.replace(r); err != nil || r.Last != final {
					return err
				}
				w.cutDown(cut)
				return nil
			}
			w.cutDown(cut)
			left = contents(t, w.l)
			return w.replace(r)
		}
		_, err := w.l.Clean(context.Background(), o)
		if !errors.Is(err, errCleaningCut) || errors.Is(err, ErrCorrupt) {
			t.Fatalf("late %v: the round ended with %v", late, err)
		}
		got := contents(t, w.l)
		if !late && (called != 1 || len(got) != len(left) || len(got[0].records) != 2) {
			t.Fatalf("%d batches are left of %d after %d calls", len(got), len(left), called)
		}
		if _, err := w.fsys.Stat(testDir + "/" + nameCleaned); err == nil {
			t.Fatalf("late %v: offsets above the cut count as compacted", late)
		}
		if w.l.Err() != nil || w.l.LogEnd() != cut {
			t.Fatalf("late %v: the log ends at %d, %v", late, w.l.LogEnd(), w.l.Err())
		}
		w.checkFolder(w.fsys)
		o.Bound.Below, o.Replace = w.cp.End.Segment, w.replace
		if _, err := w.l.Clean(context.Background(), o); err != nil {
			t.Fatalf("late %v: the next round: %v", late, err)
		}
	}
}
