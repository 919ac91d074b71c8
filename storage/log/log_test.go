package log

import (
	"bytes"
	"errors"
	"io/fs"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

func TestReadLimits(t *testing.T) {
	for _, restart := range []bool{false, true} {
		fsys := vfs.NewMem()
		l := create(t, fsys, Options{IndexIntervalBytes: 300})
		list := fill(t, l, 40) // three records each, offsets 0 to 119
		if restart {
			l = reopen(t, fsys, l, Options{IndexIntervalBytes: 300})
		}
		size := int64(len(list[0].bytes))
		for _, c := range []struct {
			name                    string
			offset, bytesMax, limit int64
			one                     bool
			from, to                int // batches
		}{
			{"all", 0, 1 << 30, 120, true, 0, 40},
			{"middle of a batch", 7, size, 120, true, 2, 3},
			{"two and a half batches", 6, size*2 + size/2, 120, false, 2, 4},
			{"exactly two", 6, size * 2, 120, false, 2, 4},
			{"less than one, at least one", 6, 1, 120, true, 2, 3},
			{"less than one", 6, size - 1, 120, false, 0, 0},
			{"nothing asked for", 6, 0, 120, false, 0, 0},
			{"nothing asked for, at least one", 6, 0, 120, true, 2, 3},
			{"limit between batches", 0, 1 << 30, 30, true, 0, 10},
			{"limit inside a batch", 0, 1 << 30, 31, true, 0, 10},
			{"limit inside the first batch", 30, 1 << 30, 31, true, 0, 0},
			{"at the limit", 30, 1 << 30, 30, true, 0, 0},
			{"above the limit", 60, 1 << 30, 30, true, 0, 0},
			{"limit above the end", 117, 1 << 30, math.MaxInt64, true, 39, 40},
			{"at the end", 120, 1 << 30, 120, true, 0, 0},
			{"across index entries", 3, size * 20, 120, true, 1, 21},
			{"across index entries to a limit", 3, size * 20, 50, true, 1, 16},
		} {
			e, err := l.Read(c.offset, c.bytesMax, c.limit, c.one)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			got, err := e.ReadAll()
			if want := joined(list[c.from:c.to]); err != nil || !bytes.Equal(got, want) {
				t.Errorf("restart %v, %s: %d bytes, want %d, %v", restart, c.name, len(got), len(want), err)
			}
			want := c.offset
			if c.to > 0 {
				want = list[c.to-1].row.LastOffset + 1
			}
			if e.Next() != want {
				t.Errorf("%s: next %d, want %d", c.name, e.Next(), want)
			}
			e.Release()
			e.Release()
		}
		for _, offset := range []int64{-1, 121} {
			if _, err := l.Read(offset, 1, 120, true); !errors.Is(err, ErrOffsetOutOfRange) {
				t.Errorf("offset %d: %v", offset, err)
			}
		}
	}
}

func TestRollRules(t *testing.T) {
	start := time.UnixMilli(1_000_000)
	for _, c := range []struct {
		name  string
		o     Options
		later time.Duration // before the second append
		a, b  batchSpec
		rolls bool
	}{
		{"fits", Options{SegmentBytes: 10000}, 0, batchSpec{count: 1, ts: 5}, batchSpec{base: 1, count: 1, ts: 6}, false},
		{"too many bytes", Options{SegmentBytes: 200}, 0, batchSpec{count: 1, valueLen: 90}, batchSpec{base: 1, count: 1, valueLen: 90}, true},
		{"a batch above segment.bytes alone", Options{SegmentBytes: 50}, 0, batchSpec{count: 1, valueLen: 90}, batchSpec{base: 1, count: 1}, true},
		{"record time, not the clock", Options{SegmentMs: 100}, time.Hour, batchSpec{count: 1, ts: 1000}, batchSpec{base: 1, count: 1, ts: 1100}, false},
		{"record time passed", Options{SegmentMs: 100}, 0, batchSpec{count: 1, ts: 1000}, batchSpec{base: 1, count: 1, ts: 1101}, true},
		{"no timestamp: the clock", Options{SegmentMs: 100}, time.Second, batchSpec{count: 1, ts: -1}, batchSpec{base: 1, count: 1, ts: -1}, true},
		{"relative offset fits", Options{}, 0, batchSpec{count: 1}, batchSpec{base: math.MaxInt32, count: 1}, false},
		{"relative offset overflows", Options{}, 0, batchSpec{count: 1}, batchSpec{base: math.MaxInt32, count: 2}, true},
		{"index full", Options{IndexIntervalBytes: 1, IndexBytesMax: 24}, 0, batchSpec{count: 1}, batchSpec{base: 9, count: 1}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := start
			c.o.Now = func() time.Time { return now }
			l := create(t, vfs.NewMem(), c.o)
			mustAppend(t, l, makeBatch(t, c.a))
			for i := int64(1); c.o.IndexBytesMax > 0 && i < 4; i++ {
				mustAppend(t, l, makeBatch(t, batchSpec{base: i, count: 1, ts: c.a.ts}))
			}
			now = now.Add(c.later)
			pos := mustAppend(t, l, makeBatch(t, c.b))
			if rolled := pos.Pos == 0; rolled != c.rolls {
				t.Fatalf("second append at %s", pos)
			}
			if c.rolls && pos.Segment != c.b.base {
				t.Fatalf("segment %d, want %d", pos.Segment, c.b.base)
			}
		})
	}
}

