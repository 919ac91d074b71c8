package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

// fourGroups: group 0 idle from the start, 1 and 2 busy, 3 votes only; one file.
func fourGroups(t testing.TB) *sample {
	return makeSample(t, Options{}, func(j *Journal) {
		mustAppend(t, j, true, CreatedRecord(group(0), "idle-0", 0, 0)) // 1
		for i := range 8 {
			mustAppend(t, j, true, inlineEntry(1, uint64(i+1), 60))          // 2, 5, 8, ...
			mustAppend(t, j, true, inlineEntry(2, uint64(i+1), 60))          // 3, 6, 9, ...
			mustAppend(t, j, true, VoteRecord(group(3), uint64(i+1), 0, "")) // 4, 7, 10, ...
		}
	})
}

// One bad sector hits several records: who has later records is judged by them, the rest is under suspicion.
func TestSeveralRecordsLost(t *testing.T) {
	s := fourGroups(t)
	dir := filepath.Join(memDir(t), "journal")
	for _, c := range []struct {
		from, to     int // sequences whose bytes are destroyed
		groups       []int
		unidentified bool
		whole        []int
	}{
		{5, 6, []int{1, 2}, false, []int{3}},
		{6, 7, []int{2, 3}, false, []int{1}}, // a vote: indexes alone would not tell
		{5, 7, []int{1, 2, 3}, false, nil},   // all three claimed by their successors
		{5, 8, []int{1, 2, 3}, true, nil},    // 5 and 8 are of group 1, only one of them is claimed
		{23, 24, []int{1, 2}, true, nil},     // behind it is only a vote: 24 is named by it, 23 by nobody
	} {
		s.write(t, dir, func(content [][]byte) {
			clear(content[0][s.where[c.from-1].frame:s.where[c.to-1].end])
		})
		out := s.open(t, dir, Options{})
		if len(out.r.Damage) != 1 || out.r.Cut != nil {
			t.Fatalf("%d to %d: damage %+v, cut %+v", c.from, c.to, out.r.Damage, out.r.Cut)
		}
		d := out.r.Damage[0]
		if c.from == 23 {
			c.groups, c.whole = []int{2}, []int{3}
		}
		if d.From != uint64(c.from) || d.To != uint64(c.to) || !slices.Equal(d.Groups, groups(c.groups)) || d.Unidentified != c.unidentified ||
			!slices.Equal(d.Whole, groups(c.whole)) {
			t.Errorf("%d to %d: %+v", c.from, c.to, d)
		}
		s.wantOnlyLost(t, out, c.from-1, c.to-1)
	}
}

func groups(ns []int) []entry.GroupID {
	ids := []entry.GroupID{}
	for _, n := range ns {
		ids = append(ids, group(n))
	}
	return ids
}

// Two places of damage in one file: the records between them are recovered, however short they are against the rest.
func TestRecordsBetweenTwoDamagedPlaces(t *testing.T) {
	s := fourGroups(t)
	dir := filepath.Join(memDir(t), "journal")
	s.write(t, dir, func(content [][]byte) {
		clear(content[0][s.where[4].frame:s.where[5].end])
		clear(content[0][s.where[7].frame:s.where[8].end])
	})
	out := s.open(t, dir, Options{})
	if len(out.r.Damage) != 2 || len(out.records) != len(s.records)-4 || out.records[4].Sequence != 7 || out.records[5].Sequence != 10 {
		t.Fatalf("damage %+v, %d records", out.r.Damage, len(out.records))
	}
}

