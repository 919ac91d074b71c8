package log

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tandembroker/tandem/storage/vfs"
)

// What is cut is every batch with a record at or above the offset, and no other; what comes in its place, of another size and
// another leader, is what is read from then on, also after a restart.
func TestTruncateCutsAtTheBatch(t *testing.T) {
	for _, c := range []struct{ offset, end int64 }{
		{29, 27}, {28, 27}, {27, 27}, {26, 24}, {16, 15}, {15, 15}, {14, 12}, {3, 3}, {2, 0}, {0, 0},
	} {
		t.Run(fmt.Sprint(c.offset), func(t *testing.T) {
			fsys := vfs.NewMem()
			l := create(t, fsys, testOptions())
			var list []made
			for i := range int64(10) { // three records each; a leader epoch for every three batches
				list = append(list, makeBatch(t, batchSpec{base: i * 3, ts: 1000 + i, count: 3, valueLen: 150, epoch: int32(i / 3)}))
				mustAppend(t, l, list[i])
			}
			if err := l.Truncate(c.offset); err != nil {
				t.Fatal(err)
			}
			list = list[:c.end/3]
			want := int32(-1)
			if n := len(list); n > 0 {
				want = list[n-1].row.LeaderEpoch
			}
			if l.LogEnd() != c.end || l.LastEpoch() != want {
				t.Fatalf("the log ends at %d with leader epoch %d, want %d, %d", l.LogEnd(), l.LastEpoch(), c.end, want)
			}
			for range 12 {
				m := makeBatch(t, batchSpec{base: l.LogEnd(), ts: 2000, count: 2, valueLen: 40, epoch: 9})
				mustAppend(t, l, m)
				list = append(list, m)
			}
			for _, restart := range []bool{false, true} {
				if restart {
					l = reopen(t, fsys, l, testOptions())
				}
				if err := check(l, list, 0); err != nil {
					t.Fatalf("restart %v: %v", restart, err)
				}
				for _, m := range list { // one by one, as consumers at the end of the log
					e, err := l.Read(m.row.LastOffset, 1, l.LogEnd(), true)
					if err != nil {
						t.Fatal(err)
					}
					b, err := e.ReadAll()
					e.Release()
					if err != nil || string(b) != string(m.bytes) || l.EpochAt(m.row.LastOffset) != m.row.LeaderEpoch {
						t.Fatalf("restart %v: offset %d: %d bytes, want %d, leader epoch %d, %v", restart, m.row.LastOffset,
							len(b), len(m.bytes), l.EpochAt(m.row.LastOffset), err)
					}
				}
			}
		})
	}
}

// Without its index the last segment leaves no trace but in the checkpoint, which vouches for its bytes.
func TestMissingLastSegmentIsNoticed(t *testing.T) {
	fsys := vfs.NewMem()
	l := create(t, fsys, testOptions())
	fill(t, l, 80)
	cp := Checkpoint{LogEnd: l.LogEnd(), End: l.EndPosition()}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.removeSegment(cp.End.Segment); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(fsys, testDir, cp, testOptions()); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("got %v", err)
	}
}