func TestAppendRefuses(t *testing.T) {
	l := create(t, vfs.NewMem(), testOptions())
	fill(t, l, 2)
	good := makeBatch(t, batchSpec{base: 6, count: 2, valueLen: 9})
	for name, mend := range map[string]func(b []byte, r *entry.Row) []byte{
		"below the end":        func(b []byte, r *entry.Row) []byte { r.BaseOffset, r.LastOffset = 5, 6; b[7] = 5; return b },
		"row and batch":        func(b []byte, r *entry.Row) []byte { r.BaseOffset, r.LastOffset = 7, 8; return b },
		"rows too short":       func(b []byte, r *entry.Row) []byte { return append(b, 0) },
		"rows too long":        func(b []byte, r *entry.Row) []byte { return b[:len(b)-1] },
		"not at the beginning": func(b []byte, r *entry.Row) []byte { r.Pos = 1; return b },
		"last below base":      func(b []byte, r *entry.Row) []byte { r.LastOffset = 5; return b },
		"too many offsets":     func(b []byte, r *entry.Row) []byte { r.LastOffset = 7 + math.MaxInt32; return b },
		"empty":                func(b []byte, r *entry.Row) []byte { return nil },
	} {
		b, rows := payload(good)
		b = mend(b, &rows[0])
		if _, err := l.Append(b, rows); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	mustAppend(t, l, good) // nothing of it stuck
}

// Both indexes and the epoch file as Kafka writes them, byte by byte.
func TestFilesAreKafkas(t *testing.T) {
	fsys := vfs.NewMem()
	l := create(t, fsys, Options{IndexIntervalBytes: 100})
	mustAppend(t, l, makeBatch(t, batchSpec{base: 0, count: 1, valueLen: 100, ts: 50, epoch: 1}))
	second := mustAppend(t, l, makeBatch(t, batchSpec{base: 1, count: 2, valueLen: 100, ts: 70, epoch: 1}))
	third := mustAppend(t, l, makeBatch(t, batchSpec{base: 9, count: 1, valueLen: 100, ts: 60, epoch: 3}))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	b32 := func(v int64) string { return string([]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}) }
	for name, want := range map[string]string{
		"00000000000000000000.index":     b32(2) + b32(second.Pos) + b32(9) + b32(third.Pos),
		"00000000000000000000.timeindex": b32(0) + b32(71) + b32(2),
		"leader-epoch-checkpoint":        "0\n2\n1 0\n3 9\n",
		"partition.metadata":             "version: 0\ntopic_id: BwAAAAAAAAAAAAAAAAAACQ\n",
	} {
		if got, err := readSmall(fsys, testDir+"/"+name); err != nil || string(got) != want {
			t.Errorf("%s: %x, want %x, %v", name, got, want, err)
		}
	}
}

