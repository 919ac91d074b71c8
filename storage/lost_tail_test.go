package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/journal"
	"github.com/tandembroker/tandem/storage/log"
	"github.com/tandembroker/tandem/storage/meta"
)

// The journal loses its end below the mark of meta.db, anywhere in the last records: the Raft groups whose records these were are
// offline, at this start and at every later one; the others serve, and lose nothing.
func TestLostEndHurtsOnlyItsRaftGroups(t *testing.T) {
	dir := scratchDir(t)
	before := marked(t, dir, 1)
	j := tailOf(t, before)
	first := slices.Min(slices.Collect(maps.Keys(j.ends)))
	if len(j.ends) < 6 {
		t.Fatalf("%d records in the last file", len(j.ends))
	}
	seen := map[int]int{}
	step := func(size int64) int64 {
		switch {
		case testing.Short():
			return 37
		case size < j.ends[j.mark-3]:
			return 11
		}
		return 1
	}
	for size := j.ends[first]; size < j.ends[j.mark]; size += step(size) {
		hurt := map[GroupID]bool{}
		for sequence := j.mark; j.ends[sequence] > size; sequence-- {
			hurt[j.owner(sequence)] = true
		}
		seen[len(hurt)]++
		l := lose(t, before, dir, j.file, size, hurt)
		if size%7 == 0 || testing.Short() {
			l.live()
			continue
		}
		for range 2 {
			l.open()
			l.kill()
		}
	}
	if seen[1] == 0 || seen[2] == 0 || seen[3] == 0 {
		t.Fatalf("hurt Raft groups: %v", seen)
	}
}

// Checkpoints cover all but one Raft group, which keeps the journal from its first record on: of the lost end it alone needs anything.
func TestLostEndThatCheckpointsCover(t *testing.T) {
	dir := scratchDir(t)
	busy := crashGroups[1]
	before := damaged(t, dir, func(a *actor) error {
		l := &lostWorld{actor: a, t: t}
		l.write(1)
		err := a.store.Checkpoint(context.Background(), func(_ context.Context, g *Group) error {
			if g.ID() == busy {
				return nil
			}
			gm := a.model().groups[g.ID()]
			a.change(g.ID(), func(m *groupModel) { m.snapshot, m.durable = g.LastIndex(), g.LastIndex() })
			return g.SaveSnapshot(gm.snapshotOf(gm.entries, g.LastIndex()))
		})
		if jc := a.store.meta.Journal(); jc.First >= jc.Mark-6 || jc.Mark != a.store.journal.NextSequence()-1 {
			t.Fatalf("the journal is kept from %d on, the mark is %d", jc.First, jc.Mark)
		}
		return err
	})
	j := tailOf(t, before)
	seen := map[int]int{}
	for sequence := j.mark; j.ends[sequence-1] != 0 && sequence > j.mark-6; sequence-- {
		hurt := map[GroupID]bool{}
		for lost := sequence; lost <= j.mark; lost++ {
			if id := j.owner(lost); id == busy {
				hurt[id] = true
			}
		}
		seen[len(hurt)]++
		for _, size := range []int64{j.ends[sequence] - 1, j.ends[sequence-1] + 200, j.ends[sequence-1]} { // the second one leaves the header
			lose(t, before, dir, j.file, size, hurt).live()
		}
	}
	if seen[0] == 0 || seen[1] == 0 {
		t.Fatalf("hurt Raft groups: %v", seen)
	}
}

// The journal loses its end, goes on, and loses its end again: what the first loss hurt stays hurt, the second one hurts its own, and
// metadata serves all the while.
func TestSecondLostEnd(t *testing.T) {
	dir := scratchDir(t)
	second := crashGroups[2]
	before := damaged(t, dir, func(a *actor) error {
		g, _ := a.store.Group(crashGroups[1])
		err := a.append(g, a.model().groups[crashGroups[1]])
		(&lostWorld{actor: a, t: t}).write(0)
		(&lostWorld{actor: a, t: t}).saveMark()
		return err
	})
	j := tailOf(t, before)
	for _, checkpoint := range []bool{false, true} {
		l := lose(t, before, dir, j.file, j.ends[j.mark]-1, map[GroupID]bool{crashGroups[1]: true})
		l.open()
		l.write(2)
		if checkpoint {
			l.checkpoint()
		}
		g, _ := l.store.Group(second)
		if err := l.append(g, l.model().groups[second]); err != nil {
			t.Fatal(err)
		}
		l.write(0)
		l.saveMark()
		l.kill()
		j := tailOf(t, l.w)
		again := lose(t, l.w, dir, j.file, j.ends[j.mark]-1, map[GroupID]bool{crashGroups[1]: true, second: true})
		again.file, again.how = "", fmt.Sprintf("checkpoint %v", checkpoint)
		again.live()
	}
}

