package storage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
	"github.com/tandembroker/tandem/storage/vfs"
)

var errStuck = errors.New("no snapshot")

// snapshotOthers takes snapshots of all Raft groups but the one.
func snapshotOthers(id GroupID) func(context.Context, *Group) error {
	return func(ctx context.Context, g *Group) error {
		if g.ID() == id {
			return errStuck
		}
		return snapshotAll(ctx, g)
	}
}

// churn writes to g and takes checkpoints until the journal has been begun anew several times.
func churn(t *testing.T, s *Store, g *Group, p *producer, stuck GroupID) (most int64) {
	t.Helper()
	for range 300 {
		mustAppend(t, g, p, p.data(8000, entry.Synced))
		select {
		case <-s.CheckpointC():
			if err := s.Checkpoint(t.Context(), snapshotOthers(stuck)); err != nil && !errors.Is(err, errStuck) {
				t.Fatal(err)
			}
			if err := g.TruncatePrefix(g.LastIndex()); err != nil {
				t.Fatal(err)
			}
		default:
		}
		most = max(most, s.journal.Size())
	}
	return most
}

func carryOptions(t *testing.T) Options {
	o := testOptions(scratchDir(t)) // thousands of syncs, and no question to the disk
	o.JournalSegmentBytes, o.CheckpointBytes = 32<<10, 256<<10
	return o
}

// stuckGroup makes a group that has everything above its snapshot: payloads of both kinds, a vote, a replaced suffix.
func stuckGroup(t *testing.T, s *Store, n int) (*Group, *producer) {
	t.Helper()
	g, p := createGroup(t, s, n)
	mustAppend(t, g, p, p.noop(), p.epochBase(), p.data(100, entry.Synced), p.data(20000, entry.Synced))
	if err := g.SetVote(Vote{Term: 3, VotedTerm: 3, Candidate: "me"}); err != nil {
		t.Fatal(err)
	}
	state, at := g.State(), g.LastIndex()
	mustAppend(t, g, p, p.data(300, entry.Synced), p.data(300, entry.Synced))
	if err := g.TruncateSuffix(at+1, state); err != nil {
		t.Fatal(err)
	}
	p.resume(at, p.term, state)
	mustAppend(t, g, p, p.data(200, entry.Synced), p.data(250, entry.Synced), p.data(21000, entry.Cached))
	return g, p
}

// A Raft group without snapshots does not keep the journal, and loses nothing.
func TestStuckGroupDoesNotPinTheJournal(t *testing.T) {
	o := carryOptions(t)
	s := openStore(t, o)
	stuck, sp := stuckGroup(t, s, 1)
	g, p := createGroup(t, s, 2)
	mustAppend(t, g, p, p.noop(), p.epochBase())
	for round := range 3 {
		if most := churn(t, s, g, p, stuck.ID()); most > 700<<10 {
			t.Fatalf("the journal grew to %d bytes", most)
		}
		mustAppend(t, stuck, sp, sp.data(150, entry.Synced)) // behind the copies
		if round == 1 {
			snap := snapshotAt(stuck, stuck.LastIndex()-3) // in the middle of the copies
			if err := stuck.SaveSnapshot(snap); err != nil {
				t.Fatal(err)
			}
		}
		churn(t, s, g, p, stuck.ID())
		mustAppend(t, stuck, sp, sp.noop())
		before, vote := contents(t, stuck), stuck.Vote()
		s.Close(false)
		s = openStore(t, o)
		stuck, _ = s.Group(groupID(1))
		if err := stuck.Offline(); err != nil {
			t.Fatal(err)
		}
		if after := contents(t, stuck); round == 0 && after != before || stuck.Vote() != vote {
			t.Fatalf("was\n%s %v\nis\n%s %v", before, vote, after, stuck.Vote())
		}
		g, _ = s.Group(groupID(2))
		p.resume(g.LastIndex(), p.term, g.State())
		sp.resume(stuck.LastIndex(), sp.term, stuck.State())
	}
}