func TestProducerSnapshots(t *testing.T) {
	fsys := vfs.NewMem()
	l := create(t, fsys, testOptions())
	entries := []ProducerEntry{{ProducerID: 1, ProducerEpoch: 2, LastSequence: 3, LastOffset: 4, OffsetDelta: 5, Timestamp: 6, CoordinatorEpoch: -1, TxnFirstOffset: -1}}
	want := "\x00\x01" + "\x7d\x09\x13\x0b" + "\x00\x00\x00\x01" + "\x00\x00\x00\x00\x00\x00\x00\x01" + "\x00\x02" + "\x00\x00\x00\x03" +
		"\x00\x00\x00\x00\x00\x00\x00\x04" + "\x00\x00\x00\x05" + "\x00\x00\x00\x00\x00\x00\x00\x06" + "\xff\xff\xff\xff" + "\xff\xff\xff\xff\xff\xff\xff\xff"
	got := encodeSnapshot(entries)
	if string(got[:2])+string(got[6:]) != want[:2]+want[6:] {
		t.Fatalf("%x, want %x", got, want)
	}
	for _, offset := range []int64{5, 9, 20} {
		if err := l.WriteProducerSnapshot(offset, entries); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := l.ProducerSnapshots(); err != nil || len(list) != 2 || list[0] != 9 || list[1] != 20 {
		t.Fatalf("kept %v, %v", list, err)
	}
	if back, err := l.ReadProducerSnapshot(20); err != nil || len(back) != 1 || back[0] != entries[0] {
		t.Fatalf("%+v, %v", back, err)
	}
	if _, err := l.ReadProducerSnapshot(5); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("removed snapshot: %v", err)
	}
	for i := range got {
		bad := bytes.Clone(got)
		bad[i] ^= 1
		if _, err := decodeSnapshot(bad); err == nil {
			t.Fatalf("byte %d flipped and accepted", i)
		}
	}
}

