package journal

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/tandembroker/tandem/storage/entry"
)

// group is the n-th Raft group of the tests.
func group0(n int) entry.GroupID { return entry.GroupID{Partition: int32(n)} }

func group(n int) entry.GroupID {
	id := entry.GroupID{Partition: int32(n)}
	copy(id.Topic[:], fmt.Sprintf("topic %08d", n))
	return id
}

// inlineEntry is an entry of group n whose payload rides in the journal; its bytes tell group and index.
func inlineEntry(n int, index uint64, size int) Record {
	payload := bytes.Repeat([]byte(fmt.Sprintf("<%d:%d>", n, index)), size/5+1)[:size]
	return Record{Kind: Entry, LogType: 0, Group: group(n), Index: index, Term: 3, Placement: Inline, Segment: 0, Pos: int64(index) * 100,
		PayloadLength: uint32(size), PayloadCRC: 77, Data: []byte(fmt.Sprintf("data of %d:%d", n, index)), Inline: payload}
}

// memDir is a folder in memory, where the system has one: tests that open thousands of journals are bound by file operations.
func memDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "tandem-journal-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func mustAppend(t testing.TB, j *Journal, sync bool, recs ...Record) uint64 {
	t.Helper()
	first, err := j.Append(recs, sync).Wait()
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return first
}

func mustOpen(t testing.TB, dir string, o Options) (*Journal, *Recovery) {
	t.Helper()
	j, r, err := Open(dir, o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { _ = j.Close(); _ = r.Close() })
	return j, r
}

// all reads every record with its inline payload.
func all(t testing.TB, r *Recovery) []Record {
	t.Helper()
	var recs []Record
	for rec, err := range r.Records() {
		if err != nil {
			t.Fatalf("records: %v", err)
		}
		c := *rec
		if c.Placement == Inline {
			if c.Inline, err = r.Inline(&c); err != nil {
				t.Fatalf("inline: %v", err)
			}
		}
		recs = append(recs, c)
	}
	return recs
}

func TestReopenReturnsWhatWasAppended(t *testing.T) {
	dir := t.TempDir()
	j, r := mustOpen(t, dir, Options{SegmentBytes: 4 << 10, MarkInterval: time.Hour})
	if got := all(t, r); len(got) != 0 {
		t.Fatalf("a new journal has %d records", len(got))
	}
	want := []Record{
		CreatedRecord(group(1), "orders-0", 2, 7),
		VoteRecord(group(1), 3, 3, "1@disk"),
		DeleteRangeRecord(group(1), 4, 9),
		DroppedRecord(group(1), 4),
		ResetRecord(group(2), 100, 5),
		{Kind: Deleted, Group: group(2)},
		{Kind: Entry, Class: entry.Cached, LogType: 2, Group: group(1), Index: 4, Term: 9, Data: []byte("no payload")},
		{Kind: Entry, Group: group(1), Index: 5, Term: 9, Placement: ByReference, Segment: 5, Pos: 6, PayloadLength: 70000, PayloadCRC: 8},
	}
	for i := range 30 {
		want = append(want, inlineEntry(i%3, uint64(10+i), 300))
	}
	for i := range want {
		if seq := mustAppend(t, j, i%2 == 0, want[i]); seq != uint64(i+1) {
			t.Fatalf("record %d got sequence %d", i, seq)
		}
	}
	j.PayloadSynced(8)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if j.Stats().Rolls < 2 {
		t.Fatalf("%d rolls: the test wants several files", j.Stats().Rolls)
	}
	_, r = mustOpen(t, dir, Options{MarkInterval: time.Hour})
	got := all(t, r)
	if len(r.Damage) != 0 || r.Cut != nil {
		t.Fatalf("damage %+v, cut %+v", r.Damage, r.Cut)
	}
	if r.Mark != uint64(len(want)) || len(got) != len(want)+1 || got[len(want)].Kind != Mark {
		t.Fatalf("mark %d, %d records", r.Mark, len(got))
	}
	for i := range want {
		compare(t, &got[i], &want[i])
	}
}

// compare wants got, from recovery, to be what want was appended as.
func compare(t testing.TB, got, want *Record) {
	t.Helper()
	g, w := *got, *want
	g.Sequence, g.PrevIndex, g.PrevSequence, g.at = 0, 0, 0, location{}
	w.Sequence, w.PrevIndex, w.PrevSequence, w.at = 0, 0, 0, location{}
	if a, b := fmt.Sprintf("%+v", g), fmt.Sprintf("%+v", w); a != b {
		t.Fatalf("record %d:\n got %s\nwant %s", got.Sequence, a, b)
	}
}
