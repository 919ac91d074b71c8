package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/journal"
	"github.com/tandembroker/tandem/storage/log"
	"github.com/tandembroker/tandem/storage/vfs"
)

// damaged is a small store whose mark covers everything, for tests that flip bytes in it.
func damaged(t *testing.T, dir string, end func(*actor) error) *world {
	t.Helper()
	d := &driver{rng: rand.New(rand.NewPCG(5, 5)), dir: dir}
	d.mu.rng, d.mu.off = rand.New(rand.NewPCG(6, 6)), true
	w := &world{mem: vfs.NewMem()}
	d.mem = w.mem
	s, err := w.start(dir)
	if err != nil {
		t.Fatal(err)
	}
	d.store, d.mu.store = s, s
	a := &actor{driver: d, rng: d.rng, producers: map[GroupID]*producer{}}
	for round := range 4 {
		for _, id := range crashGroups[1:] {
			var err error
			if gm := d.model().groups[id]; gm == nil || gm.is != present {
				err = a.create(id)
			}
			g, _ := s.Group(id)
			if err == nil {
				err = a.append(g, d.model().groups[id])
			}
			if err == nil && round == 2 {
				err = a.vote(g, d.model().groups[id])
			}
			if err == nil && round == 1 && id == crashGroups[1] {
				err = d.snapshot(g)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := end(a); err != nil {
		t.Fatal(err)
	}
	after := d.after(nil)
	s.Close(false)
	return after
}

// flip changes one byte of a file in the clone.
func flip(t *testing.T, mem *vfs.Mem, name string, at int64, mask byte) {
	t.Helper()
	f, err := mem.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= mask
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

func filesOf(t *testing.T, mem *vfs.Mem, dir, suffix string) []string {
	t.Helper()
	var names []string
	files, err := mem.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, f := range files {
		name := path.Join(dir, f.Name())
		if f.IsDir() {
			names = append(names, filesOf(t, mem, name, suffix)...)
		} else if strings.HasSuffix(name, suffix) && f.Name() != lockFile {
			names = append(names, name)
		}
	}
	return names
}

func anyOffline(s *Store) bool {
	return slices.ContainsFunc(s.Groups(), func(g *Group) bool { return g.Offline() != nil })
}

// judgeDamage opens a damaged world: a Raft group is whole, or offline with file and position. It returns who is offline.
func judgeDamage(w *world, dir string, again bool) (offline []*Group, err error) {
	s, err := w.start(dir)
	if err != nil {
		return nil, fmt.Errorf("one damaged byte stops the start: %w", err)
	}
	defer func() { s.Close(false) }()
	if again && anyOffline(s) {
		// A checkpoint must not make the damage disappear: the next start finds it as well.
		err := s.Checkpoint(context.Background(), func(_ context.Context, g *Group) error {
			gm := w.model.groups[g.ID()]
			return g.SaveSnapshot(gm.snapshotOf(gm.entries, g.LastIndex()))
		})
		if err != nil {
			return nil, err
		}
		w.model = w.model.settle(s)
		next := capture(w.mem, dir, s, w.model, nil, "")
		s.Close(false)
		if s, err = next.start(dir); err != nil {
			return nil, err
		}
		if !anyOffline(s) {
			return nil, errors.New("the damage is forgotten after a checkpoint")
		}
	}
	for id, gm := range w.model.groups {
		g, ok := s.Group(id)
		if !ok {
			return nil, fmt.Errorf("%s is gone", gm.folder)
		}
		errGroup := g.Offline()
		if errGroup != nil {
			if !strings.Contains(errGroup.Error(), "byte ") {
				return nil, fmt.Errorf("no file and position in %q", errGroup)
			}
			offline = append(offline, g)
			continue
		}
		if err := gm.check(g); err != nil && !errors.Is(err, log.ErrCorrupt) { // found when read, is found
			return nil, fmt.Errorf("%s: %w", g, err)
		}
	}
	return offline, nil
}

// TestEveryByteOfTheJournalDamaged: below the mark damage is always found, takes exactly the Raft group whose record it hit
// offline, and never yields wrong data or a hole.
func TestEveryByteOfTheJournalDamaged(t *testing.T) {
	dir := scratchDir(t)
	before := damaged(t, dir, func(a *actor) error { return a.store.Close(false) }) // leaves a mark that covers everything
	owners := recordOwners(t, before)
	step := 1
	if testing.Short() {
		step = 23
	}
	hurt, count := 0, 0
	for _, name := range filesOf(t, before.mem, "/journal", "") {
		info, err := before.mem.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		for at := int64(0); at < info.Size(); at += int64(step) {
			w := &world{mem: before.mem.CrashClone(nil), meta: before.meta, model: before.model}
			flip(t, w.mem, name, at, 1<<(at%8))
			offline, err := judgeDamage(w, dir, count%5 == 0)
			if err != nil {
				t.Fatalf("%s, byte %d: %v", name, at, err)
			}
			count++
			hurt += len(offline)
			for _, g := range offline {
				if !owners[name].at(at, g.ID()) {
					t.Fatalf("%s, byte %d: %s offline, whose record it is not: %v", name, at, g, g.Offline())
				}
			}
		}
	}
	t.Logf("%d bytes, %d Raft groups offline", count, hurt)
	if hurt < count/3 {
		t.Fatalf("only %d of %d damages took a Raft group offline", hurt, count)
	}
}

// ownership says whose record each byte of a journal file belongs to.
type ownership []struct {
	from int64
	id   GroupID
}

func (o ownership) at(pos int64, id GroupID) bool {
	owner := GroupID{}
	for _, r := range o {
		if r.from <= pos {
			owner = r.id
		}
	}
	return owner == id
}

// recordOwners finds the records by their magic; the payloads of this test are random and short.
func recordOwners(t *testing.T, w *world) map[string]ownership {
	t.Helper()
	owners := map[string]ownership{}
	for _, name := range filesOf(t, w.mem, "/journal", "") {
		b, err := readFile(w.mem, name, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at+journal.HeaderLen <= len(b); at++ {
			if string(b[at:at+4]) != "TJR1" {
				continue
			}
			from := int64(max(at-2, 0)) // the length prefix in front has one or two bytes
			owners[name] = append(owners[name], struct {
				from int64
				id   GroupID
			}{from, entry.ParseGroupID(b[at+32:])})
		}
	}
	return owners
}

// TestEveryByteOfASegmentDamaged: a payload that only the segment holds is verified at the start, one below the checkpoint when
// it is read; what the journal holds as well is written again. Wrong data is never served.
func TestEveryByteOfASegmentDamaged(t *testing.T) {
	dir := scratchDir(t)
	before := damaged(t, dir, func(a *actor) error { return a.store.Close(false) })
	step := int64(1)
	if testing.Short() {
		step = 23
	}
	count, hurt := 0, 0
	for _, name := range filesOf(t, before.mem, worldData, ".log") {
		info, err := before.mem.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		for at := int64(0); at < info.Size(); at += step {
			w := &world{mem: before.mem.CrashClone(nil), meta: before.meta, model: before.model}
			flip(t, w.mem, name, at, 1<<(at%8))
			offline, err := judgeDamage(w, dir, count%5 == 0)
			if err != nil {
				t.Fatalf("%s, byte %d: %v", name, at, err)
			}
			count++
			for _, g := range offline {
				hurt++
				if !strings.HasPrefix(name, path.Join(worldData, g.Folder())+"/") || !strings.Contains(g.Offline().Error(), path.Base(name)) {
					t.Fatalf("%s, byte %d: %s: %v", name, at, g, g.Offline())
				}
			}
		}
	}
	t.Logf("%d bytes, %d times a partition offline", count, hurt)
	if hurt == 0 {
		t.Fatal("no damage was found at the start")
	}
}

// The journal cut at every byte of its end, without its last mark: what is lost is a suffix, never a hole. With meta.db's mark
// above the cut it is corruption instead.
func TestJournalCutAtEveryByte(t *testing.T) {
	dir := scratchDir(t)
	for _, marked := range []bool{false, true} {
		before := damaged(t, dir, func(a *actor) error {
			if !marked {
				return nil
			}
			_, err := a.store.journal.Append(nil, true).Wait()
			if err == nil {
				err = a.store.dropJournal()
			}
			return err
		})
		name := ""
		for _, n := range filesOf(t, before.mem, "/journal", "") {
			if info, err := before.mem.Stat(n); err == nil && info.Size() > 0 {
				name = n
			}
		}
		info, err := before.mem.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		for size := max(info.Size()-1500, 0); size < info.Size(); size++ {
			w := &world{mem: before.mem.CrashClone(nil), meta: before.meta, model: before.model}
			cutFile(t, w.mem, name, size)
			if !marked {
				w.model = w.model.forgiving()
			}
			offline, err := judgeDamage(w, dir, false)
			if err != nil {
				t.Fatalf("marked %v, cut at %d of %d: %v", marked, size, info.Size(), err)
			}
			if marked != (len(offline) > 0) {
				t.Fatalf("marked %v, cut at %d of %d: %d offline", marked, size, info.Size(), len(offline))
			}
		}
	}
}

// cutFile takes the end of a file away, durably.
func cutFile(t *testing.T, mem *vfs.Mem, name string, size int64) {
	t.Helper()
	f, err := mem.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// forgiving is the model of a disk that lied about its last syncs: any suffix may be gone, votes may be older.
func (m model) forgiving() model {
	out := m
	for id := range m.groups {
		out = out.with(id, func(g *groupModel) {
			g.durable = g.snapshot
			g.voting = new(Vote)
		})
	}
	return out
}
