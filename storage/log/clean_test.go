package log

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/compact"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

// Segments are joined up to the configured size, the size of their indexes, the 31 bits of an index entry, and their band.
func TestCleanGroups(t *testing.T) {
	o := Options{SegmentBytes: 1000, IndexBytesMax: 80}.withDefaults()
	l := newLog(vfs.NewMem(), testDir, o)
	segment := func(base, last, size, index int64) source {
		return source{base: base, last: last, size: size, indexBytes: index, timeIndexBytes: index}
	}
	for name, c := range map[string]struct {
		sources []source
		want    int
	}{
		"one":       {[]source{segment(0, 9, 5000, 0)}, 1},
		"to size":   {[]source{segment(0, 9, 400, 0), segment(10, 19, 600, 0), segment(20, 29, 1, 0)}, 2},
		"index":     {[]source{segment(0, 9, 1, 40), segment(10, 19, 1, 40), segment(20, 29, 1, 1)}, 2},
		"31 bits":   {[]source{segment(5, 9, 1, 0), segment(10, 5+math.MaxInt32, 1, 0), segment(1<<32, 1<<32+1, 1, 0)}, 2},
		"empty":     {[]source{segment(0, -1, 0, 0), segment(10, 9, 0, 0), segment(20, 19, 0, 0)}, 3},
		"next band": {[]source{segment(1<<bandBits-2, 1<<bandBits-2, 1, 0), segment(1<<bandBits-1, 1<<bandBits-1, 1, 0), segment(1<<bandBits, 1<<bandBits, 1, 0)}, 2},
	} {
		if got := l.groupLen(c.sources); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// compacted is a log of many values of few keys, flushed, and options to compact it.
func compacted(t testing.TB, n int) (*cleanWorld, CleanOptions) {
	t.Helper()
	w := newCleanWorld(t, 5)
	for range n {
		b := record.NewBuilder()
		b.BaseOffset = w.l.LogEnd()
		for _, key := range []string{"a", "b", "c"} {
			b.Append(w.now, []byte(key), bytes.Repeat([]byte{byte(b.BaseOffset)}, 50))
		}
		batch, err := b.Batch()
		if err != nil {
			t.Fatal(err)
		}
		w.put(batch)
	}
	w.checkpoint()
	return w, CleanOptions{Bound: CleanBound{Below: w.cp.End.Segment}, Map: &compact.Map{}, MapBytes: 1 << 16, Replace: w.replace}
}

// A damaged batch stops the round: it gets no new CRC, and nothing of its segment is dropped.
func TestCleanOfDamage(t *testing.T) {
	w, o := compacted(t, 60)
	before := contents(t, w.l)
	second := w.l.Segments()[1]
	name := fileName(testDir, second.Base, suffixLog)
	f, err := w.fsys.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff, 0xfe}, 100); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	_, err = w.l.Clean(context.Background(), o)
	if !errors.Is(err, ErrCorrupt) {
		t.Fatalf("compacted damage: %v", err)
	}
	if w.l.Err() != nil || len(w.l.Segments()) < 3 || w.l.LogEnd() != before[len(before)-1].last+1 {
		t.Fatalf("the log: %v, %d segments", w.l.Err(), len(w.l.Segments()))
	}
	w.checkFolder(w.fsys)
}

// A batch whose records cannot be read stays, byte for byte, although other batches have all of its keys; those around it go.
func TestCleanKeepsWhatItCannotOpen(t *testing.T) {
	w := newCleanWorld(t, 5)
	var broken record.Batch
	for i := range 60 {
		b := record.NewBuilder()
		b.BaseOffset, b.Codec = w.l.LogEnd(), record.Zstd
		for _, key := range []string{"a", "b"} {
			b.Append(w.now, []byte(key), bytes.Repeat([]byte{byte(i)}, 50))
		}
		batch, err := b.Batch()
		if err != nil {
			t.Fatal(err)
		}
		if i == 7 {
			broken = bytes.Clone(batch)
			copy(broken[record.HeaderLen:], "this is no frame of zstd")
			broken.SetLogAppendTime(w.now) // for the CRC
			batch = broken
		}
		row := entry.Row{Length: uint32(len(batch)), BaseOffset: batch.BaseOffset(), LastOffset: batch.LastOffset(), LeaderEpoch: batch.LeaderEpoch(),
			MaxTimestamp: batch.MaxTimestamp(), LastOffsetDelta: batch.LastOffsetDelta()}
		if _, err := w.l.Append(bytes.Clone(batch), []entry.Row{row}); err != nil {
			t.Fatal(err)
		}
	}
	w.checkpoint()
	o := CleanOptions{Bound: CleanBound{Below: w.cp.End.Segment}, Map: &compact.Map{}, MapBytes: 1 << 16, Replace: w.replace}
	done, err := w.l.Clean(context.Background(), o)
	if err != nil || done.Unreadable != 1 || done.RecordsKept != 4 {
		t.Fatalf("%+v, %v", done, err)
	}
	raw, err := readAll(w.l, w.l.LogStart(), 900, w.cp.End.Segment)
	if err != nil || !bytes.HasPrefix(raw, broken) {
		t.Fatalf("the batch that cannot be opened is gone, or not the first one that is left: %v", err)
	}
}

