package journal

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tandembroker/tandem/storage/entry"
)

// tailsOf formats what Tails says, sorted.
func tailsOf(j *Journal) string {
	written, changed := j.Tails(func(entry.GroupID) uint64 { return 0 })
	lines := []string{}
	for _, c := range changed {
		for n := range 5 {
			if c.Group == group(n) {
				lines = append(lines, fmt.Sprintf("%d:%d", n, c.Sequence))
			}
		}
	}
	slices.Sort(lines)
	return fmt.Sprintf("%d %s", written, strings.Join(lines, " "))
}

// Each Raft group is listed once for each time that it got newer records, behind a restart those that the caller does not know.
func TestTailsListWhatChanged(t *testing.T) {
	dir := memDir(t)
	j, r := mustOpen(t, dir, Options{MarkInterval: time.Hour})
	want := func(text string) {
		t.Helper()
		if got := tailsOf(j); got != text {
			t.Fatalf("tails %q, want %q", got, text)
		}
	}
	want("0 ")
	mustAppend(t, j, true, CreatedRecord(group(0), "a-0", 0, 0), inlineEntry(1, 1, 9), inlineEntry(1, 2, 9), VoteRecord(group(2), 1, 0, ""))
	want("4 0:1 1:3 2:4")
	want("4 ")
	mustAppend(t, j, false, inlineEntry(1, 3, 9), Record{Kind: Deleted, Group: group(0)})
	if mark := j.Mark(); mark != 4 {
		t.Fatalf("mark %d: nothing has synced the rest", mark)
	}
	want("6 0:6 1:5")
	_ = r.Close()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	want("7 ") // the last mark
	j, r = mustOpen(t, dir, Options{MarkInterval: time.Hour, TailsKnown: 5})
	want("7 0:6")
	_ = r.Close()
	_ = j.Close()
	j, r = mustOpen(t, dir, Options{MarkInterval: time.Hour})
	want("7 0:6 1:5 2:4")
	_ = r.Close()
	_ = j.Close()
}

// A journal that has failed says nothing: what it could not write would be listed.
func TestTailsOfAFailedJournal(t *testing.T) {
	s := &seam{before: func(op, _ string) error {
		if op == "library write" {
			return fmt.Errorf("full")
		}
		return nil
	}}
	j, _ := mustOpen(t, memDir(t), s.options(Options{MarkInterval: time.Hour, OnFatal: func(error) {}}))
	if _, err := j.Do([]Record{{Kind: Deleted, Group: entry.GroupID{Partition: 7}}}, true); err == nil {
		t.Fatal("written")
	}
	if at, changed := j.Tails(nil); at != 0 || changed != nil {
		t.Fatalf("%d, %v", at, changed)
	}
}
