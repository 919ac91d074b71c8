package archive

import (
	"errors"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

// spoiled is an archive of two files that tests damage; each of its records has a batch of its own.
type spoiled struct {
	fsys  *vfs.Mem
	a     *Archives
	files []string
	id    string
	lines []string // of the records
}

func newSpoiled(t testing.TB) *spoiled {
	p := newPart(orders)
	for i := range 6 {
		p.grow(t, 1, epochOf(1, int32(i)), func(b *record.Builder) {
			if i == 3 {
				b.Codec = record.Zstd
			}
		})
	}
	s := &spoiled{fsys: newMem(t)}
	o := options()
	o.SegmentBytes = 4 * int64(len(p.batches[0]))
	s.a = open(t, s.fsys, o)
	described := sealed(t, s.a, p, entry.Cut{SiteEpoch: 2, Offset: 0})
	s.id = described.ID
	for _, file := range described.Segments {
		s.files = append(s.files, path.Join(dir, rootName, s.id, file.File))
	}
	whole, err := text(t, s.a, s.id, 0)
	if err != nil || len(s.files) < 2 {
		t.Fatal(err, s.files)
	}
	s.lines = strings.Split(whole, "\n")
	return s
}

// Each byte of each file damaged: the damage is named with the file and a place that is not behind it, and the records of other
// batches are still there. All of them where the frame of the batch is whole.
func TestEachDamagedByteIsNamed(t *testing.T) {
	s := newSpoiled(t)
	for _, name := range s.files {
		good, err := readFile(s.fsys, name)
		if err != nil {
			t.Fatal(err)
		}
		begin := 0
		for pos := range good {
			if first, _, err := record.Next(good[begin:]); err == nil && pos == begin+len(first) {
				begin = pos
			}
			bad := slices.Clone(good)
			bad[pos] ^= 0x41
			replaceFile(t, s.fsys, name, bad)
			got, err := text(t, s.a, s.id, 0)
			var damage *DamageError
			if !errors.As(err, &damage) || damage.File != name || damage.Pos > int64(pos) {
				t.Fatalf("byte %d of %s: %v", pos, name, err)
			}
			in := pos - begin
			framed := in >= 21 && (in < 23 || in >= 27) // neither its place nor its offsets are hurt
			switch {
			case framed && damage.Pos != int64(begin):
				t.Fatalf("byte %d of %s: damage at %d, its batch begins at %d", pos, name, damage.Pos, begin)
			case framed && len(strings.Split(got, "\n")) != len(s.lines)-1:
				t.Fatalf("byte %d of %s hides more than its batch: %s", pos, name, got)
			}
			for _, line := range strings.Split(got, "\n") {
				if framed && !slices.Contains(s.lines, line) {
					t.Fatalf("byte %d of %s: record %q appears", pos, name, line)
				}
			}
		}
		replaceFile(t, s.fsys, name, good)
	}
}

// A file cut short at any byte, or gone.
func TestShortAndMissingFilesAreNamed(t *testing.T) {
	s := newSpoiled(t)
	name := s.files[0]
	good, err := readFile(s.fsys, name)
	if err != nil {
		t.Fatal(err)
	}
	rest, err := text(t, s.a, s.id, 3)
	if err != nil {
		t.Fatal(err)
	}
	last := s.lines[len(s.lines)-1]
	for size := range good {
		replaceFile(t, s.fsys, name, good[:size])
		got, err := text(t, s.a, s.id, 0)
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), name) || !strings.HasSuffix(got, last) {
			t.Fatalf("%d bytes: %v\n%s", size, err, got)
		}
	}
	if err := s.fsys.Remove(name); err != nil {
		t.Fatal(err)
	}
	got, err := text(t, s.a, s.id, 0)
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), name) || !strings.HasSuffix(rest, got) || got == "" {
		t.Fatalf("missing: %v\n%s", err, got)
	}
	replaceFile(t, s.fsys, name, good)
	stray := path.Join(dir, rootName, s.id, logName(77))
	replaceFile(t, s.fsys, stray, nil)
	if got, err := text(t, s.a, s.id, 0); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), stray) || got != strings.Join(s.lines, "\n") {
		t.Fatalf("a file too many: %v\n%s", err, got)
	}
}

// The document damaged at any byte, short or gone: it is named, and the records are there as before.
func TestDamagedDocumentHidesNoRecords(t *testing.T) {
	s := newSpoiled(t)
	name := path.Join(dir, rootName, s.id, documentName)
	good, err := readFile(s.fsys, name)
	if err != nil {
		t.Fatal(err)
	}
	see := func(what string, pos int) {
		t.Helper()
		list, err := s.a.List(t.Context())
		var damage *DamageError
		if err != nil || len(list) != 1 || !errors.As(list[0].Damage, &damage) || damage.File != name || list[0].Cut.SiteEpoch != 2 {
			t.Fatalf("%s at %d: %+v, %v", what, pos, list, err)
		}
		got, err := text(t, s.a, s.id, 0)
		if !errors.Is(err, ErrDamaged) || got != strings.Join(s.lines, "\n") {
			t.Fatalf("%s at %d: %v\n%s", what, pos, err, got)
		}
	}
	for pos := range good {
		bad := slices.Clone(good)
		bad[pos] ^= 1
		replaceFile(t, s.fsys, name, bad)
		see("damaged", pos)
		replaceFile(t, s.fsys, name, good[:pos])
		see("cut", pos)
	}
	if err := s.fsys.Remove(name); err != nil {
		t.Fatal(err)
	}
	see("gone", 0)
	open(t, s.fsys, options()) // the broker starts
}

// In a damaged archive no transaction is said to be committed: its marker may be what is damaged.
func TestDamageLeavesTransactionsUndecided(t *testing.T) {
	p := newPart(orders)
	p.grow(t, 1, 1, func(b *record.Builder) {
		b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.Transactional = 7, 1, 0, true
	})
	for i, what := range []record.ControlType{record.Abort, record.Commit} {
		p.batches = append(p.batches, record.ControlBatch(record.Control{Type: what, BaseOffset: int64(1 + i), LeaderEpoch: 1, ProducerID: 7, ProducerEpoch: 1}))
	}
	fsys := newMem(t)
	a := open(t, fsys, options())
	described := sealed(t, a, p, entry.Cut{SiteEpoch: 2, Offset: 0})
	name := path.Join(dir, rootName, described.ID, described.Segments[0].File)
	bad, err := readFile(fsys, name)
	if err != nil {
		t.Fatal(err)
	}
	bad[described.Segments[0].Bytes-100]++ // the abort marker; the commit marker has 78 bytes
	replaceFile(t, fsys, name, bad)
	got, err := text(t, a, described.ID, 0)
	if !errors.Is(err, ErrDamaged) || !strings.Contains(got, "undecided") {
		t.Fatalf("%v\n%s", err, got)
	}
}