// Power is lost at any moment of the start that finds the lost end: the next one judges as it would have.
func TestPowerLossWhileALostEndIsFound(t *testing.T) {
	dir := scratchDir(t)
	before := marked(t, dir, 1)
	j := tailOf(t, before)
	for _, older := range []bool{false, true} {
		hurt := map[GroupID]bool{j.owner(j.mark): true}
		if older {
			forgetTails(t, before, dir)
			for id := range before.model.groups {
				hurt[id] = true
			}
		}
		l := lose(t, before, dir, j.file, j.ends[j.mark-1], hurt)
		l.mem, l.clones, l.mu.rng, l.mu.model = l.w.mem, 2, l.rng, l.w.model
		l.mem.SetHook(l.hook)
		l.open()
		l.mem.SetHook(nil)
		l.kill()
		if len(l.mu.states) < 6 {
			t.Fatalf("%d states", len(l.mu.states))
		}
		for _, state := range l.mu.states {
			next := lose(t, state, dir, j.file, j.ends[j.mark-1], hurt)
			next.how = fmt.Sprintf("older %v, %s", older, state.how)
			next.live()
		}
	}
}

// The last checkpoint, or a clean stop, needs nothing of the journal. Then the journal loses its end, from below that checkpoint on:
// that is logged, and nobody is hurt. What was written in the moment before the process ended, above the stored mark, may be lost
// with it, as in a power loss; it leaves no hole.
func TestLostEndThatNobodyNeeds(t *testing.T) {
	dir := scratchDir(t)
	for _, clean := range []bool{true, false} {
		before := damaged(t, dir, func(a *actor) error {
			l := &lostWorld{actor: a, t: t, w: &world{mem: a.mem}}
			l.checkpoint()
			if clean {
				l.stop()
				return nil
			}
			l.write(1)
			return nil
		})
		if clean {
			b, err := os.ReadFile(filepath.Join(dir, metaFile))
			if err != nil {
				t.Fatal(err)
			}
			before.meta = b
		} else {
			before.model = before.model.forgiving()
		}
		j := tailOf(t, before)
		for size := int64(0); size < j.ends[j.mark]; size += 97 {
			l := lose(t, before, dir, j.file, size, nil)
			l.how = fmt.Sprintf("clean %v, %s", clean, l.how)
			l.live()
		}
	}
}

// Whole files are gone, the last one or all.
func TestLostFilesHurtOnlyTheirRaftGroups(t *testing.T) {
	dir := scratchDir(t)
	before := damaged(t, dir, func(a *actor) error {
		l := &lostWorld{actor: a, t: t}
		l.checkpoint()
		l.write(6)
		l.saveMark()
		return nil
	})
	names := filesOf(t, before.mem, "/journal", "")
	if len(names) < 3 {
		t.Fatalf("files %v", names)
	}
	for keep := range names {
		w := &world{mem: before.mem.CrashClone(nil), meta: before.meta, model: before.model}
		hurt := map[GroupID]bool{}
		for _, name := range names[keep:] {
			if err := w.mem.Remove(name); err != nil {
				t.Fatal(err)
			}
			for _, o := range recordOwners(t, before)[name] {
				hurt[o.id] = true
			}
		}
		if err := w.mem.SyncDir("/journal"); err != nil {
			t.Fatal(err)
		}
		delete(hurt, GroupID{})
		d := &driver{rng: rand.New(rand.NewPCG(9, uint64(keep))), dir: dir}
		file := path.Base(names[max(keep-1, 0)])
		if keep == 0 {
			file = "journal"
		}
		l := &lostWorld{actor: &actor{driver: d, rng: d.rng}, t: t, w: w, hurt: hurt, how: fmt.Sprintf("%d files left", keep), file: file}
		if keep == 0 {
			l.file = fmt.Sprintf("%020d", l.firstKept())
		}
		l.live()
	}
}

// A directory of an older binary says nothing of where the Raft groups end: each of them may be hurt by a lost end, metadata too where
// nobody knows it, and stays so at each start. Without a loss it goes on, and the next loss is told by Raft group.
func TestLostEndOfAnOlderDirectory(t *testing.T) {
	dir := scratchDir(t)
	before := marked(t, dir, 1)
	forgetTails(t, before, dir)
	j := tailOf(t, before)
	all := map[GroupID]bool{}
	for id := range before.model.groups {
		all[id] = true
	}
	for _, size := range []int64{j.ends[j.mark-1], j.ends[j.mark-1] + 5, j.ends[j.mark-2] + 5} {
		lose(t, before, dir, j.file, size, all).live()
	}
	lose(t, before, dir, j.file, j.ends[j.mark]-1, map[GroupID]bool{j.owner(j.mark): true}).live() // its header is there
	// Opened as it is.
	l := lose(t, before, dir, j.file, j.ends[j.mark], nil)
	l.open()
	l.kill()
	file := filesOf(t, l.w.mem, "/journal", "")
	if j.file != file[len(file)-2] {
		t.Fatalf("files %v", file)
	}
	if err := l.w.mem.Remove(file[len(file)-1]); err != nil { // the new one, empty
		t.Fatal(err)
	}
	lose(t, l.w, dir, j.file, j.ends[j.mark]-1, map[GroupID]bool{j.owner(j.mark): true}).live()
}

