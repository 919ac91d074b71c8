package log

import (
	"testing"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

// A log that went over to new bands: each begins a segment, and offsets, times and leader epochs are found across the gaps, before and
// after a restart, from the index files and without them.
func TestBandsAreLookedUpAcrossTheirGaps(t *testing.T) {
	fsys := vfs.NewMem()
	o := testOptions()
	o.SegmentBytes, o.SegmentMs = 1<<20, 1<<40
	l := create(t, fsys, o)
	var list []made
	put := func(base int64, epoch int32) {
		t.Helper()
		for range 12 { // more than one index entry
			m := makeBatch(t, batchSpec{base: base, ts: 1000 + int64(len(list))*10, count: 3, valueLen: 150, epoch: epoch})
			mustAppend(t, l, m)
			list, base = append(list, m), base+3
		}
	}
	near := entry.BandStart(1) - 40 // the end of band 0, as near as to fit into the index of one segment
	starts := []int64{0, near, entry.BandStart(1), entry.BandStart(6)}
	for i, base := range starts {
		put(base, int32(i))
	}
	for _, restart := range []string{"no", "with the index files", "without them"} {
		if restart != "no" {
			cp := Checkpoint{LogStart: l.LogStart(), LogEnd: l.LogEnd(), End: l.EndPosition()}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if restart == "without them" {
				for _, base := range starts {
					if err := l.removeIndexes(base); err != nil {
						t.Fatal(err)
					}
				}
			}
			l = openAt(t, fsys, cp, o)
		}
		segments := l.Segments()
		if len(segments) != len(starts) {
			t.Fatalf("restart %s: segments %+v", restart, segments)
		}
		for i, s := range segments {
			if s.Base != starts[i] {
				t.Fatalf("restart %s: segment %d begins at %d, want %d", restart, i, s.Base, starts[i])
			}
		}
		if err := check(l, list, 0); err != nil {
			t.Fatalf("restart %s: %v", restart, err)
		}
		for i, m := range list {
			offset, _, epoch, found, err := l.OffsetForTimestamp(m.row.MaxTimestamp, l.LogEnd())
			if err != nil || !found || offset != m.row.LastOffset || epoch != m.row.LeaderEpoch || l.EpochAt(offset) != epoch {
				t.Fatalf("restart %s: batch %d by its time: offset %d of leader epoch %d, %v", restart, i, offset, epoch, err)
			}
		}
		for i, base := range starts[1:] { // a position in the gap is answered with what comes behind it
			e, err := l.Read(base-1, 1, l.LogEnd(), true)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := e.ReadAll(); err != nil || string(b) != string(list[(i+1)*12].bytes) {
				t.Fatalf("restart %s: in the gap below %d: %d bytes, %v", restart, base, len(b), err)
			}
			e.Release()
		}
		if epoch, end := l.EndOffsetForEpoch(0, l.LogEnd()); epoch != 0 || end != near {
			t.Fatalf("restart %s: leader epoch 0 ends at %d (%d)", restart, end, epoch)
		}
	}
}