// A client may send bytes that look like journal records. They must not be taken for some when the record around them is
// destroyed, whatever sequences they claim.
func TestPayloadThatLooksLikeRecords(t *testing.T) {
	for claim := uint64(2); claim <= 5; claim++ {
		var fakes []byte
		p := position{next: claim}
		for range 6 {
			vote := VoteRecord(group(66), 1<<40, 1<<40, "evil")
			h := header{sequence: p.next, crcBefore: p.crcBefore, mark: p.next - 1}
			raw := appendRecord(nil, &vote, &h)
			fakes = append(appendPrefix(fakes, uint32(len(raw))), raw...)
			p.advance(&h)
		}
		s := makeSample(t, Options{}, func(j *Journal) {
			mustAppend(t, j, true, inlineEntry(1, 1, 60))
			rec := inlineEntry(1, 2, len(fakes))
			copy(rec.Inline, fakes)
			mustAppend(t, j, true, rec)
			for i := range 4 {
				mustAppend(t, j, true, inlineEntry(2, uint64(i+1), 60))
			}
		})
		dir := filepath.Join(memDir(t), "journal")
		s.write(t, dir, func(c [][]byte) { clear(c[0][s.where[1].frame : s.where[1].pos+HeaderLen]) }) // its payload stays
		out := s.open(t, dir, Options{})
		if len(out.r.Damage) != 1 || out.r.Damage[0].From != 2 || out.r.Damage[0].To != 2 || !slices.Equal(out.r.Damage[0].Groups, groups([]int{1})) {
			t.Fatalf("fakes from %d: damage %+v", claim, out.r.Damage)
		}
		s.wantOnlyLost(t, out, 1, 1)
	}
}

// A record whose own checksums hold, in the place of another one with its sequence: only the chain tells.
func TestRecordOfAnotherHistory(t *testing.T) {
	fill := func(index uint64) func(j *Journal) {
		return func(j *Journal) {
			for i := range 6 {
				rec := inlineEntry(1, uint64(i+1), 60)
				if i == 3 {
					rec.Index = index
				}
				mustAppend(t, j, true, rec)
			}
		}
	}
	a, b := makeSample(t, Options{}, fill(4)), makeSample(t, Options{}, fill(9))
	dir := filepath.Join(memDir(t), "journal")
	a.write(t, dir, func(c [][]byte) { copy(c[0][a.where[3].frame:], b.content[0][b.where[3].frame:b.where[3].end]) })
	out := a.open(t, dir, Options{})
	if len(out.r.Damage) != 1 || out.r.Damage[0].From != 5 || !slices.Equal(out.r.Damage[0].Groups, groups([]int{1})) {
		t.Fatalf("damage %+v", out.r.Damage)
	}
}

// What a newer binary wrote stops the start, by name and place; a may-skip kind is passed over.
func TestUnknownKindsAndVersions(t *testing.T) {
	s := fourGroups(t)
	dir := filepath.Join(memDir(t), "journal")
	change := func(at int, value byte) func(c [][]byte) {
		return func(c [][]byte) { // record 3, with its CRC, and that of the record behind it
			h := c[0][s.where[2].pos:]
			h[at] = value
			crc := crc32.Checksum(h[:132], castagnoli)
			binary.BigEndian.PutUint32(h[132:], crc)
			h = c[0][s.where[3].pos:]
			binary.BigEndian.PutUint32(h[24:], crc)
			binary.BigEndian.PutUint32(h[132:], crc32.Checksum(h[:132], castagnoli))
			h4 := binary.BigEndian.Uint32(h[132:])
			h = c[0][s.where[4].pos:]
			binary.BigEndian.PutUint32(h[24:], h4)
			binary.BigEndian.PutUint32(h[132:], crc32.Checksum(h[:132], castagnoli))
			for i := 5; i < len(s.where); i++ {
				before := binary.BigEndian.Uint32(c[0][s.where[i-1].pos+132:])
				h = c[0][s.where[i].pos:]
				binary.BigEndian.PutUint32(h[24:], before)
				binary.BigEndian.PutUint32(h[132:], crc32.Checksum(h[:132], castagnoli))
			}
		}
	}
	for _, c := range []struct {
		at    int
		value byte
		want  string
	}{{5, 42, "unknown kind 42"}, {5, 12, "unknown kind 12"}, {4, 2, "unknown version 2"}} {
		s.write(t, dir, change(c.at, c.value))
		_, _, err := Open(dir, Options{})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), fileName(1)) {
			t.Fatalf("byte %d = %d: %v", c.at, c.value, err)
		}
	}
	s.write(t, dir, change(5, 0x80|42))
	out := s.open(t, dir, Options{})
	if len(out.r.Damage) != 0 || out.r.Cut != nil || len(out.records) != len(s.records)-1 {
		t.Fatalf("may-skip kind: damage %+v, cut %+v, %d records", out.r.Damage, out.r.Cut, len(out.records))
	}
}

