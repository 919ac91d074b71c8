package journal

import (
	"bytes"
	"os"
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