// Batches that have to be opened are known as such, in whatever number they come.
func TestOddBatches(t *testing.T) {
	b := record.ControlBatch(record.Control{})
	at := func(base int64) record.Batch {
		b.SetBaseOffset(base)
		return b
	}
	var odd oddBatches
	for i := range int64(oddMax + 10) {
		odd.note(at(3 * i))
	}
	for i := range int64(oddMax + 20) {
		for base := 3 * i; base < 3*i+3; base++ {
			if want := base == 3*i || i >= oddMax-1 && base > 3*(oddMax-1); odd.has(at(base)) != want {
				t.Fatalf("the batch at %d is odd: %v", base, !want)
			}
		}
	}
	var none oddBatches
	if none.has(at(5)) {
		t.Fatal("odd, although none was noted")
	}
}

// Who reads a segment that is replaced reads on; who comes later reads the new one.
func TestCleanUnderReaders(t *testing.T) {
	w, o := compacted(t, 60)
	e, err := w.l.Read(0, 700, w.l.LogEnd(), true)
	if err != nil {
		t.Fatal(err)
	}
	want, err := e.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	done, err := w.l.Clean(context.Background(), o)
	if err != nil || done.Replaced == 0 || done.RecordsKept != 3 {
		t.Fatalf("%+v, %v", done, err)
	}
	got, err := e.ReadAll()
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("an extent that was handed out reads other bytes, or fails: %v", err)
	}
	if _, ok := w.l.AbortedOf(&e, 0); ok {
		t.Fatal("the extent is of segments that are gone, and its aborted transactions are looked up as if they were not")
	}
	e.Release()
	fresh, err := w.l.Read(0, 700, w.l.LogEnd(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Release()
	if b, _ := fresh.ReadAll(); bytes.Equal(b, want) || baseOffsetOf(b) == 0 {
		t.Fatal("a new reader gets the old segment")
	}
}

// A round that is interrupted leaves no files, and another one does all of it.
func TestCleanInterrupted(t *testing.T) {
	w, o := compacted(t, 60)
	stop := errors.New("enough")
	for n := 1; ; n++ {
		calls := 0
		o.Throttle = func(context.Context, int64) error {
			if calls++; calls == n {
				return stop
			}
			return nil
		}
		o.BufferBytes = 500
		_, err := w.l.Clean(context.Background(), o)
		w.checkFolder(w.fsys)
		if err == nil {
			break
		}
		if !errors.Is(err, stop) || w.l.Err() != nil {
			t.Fatalf("call %d: %v, %v", n, err, w.l.Err())
		}
	}
	w.l.StopCleaning()
	if _, err := w.l.Clean(context.Background(), o); !errors.Is(err, ErrClosed) {
		t.Fatalf("compacted after it was stopped: %v", err)
	}
	if got := contents(t, w.l); len(got[0].records) != 3 || got[0].base == 0 {
		t.Fatalf("the log begins with %+v", got[0])
	}
}

// A segment that would stay as it is stays, and the others around it are replaced.
func TestCleanLeavesWhatIsClean(t *testing.T) {
	w, o := compacted(t, 30)
	for i := range 30 {
		b := record.NewBuilder()
		b.BaseOffset = w.l.LogEnd()
		b.Append(w.now, fmt.Appendf(nil, "own-%d", i), make([]byte, 150))
		batch, err := b.Batch()
		if err != nil {
			t.Fatal(err)
		}
		w.put(batch)
	}
	w.checkpoint()
	o.Bound.Below = w.cp.End.Segment
	w.opts.SegmentBytes = 1 // nothing is joined
	w.l.SetOptions(w.opts)
	done, err := w.l.Clean(context.Background(), o)
	if err != nil || done.Replaced < 2 || done.Replaced > done.Segments-2 || done.BytesWritten > 2000 {
		t.Fatalf("%+v, %v", done, err)
	}
}

// Reset begins anew, for compaction too.
func TestCleanAfterReset(t *testing.T) {
	w, o := compacted(t, 60)
	if _, err := w.l.Clean(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	if err := w.l.Reset(5); err != nil {
		t.Fatal(err)
	}
	if d, err := w.l.Dirty(o.Bound); err != nil || d.First != 5 {
		t.Fatalf("%+v, %v", d, err)
	}
	if _, err := w.fsys.Stat(testDir + "/" + nameCleaned); err == nil {
		t.Fatal("the checkpoint of compaction is left")
	}
}

// A replacement that may be registered, though storing it has failed, belongs to the next start: its files stay. Any other failure
// takes them away.
func TestCleanKeepsTheFilesOfWhatMayBeRegistered(t *testing.T) {
	for _, registered := range []bool{true, false} {
		w, o := compacted(t, 60)
		want := errors.New("refused")
		var asked Replacement
		o.Replace = func(r Replacement) error {
			if asked = r; registered {
				return fmt.Errorf("%w: %w", ErrReplacing, want)
			}
			return want
		}
		before := contents(t, w.l)
		if _, err := w.l.Clean(context.Background(), o); !errors.Is(err, want) {
			t.Fatal(err)
		}
		for _, ext := range swapped {
			if _, err := w.fsys.Stat(fileName(testDir, asked.First, ext) + suffixSwap); (err == nil) != registered {
				t.Fatalf("registered %v: %s.swap: %v", registered, ext, err)
			}
		}
		cp := w.cp
		if registered {
			cp.Replacing = &asked
		}
		l := openAt(t, w.fsys.CrashClone(nil), cp, w.opts)
		if got := contents(t, l); registered == (len(got) == len(before)) {
			t.Fatalf("registered %v: %d batches, there were %d", registered, len(got), len(before))
		}
	}
}

// A batch that cannot be opened stays, and with it whatever it says of a key: so does the tombstone behind it, past its time, or the
// deleted key would be back for readers that can open the batch.
func TestCleanKeepsTombstonesBehindAnUnreadableBatch(t *testing.T) {
	for _, unread := range []bool{true, false} {
		w, o := compacted(t, 30)
		before := w.l.LogEnd()
		put := func(key string, value []byte, spoil bool) {
			b := record.NewBuilder()
			b.BaseOffset = w.l.LogEnd()
			b.Append(w.now, []byte(key), value)
			batch, err := b.Batch()
			if err != nil {
				t.Fatal(err)
			}
			if spoil {
				batch[record.HeaderLen] = 0x03 // the length of the record: below 0
				binary.BigEndian.PutUint32(batch[17:], crc32.Checksum(batch[21:], entry.Castagnoli))
			}
			row := entry.Row{Length: uint32(len(batch)), BaseOffset: b.BaseOffset, LastOffset: b.BaseOffset, LeaderEpoch: batch.LeaderEpoch(), MaxTimestamp: w.now}
			if _, err := w.l.Append(batch, []entry.Row{row}); err != nil {
				t.Fatal(err)
			}
		}
		put("deleted", []byte("value"), unread)
		put("deleted", nil, false)
		for range 60 {
			put("a", make([]byte, 60), false)
		}
		w.checkpoint()
		o.Bound.Below = w.cp.End.Segment
		for range 3 {
			if _, err := w.l.Clean(context.Background(), o); err != nil {
				t.Fatal(err)
			}
			w.now += 10 // past delete.retention.ms
			put("a", make([]byte, 60), false)
			for range 40 {
				put("b", make([]byte, 60), false)
			}
			w.checkpoint()
			o.Bound.Below = w.cp.End.Segment
		}
		raw, err := readAll(w.l, before, 1<<20, before+2)
		if err != nil {
			t.Fatal(err)
		}
		var bases []int64
		for len(raw) > 0 {
			b, rest, err := record.Next(raw)
			if err != nil {
				t.Fatal(err)
			}
			bases, raw = append(bases, b.BaseOffset()), rest
		}
		if there := slices.Contains(bases, before+1); there != unread || slices.Contains(bases, before) != unread {
			t.Fatalf("unreadable %v: batches %v, the tombstone is at %d", unread, bases, before+1)
		}
	}
}

// A round opens few files at a time, however many segments there are.
func TestCleanOpensFewFiles(t *testing.T) {
	w, o := compacted(t, 1)
	cp := w.cp
	if err := w.l.Close(); err != nil {
		t.Fatal(err)
	}
	fsys := &scarce{FS: w.fsys}
	fsys.most.Store(1 << 20)
	w.opts.SegmentBytes, w.opts.Descriptors = 400, NewDescriptors(4)
	w.l = openAt(t, fsys, cp, w.opts)
	for i := range 80 {
		b := record.NewBuilder()
		b.BaseOffset = w.l.LogEnd()
		b.Append(w.now, fmt.Appendf(nil, "key-%d", i%7), make([]byte, 200))
		batch, err := b.Batch()
		if err != nil {
			t.Fatal(err)
		}
		w.put(batch)
	}
	w.checkpoint()
	if n := len(w.l.Segments()); n < 40 {
		t.Fatalf("%d segments", n)
	}
	cp = w.cp
	if err := w.l.Close(); err != nil {
		t.Fatal(err)
	}
	w.l = openAt(t, fsys, cp, w.opts)
	o.Bound.Below = w.cp.End.Segment
	fsys.peak.Store(fsys.open.Load())
	done, err := w.l.Clean(context.Background(), o)
	if err != nil || done.Replaced < 30 {
		t.Fatalf("%+v, %v", done, err)
	}
	if peak := fsys.peak.Load(); peak > 10+2*finishingMax { // of each that is finished its log, and an index or the folder
		t.Fatalf("%d files were open at a time", peak)
	}
}