// Two damaged records beside each other, of which the chains do not tell all: the tails do. An idle Raft group is not suspected.
func TestDamageInTheMiddleThatOnlyTheTailsTell(t *testing.T) {
	dir := scratchDir(t)
	idle := groupID(9)
	before := damaged(t, dir, func(a *actor) error {
		if err := a.create(idle); err != nil {
			return err
		}
		l := &lostWorld{actor: a, t: t}
		g, _ := a.store.Group(idle)
		if err := a.append(g, a.model().groups[idle]); err != nil {
			return err
		}
		for range 3 {
			for _, id := range crashGroups[1:] {
				g, _ := a.store.Group(id)
				if err := a.append(g, a.model().groups[id]); err != nil {
					return err
				}
			}
		}
		l.write(0)
		l.saveMark()
		return nil
	})
	j := tailOf(t, before)
	for _, lost := range [][2]uint64{{j.mark - 2, j.mark - 1}, {j.mark - 3, j.mark - 1}, {j.mark - 4, j.mark - 2}} {
		hurt := map[GroupID]bool{}
		for sequence := lost[0]; sequence <= lost[1]; sequence++ {
			hurt[j.owner(sequence)] = true
		}
		if hurt[idle] {
			t.Fatalf("record %d is of the idle Raft group", lost[0])
		}
		l := lose(t, before, dir, j.file, j.ends[j.mark], hurt)
		for at := j.ends[lost[0]-1]; at < j.ends[lost[1]]; at++ {
			flip(t, l.w.mem, j.file, at, 0x5a)
		}
		l.how = fmt.Sprintf("records %d to %d of %d damaged", lost[0], lost[1], j.mark)
		l.live()
	}
}

// The record of a deletion is lost: the Raft group is hurt, not there again. That of a creation: it is hurt, not made anew, and can
// be deleted with its folder.
func TestLostEndWithADeletionAndACreation(t *testing.T) {
	dir := scratchDir(t)
	gone, made := groupID(7), groupID(8)
	before := damaged(t, dir, func(a *actor) error {
		err := a.create(gone)
		if g, ok := a.store.Group(gone); ok && err == nil {
			err = a.append(g, a.model().groups[gone])
		}
		if err == nil {
			_, err = a.checkpointAll()
		}
		if err == nil {
			err = a.store.DeleteGroup(gone)
		}
		if err == nil {
			err = a.create(made)
		}
		if err != nil {
			return err
		}
		l := &lostWorld{actor: a, t: t}
		l.saveMark()
		return nil
	})
	j := tailOf(t, before)
	l := lose(t, before, dir, j.file, j.ends[j.mark-2]+1, map[GroupID]bool{gone: true, made: true})
	l.live()
	l.open()
	for id := range l.hurt {
		g, _ := l.store.Group(id)
		if g.Folder() != fmt.Sprintf("crash-%d", id.Partition) {
			t.Fatalf("%s has folder %q", id, g.Folder())
		}
		if _, err := l.store.CreateGroup(id, g.Folder(), 0, log.Options{}); !errors.Is(err, ErrExists) {
			t.Fatalf("made anew: %v", err)
		}
		if err := l.store.DeleteGroup(id); err != nil {
			t.Fatal(err)
		}
		l.change(id, func(g *groupModel) { *g = groupModel{is: deletedForGood} })
	}
	l.hurt = nil
	l.kill()
	l.live()
	if left := filesOf(t, l.w.mem, worldData+"/crash-8", ""); len(left) > 0 {
		t.Fatalf("left behind: %v", left)
	}
	l.open()
	if rows := l.store.tails.stored; rows[gone] != (meta.Tail{}) || rows[made] != (meta.Tail{}) {
		t.Fatalf("tails of deleted Raft groups: %+v", rows)
	}
}