// A Raft group that is offline by damage of the journal stays so when the damaged file is gone from the journal, with its reason.
func TestDamagedGroupDoesNotPinTheJournal(t *testing.T) {
	for _, at := range []int64{5, 400} { // its creation, its entries
		o := carryOptions(t)
		s := openStore(t, o)
		stuckGroup(t, s, 1)
		g, p := createGroup(t, s, 2)
		mustAppend(t, g, p, p.noop(), p.epochBase())
		s.Close(false)
		damageRecord(t, o, at)
		reason := ""
		for range 3 {
			s = openStore(t, o)
			hurt, ok := s.Group(groupID(1))
			if !ok || hurt.Offline() == nil {
				t.Fatalf("byte %d: known %v, not offline", at, ok)
			}
			if got := hurt.Offline().Error(); reason != "" && !strings.HasSuffix(got, reason) {
				t.Fatalf("was %s\nis %s", reason, got)
			}
			reason = hurt.hurt
			g, _ = s.Group(groupID(2))
			p.resume(g.LastIndex(), p.term, g.State())
			if most := churn(t, s, g, p, GroupID{}); most > 700<<10 {
				t.Fatalf("the journal grew to %d bytes", most)
			}
			s.Close(false)
		}
		if names, _ := filepath.Glob(filepath.Join(o.Dirs[0], journalDir, "*.damaged")); len(names) != 1 {
			t.Fatalf("kept as evidence: %v", names)
		}
		s = openStore(t, o)
		if err := s.DeleteGroup(groupID(1)); err != nil {
			t.Fatal(err)
		}
		s.Close(false)
		s = openStore(t, o)
		if g, ok := s.Group(groupID(1)); ok {
			t.Fatalf("the deleted group is back: %v", g.Offline())
		}
	}
}

// A Raft group whose folder is away loses nothing of what is in the journal only.
func TestGroupWithoutItsFolderDoesNotPinTheJournal(t *testing.T) {
	o := carryOptions(t)
	s := openStore(t, o)
	stuck, _ := stuckGroup(t, s, 1)
	before := contents(t, stuck)
	g, p := createGroup(t, s, 2)
	mustAppend(t, g, p, p.noop(), p.epochBase())
	s.Close(false)
	folder := filepath.Join(o.Dirs[0], stuck.Folder())
	if err := os.Rename(folder, filepath.Join(o.Dirs[0], "away")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s = openStore(t, o)
		if g, _ := s.Group(groupID(1)); g.Offline() == nil {
			t.Fatal("not offline")
		}
		g, _ = s.Group(groupID(2))
		p.resume(g.LastIndex(), p.term, g.State())
		if most := churn(t, s, g, p, GroupID{}); most > 700<<10 {
			t.Fatalf("the journal grew to %d bytes", most)
		}
		s.Close(false)
	}
	if err := os.Rename(filepath.Join(o.Dirs[0], "away"), folder); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, o)
	g, _ = s.Group(groupID(1))
	if err := g.Offline(); err != nil {
		t.Fatal(err)
	}
	if after := contents(t, g); after != before {
		t.Fatalf("was\n%s\nis\n%s", before, after)
	}
}

// Power is lost at every call of checkpoints that carry a stuck group, and one that is offline.
func TestPowerLossWhileCarrying(t *testing.T) {
	pw := newPowered(t)
	pw.w.checkpointBytes = 16 << 10
	stuck, sp := pw.create(1, log.Options{})
	mustAppend(t, stuck, sp, sp.noop(), sp.epochBase(), sp.data(100, entry.Synced), sp.data(2000, entry.Synced), sp.data(300, entry.Synced))
	if err := stuck.SetVote(Vote{Term: 3, VotedTerm: 3, Candidate: "me"}); err != nil {
		t.Fatal(err)
	}
	hurt, err := pw.s.CreateGroup(groupID(3), "topic-3", 0, log.Options{})
	if err != nil {
		t.Fatal(err)
	}
	hp := newProducer(rand.New(rand.NewPCG(3, 1)), 0)
	mustAppend(t, hurt, hp, hp.noop(), hp.epochBase(), hp.data(2000, entry.Synced), hp.data(200, entry.Synced))
	_, p := pw.other(2)
	before := contents(t, stuck)
	cut := segmentFile(hurt, 0, ".log")
	state := pw.capture()
	truncateFile(t, state.mem, cut, 10)
	state.checkpointBytes = 16 << 10
	pw.goOn(state)
	hurt, _ = pw.s.Group(groupID(3))
	reason := fmt.Sprint(hurt.Offline())
	if !strings.Contains(reason, cut) {
		t.Fatal(reason)
	}
	g, _ := pw.s.Group(groupID(2))
	p.resume(g.LastIndex(), p.term, g.State())
	rng := rand.New(rand.NewPCG(7, 8))
	var states []*world
	first := pw.s.meta.Journal().First
	for range 60 {
		mustAppend(t, g, p, p.data(500, entry.Synced))
		if pw.s.journal.Size() < 20<<10 {
			continue
		}
		stop := pw.gather(2, rng)
		if err := pw.s.Checkpoint(t.Context(), snapshotOthers(groupID(1))); err != nil && !errors.Is(err, errStuck) {
			t.Fatal(err)
		}
		states = append(states, stop()...)
	}
	states = append(states, pw.capture())
	if now := pw.s.meta.Journal().First; now < first+20 {
		t.Fatalf("the journal begins at %d, before at %d", now, first)
	}
	for i, w := range states {
		for range 2 {
			pw.goOn(w)
			for round := range 2 {
				if after := contents(t, pw.want(1, before)); after == "" {
					t.Fatal("nothing")
				}
				if v := pw.want(1, "").Vote(); v.Term != 3 || v.Candidate != "me" {
					t.Fatalf("state %d of %d: vote %+v", i, len(states), v)
				}
				hurt, ok := pw.s.Group(groupID(3))
				if !ok || hurt.Offline() == nil || !strings.Contains(hurt.Offline().Error(), cut) {
					t.Fatalf("state %d of %d: known %v, was %s, is %v", i, len(states), ok, reason, hurt.Offline())
				}
				if round == 0 {
					pw.lose()
				}
			}
			w = pw.capture()
		}
	}
}