func TestAbortedTransactions(t *testing.T) {
	fsys := vfs.NewMem()
	l := create(t, fsys, testOptions())
	fill(t, l, 100) // several segments
	for _, a := range []AbortedTxn{{1, 0, 10, 5}, {2, 5, 40, 30}, {1, 30, 299, 300}} {
		for range 2 { // applied again
			if err := l.AppendAborted(a); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.AppendAborted(AbortedTxn{1, 300, 300, 301}); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Fatalf("marker behind the end: %v", err)
	}
	l = reopen(t, fsys, l, testOptions())
	for _, c := range []struct {
		from, to int64
		want     int
	}{{0, 300, 3}, {0, 5, 1}, {11, 20, 1}, {41, 300, 1}, {0, 11, 2}, {50, 60, 1}, {299, 300, 1}} {
		if got := l.AbortedIn(c.from, c.to); len(got) != c.want {
			t.Errorf("[%d, %d): %v, want %d", c.from, c.to, got, c.want)
		}
	}
	if err := l.Truncate(280); err != nil {
		t.Fatal(err)
	}
	if got := l.AbortedIn(0, 300); len(got) != 2 {
		t.Errorf("after truncation: %v", got)
	}
	l = reopen(t, fsys, l, testOptions())
	if got := l.AbortedIn(0, 300); len(got) != 2 {
		t.Errorf("after truncation and restart: %v", got)
	}
}

func TestEpochs(t *testing.T) {
	e := epochs{{1, 0}, {3, 20}, {7, 50}}
	for _, c := range []struct {
		epoch     int32
		wantEpoch int32
		wantEnd   int64
	}{{7, 7, 100}, {8, -1, -1}, {5, 3, 50}, {3, 3, 50}, {2, 1, 20}, {1, 1, 20}, {0, 0, 0}, {-1, -1, -1}} {
		if epoch, end := e.endOf(c.epoch, 100); epoch != c.wantEpoch || end != c.wantEnd {
			t.Errorf("end of %d: %d %d, want %d %d", c.epoch, epoch, end, c.wantEpoch, c.wantEnd)
		}
	}
	if epoch, end := (epochs{}).endOf(0, 5); epoch != -1 || end != -1 {
		t.Errorf("empty: %d %d", epoch, end)
	}
	for _, c := range []struct {
		offset     int64
		start, end string
	}{
		{0, "1 0,3 20,7 50", ""}, {10, "1 10,3 20,7 50", "1 0"}, {20, "3 20,7 50", "1 0"},
		{21, "3 21,7 50", "1 0,3 20"}, {60, "7 60", "1 0,3 20,7 50"},
	} {
		a, b := append(epochs(nil), e...), append(epochs(nil), e...)
		a.truncateStart(c.offset)
		b.truncateEnd(c.offset)
		text := func(e epochs) string {
			return strings.ReplaceAll(strings.TrimSpace(strings.SplitN(string(e.encode()), "\n", 3)[2]), "\n", ",")
		}
		if text(a) != c.start || text(b) != c.end {
			t.Errorf("at %d: start %q, end %q", c.offset, text(a), text(b))
		}
	}
}

func TestTimestamps(t *testing.T) {
	fsys := vfs.NewMem()
	l := create(t, fsys, testOptions())
	mustAppend(t, l, makeBatch(t, batchSpec{base: 0, count: 4, ts: 100, codec: record.Zstd}))                 // 100..103
	mustAppend(t, l, makeBatch(t, batchSpec{base: 4, count: 4, ts: 200, codec: record.LZ4, backwards: true})) // 204..201
	appendTime := makeBatch(t, batchSpec{base: 8, count: 3, ts: 1})
	record.Batch(appendTime.bytes).SetLogAppendTime(150)
	appendTime.row.MaxTimestamp = 150
	mustAppend(t, l, appendTime)
	mustAppend(t, l, makeBatch(t, batchSpec{base: 20, count: 1, ts: 300, epoch: 2}))
	for _, restart := range []bool{false, true} {
		if restart {
			l = reopen(t, fsys, l, testOptions())
		}
		for _, c := range []struct {
			ts, limit  int64
			offset, at int64
			epoch      int32
		}{
			{0, 21, 0, 100, 0}, {101, 21, 1, 101, 0}, {104, 21, 4, 204, 0}, {202, 21, 4, 204, 0}, {204, 21, 4, 204, 0},
			{205, 21, 20, 300, 2}, {301, 21, -1, -1, -1}, {205, 20, -1, -1, -1}, {102, 2, -1, -1, -1}, {102, 3, 2, 102, 0},
		} {
			offset, at, epoch, found, err := l.OffsetForTimestamp(c.ts, c.limit)
			if err != nil || offset != c.offset || at != c.at || epoch != c.epoch || found != (c.offset >= 0) {
				t.Errorf("restart %v, %d below %d: offset %d at %d epoch %d %v %v, want %+v", restart, c.ts, c.limit, offset, at, epoch, found, err, c)
			}
		}
		if offset, at, _, found, err := l.MaxTimestamp(21); err != nil || !found || offset != 20 || at != 300 {
			t.Errorf("max timestamp: %d %d %v %v", offset, at, found, err)
		}
		if err := l.SetLogStart(5); err != nil {
			t.Fatal(err)
		}
		if offset, at, _, _, err := l.OffsetForTimestamp(0, 21); err != nil || offset != 5 || at != 203 {
			t.Errorf("behind a log start of 5: %d %d %v", offset, at, err)
		}
		if !restart { // for the second round
			l.mu.start = 0
			l.mu.epochs = epochs{{0, 0}, {2, 20}}
			l.mu.epochsSaved = false
		}
	}
	if offset, at, _, found, err := l.OffsetForTimestamp(150, 11); err != nil || !found || offset != 5 || at != 203 {
		t.Errorf("log append time: %d %d %v %v", offset, at, found, err)
	}
}

func TestRetention(t *testing.T) {
	fsys := vfs.NewMem()
	l := create(t, fsys, testOptions())
	fill(t, l, 60) // timestamps 1000 + 10 x offset
	segments := l.Segments()
	if len(segments) < 4 {
		t.Fatalf("%d segments", len(segments))
	}
	total := l.Size()
	end := l.LogEnd()
	for _, c := range []struct {
		name                  string
		now, ms, bytes, limit int64
		want                  int64
	}{
		{"nothing due", 0, 1, 1 << 40, end, -1},
		{"no limits", 1 << 40, -1, -1, end, -1},
		{"time, one segment", segments[0].MaxTimestamp + 101, 100, -1, end, segments[1].Base},
		{"time, at the edge", segments[0].MaxTimestamp + 100, 100, -1, end, -1},
		{"time, all", 1 << 40, 100, -1, end, end},
		{"time, all, below a limit", 1 << 40, 100, -1, segments[2].Base + 1, segments[2].Base},
		{"size, one segment", 0, -1, total - segments[0].Size, end, segments[1].Base},
		{"size, less than one", 0, -1, total - segments[0].Size + 1, end, -1},
		{"size, nothing kept", 0, -1, 0, end, end},
	} {
		got, ok := l.Expired(c.now, c.ms, c.bytes, c.limit)
		if ok != (c.want >= 0) || ok && got != c.want {
			t.Errorf("%s: %d %v, want %d", c.name, got, ok, c.want)
		}
	}
	if n, err := l.DeleteBelow(end); n != 0 || err != nil {
		t.Fatalf("above the log start: %d %v", n, err)
	}
	held, err := l.Read(0, 1<<20, end, true)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := held.ReadAll()
	if err := l.SetLogStart(segments[1].Base + 1); err != nil {
		t.Fatal(err)
	}
	if n, err := l.DeleteBelow(end); n != 1 || err != nil {
		t.Fatalf("one segment: %d %v", n, err)
	}
	if got, err := held.ReadAll(); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("an extent of a deleted segment: %d bytes, %v", len(got), err)
	}
	held.Release()
	if _, err := l.Read(0, 1, end, true); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Fatalf("below the log start: %v", err)
	}
	if err := l.SetLogStart(end); err != nil {
		t.Fatal(err)
	}
	if _, err := l.DeleteBelow(end); err != nil || l.Size() != 0 || len(l.Segments()) != 1 {
		t.Fatalf("all: %v, %d bytes", err, l.Size())
	}
	more := fill(t, l, 1)
	l = reopen(t, fsys, l, testOptions())
	if err := check(l, more, end); err != nil {
		t.Fatal(err)
	}
}

