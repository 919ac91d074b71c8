package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
	"github.com/tandembroker/tandem/storage/vfs"
)

// TestEveryCallFails fails the n-th call that changes the file system, for every n: what was acknowledged before is there after
// a restart, and nothing is acknowledged after journal or segments have failed.
func TestEveryCallFails(t *testing.T) {
	for level := 1; level <= 2; level++ {
		t.Run(fmt.Sprintf("level %d", level), func(t *testing.T) { everyCallFails(t, level) })
	}
}

func everyCallFails(t *testing.T, level int) {
	dir := scratchDir(t)
	failed, last := 0, 0
	for n := 0; ; n++ {
		if testing.Short() && n > 0 {
			n += 6
		}
		f := &vfs.Fault{Ops: vfs.OpChanges, N: n, Err: syscall.EIO, Short: n % 700, Sticky: n%2 == 0}
		d := &driver{rng: rand.New(rand.NewPCG(7, 7)), dir: dir}
		d.mu.rng, d.mu.off = rand.New(rand.NewPCG(8, 8)), true
		w := &world{mem: vfs.NewMem(), level: level}
		err := runUntilError(d, w, f)
		if !f.Hit() {
			if err != nil {
				t.Fatalf("call %d: %v without a fault", n, err)
			}
			break
		}
		last = n
		if err != nil {
			failed++
			if !errors.Is(err, syscall.EIO) && !errors.Is(err, ErrClosed) {
				t.Errorf("call %d: the cause is lost: %v", n, err)
			}
		}
		for _, state := range []*world{d.after(nil), d.after(rand.New(rand.NewPCG(uint64(n), 1)))} {
			s, err := state.start(dir)
			if err != nil {
				t.Fatalf("call %d failed, and the next start with it: %v", n, err)
			}
			if err := state.model.check(s); err != nil {
				t.Fatalf("call %d failed: %v", n, err)
			}
			s.Close(false)
		}
	}
	t.Logf("%d calls, %d runs ended by the fault", last+1, failed)
	if failed < 10 {
		t.Fatalf("only %d runs noticed their fault", failed)
	}
}

// after is the world once the process has ended.
func (d *driver) after(rng *rand.Rand) *world {
	d.mem.SetHook(nil)
	return capture(d.mem, d.dir, nil, d.model(), rng, "")
}

