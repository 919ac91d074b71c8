package journal

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A record with good checksums and the right sequence that does not name the record in front of it is of another history: of a
// lost sector that holds what was there before, or of another journal.
func TestRecordOfAnotherHistoryIsNotBelieved(t *testing.T) {
	var dirs [2]string
	var files [2][]byte
	var at [2]Record
	for i := range dirs {
		dirs[i] = memDir(t)
		j, _ := mustOpen(t, dirs[i], Options{MarkInterval: time.Hour})
		for n := range 3 {
			mustAppend(t, j, true, inlineEntry(i, uint64(n+1), 100))
		}
		at[i] = recordsOf(t, j)[2]
		if err := j.Close(); err != nil { // leaves a mark that covers all three
			t.Fatal(err)
		}
		var err error
		if files[i], err = os.ReadFile(dirs[i] + "/" + fileName(1)); err != nil {
			t.Fatal(err)
		}
	}
	if at[0].at != at[1].at || bytes.Equal(files[0], files[1]) {
		t.Fatalf("records at %+v and %+v", at[0].at, at[1].at)
	}
	pos, end := at[0].at.pos, at[0].at.pos+int64(at[0].at.size)
	copy(files[0][pos:end], files[1][pos:end])
	if err := os.WriteFile(dirs[0]+"/"+fileName(1), files[0], 0o644); err != nil {
		t.Fatal(err)
	}
	_, r := mustOpen(t, dirs[0], Options{MarkInterval: time.Hour})
	if len(r.Damage) != 1 || r.Damage[0].From != 3 || r.Damage[0].To != 3 {
		t.Fatalf("damage %+v", r.Damage)
	}
	for _, rec := range all(t, r) {
		if rec.Group == group(1) {
			t.Fatalf("record %d of another journal is believed", rec.Sequence)
		}
	}
}

// What is cut may be all that carried the newest mark: what it vouched for stays acknowledged all the same.
func TestMarkOutlivesWhatIsCut(t *testing.T) {
	dir := memDir(t)
	j, _ := mustOpen(t, dir, Options{MarkInterval: time.Hour})
	for n := range 8 {
		mustAppend(t, j, true, inlineEntry(1, uint64(n+1), 100)) // each carries the mark of the one before
	}
	recs := recordsOf(t, j)
	b, err := os.ReadFile(dir + "/" + fileName(1)) // as a crash leaves it: without the mark that Close writes
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range recs[6:] { // the bodies of 7, which was acknowledged, and of 8, whose header says so
		b[r.at.pos+int64(r.at.size)-1] ^= 1
	}
	dir = memDir(t)
	if err := os.WriteFile(dir+"/"+fileName(1), b, 0o644); err != nil {
		t.Fatal(err)
	}
	_, r := mustOpen(t, dir, Options{MarkInterval: time.Hour})
	if r.Cut == nil || r.Cut.From != 8 || len(r.Damage) != 1 || r.Damage[0].From != 7 || r.Damage[0].To != 7 || r.Mark < 7 {
		t.Fatalf("mark %d, cut %+v, damage %+v", r.Mark, r.Cut, r.Damage)
	}
}

// asideJournal is a journal whose unsynced records are overdue at once: an append that waits for the write only has the owner
// sync aside, which aside is asked about first.
func asideJournal(t *testing.T, aside func(j *Journal) error, onFatal func(error)) *Journal {
	t.Helper()
	var clock atomic.Int64
	var open atomic.Pointer[Journal]
	s := &seam{before: func(op, _ string) error {
		if j := open.Load(); j != nil && op == "sync" {
			return aside(j)
		}
		return nil
	}}
	j, _ := mustOpen(t, memDir(t), s.options(Options{MarkInterval: time.Hour, OnFatal: onFatal,
		Now: func() time.Time { return time.Unix(clock.Add(1_000_000), 0) }}))
	open.Store(j)
	return j
}

// A sync covers what was written when it began: what is written while it runs is not on disk.
func TestSyncAsideCoversOnlyWhatWasWrittenBefore(t *testing.T) {
	var once sync.Once
	during := make(chan uint64, 1)
	j := asideJournal(t, func(j *Journal) error {
		once.Do(func() {
			seq, err := j.Do([]Record{inlineEntry(1, 2, 100)}, false)
			if err != nil {
				t.Error(err)
			}
			during <- seq
		})
		return nil
	}, nil)
	first := mustAppend(t, j, false, inlineEntry(1, 1, 100))
	seq := <-during
	for deadline := time.Now().Add(10 * time.Second); j.Mark() < first; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing was synced")
		}
	}
	if mark := j.Mark(); mark >= seq {
		t.Fatalf("mark %d, record %d was written while the sync ran", mark, seq)
	}
}

// Nobody waits for a sync aside, but what it could not write is lost all the same.
func TestGuardW2FailedSyncAsideIsFatal(t *testing.T) {
	fatal := make(chan error, 2)
	j := asideJournal(t, func(*Journal) error { return syscall.EIO }, func(err error) { fatal <- err })
	mustAppend(t, j, false, inlineEntry(1, 1, 100))
	for deadline := time.Now().Add(10 * time.Second); len(fatal) == 0; time.Sleep(time.Millisecond) {
		if j.Mark() > 0 || time.Now().After(deadline) {
			t.Fatalf("the journal goes on, mark %d", j.Mark())
		}
	}
	if err := <-fatal; !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if _, err := j.Append([]Record{inlineEntry(1, 2, 100)}, true).Wait(); !errors.Is(err, ErrFailed) || j.Mark() != 0 {
		t.Fatalf("append after the failed sync: %v, mark %d", err, j.Mark())
	}
}
