package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
	"github.com/tandembroker/tandem/storage/meta"
	"github.com/tandembroker/tandem/storage/vfs"
)

// sealedStore is a partition of several segments below a checkpoint, and one entry above it.
func sealedStore(t *testing.T) (pw *powered, g *Group, p *producer) {
	t.Helper()
	pw = newPowered(t)
	g, p = pw.create(1, log.Options{SegmentBytes: 5000})
	mustAppend(t, g, p, p.noop(), p.epochBase())
	for range 12 {
		mustAppend(t, g, p, p.data(2000, entry.Synced))
	}
	if err := pw.s.Checkpoint(t.Context(), snapshotAll); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, g, p, p.data(2000, entry.Synced))
	return pw, g, p
}

func segmentFile(g *Group, base int64, ext string) string {
	return path.Join(g.Log().Dir(), fmt.Sprintf("%020d%s", base, ext))
}

// A segment in the middle that is gone with its index files, or cut between two batches, is not passed over as a gap.
func TestMissingMiddleSegmentIsDamage(t *testing.T) {
	pw, g, _ := sealedStore(t)
	segments := g.Log().Segments()
	if len(segments) < 5 {
		t.Fatal("too few segments")
	}
	half := segments[2].Size / 2 // it has two batches of the same size
	state := pw.capture()
	pw.goOn(state)
	pw.want(1, "")
	for i := range len(segments) - 1 {
		for _, short := range []bool{false, true} {
			w := *state
			w.mem = state.mem.CrashClone(nil)
			name := segmentFile(g, segments[i].Base, ".log")
			if short {
				truncateFile(t, w.mem, name, half)
			} else {
				for _, ext := range []string{".log", ".index", ".timeindex", ".txnindex"} {
					if err := w.mem.Remove(segmentFile(g, segments[i].Base, ext)); err != nil && !errors.Is(err, os.ErrNotExist) {
						t.Fatal(err)
					}
				}
			}
			syncDir(t, w.mem, path.Dir(name))
			pw.goOn(&w)
			hurt, _ := pw.s.Group(groupID(1))
			err := hurt.Offline()
			want := name + ", byte 0"
			if short {
				want = fmt.Sprintf("%s, byte %d", name, half)
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("segment %d, short %v: %v", segments[i].Base, short, err)
			}
		}
	}
}

// A replacement of segments (compaction) is interrupted at every call: the old ones are there, or the new one.
func TestPowerLossDuringReplacement(t *testing.T) {
	pw, g, p := sealedStore(t)
	segments := g.Log().Segments()
	first, last := segments[1], segments[3]
	whole := readLog(t, g)
	replaced := writeSwap(t, g, first.Base, last.Base)
	rng := rand.New(rand.NewPCG(3, 4))
	stop := pw.gather(6, rng)
	if err := g.ReplaceSegments(replaced); err != nil {
		t.Fatal(err)
	}
	after := readLog(t, g)
	if after == whole || after == "" {
		t.Fatal("nothing was replaced")
	}
	mustAppend(t, g, p, p.data(2000, entry.Synced))
	states := append(stop(), pw.capture())
	for i, w := range states {
		pw.goOn(w)
		g := pw.want(1, "")
		got := readLog(t, g)
		if !strings.HasPrefix(got, after) && got != whole {
			t.Fatalf("state %d of %d: %d bytes, want %d or %d", i, len(states), len(got), len(whole), len(after))
		}
		if i == len(states)-1 && !strings.HasPrefix(got, after) {
			t.Fatal("the replacement was taken back")
		}
		for range 2 { // the checkpoint may still speak of it
			pw.lose()
			if again := readLog(t, pw.want(1, "")); again != got {
				t.Fatalf("state %d: %d bytes, then %d", i, len(got), len(again))
			}
		}
		if err := pw.s.Checkpoint(t.Context(), snapshotAll); err != nil {
			t.Fatal(err)
		}
		pw.lose()
		if again := readLog(t, pw.want(1, "")); again != got {
			t.Fatalf("state %d: %d bytes, then %d behind a checkpoint", i, len(got), len(again))
		}
		for _, e := range readNames(t, pw.w.mem, g.Log().Dir()) {
			if strings.HasSuffix(e, ".swap") || strings.HasSuffix(e, ".cleaned") {
				t.Fatalf("%s is left", e)
			}
		}
	}
}

