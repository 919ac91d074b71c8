package storage

import (
	"context"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/journal"
)

// checkpointAll takes a checkpoint that covers every entry, so that it needs nothing of the journal. It returns how far the
// journal was synced then.
func (d *actor) checkpointAll() (mark uint64, err error) {
	err = d.store.Checkpoint(context.Background(), func(_ context.Context, g *Group) error {
		gm := d.model().groups[g.ID()]
		last := g.LastIndex()
		if err := g.SaveSnapshot(gm.snapshotOf(gm.entries, last)); err != nil {
			return err
		}
		d.change(g.ID(), func(m *groupModel) { m.snapshot, m.durable = last, max(m.durable, last) })
		return nil
	})
	return d.store.meta.Journal().Mark, err
}

// recordEnds are the ends of all records of a journal file, in bytes, by sequence.
func recordEnds(t *testing.T, w *world, name string) map[uint64]int64 {
	t.Helper()
	b, err := readFile(w.mem, name, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	ends := map[uint64]int64{}
	for at := 0; at+journal.HeaderLen <= len(b); at++ {
		if string(b[at:at+4]) == "TJR1" {
			length := int64(b[at+8])<<24 | int64(b[at+9])<<16 | int64(b[at+10])<<8 | int64(b[at+11])
			ends[uint64(b[at+22])<<8|uint64(b[at+23])] = int64(at) + length
		}
	}
	return ends
}

// The last checkpoint needs nothing of the journal, and then the journal loses its end, from below that checkpoint on: with what
// was acknowledged behind the checkpoint, of any Raft group. All of them say so, at every start, with file and byte.
func TestJournalCutBelowACheckpointThatNeedsNothingOfIt(t *testing.T) {
	dir := scratchDir(t)
	mark := uint64(0)
	before := damaged(t, dir, func(a *actor) (err error) {
		if mark, err = a.checkpointAll(); err != nil {
			return err
		}
		if jc := a.store.meta.Journal(); jc.First <= mark {
			t.Fatalf("the checkpoint needs the journal from record %d on, the mark is %d", jc.First, mark)
		}
		for _, id := range crashGroups[1:] { // acknowledged behind the checkpoint
			g, _ := a.store.Group(id)
			if err := a.append(g, a.model().groups[id]); err != nil {
				return err
			}
		}
		return nil
	})
	files := filesOf(t, before.mem, "/journal", "")
	if len(files) != 1 {
		t.Fatalf("files %v", files)
	}
	ends := recordEnds(t, before, files[0])
	if ends[mark] == 0 || ends[mark+1] == 0 {
		t.Fatalf("records %v, mark %d", ends, mark)
	}
	step := int64(1)
	if testing.Short() {
		step = 7
	}
	count := 0
	for size := int64(0); size < ends[mark]; size += step {
		w := &world{mem: before.mem.CrashClone(nil), meta: before.meta, model: before.model}
		cutFile(t, w.mem, files[0], size)
		offline, err := judgeDamage(w, dir, count%5 == 0)
		if err != nil {
			t.Fatalf("cut at %d of %d: %v", size, ends[mark], err)
		}
		if len(offline) != len(before.model.groups) {
			t.Fatalf("cut at %d of %d: %d of %d Raft groups are offline", size, ends[mark], len(offline), len(before.model.groups))
		}
		for _, g := range offline {
			if !strings.Contains(g.Offline().Error(), path.Base(files[0])) {
				t.Fatalf("cut at %d of %d: %v", size, ends[mark], g.Offline())
			}
		}
		count++
	}
	w := &world{mem: before.mem.CrashClone(nil), meta: before.meta, model: before.model.forgiving()}
	cutFile(t, w.mem, files[0], ends[mark])
	if offline, err := judgeDamage(w, dir, false); err != nil || len(offline) > 0 {
		t.Fatalf("cut where the checkpoint was taken: %d offline, %v", len(offline), err)
	}
}

// Between two checkpoints meta.db follows the mark: a journal cut below it is not taken for one that a power loss ended.
func TestMarkIsStoredBetweenCheckpoints(t *testing.T) {
	o := testOptions(t.TempDir())
	o.MarkSaveInterval, o.CheckpointInterval = time.Millisecond, time.Hour
	s := openStore(t, o)
	g, p := createGroup(t, s, 1)
	mustAppend(t, g, p, p.noop(), p.epochBase(), p.data(100, entry.Synced))
	last := s.journal.NextSequence() - 1
	for deadline := time.Now().Add(10 * time.Second); s.meta.Journal().Mark < last; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("meta.db has mark %d, the journal %d", s.meta.Journal().Mark, s.journal.Mark())
		}
	}
	if jc := s.meta.Journal(); jc.First > 1 {
		t.Fatalf("the journal is kept from record %d only, without a checkpoint", jc.First)
	}
	if err := s.Close(false); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(o.Dirs[0], journalDir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v", files, err)
	}
	if err := os.Truncate(files[0], 0); err != nil {
		t.Fatal(err)
	}
	for range 3 { // the creation of the Raft group is lost as well: it must not be forgotten that there was something
		s = openStore(t, o)
		if g, ok := s.Group(entry.MetadataGroup); !ok || g.Offline() == nil || !strings.Contains(g.Offline().Error(), "byte 0") {
			t.Fatalf("the journal has lost its end, and the metadata is made anew (%v)", ok)
		}
		if err := s.Checkpoint(t.Context(), snapshotAll); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(true); err != nil {
			t.Fatal(err)
		}
	}
}
