package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/journal"
	"github.com/tandembroker/tandem/storage/log"
	"github.com/tandembroker/tandem/storage/vfs"
)

// A log dir that is no longer configured takes its own partitions offline; others are created, and they can be deleted.
func TestLogDirTakenOutOfTheConfiguration(t *testing.T) {
	mem, meta := vfs.NewMem(), t.TempDir()
	o := testOptions(meta)
	o.FS, o.Dirs, o.MetaDir = mem, []string{"/a", "/b"}, meta
	s := openStore(t, o)
	var gone GroupID
	for i := range 2 {
		g, p := createGroup(t, s, i)
		mustAppend(t, g, p, p.noop(), p.epochBase(), p.data(100, entry.Synced))
		if g.dirIdx == 1 {
			gone = g.ID()
		}
	}
	s.Close(true)
	o.Dirs = o.Dirs[:1]
	s = openStore(t, o)
	if g, _ := s.Group(gone); g == nil || !errors.Is(g.Offline(), ErrOffline) {
		t.Fatal("the partition in the folder that is gone is not offline")
	}
	createGroup(t, s, 7)
	if err := s.DeleteGroup(gone); err != nil {
		t.Fatal(err)
	}
}

// damageRecord flips a byte of the first journal file of a closed store.
func damageRecord(t *testing.T, o Options, at int64) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(o.Dirs[0], journalDir, "0*"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	b, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 0xff
	if err := os.WriteFile(names[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A Raft group that damage took offline can be deleted.
func TestDeleteDamagedGroup(t *testing.T) {
	o := testOptions(t.TempDir())
	s := openStore(t, o)
	g, p := createGroup(t, s, 1)
	mustAppend(t, g, p, p.noop(), p.epochBase(), p.data(100, entry.Synced), p.data(20000, entry.Synced))
	g2, p2 := createGroup(t, s, 2)
	mustAppend(t, g2, p2, p2.noop())
	s.Close(false)
	damageRecord(t, o, 400) // the first entries
	s = openStore(t, o)
	g, ok := s.Group(groupID(1))
	if !ok || g.Offline() == nil {
		t.Fatal("not offline")
	}
	if err := s.DeleteGroup(groupID(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(o.Dirs[0], "topic-1")); !os.IsNotExist(err) {
		t.Fatalf("the folder is still there: %v", err)
	}
}

// Where the record of a creation is damaged, the Raft group must not be forgotten: it would be created again, empty.
func TestDamagedCreationIsNotForgotten(t *testing.T) {
	o := testOptions(t.TempDir())
	s := openStore(t, o)
	createGroup(t, s, 1)
	createGroup(t, s, 2) // names the one before
	s.Close(false)
	damageRecord(t, o, 5) // in the header of the first record
	s = openStore(t, o)
	g, ok := s.Group(groupID(1))
	if !ok || g.Offline() == nil {
		t.Fatalf("known %v", ok)
	}
	if err := s.Checkpoint(t.Context(), snapshotAll); err != nil {
		t.Fatal(err)
	}
	s.Close(false)
	s = openStore(t, o)
	if g, ok := s.Group(groupID(1)); !ok || g.Offline() == nil {
		t.Fatalf("known %v after a checkpoint", ok)
	}
}

// A checkpoint beside a deletion names either the Raft group as removed, or keeps the record of the deletion.
func TestCheckpointBesideDeletion(t *testing.T) {
	s := openStore(t, testOptions(t.TempDir()))
	type answer struct {
		first   uint64
		removed map[GroupID]bool
	}
	for round := range 60 {
		id := groupID(round)
		if _, err := s.CreateGroup(id, "", 0, log.Options{}); err != nil {
			t.Fatal(err)
		}
		if g, _ := s.Group(id); g.saveRow() != nil {
			t.Fatal("row not saved")
		}
		var answers []answer
		var wg sync.WaitGroup
		stop := make(chan struct{})
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				first, removed := s.keep()
				a := answer{first, map[GroupID]bool{}}
				for _, r := range removed {
					a.removed[r] = true
				}
				answers = append(answers, a)
			}
		})
		if err := s.DeleteGroup(id); err != nil {
			t.Fatal(err)
		}
		close(stop)
		wg.Wait()
		deleted := s.mu.deleted[id].sequence
		for _, a := range answers {
			if a.first > deleted && !a.removed[id] {
				t.Fatalf("round %d: the journal is kept from %d, the group was deleted by record %d and stays in meta.db", round, a.first, deleted)
			}
		}
	}
}

// Retention never goes beyond the log start offset of the checkpoint: an older segment that is missing is lost data.
func TestMissingOldestSegmentIsDamage(t *testing.T) {
	o := testOptions(t.TempDir())
	o.LogOptions = func(string) log.Options { return log.Options{SegmentBytes: 50_000} }
	s := openStore(t, o)
	g, p := createGroup(t, s, 1)
	g.Log().SetOptions(o.LogOptions(""))
	mustAppend(t, g, p, p.noop(), p.epochBase())
	for range 10 {
		mustAppend(t, g, p, p.data(20000, entry.Synced))
	}
	if err := s.Checkpoint(t.Context(), snapshotAll); err != nil {
		t.Fatal(err)
	}
	segments := g.Log().Segments()
	if len(segments) < 3 {
		t.Fatal("too few segments")
	}
	s.Close(true)
	for _, suffix := range []string{".log", ".index", ".timeindex"} {
		_ = os.Remove(filepath.Join(o.Dirs[0], "topic-1", fmt.Sprintf("%020d%s", segments[0].Base, suffix)))
	}
	s = openStore(t, o)
	if g, _ := s.Group(groupID(1)); !errors.Is(g.Offline(), ErrCorrupt) {
		t.Fatalf("%v; the log begins at %d", g.Offline(), g.Log().LogStart())
	}
}

// A disk that fills within one SpaceInterval refuses writes before one of them fails, which would stop the process.
func TestDiskFillsFasterThanItIsLookedAt(t *testing.T) {
	mem, meta := vfs.NewMem(), t.TempDir()
	mem.SetCapacity(24 << 20)
	o := testOptions(meta)
	o.FS, o.Dirs, o.MetaDir, o.ReserveBytes, o.SpaceInterval = mem, []string{"/a"}, meta, 8<<20, time.Hour
	s := openStore(t, o)
	g, p := createGroup(t, s, 1)
	mustAppend(t, g, p, p.noop(), p.epochBase())
	for s.Writable() == nil {
		e := p.data(100_000, entry.Synced)
		if err := g.Append([]Entry{e}, p.state); err != nil {
			t.Fatalf("at %d bytes: %v", g.Log().Size(), err)
		}
	}
	if err := s.Writable(); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
}

// A process that was killed in a checkpoint may leave its last transaction in the page cache only. Nothing may be unlinked or cut on
// its word before it is on the disk: a start commits first.
func TestStartMakesMetaDurableFirst(t *testing.T) {
	o := testOptions(t.TempDir())
	s := openStore(t, o)
	createGroup(t, s, 1)
	if err := s.Checkpoint(t.Context(), snapshotAll); err != nil {
		t.Fatal(err)
	}
	s.Close(false)
	before := transactionOf(t, o)
	atJournal := uint64(0)
	o.journalLibrary = func(dir string) (journal.Library, error) {
		atJournal = transactionOf(t, o)
		return nil, errors.New("far enough")
	}
	if _, err := Open(o); err == nil {
		t.Fatal("opened")
	}
	if atJournal <= before {
		t.Fatalf("the journal was repaired by what transaction %d says, the last one before the start is %d", atJournal, before)
	}
}

// transactionOf is the newest transaction of meta.db.
func transactionOf(t *testing.T, o Options) uint64 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(o.Dirs[0], metaFile))
	if err != nil {
		t.Fatal(err)
	}
	const at = 16 + 48 // page header; transaction in the meta page
	return max(binary.LittleEndian.Uint64(b[at:]), binary.LittleEndian.Uint64(b[os.Getpagesize()+at:]))
}

// A process that was killed between the rename of a deleted folder and the sync of that: the next start may forget the deletion
// only when the folder can not come back.
func TestDeletedFolderDoesNotComeBack(t *testing.T) {
	mem, meta := vfs.NewMem(), t.TempDir()
	o := testOptions(meta)
	o.FS, o.Dirs, o.MetaDir = mem, []string{"/a"}, meta
	s := openStore(t, o)
	g, p := createGroup(t, s, 1)
	mustAppend(t, g, p, p.noop(), p.epochBase(), p.data(20000, entry.Synced))
	mem.SetHook((&vfs.Fault{Ops: vfs.OpRename, Err: syscall.EIO}).Hook)
	if err := s.DeleteGroup(groupID(1)); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	mem.SetHook(nil)
	s.Close(false)
	if err := mem.Rename("/a/topic-1", "/a/topic-1.0123456789abcdef0123456789abcdef-delete"); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, o)
	if err := s.Checkpoint(t.Context(), snapshotAll); err != nil {
		t.Fatal(err)
	}
	s.Close(false)
	o.FS = mem.CrashClone(nil)
	s = openStore(t, o)
	createGroup(t, s, 1) // the same name and id: nothing is left of the old one
}