// A carry is cut short by a kill, and the next one copies the records of the same idle Raft group again: the copies that never got
// their end belong to neither. Power is lost at every call of the second one.
func TestCarryBehindOneThatWasCutShort(t *testing.T) {
	pw := newPowered(t)
	empty := pw.capture()
	empty.checkpointBytes = 16 << 10
	pw.goOn(empty)
	stuck, sp := pw.create(1, log.Options{})
	mustAppend(t, stuck, sp, sp.noop(), sp.epochBase(), sp.data(100, entry.Synced), sp.data(300, entry.Synced))
	g, p := pw.other(2)
	before := contents(t, stuck)
	checkpoint := func() error {
		for pw.s.journal.Size() < 20<<10 {
			mustAppend(t, g, p, p.data(500, entry.Synced))
		}
		return pw.s.Checkpoint(t.Context(), snapshotOthers(groupID(1)))
	}
	writes := &vfs.Fault{Ops: vfs.OpWrite, N: 1, Err: errors.New("killed"), Sticky: true} // the copies are written, their end is not
	for pw.s.journal.Size() < 20<<10 {
		mustAppend(t, g, p, p.data(500, entry.Synced))
	}
	next := pw.s.journal.NextSequence()
	pw.w.mem.SetHook(func(c vfs.Call) vfs.Outcome {
		if strings.Contains(c.Name, "journal/") {
			return writes.Hook(c)
		}
		return vfs.Outcome{}
	})
	if err := checkpoint(); !writes.Hit() || pw.s.Failed() == nil {
		t.Fatalf("the carry went on: %v", err)
	}
	killed := pw.capture()
	killed.mem, killed.checkpointBytes = pw.w.mem, 16<<10
	pw.goOn(killed)
	if now := pw.s.journal.NextSequence(); now < next+4 {
		t.Fatalf("the journal goes on at record %d, copies would be from %d on", now, next)
	}
	pw.want(1, before)
	g, _ = pw.s.Group(groupID(2))
	p.resume(g.LastIndex(), p.term, g.State())
	stop := pw.gather(2, rand.New(rand.NewPCG(5, 6)))
	if err := checkpoint(); !errors.Is(err, errStuck) || pw.s.Failed() != nil {
		t.Fatal(err)
	}
	first := pw.s.meta.Journal().First
	states := append(stop(), pw.capture())
	if first < next {
		t.Fatalf("the journal begins at %d, nothing was carried behind %d", first, next)
	}
	for _, w := range states {
		pw.goOn(w)
		pw.want(1, before)
	}
}

// other makes one more group, with something in it.
func (p *powered) other(n int) (*Group, *producer) {
	p.t.Helper()
	g, err := p.s.CreateGroup(groupID(n), fmt.Sprintf("topic-%d", n), 0, log.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	q := newProducer(rand.New(rand.NewPCG(uint64(n), 1)), 0)
	mustAppend(p.t, g, q, q.noop(), q.epochBase())
	return g, q
}