// Retention takes the segment in which the last checkpoint ends.
func TestCheckpointSegmentDeleted(t *testing.T) {
	fsys := vfs.NewMem()
	l := create(t, fsys, testOptions())
	fill(t, l, 3)
	cp := Checkpoint{LogEnd: l.LogEnd(), End: l.EndPosition()}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := l.SetLogStart(l.LogEnd()); err != nil {
		t.Fatal(err)
	}
	if n, err := l.DeleteBelow(l.LogEnd()); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	l, err := Open(fsys.CrashClone(nil), testDir, cp, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Recover(nil); err != nil || l.LogStart() != 9 || l.LogEnd() != 9 {
		t.Fatalf("start %d end %d %v", l.LogStart(), l.LogEnd(), err)
	}
	fill(t, l, 2)
	if err := fsys.Remove(fileName(testDir, 9, suffixLog)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(fsys, testDir, cp, testOptions()); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("no segment at all: %v", err)
	}
}

func TestDeleteAndCreateAgain(t *testing.T) {
	fsys := vfs.NewMem()
	l := create(t, fsys, testOptions())
	fill(t, l, 3)
	if _, err := Create(fsys, testDir, testTopic, 0, testOptions()); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("create over records: %v", err)
	}
	if err := l.Delete(); err != nil {
		t.Fatal(err)
	}
	if _, err := fsys.Stat(testDir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if _, err := l.Append(payload(makeBatch(t, batchSpec{base: 9, count: 1}))); !errors.Is(err, ErrClosed) {
		t.Fatalf("append after delete: %v", err)
	}
	long := strings.Repeat("t", 249) // Kafka's longest topic name
	if name := deletedName(long + "-12"); len(name) != nameMax || !strings.HasPrefix(name, long[:200]) || !strings.Contains(name, "t-12.") {
		t.Fatalf("renamed to %q", name)
	}
	create(t, fsys, testOptions())
	create(t, fsys, testOptions()) // over an empty one of the same topic
	if _, err := Create(fsys, testDir, uuid.UUID{1}, 0, testOptions()); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("create over another topic: %v", err)
	}
	left := testDir + "." + strings.Repeat("ab", 16) + "-delete"
	if err := fsys.MkdirAll(left, 0o755); err != nil {
		t.Fatal(err)
	}
	if names, err := RemoveDeleted(fsys, "data"); err != nil || len(names) != 1 {
		t.Fatalf("%v %v", names, err)
	}
}