// A replacement that does not fit is refused, and nothing of it stays in meta.db.
func TestReplacementRefused(t *testing.T) {
	pw, g, _ := sealedStore(t)
	segments := g.Log().Segments()
	end := segments[len(segments)-1].Base
	whole := readLog(t, g)
	for _, r := range []log.Replacement{
		{First: segments[2].Base, Last: segments[1].Base}, {First: segments[1].Base + 1, Last: segments[2].Base},
		{First: segments[1].Base, Last: end}, {First: segments[1].Base, Last: segments[2].Base}, // the last one has no files
	} {
		if err := g.ReplaceSegments(r); !errors.Is(err, log.ErrInvalid) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	pw.lose()
	if got := readLog(t, pw.want(1, "")); got != whole {
		t.Fatalf("%d bytes, then %d", len(whole), len(got))
	}
}

// A replacement one of whose files is damaged by the time it is read is refused: the old segments stay, and no start is told to finish it,
// whose files the one who made them removes.
func TestReplacementWithADamagedFileIsRefused(t *testing.T) {
	pw, g, _ := sealedStore(t)
	segments := g.Log().Segments()
	whole := readLog(t, g)
	r := writeSwap(t, g, segments[1].Base, segments[3].Base)
	name := path.Join(g.Log().Dir(), fmt.Sprintf("%020d", r.First))
	f, err := pw.w.mem.OpenFile(name+".txnindex.swap", os.O_RDWR, 0)
	if err == nil {
		_, err = f.WriteAt([]byte("torn"), 0)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := g.ReplaceSegments(r); !errors.Is(err, log.ErrInvalid) || !errors.Is(err, log.ErrCorrupt) || errors.Is(err, log.ErrReplacing) {
		t.Fatal(err)
	}
	if err := g.Offline(); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{".log.swap", ".index.swap", ".timeindex.swap", ".txnindex.swap"} {
		if err := pw.w.mem.Remove(name + suffix); err != nil {
			t.Fatal(err)
		}
	}
	syncDir(t, pw.w.mem, g.Log().Dir())
	pw.lose()
	if got := readLog(t, pw.want(1, "")); got != whole {
		t.Fatalf("%d bytes, then %d", len(whole), len(got))
	}
}

// The row that says what is about to be replaced is stored, and that fails: it may be on disk all the same, and then the next start
// finishes it. So whoever made the files is told to leave them.
func TestReplacementWhoseRowFailedMayBeDurable(t *testing.T) {
	for _, c := range []struct {
		stored bool
		err    error
		keep   bool
	}{{true, errors.New("the sync failed"), true}, {false, errors.New("the sync failed"), true}, {false, meta.ErrNoSpace, false}} {
		pw, g, _ := sealedStore(t)
		segments := g.Log().Segments()
		whole := readLog(t, g)
		r := writeSwap(t, g, segments[1].Base, segments[3].Base)
		store := pw.s.commits.store
		pw.s.commits.store = func(m meta.Commit) error {
			if c.stored {
				if err := store(m); err != nil {
					return err
				}
			}
			return c.err
		}
		err := g.ReplaceSegments(r)
		if errors.Is(err, log.ErrReplacing) != c.keep || !errors.Is(err, c.err) || (pw.s.Failed() != nil) != c.keep {
			t.Fatalf("stored %v, %v: %v, the store: %v", c.stored, c.err, err, pw.s.Failed())
		}
		pw.lose()
		if got := readLog(t, pw.want(1, "")); (got == whole) == c.stored {
			t.Fatalf("stored %v: %d bytes, there were %d", c.stored, len(got), len(whole))
		}
	}
}

// writeSwap makes the files of a segment that holds every second batch of those from first to last.
func writeSwap(t *testing.T, g *Group, first, last int64) log.Replacement {
	t.Helper()
	r := log.Replacement{First: first, Last: last}
	var kept []byte
	upper := int64(0)
	for _, s := range g.Log().Segments() {
		if s.Base > last {
			upper = s.Base
			break
		}
	}
	for offset, n := first, 0; offset < upper; n++ {
		e, err := g.Log().Read(offset, 1, g.Log().LogEnd(), true)
		if err != nil {
			t.Fatal(err)
		}
		b, err := e.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		offset = e.Next()
		e.Release()
		if n%2 == 0 {
			kept = append(kept, b...)
		}
	}
	for _, ext := range []string{".log", ".index", ".timeindex", ".txnindex"} {
		f, err := g.Log().SwapFile(first, ext)
		if err == nil && ext == ".log" {
			_, err = f.WriteAt(kept, 0)
		}
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Log().SwapReady(first); err != nil {
		t.Fatal(err)
	}
	r.Size = int64(len(kept))
	return r
}

// readLog reads all records of g.
func readLog(t *testing.T, g *Group) string {
	t.Helper()
	var all []byte
	for offset := g.Log().LogStart(); offset < g.Log().LogEnd(); {
		e, err := g.Log().Read(offset, 1500, g.Log().LogEnd(), true)
		if err != nil {
			t.Fatal(err)
		}
		b, err := e.ReadAll()
		offset = e.Next()
		e.Release()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return string(all)
}

func truncateFile(t *testing.T, mem *vfs.Mem, name string, size int64) {
	t.Helper()
	f, err := mem.OpenFile(name, os.O_RDWR, 0)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Sync(), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func syncDir(t *testing.T, mem *vfs.Mem, dir string) {
	t.Helper()
	if err := mem.SyncDir(dir); err != nil {
		t.Fatal(err)
	}
}

func readNames(t *testing.T, mem *vfs.Mem, dir string) (names []string) {
	t.Helper()
	files, err := mem.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names
}
