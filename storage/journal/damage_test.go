package journal

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

// sample is a finished journal of several files, kept in memory.
type sample struct {
	names   []string
	content [][]byte
	records []Record // in sequence order
	where   []place  // of each record
}

// place is where a record lies.
type place struct{ file, frame, pos, end int }

// makeSample runs fill on a new journal, and reads back what is in its files. No mark record is left unless fill writes one.
func makeSample(t testing.TB, o Options, fill func(j *Journal)) *sample {
	t.Helper()
	dir := t.TempDir()
	o.MarkInterval = time.Hour
	j, _ := mustOpen(t, dir, (&seam{}).options(o))
	fill(j)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return readSample(t, dir)
}

func readSample(t testing.TB, dir string) *sample {
	t.Helper()
	s := &sample{}
	j, r := mustOpen(t, dir, Options{MarkInterval: time.Hour}) // begins an empty file
	if len(r.Damage) != 0 || r.Cut != nil {
		t.Fatalf("damage %+v, cut %+v in a fresh journal", r.Damage, r.Cut)
	}
	s.records = all(t, r)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range r.walker.files {
		name := fileName(r.walker.files[i].first)
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 0 {
			s.names, s.content = append(s.names, name), append(s.content, b)
		}
	}
	for i := range s.records {
		at := s.records[i].at
		s.where = append(s.where, place{at.file, int(at.pos) - prefixLen(at.size), int(at.pos), int(at.pos) + int(at.size)})
	}
	return s
}

