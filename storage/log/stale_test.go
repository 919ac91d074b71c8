package log

import (
	"testing"

	"github.com/tandembroker/tandem/storage/vfs"
)

// A damaged time index must not make a segment look older than it is: retention would take it too early.
func TestDamagedTimeIndexKeepsTheLargestTimestamp(t *testing.T) {
	fsys, o := vfs.NewMem(), Options{SegmentBytes: 8000, IndexIntervalBytes: 300}
	l := create(t, fsys, o)
	const newest = 1 << 40
	for i := range int64(60) {
		ts := newest - 1_000_000*(40-i) // rises for a while,
		if i > 40 {
			ts = 1000 // then a producer with an old clock fills the segment
		}
		mustAppend(t, l, makeBatch(t, batchSpec{base: l.LogEnd(), ts: ts, count: 1, valueLen: 40}))
	}
	cp := Checkpoint{LogEnd: l.LogEnd(), End: l.EndPosition()}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	name := fileName(testDir, 0, suffixTime)
	b, err := readSmall(fsys, name)
	if err != nil || len(b) < 5*timeEntryLen {
		t.Fatal(len(b), err)
	}
	for bit := range int64(len(b) * 8) {
		c := fsys.CrashClone(nil)
		flip(t, c, name, bit)
		l := openAt(t, c, cp, o)
		if start, ok := l.Expired(newest+100, 1000, -1, cp.LogEnd); ok {
			t.Fatalf("bit %d of byte %d: retention takes records up to %d that are 100 ms old; segments %+v", bit%8, bit/8, start, l.Segments())
		}
		l.shut()
	}
}

// Index files of a segment that a truncation removed may outlive it. They must not be taken for those of a lost segment later.
func TestIndexThatOutlivesItsSegment(t *testing.T) {
	fsys := vfs.NewMem()
	o := testOptions()
	l := create(t, fsys, o)
	list := fill(t, l, 10)
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	cp := Checkpoint{LogEnd: l.LogEnd(), End: l.EndPosition()}
	for len(l.Segments()) < 3 {
		fill(t, l, 1)
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	segments := l.Segments()
	dropped := segments[1].Base
	if err := l.Truncate(cp.LogEnd); err != nil {
		t.Fatal(err)
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	// The power loss kept the unlink of the .log, but not that of its index.
	c := fsys.CrashClone(nil)
	f, err := c.OpenFile(fileName(testDir, dropped, suffixIndex), 0x42, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := c.SyncDir(testDir); err != nil {
		t.Fatal(err)
	}
	o.SegmentBytes = 12000 // the next segment begins elsewhere
	l = openAt(t, c, cp, o)
	for len(l.Segments()) < 2 {
		list = append(list, fill(t, l, 1)...)
	}
	l = reopen(t, c, l, o)
	if err := check(l, list, 0); err != nil {
		t.Fatal(err)
	}
}

// A log that begins again at an offset where a segment of another time was takes nothing of what lies beside that one.
func TestAbortedTransactionsOfAnotherTime(t *testing.T) {
	fsys, o := vfs.NewMem(), testOptions()
	l := create(t, fsys, o)
	fill(t, l, 3)
	cp := Checkpoint{LogEnd: l.LogEnd(), End: l.EndPosition()}
	if err := l.SetLogStart(cp.LogEnd); err != nil {
		t.Fatal(err)
	}
	if n, err := l.DeleteBelow(cp.LogEnd); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	fill(t, l, 3) // class cached: the power loss takes them
	for _, at := range []int64{cp.LogEnd + 1, cp.LogEnd + 4} {
		if err := l.AppendAborted(AbortedTxn{ProducerID: 5, FirstOffset: cp.LogEnd, LastOffset: at, LastStableOffset: at}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	l.shut()
	l = openAt(t, fsys, cp, o)
	fill(t, l, 3)
	if err := l.AppendAborted(AbortedTxn{ProducerID: 6, FirstOffset: cp.LogEnd, LastOffset: cp.LogEnd + 2}); err != nil {
		t.Fatal(err)
	}
	l = reopen(t, fsys, l, o)
	if got := l.AbortedIn(cp.LogEnd, l.LogEnd()); len(got) != 1 || got[0].ProducerID != 6 {
		t.Fatalf("aborted transactions %+v", got)
	}
}

// A checkpoint writes the producers' file before it is stored itself. Interrupted again and again, it must leave the file that the
// stored one names: without it a restart reads the whole log.
func TestInterruptedCheckpointsKeepTheProducersOfTheStoredOne(t *testing.T) {
	fsys, o := vfs.NewMem(), testOptions()
	l := create(t, fsys, o)
	entries := []ProducerEntry{{ProducerID: 1}}
	fill(t, l, 2)
	cp := Checkpoint{LogEnd: l.LogEnd(), End: l.EndPosition()}
	if err := l.WriteProducerSnapshot(cp.LogEnd, entries); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		j := journaled{list: []made{makeBatch(t, batchSpec{base: cp.LogEnd, count: 9, valueLen: 10})}, pos: cp.End, inline: true}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		var err error
		if l, err = Open(fsys, testDir, cp, o); err != nil {
			t.Fatal(err)
		}
		if err := l.Recover([]Tail{j.tail()}); err != nil {
			t.Fatal(err)
		}
		list, err := l.ProducerSnapshots()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.ReadProducerSnapshot(cp.LogEnd); err != nil {
			t.Fatalf("left are %v: %v", list, err)
		}
		if err := l.WriteProducerSnapshot(cp.LogEnd+int64(len(list)), entries); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := l.ProducerSnapshots(); err != nil || len(list) > 3 {
		t.Fatalf("left are %v, %v", list, err)
	}
}
