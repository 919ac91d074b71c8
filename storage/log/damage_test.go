package log

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"testing"

	"github.com/tandembroker/tandem/storage/vfs"
)

var flipStep = flag.Int("flip.step", 11, "every how many bits the damage tests flip one")

// Every byte of a sealed and of the last segment is damaged, one bit at a time: reads give what was written or ErrCorrupt, never
// anything else, and the batches before the damage stay readable.
func TestFlippedBits(t *testing.T) {
	fsys := vfs.NewMem()
	l := create(t, fsys, Options{SegmentBytes: 2000, IndexIntervalBytes: 300})
	list := fill(t, l, 24)
	cp := Checkpoint{LogEnd: l.LogEnd(), End: l.EndPosition()}
	segments := l.Segments()
	if len(segments) < 3 {
		t.Fatal("one segment")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	all := joined(list)
	caught, step := 0, flipBits()
	for _, at := range []int{0, len(segments) - 1} {
		base, size := segments[at].Base, segments[at].Size
		before := 0
		for _, s := range segments[:at] {
			before += int(s.Size)
		}
		for bit := int64(0); bit < size*8; bit += step {
			c := fsys.CrashClone(nil)
			flip(t, c, fileName(testDir, base, suffixLog), bit)
			err := readsTrue(c, cp, list, all)
			if errors.Is(err, ErrCorrupt) {
				caught++
				continue
			}
			t.Fatalf("segment %d, bit %d of byte %d: %v", base, bit%8, bit/8, err)
		}
	}
	t.Logf("%d flips found", caught)
}

// flipBits is every how many bits one is flipped.
func flipBits() int64 {
	const apart = 87 // in -short; no multiple of 8
	if testing.Short() {
		return apart
	}
	return int64(*flipStep)
}

func flip(t *testing.T, fsys vfs.FS, name string, bit int64) {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], bit/8); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << (bit % 8)
	if _, err := f.WriteAt(b[:], bit/8); err != nil {
		t.Fatal(err)
	}
}

var errWrongData = errors.New("wrong data")

// readsTrue opens the log and reads from every batch on, in several sizes. nil = all there; ErrCorrupt = some is refused.
func readsTrue(fsys vfs.FS, cp Checkpoint, list []made, all []byte) error {
	l, err := Open(fsys, testDir, cp, Options{SegmentBytes: 2000, IndexIntervalBytes: 300})
	if err == nil {
		err = l.Recover(nil)
	}
	if err != nil {
		return err
	}
	defer l.shut()
	var refused error
	pos := 0
	for _, m := range list {
		for _, bytesMax := range []int64{1, 500, 1 << 20} {
			got, err := readAll(l, m.row.BaseOffset, bytesMax, cp.LogEnd)
			switch {
			case !bytes.HasPrefix(all[pos:], got):
				return errWrongData
			case err == nil && len(got) != len(all)-pos:
				return errors.New("a hole")
			case err != nil && !errors.Is(err, ErrCorrupt):
				return err
			case err != nil:
				refused = err
			}
		}
		pos += len(m.bytes)
	}
	return refused
}

// A damaged or shortened index is a cache: everything is still found, timestamps too.
func TestDamagedIndexes(t *testing.T) {
	fsys := vfs.NewMem()
	l := create(t, fsys, Options{SegmentBytes: 4000, IndexIntervalBytes: 300})
	list := fill(t, l, 46)
	cp := Checkpoint{LogEnd: l.LogEnd(), End: l.EndPosition()}
	segments := l.Segments()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	all := joined(list)
	step, bytesApart := flipBits(), int64(1)
	if testing.Short() {
		bytesApart = 7
	}
	for _, base := range []int64{segments[0].Base, segments[len(segments)-1].Base} {
		for _, suffix := range []string{suffixIndex, suffixTime} {
			name := fileName(testDir, base, suffix)
			b, err := readSmall(fsys, name)
			if err != nil || len(b) == 0 {
				t.Fatalf("%s: %d bytes, %v", name, len(b), err)
			}
			for bit := int64(0); bit < int64(len(b)*8); bit += step {
				c := fsys.CrashClone(nil)
				flip(t, c, name, bit)
				indexedReads(t, c, cp, list, all, name, bit)
			}
			for size := int64(0); size < int64(len(b)); size += bytesApart {
				c := fsys.CrashClone(nil)
				f, _ := c.OpenFile(name, os.O_RDWR, 0)
				if err := f.Truncate(size); err != nil {
					t.Fatal(err)
				}
				indexedReads(t, c, cp, list, all, name, -size)
			}
		}
	}
}