func runUntilError(d *driver, w *world, f *vfs.Fault) error {
	d.mem = w.mem
	d.mem.SetHook(f.Hook)
	s, err := w.start(d.dir)
	if err != nil {
		return err
	}
	d.store, d.mu.store = s, s
	defer s.Close(false)
	a := &actor{driver: d, rng: d.rng, producers: map[GroupID]*producer{}}
	for range 25 {
		what, err := a.step(crashGroups[a.rng.IntN(len(crashGroups))])
		if err == nil {
			continue
		}
		if s.Failed() != nil {
			for _, g := range s.Groups() {
				if g.SetVote(Vote{Term: 99}) == nil || g.Append([]Entry{{Index: g.mu.last + 1, Term: 99, Type: typeNoop}}, g.State()) == nil {
					return fmt.Errorf("%s acknowledges after the store has failed", g)
				}
			}
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// TestEveryCallOfAStartFails fails the n-th call of a recovery, reads included: it may refuse to start or take Raft groups
// offline, but the start after it finds everything.
func TestEveryCallOfAStartFails(t *testing.T) {
	dir := scratchDir(t)
	d := &driver{rng: rand.New(rand.NewPCG(17, 7)), dir: dir}
	d.mu.rng, d.mu.off = rand.New(rand.NewPCG(8, 8)), true
	if err := runUntilError(d, &world{mem: vfs.NewMem(), level: 2}, &vfs.Fault{N: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	before := d.after(rand.New(rand.NewPCG(3, 3)))
	for n := 0; ; n++ {
		f := &vfs.Fault{Ops: vfs.OpAny &^ vfs.OpClose, N: n, Err: syscall.EIO, Short: n % 100}
		w := &world{mem: before.mem.CrashClone(nil), meta: before.meta, model: before.model}
		w.mem.SetHook(f.Hook)
		s, err := w.start(dir)
		if err == nil {
			for _, g := range s.Groups() {
				gm := w.model.groups[g.ID()]
				if errGroup := g.Offline(); errGroup == nil {
					if errGroup = gm.check(g); errGroup != nil && !errors.Is(errGroup, syscall.EIO) {
						t.Fatalf("call %d failed, and %s is wrong: %v", n, g, errGroup)
					}
				}
			}
			w.mem.SetHook(nil)
			s.Close(false)
		}
		w.mem.SetHook(nil)
		again := capture(w.mem, dir, nil, w.model, nil, "")
		s, err = again.start(dir)
		if err != nil {
			t.Fatalf("call %d failed, and the next start with it: %v", n, err)
		}
		if err := w.model.check(s); err != nil {
			t.Fatalf("call %d failed: %v", n, err)
		}
		s.Close(false)
		if !f.Hit() {
			t.Logf("%d calls", n)
			break
		}
	}
}

// A broken log dir takes its own partitions offline; the others, and the journal with its mark, go on.
func TestOneLogDirFails(t *testing.T) {
	mem, meta := vfs.NewMem(), t.TempDir()
	o := testOptions(meta)
	o.FS, o.Dirs, o.MetaDir = mem, []string{"/a", "/b"}, meta
	s := openStore(t, o)
	var groups [2]*Group
	var producers [2]*producer
	for i := range groups {
		groups[i], producers[i] = createGroup(t, s, i)
		p := producers[i]
		mustAppend(t, groups[i], p, p.noop(), p.epochBase(), p.data(20000, entry.Synced))
	}
	if groups[0].dirIdx == groups[1].dirIdx {
		t.Fatal("both partitions are in one log dir")
	}
	broken := s.dirs[groups[1].dirIdx].path
	mem.SetHook(func(c vfs.Call) vfs.Outcome {
		if c.Op == vfs.OpSync && strings.HasPrefix(c.Name, broken) {
			return vfs.Outcome{Err: syscall.EIO}
		}
		return vfs.Outcome{}
	})
	e := producers[1].data(20000, entry.Synced)
	if err := groups[1].Append([]Entry{e}, producers[1].state); !errors.Is(err, ErrOffline) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("got %v", err)
	}
	if err := groups[1].Offline(); !errors.Is(err, ErrOffline) || groups[0].Offline() != nil || s.Failed() != nil {
		t.Fatalf("offline: %v; the other: %v; store: %v", err, groups[0].Offline(), s.Failed())
	}
	p := producers[0]
	mustAppend(t, groups[0], p, p.data(20000, entry.Synced), p.data(100, entry.Synced))
	if err := s.Checkpoint(t.Context(), snapshotAll); err != nil {
		t.Fatal(err)
	}
	if mark, next := s.journal.Mark(), s.journal.NextSequence(); mark != next-1 {
		t.Fatalf("the mark is stuck at %d, the journal at %d", mark, next)
	}
	if g, _ := createGroup(t, s, 5); s.dirs[g.dirIdx].path == broken {
		t.Fatal("a new partition in the broken log dir")
	}
	mem.SetHook(nil)
	s.Close(false)
	o.FS = mem.CrashClone(nil)
	s = openStore(t, o)
	g, _ := s.Group(groupID(1))
	if err := g.Offline(); err != nil || g.LastIndex() != 3 {
		t.Fatalf("after repair: %v, last index %d: the entry that failed must be dropped", err, g.LastIndex())
	}
	payloads(t, g)
}

func TestFatalIsReportedOnce(t *testing.T) {
	mem, meta := vfs.NewMem(), t.TempDir()
	o := testOptions(meta)
	calls := 0
	o.FS, o.Dirs, o.MetaDir, o.OnFatal = mem, []string{"/a"}, meta, func(error) { calls++ }
	s := openStore(t, o)
	g, p := createGroup(t, s, 1)
	mem.SetHook((&vfs.Fault{Ops: vfs.OpWrite, Err: syscall.EIO, Sticky: true}).Hook)
	for range 3 {
		if err := g.Append([]Entry{p.epochBase(), p.data(100, entry.Synced)}, p.state); !errors.Is(err, syscall.EIO) {
			t.Fatalf("got %v", err)
		}
		p.index = 0
		p.resume(0, p.term, entry.NewState(0))
	}
	if calls != 1 || s.Writable() == nil {
		t.Fatalf("OnFatal called %d times, writable %v", calls, s.Writable())
	}
}

func TestDiskFull(t *testing.T) {
	mem, meta := vfs.NewMem(), t.TempDir()
	o := testOptions(meta)
	o.FS, o.Dirs, o.MetaDir, o.ReserveBytes = mem, []string{"/a"}, meta, 1<<20
	s := openStore(t, o)
	g, p := createGroup(t, s, 1)
	mustAppend(t, g, p, p.noop(), p.epochBase(), p.data(100, entry.Synced))
	s.space.refresh()
	if err := s.Writable(); err != nil {
		t.Fatal(err)
	}
	total, _ := mem.Total("/a")
	free, _ := mem.Free("/a")
	mem.SetCapacity(int64(total-free) + 1)
	s.space.refresh()
	if err := s.Writable(); !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "/a") {
		t.Fatalf("got %v", err)
	}
	if payloads(t, g); s.DeleteGroup(g.ID()) != nil {
		t.Fatal("reads and deletes go on")
	}
	mem.SetCapacity(1 << 30)
	s.space.refresh()
	if err := s.Writable(); err != nil {
		t.Fatalf("does not resume: %v", err)
	}
}

// Another process fills the disk: a write that comes later is refused, not tried, however long ago the disk was last looked at.
func TestDiskFilledByAnother(t *testing.T) {
	mem, meta := vfs.NewMem(), t.TempDir()
	o := testOptions(meta)
	now := time.Now()
	o.FS, o.Dirs, o.MetaDir, o.ReserveBytes, o.SpaceInterval = mem, []string{"/a"}, meta, 1<<20, time.Hour
	o.Now = func() time.Time { return now }
	s := openStore(t, o)
	g, p := createGroup(t, s, 1)
	mustAppend(t, g, p, p.noop(), p.epochBase(), p.data(100, entry.Synced))
	if err := s.Writable(); err != nil {
		t.Fatal(err)
	}
	total, _ := mem.Total("/a")
	free, _ := mem.Free("/a")
	mem.SetCapacity(int64(total - free))
	now = now.Add(2 * freshFor)
	if err := s.Writable(); !errors.Is(err, ErrNoSpace) {
		t.Fatalf("got %v", err)
	}
	mem.SetCapacity(int64(total))
	now = now.Add(2 * freshFor)
	if err := s.Writable(); err != nil {
		t.Fatalf("does not resume: %v", err)
	}
}

// A disk smaller than what is reserved on a large one is written to all the same.
func TestSmallDisk(t *testing.T) {
	mem, meta := vfs.NewMem(), t.TempDir()
	mem.SetCapacity(32 << 20)
	o := testOptions(meta)
	o.FS, o.Dirs, o.MetaDir, o.ReserveBytes, o.SpaceInterval = mem, []string{"/a"}, meta, 128<<20, time.Hour
	s := openStore(t, o)
	g, p := createGroup(t, s, 1)
	mustAppend(t, g, p, p.noop(), p.epochBase())
	s.space.refresh()
	for s.Writable() == nil {
		if err := g.Append([]Entry{p.data(100_000, entry.Synced)}, p.state); err != nil {
			t.Fatalf("at %d bytes: %v", g.Log().Size(), err)
		}
	}
	if size := g.Log().Size(); size < 16<<20 {
		t.Fatalf("refused after %d bytes", size)
	}
}

func TestBallast(t *testing.T) {
	o := testOptions(t.TempDir())
	o.BallastBytes, o.ReserveBytes = 1<<20, 1<<20
	s := openStore(t, o)
	s.Close(true) // ends the watcher: from here on this test is the only one that looks
	fsys := vfs.OS{}
	sp := newSpace(s)
	s.opts.MetaDir = o.Dirs[0]
	sp.keepBallast()
	name := sp.ballastName()
	if info, err := fsys.Stat(name); err != nil || info.Size() != 1<<20 || !sp.whole.Load() {
		t.Fatalf("%v, %v", info, err)
	}
	sp.release(0)
	if _, err := fsys.Stat(name); err == nil || sp.whole.Load() {
		t.Fatal("still there")
	}
	sp.keepBallast()
	if _, err := fsys.Stat(name); err != nil || !sp.whole.Load() {
		t.Fatal("not made again")
	}
	if sp.prepareRecovery(); !sp.whole.Load() {
		t.Fatal("given up, with room for recovery")
	}
	sp.makeRoom(1<<20-1, o.BallastBytes)
	if _, err := fsys.Stat(name); err == nil {
		t.Fatal("kept, with no room for recovery")
	}
}

func TestVotePinsTheJournal(t *testing.T) {
	s := openStore(t, testOptions(t.TempDir()))
	g, _ := createGroup(t, s, 1)
	if err := s.Checkpoint(t.Context(), snapshotAll); err != nil {
		t.Fatal(err)
	}
	before := s.journal.NextSequence()
	if err := g.SetVote(Vote{Term: 5}); err != nil {
		t.Fatal(err)
	}
	if first, _ := s.keep(); first > before {
		t.Fatalf("a vote at record %d is not in meta.db, and the journal is kept from %d", before, first)
	}
	if _, err := s.CreateGroup(groupID(2), "other-0", 0, log.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := g.saveRow(); err != nil {
		t.Fatal(err)
	}
	if first, _ := s.keep(); first <= before {
		t.Fatal("a saved vote still pins the journal")
	}
}

// A folder that could not be removed keeps its deleted record in the journal until a later start has removed it.
func TestUnfinishedDeletionIsFinishedByALaterStart(t *testing.T) {
	mem, meta := vfs.NewMem(), t.TempDir()
	o := testOptions(meta)
	o.FS, o.Dirs, o.MetaDir, o.JournalSegmentBytes = mem, []string{"/a"}, meta, 1
	s := openStore(t, o)
	g, p := createGroup(t, s, 1)
	other, op := createGroup(t, s, 2)
	mustAppend(t, g, p, p.noop(), p.epochBase(), p.data(100, entry.Synced))
	mem.SetHook((&vfs.Fault{Ops: vfs.OpRename, Err: syscall.EIO}).Hook)
	if err := s.DeleteGroup(g.ID()); !errors.Is(err, syscall.EIO) {
		t.Fatalf("got %v", err)
	}
	mem.SetHook(nil)
	if _, ok := s.Group(g.ID()); ok {
		t.Fatal("a deleted Raft group is still there")
	}
	if _, err := s.CreateGroup(groupID(3), g.Folder(), 0, log.Options{}); !errors.Is(err, ErrExists) {
		t.Fatalf("the folder of a deleted Raft group is taken: %v", err)
	}
	for i := range 3 {
		mustAppend(t, other, op, op.noop())
		if err := s.Checkpoint(t.Context(), snapshotAll); err != nil {
			t.Fatal(err)
		}
		_, err := mem.Stat("/a/topic-1")
		if gone := errors.Is(err, fs.ErrNotExist); gone != (i > 0) {
			t.Fatalf("start %d: folder gone: %v", i, gone)
		}
		s.Close(i == 1)
		s = openStore(t, o)
		if n := len(s.Groups()); n != 1 {
			t.Fatalf("%d Raft groups", n)
		}
		other, _ = s.Group(groupID(2))
	}
	if len(s.mu.deleted) != 0 {
		t.Fatalf("still remembered: %+v", s.mu.deleted)
	}
}

// The folder may be there before the first start, its own name not yet on the disk.
func TestNameOfANewDataFolderIsDurable(t *testing.T) {
	mem, meta := vfs.NewMem(), t.TempDir()
	if err := mem.MkdirAll("/mnt/a", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := mem.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	o := testOptions(meta)
	o.FS, o.Dirs, o.MetaDir = mem, []string{"/mnt/a", "/mnt/b"}, meta
	s := openStore(t, o)
	for i := range 2 {
		g, p := createGroup(t, s, i)
		mustAppend(t, g, p, p.noop(), p.epochBase(), p.data(30000, entry.Synced))
	}
	s.Close(false)
	o.FS = mem.CrashClone(nil)
	s = openStore(t, o)
	for _, g := range s.Groups() {
		if g.Offline() != nil || g.LastIndex() != 3 {
			t.Fatalf("%s: %v, last index %d", g, g.Offline(), g.LastIndex())
		}
	}
}