// Names that would make the library delete files are refused; other ones are left alone.
func TestForeignFiles(t *testing.T) {
	s := fourGroups(t)
	dir := filepath.Join(memDir(t), "journal")
	s.write(t, dir, nil)
	for _, name := range []string{"notes.txt", fileName(1) + ".damaged", fileName(9) + ".TEMP", strings.Repeat("9", 20), "0000000000000000000a"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out := s.open(t, dir, Options{}); len(out.r.Damage) != 0 || len(out.records) != len(s.records) {
		t.Fatalf("damage %+v, %d records", out.r.Damage, len(out.records))
	}
	name := filepath.Join(dir, fileName(5)+".START")
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), name) {
		t.Fatalf("open: %v", err)
	}
}

// A damaged file is kept as evidence when the checkpoint has passed it.
func TestDamagedFileIsKept(t *testing.T) {
	s := fewDozen(t)
	dir := filepath.Join(memDir(t), "journal")
	s.write(t, dir, func(c [][]byte) { c[0][s.where[1].pos+50] ^= 1 })
	j, r := mustOpen(t, dir, Options{MarkInterval: time.Hour})
	if len(r.Damage) != 1 {
		t.Fatalf("damage %+v", r.Damage)
	}
	if err := j.TruncateFront(j.NextSequence()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, s.names[0]+".damaged"))
	if err != nil || len(b) != len(s.content[0]) || bytes.Equal(b, s.content[0]) {
		t.Fatalf("evidence: %d bytes, %v", len(b), err)
	}
	if files, err := listFiles(vfs.OS{}, dir); err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v", files, err)
	}
}

// Every call of a repair fails once: the next start finds everything that the first would have.
func TestEveryFailedCallOfARepair(t *testing.T) {
	s := fewDozen(t)
	dir := filepath.Join(memDir(t), "journal")
	last := len(s.content) - 1
	for n := 1; ; n++ {
		s.write(t, dir, func(c [][]byte) { c[last] = c[last][:len(c[last])-30] })
		calls := 0
		seam := &seam{before: func(string, string) error {
			if calls++; calls == n {
				return os.ErrPermission
			}
			return nil
		}}
		j, r, err := Open(dir, seam.options(Options{FirstKept: s.records[s.firstIn(1)].Sequence, MarkInterval: time.Hour}))
		if err == nil {
			_ = j.Close()
			_ = r.Close()
		}
		out := s.open(t, dir, Options{FirstKept: s.records[s.firstIn(1)].Sequence})
		if len(out.r.Damage) != 0 || len(out.records) < len(s.records)-1-s.firstIn(1) {
			t.Fatalf("call %d (%v): damage %+v, %d records", n, err, out.r.Damage, len(out.records))
		}
		for i := range len(s.records) - 1 - s.firstIn(1) {
			compare(t, &out.records[i], &s.records[s.firstIn(1)+i])
		}
		if err == nil && calls < n {
			if n < 8 {
				t.Fatalf("only %d calls", n)
			}
			return
		}
	}
}

// firstIn is the number of the first record in a file.
func (s *sample) firstIn(file int) int {
	return slices.IndexFunc(s.where, func(w place) bool { return w.file == file })
}

// All files are gone: where nothing tells how much was acknowledged behind the checkpoint, the start says so instead of going on
// without.
func TestAllFilesGone(t *testing.T) {
	s := fourGroups(t)
	last := uint64(len(s.records))
	dir := filepath.Join(memDir(t), "journal")
	if _, _, err := Open(dir, Options{FirstKept: last + 1, Mark: last}); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("got %v", err)
	}
	j, r := mustOpen(t, dir, Options{FirstKept: last + 1, Mark: last, TailsKnown: last})
	if len(r.Damage) != 0 || j.NextSequence() != last+1 {
		t.Fatalf("damage %+v, next %d, the mark is %d", r.Damage, j.NextSequence(), last)
	}
}