func indexedReads(t *testing.T, fsys vfs.FS, cp Checkpoint, list []made, all []byte, name string, what int64) {
	t.Helper()
	if err := readsTrue(fsys, cp, list, all); err != nil {
		t.Fatalf("%s, %d: %v", name, what, err)
	}
	l := openAt(t, fsys, cp, Options{SegmentBytes: 4000, IndexIntervalBytes: 300})
	defer l.shut()
	for _, m := range list {
		ts := m.stamp[1]
		if offset, at, _, found, err := l.OffsetForTimestamp(ts, cp.LogEnd); err != nil || !found || at != ts || offset != m.row.BaseOffset+1 {
			t.Fatalf("%s, %d: timestamp %d: offset %d at %d %v %v", name, what, ts, offset, at, found, err)
		}
	}
	if got, ok := l.Expired(list[0].stamp[0]+1, 0, -1, cp.LogEnd); ok {
		t.Fatalf("%s, %d: retention would delete up to %d", name, what, got)
	}
}

// The log is cut at every byte: below the checkpoint that is damage, in the tail the last entries are not intact.
func TestTruncatedFiles(t *testing.T) {
	fsys := vfs.NewMem()
	l := create(t, fsys, testOptions())
	list := fill(t, l, 3)
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	cp := Checkpoint{LogEnd: l.LogEnd(), End: l.EndPosition()}
	var journal []journaled
	for range 3 {
		m := makeBatch(t, batchSpec{base: l.LogEnd(), count: 2, valueLen: 30})
		journal = append(journal, journaled{list: []made{m}, pos: mustAppend(t, l, m)})
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	end := journal[2].end().Pos
	for size := range end {
		c := fsys.CrashClone(nil)
		f, err := c.OpenFile(fileName(testDir, 0, suffixLog), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		if size%2 == 0 { // a file system may leave zeros instead
			if err := f.Truncate(end + 100); err != nil {
				t.Fatal(err)
			}
		}
		w := &world{t: t, cp: cp, trusted: list, journal: journal, opts: testOptions()}
		l, n, err := w.recover(c)
		if size < cp.End.Pos {
			if err == nil {
				err = check(l, list, 0)
			}
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("cut at %d, checkpoint at %d: %v", size, cp.End.Pos, err)
			}
			continue
		}
		want := 0
		for want < 3 {
			b := joined(journal[want].list)
			on := make([]byte, len(b))
			if _, err := f.ReadAt(on, journal[want].pos.Pos); err != nil || !bytes.Equal(on, b) { // zeros may happen to be right
				break
			}
			want++
		}
		if err != nil || n != want {
			t.Fatalf("cut at %d: %d entries intact, want %d, %v", size, n, want, err)
		}
		kept := list
		for _, j := range journal[:n] {
			kept = append(kept[:len(kept):len(kept)], j.list...)
		}
		if err := check(l, kept, 0); err != nil {
			t.Fatalf("cut at %d: %v", size, err)
		}
	}
}

// A segment that is gone is found missing, where anything can tell.
func TestMissingSegments(t *testing.T) {
	fsys := vfs.NewMem()
	l := create(t, fsys, testOptions())
	list := fill(t, l, 80)
	cp := Checkpoint{LogEnd: l.LogEnd(), End: l.EndPosition()}
	segments := l.Segments()
	if err := l.Close(); err != nil || len(segments) < 4 {
		t.Fatal(len(segments), err)
	}
	for i, s := range segments {
		c := fsys.CrashClone(nil)
		if err := c.Remove(fileName(testDir, s.Base, suffixLog)); err != nil {
			t.Fatal(err)
		}
		l, err := Open(c, testDir, cp, testOptions())
		switch {
		case i == 0 && err == nil: // as retention leaves it
			if err = l.Recover(nil); err == nil && l.LogStart() == segments[1].Base {
				err = check(l, list, l.LogStart())
			}
			if err != nil {
				t.Fatal(err)
			}
		case !errors.Is(err, ErrCorrupt):
			t.Fatalf("segment %d of %d: %v", i, len(segments), err)
		}
	}
}
