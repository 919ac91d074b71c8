package journal

import (
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandembroker/tandem/storage/entry"
)

// recordsOf reads the journal's files while it is open.
func recordsOf(t testing.TB, j *Journal) []Record {
	t.Helper()
	j.files.Lock()
	files := slices.Clone(j.files.list)
	j.files.Unlock()
	var recs []Record
	w := walker{fs: j.opts.FS, dir: j.dir, files: files, start: files[0].first}
	if _, err := w.walk(&reader{yield: func(r *Record, _ error) bool { recs = append(recs, *r); return true }}); err != nil {
		t.Fatal(err)
	}
	return recs
}

func TestIdleJournalWritesItsMarkWithinTheInterval(t *testing.T) {
	dir := memDir(t)
	synctest.Test(t, func(t *testing.T) {
		j, _ := mustOpen(t, dir, Options{MarkInterval: 100 * time.Millisecond})
		mustAppend(t, j, true, inlineEntry(1, 1, 50))
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		recs := recordsOf(t, j)
		if len(recs) != 2 || recs[1].Kind != Mark {
			t.Fatalf("%d records behind the interval", len(recs))
		}
		if got := j.Stats(); got.Syncs != 2 || got.Records != 2 {
			t.Fatalf("stats %+v", got)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := j.Stats(); got.Syncs != 2 || got.Records != 2 {
			t.Fatalf("an idle journal goes on: %+v", got)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if got := j.Stats(); got.Records != 2 {
			t.Fatalf("close wrote another mark: %+v", got)
		}
	})
}

func TestUnsyncedRecordsAreSyncedWithinTheInterval(t *testing.T) {
	dir := memDir(t)
	synctest.Test(t, func(t *testing.T) {
		j, _ := mustOpen(t, dir, Options{MarkInterval: 100 * time.Millisecond})
		rec := inlineEntry(1, 1, 50)
		rec.Class = entry.Cached
		seq := mustAppend(t, j, false, rec)
		if j.Stats().Syncs != 0 || j.Mark() != 0 {
			t.Fatalf("synced at once: %+v", j.Stats())
		}
		time.Sleep(unsyncedIntervals*100*time.Millisecond + 50*time.Millisecond)
		synctest.Wait()
		if j.Mark() < seq {
			t.Fatalf("mark %d", j.Mark())
		}
		// A steady stream is never idle, and synced all the same.
		var last uint64
		for range 1000 {
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
			if last > 0 && j.Mark()+10*unsyncedIntervals+6 < last {
				t.Fatalf("mark %d is more than the interval behind record %d", j.Mark(), last)
			}
			last = mustAppend(t, j, false, rec)
		}
		if syncs := j.Stats().Syncs; syncs > 20 {
			t.Fatalf("%d syncs in ten seconds", syncs)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestPayloadHoldsTheMark(t *testing.T) {
	dir := memDir(t)
	byReference := func(index uint64, class entry.Class) Record {
		return Record{Kind: Entry, Class: class, Group: group(1), Index: index, Placement: ByReference, PayloadLength: 1 << 20}
	}
	synctest.Test(t, func(t *testing.T) {
		j, _ := mustOpen(t, dir, Options{MarkInterval: 100 * time.Millisecond})
		mustAppend(t, j, true, inlineEntry(1, 1, 50))                              // 1
		mustAppend(t, j, true, byReference(2, entry.Synced))                       // 2
		mustAppend(t, j, true, byReference(3, entry.Cached))                       // 3: does not hold
		mustAppend(t, j, true, byReference(4, entry.Synced), inlineEntry(2, 1, 9)) // 4, 5
		for _, step := range []struct{ synced, mark uint64 }{{0, 1}, {4, 1}, {3, 1}, {2, 5}} {
			if step.synced != 0 {
				j.PayloadSynced(step.synced)
			}
			if j.Mark() != step.mark {
				t.Fatalf("payload of record %d synced: mark %d, want %d", step.synced, j.Mark(), step.mark)
			}
			if step.mark == 1 {
				time.Sleep(time.Second)
				synctest.Wait()
			}
		}
		for _, rec := range recordsOf(t, j) {
			if rec.Sequence > 2 && markOf(t, j, rec) > 1 {
				t.Fatalf("record %d carries mark %d", rec.Sequence, markOf(t, j, rec))
			}
		}
		time.Sleep(100 * time.Millisecond) // the payload's report alone gets the mark written
		synctest.Wait()
		recs := recordsOf(t, j)
		if last := recs[len(recs)-1]; last.Kind != Mark || markOf(t, j, last) < 5 {
			t.Fatalf("last record: %s with mark %d", last.Kind, markOf(t, j, last))
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// markOf reads the mark in the header of a record that recordsOf returned.
func markOf(t testing.TB, j *Journal, rec Record) uint64 {
	t.Helper()
	j.files.Lock()
	name := fileName(j.files.list[rec.at.file].first)
	j.files.Unlock()
	b, err := os.ReadFile(j.dir + "/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var h header
	if !h.parse(b[rec.at.pos:]) {
		t.Fatalf("record %d has no header", rec.Sequence)
	}
	return h.mark
}

// Records above the mark whose payload may be in the page cache only hold it across a restart, until the store has looked.
func TestRecoveredPayloadsHoldTheMark(t *testing.T) {
	dir := memDir(t)
	j, _ := mustOpen(t, dir, Options{MarkInterval: time.Hour})
	mustAppend(t, j, true, inlineEntry(1, 1, 50))
	mustAppend(t, j, true, Record{Kind: Entry, Group: group(1), Index: 2, Placement: ByReference, PayloadLength: 1 << 20})
	if err := j.Close(); err != nil { // leaves a mark of 1 only
		t.Fatal(err)
	}
	j, r := mustOpen(t, dir, Options{MarkInterval: time.Hour})
	mustAppend(t, j, true, inlineEntry(1, 3, 50))
	if j.Mark() != 1 {
		t.Fatalf("mark %d before the payload is known to be there", j.Mark())
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if j.Mark() != j.NextSequence()-1 {
		t.Fatalf("mark %d behind record %d", j.Mark(), j.NextSequence()-1)
	}
}

func TestTruncateFrontUnlinksWholeFiles(t *testing.T) {
	dir := memDir(t)
	var mu sync.Mutex
	var calls []string
	s := &seam{before: func(op, _ string) error {
		mu.Lock()
		calls = append(calls, op)
		mu.Unlock()
		return nil
	}}
	j, _ := mustOpen(t, dir, s.options(Options{SegmentBytes: 1000, MarkInterval: time.Hour}))
	for i := range 40 {
		mustAppend(t, j, true, inlineEntry(1, uint64(i+1), 200))
	}
	before, size := recordsOf(t, j), j.Size()
	for keep := uint64(0); keep <= 45; keep += 5 {
		calls = nil
		if err := j.TruncateFront(keep); err != nil {
			t.Fatal(err)
		}
		left := recordsOf(t, j)
		if first := left[0].Sequence; first > max(keep, 1) && keep <= 40 {
			t.Fatalf("keep %d: the journal begins at %d", keep, first)
		}
		if last := left[len(left)-1].Sequence; last != before[len(before)-1].Sequence {
			t.Fatalf("keep %d: the journal ends at %d", keep, last)
		}
		for i, op := range calls {
			if want := map[bool]string{true: "sync folder", false: "remove"}[i == len(calls)-1]; op != want {
				t.Fatalf("keep %d: calls %v", keep, calls) // W6: the library would rewrite a segment under its lock
			}
		}
	}
	if j.Size() >= size/2 || j.Size() == 0 {
		t.Fatalf("size %d of %d is left", j.Size(), size)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	_, r := mustOpen(t, dir, Options{FirstKept: 40, MarkInterval: time.Hour})
	if got := all(t, r); len(r.Damage) != 0 || got[0].Sequence != 40 {
		t.Fatalf("damage %+v, first record %d", r.Damage, got[0].Sequence)
	}
}

// The library never syncs the folder: a file whose name is lost takes all its records with it.
func TestGuardW7FolderIsSyncedBeforeANewFileCounts(t *testing.T) {
	var calls []string
	s := &seam{after: func(op, _ string) { calls = append(calls, op) }}
	j, _ := mustOpen(t, memDir(t), s.options(Options{SegmentBytes: 1000, MarkInterval: time.Hour}))
	for i := range 20 {
		mustAppend(t, j, true, inlineEntry(1, uint64(i+1), 300))
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	created := 0
	for i, op := range calls {
		if op != "create" {
			continue
		}
		created++
		if calls[i+1] != "sync folder" || calls[i+2] == "library write" && i > 3 && calls[i-1] != "library close" {
			t.Fatalf("call %d: around a new file: %v", i, calls[max(i-2, 0):i+3])
		}
	}
	if created < 3 {
		t.Fatalf("%d files", created)
	}
}