// Tails are stored with a mark that has reached them, never ahead of it, and nothing is synced for that.
func TestTailsWaitForTheMark(t *testing.T) {
	dir := scratchDir(t)
	damaged(t, dir, func(a *actor) error {
		l := &lostWorld{actor: a, t: t}
		l.write(0)
		l.saveMark()
		id := crashGroups[1]
		g, _ := a.store.Group(id)
		p := a.leader(g, a.model().groups[id])
		mustAppend(t, g, p, p.data(100, entry.Cached))
		was := a.store.meta.Journal().Mark
		for range 3 {
			waits, err := a.store.saveMark()
			table, errLoad := a.store.meta.LoadTails()
			if err != nil || errLoad != nil || !waits || a.store.meta.Journal().Mark != was || table.At != was || table.Groups[id].Last > was {
				t.Fatalf("waits %v, %v, %v, mark %d, was %d, tails up to %d: %+v", waits, err, errLoad, a.store.meta.Journal().Mark, was,
					table.At, table.Groups[id])
			}
		}
		if a.store.journal.Mark() != was {
			t.Fatal("something was synced")
		}
		l.write(0)
		l.saveMark()
		table, err := a.store.meta.LoadTails()
		if err != nil || table.At != was+1 || table.Groups[id].Last != was+1 || table.Groups[id].Need == 0 || table.Groups[id].Need > was {
			t.Fatalf("%v, tails up to %d: %+v", err, table.At, table.Groups[id])
		}
		return nil
	})
}

// All entries of a Raft group are covered or taken away, and the record that took some away is lost: they must not be back.
func TestLostEndWithATruncation(t *testing.T) {
	dir := scratchDir(t)
	id := crashGroups[1]
	before := damaged(t, dir, func(a *actor) error {
		l := &lostWorld{actor: a, t: t}
		l.checkpoint()
		g, _ := a.store.Group(id)
		last := g.LastIndex()
		if last == 0 {
			last = a.model().groups[id].snapshot
		}
		l.write(1)
		state, err := g.StateAt(last)
		if err == nil {
			err = g.TruncateSuffix(last+1, state)
		}
		if err != nil {
			return err
		}
		a.change(id, func(m *groupModel) { m.entries, m.durable = m.entries[:last:last], last })
		if need := g.needs(); need != 0 {
			t.Fatalf("record %d pins the journal", need)
		}
		l.saveMark()
		return nil
	})
	j := tailOf(t, before)
	lose(t, before, dir, j.file, j.ends[j.mark]-1, map[GroupID]bool{id: true}).live()
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
		if g, ok := s.Group(groupID(1)); !ok || g.Offline() == nil || !strings.Contains(g.Offline().Error(), "byte 0") || g.Folder() != "topic-1" {
			t.Fatalf("the journal has lost its end, and the Raft group is made anew (%v)", ok)
		}
		if _, ok := s.Group(entry.MetadataGroup); ok {
			t.Fatal("metadata that never was is lost")
		}
		if err := s.Checkpoint(t.Context(), snapshotAll); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(true); err != nil {
			t.Fatal(err)
		}
	}
}

// All that an older directory's journal had is lost, the creation of its metadata as well: that must not be made anew.
func TestMetadataLostWithAnOlderDirectory(t *testing.T) {
	dir := scratchDir(t)
	before := marked(t, dir, 0)
	forgetTails(t, before, dir)
	files := filesOf(t, before.mem, "/journal", "")
	for _, name := range files[1:] {
		if err := before.mem.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := before.mem.SyncDir("/journal"); err != nil {
		t.Fatal(err)
	}
	known := crashGroups[1] // it is in meta.db
	before.model.groups = map[GroupID]*groupModel{known: before.model.groups[known]}
	lose(t, before, dir, files[0], 0, map[GroupID]bool{known: true, entry.MetadataGroup: true}).live()
}

// The record that took entries away is damaged, and the checkpoint covers what was stored in their place: then it is not missed, and
// the old ones are not back behind the snapshot.
func TestTruncationThatTheCheckpointCoversIsNotMissed(t *testing.T) {
	p := newReplay(groupID(1), &meta.GroupCheckpoint{SnapshotIndex: 7, SnapshotTerm: 2}, 1)
	for i, e := range []struct{ index, term uint64 }{{6, 2}, {7, 2}, {8, 2}, {9, 2}, {6, 2}, {7, 2}} {
		rec := journal.Record{Kind: journal.Entry, Group: groupID(1), Index: e.index, Term: e.term, Sequence: uint64(i + 1)}
		if i > 3 {
			rec.Sequence++ // behind the delete range
		}
		p.note(&rec)
		if err := p.add(&rec); err != nil {
			t.Fatal(err)
		}
	}
	p.finish()
	if p.mayHaveLost(&journal.Damage{From: 5, To: 5}) || len(p.entries) != 0 || p.hurt != nil {
		t.Fatalf("%d entries, %v", len(p.entries), p.hurt)
	}
}