// A replica's extent reaches behind the cut: its bytes may be gone, they are never others.
func TestTruncateUnderExtents(t *testing.T) {
	for _, cut := range []int64{0, 15} {
		fsys := vfs.NewMem()
		l := create(t, fsys, testOptions())
		list := fill(t, l, 10)
		below, err := l.Read(0, int64(len(list[0].bytes)), 30, true)
		if err != nil {
			t.Fatal(err)
		}
		above, err := l.Read(0, 1<<20, 30, true)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := above.ReadAll()
		if err := l.Truncate(cut); err != nil {
			t.Fatal(err)
		}
		m := makeBatch(t, batchSpec{base: cut, count: 30, valueLen: 40, epoch: 1})
		pos := mustAppend(t, l, m)
		if pos.Pos != 0 {
			t.Fatalf("appended at %s, where extents are read", pos)
		}
		got := make([]byte, len(want))
		n, err := above.ReadAt(got, 0)
		if !bytes.Equal(got[:n], want[:n]) {
			t.Fatalf("cut at %d: the extent shows other bytes", cut)
		}
		if n < len(want) && err == nil {
			t.Fatalf("cut at %d: %d bytes and no error", cut, n)
		}
		if got, err := below.ReadAll(); err != nil || !bytes.Equal(got, list[0].bytes) {
			t.Fatalf("cut at %d: the extent below it: %v", cut, err)
		}
		above.Release()
		below.Release()
		kept := append(list[:cut/3:cut/3], m)
		if err := check(l, kept, 0); err != nil {
			t.Fatal(err)
		}
		l = reopen(t, fsys, l, testOptions())
		if err := check(l, kept, 0); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReset(t *testing.T) {
	fsys := vfs.NewMem()
	l := create(t, fsys, testOptions())
	fill(t, l, 60)
	if err := l.Reset(500); err != nil {
		t.Fatal(err)
	}
	list := fill(t, l, 2)
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := check(l, list, 500); err != nil || l.LogStart() != 500 {
		t.Fatal(err)
	}
	c := fsys.CrashClone(nil)
	l = openAt(t, c, Checkpoint{LogStart: 500, LogEnd: 506, End: l.EndPosition()}, testOptions())
	if err := check(l, list, 500); err != nil || len(l.Segments()) != 1 {
		t.Fatal(err)
	}
}