// write puts the files into dir, after edit has changed copies of their contents (nil = the file is gone).
func (s *sample) write(t testing.TB, dir string, edit func(content [][]byte)) {
	t.Helper()
	content := make([][]byte, len(s.content))
	for i := range content {
		content[i] = bytes.Clone(s.content[i])
	}
	if edit != nil {
		edit(content)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for i, b := range content {
		if b == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, s.names[i]), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// outcome is what an Open made of a changed sample.
type outcome struct {
	r       *Recovery
	records []Record
	next    uint64
}

// open opens the changed sample, appends to it, and opens it again: the second time must find the same damage and records.
func (s *sample) open(t testing.TB, dir string, o Options) outcome {
	t.Helper()
	o.MarkInterval = time.Hour
	o = (&seam{}).options(o)
	j, r, err := Open(dir, o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	out := outcome{r, all(t, r), j.NextSequence()}
	_ = r.Close()
	seq := mustAppend(t, j, true, VoteRecord(group(99), 1, 1, "later"))
	if err := j.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	j2, r2, err := Open(dir, o)
	if err != nil {
		t.Fatalf("second open: %v", err)
	}
	again := all(t, r2)
	for i := range r2.Damage { // the Raft group that came later is whole
		d := &r2.Damage[i]
		d.Whole = slices.DeleteFunc(d.Whole, func(id entry.GroupID) bool { return id == group(99) })
	}
	if r2.Cut != nil || fmt.Sprint(r2.Damage) != fmt.Sprint(r.Damage) {
		t.Fatalf("second open: cut %+v, damage %+v, the first had %+v", r2.Cut, r2.Damage, r.Damage)
	}
	for i := range again {
		if i < len(out.records) {
			compare(t, &again[i], &out.records[i])
		}
		if again[i].Sequence == seq && again[i].Kind != Vote {
			t.Fatalf("record %d is %v", seq, again[i].Kind)
		}
	}
	_ = j2.Close()
	_ = r2.Close()
	return out
}

// newestMark is the newest mark that the records, except number skip (0 = none), carry.
func (s *sample) newestMark(t testing.TB, skip int) uint64 {
	t.Helper()
	mark := uint64(0)
	for i, w := range s.where {
		var h header
		if i != skip && h.parse(s.content[w.file][w.pos:]) {
			mark = max(mark, h.mark)
		}
	}
	return mark
}

// wantOnlyLost wants out to hold all records of s except those from from to to (indexes into s.records), unchanged.
func (s *sample) wantOnlyLost(t testing.TB, out outcome, from, to int) {
	t.Helper()
	want := slices.Concat(s.records[:from], s.records[min(to+1, len(s.records)):])
	if len(out.records) < len(want) {
		t.Fatalf("%d records, want %d", len(out.records), len(want))
	}
	for i := range want {
		if out.records[i].Sequence != want[i].Sequence {
			t.Fatalf("got record %d, want record %d", out.records[i].Sequence, want[i].Sequence)
		}
		compare(t, &out.records[i], &want[i])
	}
}

// fewDozen is a journal of three Raft groups in three files, without and with marks in between.
func fewDozen(t testing.TB) *sample {
	return makeSample(t, Options{SegmentBytes: 2000}, func(j *Journal) {
		for i := range 10 {
			index := uint64(i + 1)
			mustAppend(t, j, i%2 == 0, inlineEntry(i%3, index, 40), VoteRecord(group((i+1)%3), index, index, "1@x"))
			mustAppend(t, j, true, Record{Kind: Entry, Group: group(i % 3), Index: index + 1, Term: 3, LogType: 1, Data: []byte("conf")})
		}
	})
}

func TestGuardW3TornTail(t *testing.T) {
	s := fewDozen(t)
	dir := filepath.Join(memDir(t), "journal")
	last, n := len(s.content)-1, len(s.records)
	if s.where[n-2].file != last {
		t.Fatal("the last two records are not in one file")
	}
	for size := s.where[n-2].frame; size <= len(s.content[last]); size++ {
		s.write(t, dir, func(c [][]byte) { c[last] = c[last][:size] })
		out := s.open(t, dir, Options{})
		whole := n
		for whole > 0 && (s.where[whole-1].file == last && s.where[whole-1].end > size) {
			whole--
		}
		s.wantOnlyLost(t, out, whole, n)
		atEdge := whole == n || size == s.where[whole].frame
		switch {
		case atEdge != (out.r.Cut == nil):
			t.Fatalf("file of %d bytes (record %d ends it: %v): cut %+v", size, whole, atEdge, out.r.Cut)
		case !atEdge && (out.r.Cut.From != uint64(whole+1) || out.r.Cut.Pos != int64(s.where[whole].frame)):
			t.Fatalf("file of %d bytes: cut %+v, want record %d", size, out.r.Cut, whole+1)
		}
		if len(out.r.Damage) != 0 {
			t.Fatalf("file of %d bytes: damage %+v", size, out.r.Damage)
		}
	}
}

// marksBelow is the newest mark that the first n records carry.
func (s *sample) marksBelow(n int) (mark uint64) {
	for _, w := range s.where[:n] {
		var h header
		h.parse(s.content[w.file][w.pos:])
		mark = max(mark, h.mark)
	}
	return mark
}

// The mark of meta.db tells that the tail was there. How much was behind it, and whose, nothing tells: one sequence more counts as
// lost, of anybody.
func TestGuardW3TornTailBelowTheMarkIsDamage(t *testing.T) {
	s := fewDozen(t)
	dir := filepath.Join(memDir(t), "journal")
	last, n := len(s.content)-1, len(s.records)
	for size := s.where[n-2].frame; size < len(s.content[last]); size++ {
		s.write(t, dir, func(c [][]byte) { c[last] = c[last][:size] })
		out := s.open(t, dir, Options{Mark: uint64(n)})
		whole := n - 2
		if s.where[n-2].end <= size {
			whole++
		}
		wantTailLost(t, out, uint64(whole+1), uint64(n), s.where[whole], s.names[last])
		s.wantOnlyLost(t, out, whole, n)
	}
}

// wantTailLost wants the journal's tail from record from on to be lost, of whichever Raft group, and to begin again behind record to.
func wantTailLost(t *testing.T, out outcome, from, to uint64, at place, file string) {
	t.Helper()
	if len(out.r.Damage) != 1 || out.r.Cut != nil {
		t.Fatalf("damage %+v, cut %+v", out.r.Damage, out.r.Cut)
	}
	d := out.r.Damage[0]
	if d.From != from || d.To != to || !d.Unidentified || len(d.Whole) != 0 || d.Pos != int64(at.frame) || filepath.Base(d.File) != file {
		t.Fatalf("damage %+v, want records %d to %d, at byte %d of %s", d, from, to, at.frame, file)
	}
	if out.next != to+1 {
		t.Fatalf("next record %d reuses a lost sequence", out.next)
	}
}

// The checkpoint needs nothing of the journal: what is missing of it below the mark is needed by nobody, and is named all the same.
// The lost sequences are never used again.
func TestTailLostBelowTheCheckpoint(t *testing.T) {
	s := fewDozen(t)
	dir := filepath.Join(memDir(t), "journal")
	last, n := len(s.content)-1, len(s.records)
	kept := n - 4 // everything up to here was synced and is in the checkpoint; the rest is not
	o := Options{FirstKept: uint64(kept + 1), Mark: uint64(kept)}
	if s.where[kept-1].file != last || s.where[kept-3].file != last {
		t.Fatal("the records around the checkpoint are not in the last file")
	}
	for size := s.where[kept-3].frame; size < s.where[kept-1].end; size++ {
		s.write(t, dir, func(c [][]byte) { c[last] = c[last][:size] })
		whole := kept - 3
		for s.where[whole].end <= size {
			whole++
		}
		s.wantTailLogged(t, dir, o, s.where[whole].frame, s.names[last])
	}
	// Above the mark it is a torn tail.
	for size := s.where[kept-1].end; size <= len(s.content[last]); size++ {
		s.write(t, dir, func(c [][]byte) { c[last] = c[last][:size] })
		whole := kept
		for whole < n && s.where[whole].end <= size {
			whole++
		}
		if mark := s.marksBelow(whole); mark > uint64(whole) {
			t.Fatalf("record %d carries mark %d", whole, mark)
		}
		out := s.open(t, dir, o)
		if len(out.r.Damage) != 0 || len(out.records) < whole-kept {
			t.Fatalf("file of %d bytes: damage %+v, %d records, whole are %d", size, out.r.Damage, len(out.records), whole-kept)
		}
	}
}

// The last file is gone, with all that was behind the checkpoint: the one before ends below the mark.
func TestLastFileGoneBelowTheCheckpoint(t *testing.T) {
	s := fewDozen(t)
	dir := filepath.Join(memDir(t), "journal")
	last := len(s.content) - 1
	first := s.firstIn(last) // number of records in front of it
	for kept := first + 1; kept <= len(s.records); kept++ {
		s.write(t, dir, func(c [][]byte) { c[last] = nil })
		// dropFront has not run: the checkpoint was taken, its unlinks are lost.
		s.wantTailLogged(t, dir, Options{FirstKept: uint64(kept + 1), Mark: uint64(kept)}, len(s.content[last-1]), s.names[last-1])
	}
}

// wantTailLogged wants the loss of the journal's tail to be logged with its place, as of nothing that is needed.
func (s *sample) wantTailLogged(t *testing.T, dir string, o Options, at int, file string) {
	t.Helper()
	var text bytes.Buffer
	o.Logger = slog.New(slog.NewTextHandler(&text, nil))
	out := s.open(t, dir, o)
	if len(out.r.Damage) != 0 || out.r.Cut != nil || out.next != o.Mark+1 {
		t.Fatalf("damage %+v, cut %+v, next %d, the mark is %d", out.r.Damage, out.r.Cut, out.next, o.Mark)
	}
	want := fmt.Sprintf("file=%s pos=%d ", filepath.Join(dir, file), at)
	if !strings.Contains(text.String(), "journal ends below its mark") || !strings.Contains(text.String(), want) {
		t.Fatalf("no %q in %s", want, text.String())
	}
}

// A file is made only when all in front of it is on disk: damage there is never a torn tail, mark or not.
func TestDamageInFrontOfTheLastFileIsNeverCut(t *testing.T) {
	s := fewDozen(t)
	dir := filepath.Join(memDir(t), "journal")
	last := len(s.content) - 1
	from := s.firstIn(last) - 1
	s.write(t, dir, func(c [][]byte) {
		c[last] = []byte{}
		c[last-1][s.where[from].pos+60] ^= 1
	})
	out := s.open(t, dir, Options{})
	if out.r.Cut != nil || len(out.r.Damage) != 1 || out.r.Damage[0].From != uint64(from+1) || out.next != uint64(s.firstIn(last)+1) {
		t.Fatalf("damage %+v, cut %+v, next %d", out.r.Damage, out.r.Cut, out.next)
	}
}

func TestGuardW4EveryFlippedByteIsFound(t *testing.T) {
	s := fewDozen(t)
	dir := filepath.Join(memDir(t), "journal")
	step := 1
	if testing.Short() {
		step = 7
	}
	for k, w := range s.where {
		for pos := w.frame + k%step; pos < w.end; pos += step {
			s.write(t, dir, func(c [][]byte) { c[w.file][pos] ^= byte(1 + (pos*37)%255) })
			out := s.open(t, dir, Options{})
			s.wantFlip(t, out, k, pos)
			if t.Failed() {
				t.Fatalf("record %d, byte %d of file %s", k+1, pos, s.names[w.file])
			}
		}
	}
}

// wantFlip wants the flipped byte pos of record number k to be found, and to hurt nobody else.
func (s *sample) wantFlip(t *testing.T, out outcome, k, pos int) {
	w, seq := s.where[k], uint64(k+1)
	name := s.names[w.file]
	mark := s.newestMark(t, k)
	if seq > mark {
		if out.r.Cut == nil || out.r.Cut.From != seq || out.r.Cut.Pos != int64(w.frame) || filepath.Base(out.r.Cut.File) != name || len(out.r.Damage) != 0 {
			t.Errorf("above the mark %d: cut %+v, damage %+v", mark, out.r.Cut, out.r.Damage)
		}
		s.wantOnlyLost(t, out, k, len(s.records))
		return
	}
	if len(out.r.Damage) != 1 || out.r.Cut != nil {
		t.Errorf("below the mark %d: damage %+v, cut %+v", mark, out.r.Damage, out.r.Cut)
		return
	}
	d := out.r.Damage[0]
	if d.Unidentified || d.From != seq || filepath.Base(d.File) != name || d.Pos != int64(w.frame) {
		t.Errorf("damage %+v", d)
	}
	if d.To == seq-1 { // only the length prefix
		if pos >= w.pos || len(d.Groups) != 0 {
			t.Errorf("no record lost: damage %+v", d)
		}
		s.wantOnlyLost(t, out, len(s.records), len(s.records))
		return
	}
	want := []entry.GroupID{s.records[k].Group}
	if want[0] == (entry.GroupID{}) {
		want = nil
	}
	if d.To != seq || !slices.Equal(d.Groups, want) {
		t.Errorf("damage %+v, want %v", d, want)
	}
	s.wantOnlyLost(t, out, k, k)
}

func TestGuardW4ZeroedTail(t *testing.T) {
	s := fewDozen(t)
	dir := filepath.Join(memDir(t), "journal")
	last, n := len(s.content)-1, len(s.records)
	size := len(s.content[last])
	for zeros := 1; zeros <= 520; zeros++ { // phantom empty records to the library
		s.write(t, dir, func(c [][]byte) { c[last] = append(c[last], make([]byte, zeros)...) })
		out := s.open(t, dir, Options{})
		if out.r.Cut == nil || out.r.Cut.From != uint64(n+1) || out.r.Cut.Bytes != int64(zeros) || len(out.r.Damage) != 0 {
			t.Fatalf("%d zeros: cut %+v, damage %+v", zeros, out.r.Cut, out.r.Damage)
		}
		s.wantOnlyLost(t, out, n, n)
	}
	for zeros := 1; zeros <= size; zeros++ {
		s.write(t, dir, func(c [][]byte) { clear(c[last][size-zeros:]) })
		out := s.open(t, dir, Options{})
		first := n // first record with a changed byte
		for first > 0 && s.where[first-1].file == last && s.where[first-1].end > size-zeros {
			first--
		}
		mark := s.marksBelow(first)
		if out.r.Cut == nil && bytes.ContainsFunc(s.content[last][size-zeros:], func(r rune) bool { return r != 0 }) && mark < uint64(first+1) {
			t.Fatalf("%d bytes zeroed: not found", zeros)
		}
		for i := range out.records {
			compare(t, &out.records[i], &s.records[i])
		}
		if len(out.records) < first {
			t.Fatalf("%d bytes zeroed: %d records, want %d", zeros, len(out.records), first)
		}
	}
}

func TestGuardW4MissingFiles(t *testing.T) {
	s := fewDozen(t)
	dir := filepath.Join(memDir(t), "journal")
	n := uint64(len(s.records))
	count := func(file int) (from, to uint64) {
		for i, w := range s.where {
			if w.file == file {
				if from == 0 {
					from = uint64(i + 1)
				}
				to = uint64(i + 1)
			}
		}
		return from, to
	}
	for gone := range s.content {
		from, to := count(gone)
		s.write(t, dir, func(c [][]byte) { c[gone] = nil })
		out := s.open(t, dir, Options{Mark: n})
		if len(out.r.Damage) != 1 || out.r.Damage[0].From != from || out.r.Damage[0].To != to || !out.r.Damage[0].Unidentified {
			t.Fatalf("file %d gone: damage %+v, want %d to %d", gone, out.r.Damage, from, to)
		}
		if out.r.Cut != nil || out.next != n+1 {
			t.Fatalf("file %d gone: cut %+v, next %d", gone, out.r.Cut, out.next)
		}
		s.wantOnlyLost(t, out, int(from-1), int(to-1))
	}
	s.write(t, dir, func(c [][]byte) { clear(c) })
	if out := s.open(t, dir, Options{Mark: n}); len(out.r.Damage) != 1 || out.r.Damage[0].From != 1 || out.r.Damage[0].To != n || out.next != n+1 {
		t.Fatalf("all files gone: damage %+v, next %d", out.r.Damage, out.next)
	}
	// A file in place of another one.
	for a := range s.content {
		for b := range s.content {
			if a == b {
				continue
			}
			s.write(t, dir, func(c [][]byte) { c[b] = bytes.Clone(c[a]) })
			from, to := count(b)
			out := s.open(t, dir, Options{Mark: n})
			if len(out.r.Damage) == 0 || out.r.Damage[0].From != from || out.r.Damage[0].To != to {
				t.Fatalf("file %d in place of %d: damage %+v", a, b, out.r.Damage)
			}
			s.wantOnlyLost(t, out, int(from-1), int(to)-1)
		}
	}
	// The same file twice.
	s.write(t, dir, nil)
	if err := os.WriteFile(filepath.Join(dir, fileName(3)), s.content[0], 0o644); err != nil {
		t.Fatal(err)
	}
	out := s.open(t, dir, Options{Mark: n})
	if len(out.r.Damage) != 1 || out.r.Damage[0].To >= out.r.Damage[0].From {
		t.Fatalf("a file twice: damage %+v", out.r.Damage)
	}
	s.wantOnlyLost(t, out, int(n), int(n))
}

func TestGuardW8UnlinkedFilesComeBack(t *testing.T) {
	s := fewDozen(t)
	if len(s.content) < 3 {
		t.Fatal("too few files")
	}
	dir := filepath.Join(memDir(t), "journal")
	last := len(s.content) - 1
	firstKept := uint64(slices.IndexFunc(s.where, func(w place) bool { return w.file == last }) + 2) // not the first of its file
	for back := range 1 << last {                                                                    // any subset of the older files
		s.write(t, dir, func(c [][]byte) {
			for i := range last {
				if back&(1<<i) == 0 {
					c[i] = nil
				}
			}
		})
		out := s.open(t, dir, Options{FirstKept: firstKept, Mark: uint64(len(s.records) - 1)})
		if files, err := listFiles(vfs.OS{}, dir); err != nil || files[0].first != uint64(s.firstIn(last)+1) {
			t.Fatalf("files %b back: still there: %v, %v", back, files, err)
		}
		if len(out.r.Damage) != 0 || out.r.Cut != nil || len(out.records) == 0 || out.records[0].Sequence != firstKept {
			t.Fatalf("files %b back: damage %+v, cut %+v, %d records", back, out.r.Damage, out.r.Cut, len(out.records))
		}
		s.wantOnlyLost(t, outcome{records: append(slices.Clone(s.records[:firstKept-1]), out.records...)}, len(s.records), len(s.records))
	}
}
