package storage

import (
	"bytes"
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
	"github.com/tandembroker/tandem/storage/vfs"
)

// The tests in this file lose power once, at a chosen place, where TestPowerLoss tries all places at random: each protects one
// rule of what is durable when. Nothing that was not synced survives here.

// powered is an open store whose power can be lost.
type powered struct {
	t   testing.TB
	w   *world
	dir string
	s   *Store
}

func newPowered(t testing.TB) *powered {
	t.Helper()
	p := &powered{t: t, w: &world{mem: vfs.NewMem()}, dir: scratchDir(t)}
	p.open()
	t.Cleanup(func() { p.s.Close(false) })
	return p
}

func (p *powered) open() {
	p.t.Helper()
	var err error
	if p.s, err = p.w.start(p.dir); err != nil {
		p.t.Fatal(err)
	}
}

// capture takes what a power loss would leave now.
func (p *powered) capture() *world { return capture(p.w.mem, p.dir, p.s, model{}, nil, "") }

// gather takes, from now on, what a power loss in front of each call that changes something would leave: what was synced, and
// chosen times that with any part of the rest. stop ends it and returns them.
func (p *powered) gather(chosen int, rng *rand.Rand) (stop func() []*world) {
	var mu sync.Mutex // journal and segments are synced side by side
	var states []*world
	mem := p.w.mem
	mem.SetHook(func(c vfs.Call) vfs.Outcome {
		if c.Op&vfs.OpChanges != 0 {
			mu.Lock()
			defer mu.Unlock()
			states = append(states, p.capture())
			for range chosen {
				states = append(states, capture(mem, p.dir, p.s, model{}, rng, ""))
			}
		}
		return vfs.Outcome{}
	})
	return func() []*world {
		mem.SetHook(nil)
		mu.Lock()
		defer mu.Unlock()
		return states
	}
}

// lose loses power now, and opens what is left.
func (p *powered) lose() {
	p.t.Helper()
	p.goOn(p.capture())
}

// goOn opens w instead of the world that was.
func (p *powered) goOn(w *world) {
	p.t.Helper()
	p.w.mem.SetHook(nil)
	p.s.Close(false)
	p.w = w
	p.open()
}

func (p *powered) create(n int, o log.Options) (*Group, *producer) {
	p.t.Helper()
	g, err := p.s.CreateGroup(groupID(n), "topic-1", 0, o)
	if err != nil {
		p.t.Fatal(err)
	}
	return g, newProducer(rand.New(rand.NewPCG(uint64(n), 1)), 0)
}

// want finds group n again, and compares.
func (p *powered) want(n int, contentsBefore string) *Group {
	p.t.Helper()
	g, ok := p.s.Group(groupID(n))
	if !ok {
		p.t.Fatal("the Raft group is gone")
	}
	if err := g.Offline(); err != nil {
		p.t.Fatal(err)
	}
	if contentsBefore != "" {
		if after := contents(p.t, g); after != contentsBefore {
			p.t.Fatalf("was\n%s\nis\n%s", contentsBefore, after)
		}
	}
	return g
}

func TestCreatedGroupSurvivesPowerLoss(t *testing.T) {
	p := newPowered(t)
	p.create(1, log.Options{})
	p.lose()
	g := p.want(1, "")
	if g.Folder() != "topic-1" || g.State() != entry.NewState(0) {
		t.Fatalf("folder %q, state %+v", g.Folder(), g.State())
	}
}

func TestSyncedEntriesSurvivePowerLoss(t *testing.T) {
	for name, entries := range map[string]func(p *producer) []Entry{
		"inline":       func(p *producer) []Entry { return []Entry{p.data(100, entry.Synced)} },
		"by reference": func(p *producer) []Entry { return []Entry{p.data(2000, entry.Synced)} },
		"in new segments": func(p *producer) []Entry {
			return []Entry{p.data(3000, entry.Synced), p.data(3000, entry.Synced), p.data(3000, entry.Synced)}
		},
		"of class cached, in a synced batch": func(p *producer) []Entry {
			return []Entry{p.data(2000, entry.Cached), p.data(100, entry.Synced)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			pw := newPowered(t)
			g, p := pw.create(1, log.Options{SegmentBytes: 4000})
			mustAppend(t, g, p, p.noop(), p.epochBase())
			mustAppend(t, g, p, entries(p)...)
			before := contents(t, g)
			pw.lose()
			pw.want(1, before)
		})
	}
}

// An entry of class synced is a promise about all before it, cached ones included.
func TestSyncedEntrySyncsTheCachedOnesBefore(t *testing.T) {
	pw := newPowered(t)
	g, p := pw.create(1, log.Options{})
	mustAppend(t, g, p, p.noop(), p.epochBase())
	mustAppend(t, g, p, p.data(2000, entry.Cached))
	mustAppend(t, g, p, p.data(100, entry.Synced))
	before := contents(t, g)
	pw.lose()
	pw.want(1, before)
}

func TestVoteSurvivesPowerLoss(t *testing.T) {
	pw := newPowered(t)
	g, _ := pw.create(1, log.Options{})
	v := Vote{Term: 7, VotedTerm: 7, Candidate: "2@disk"}
	if err := g.SetVote(v); err != nil {
		t.Fatal(err)
	}
	pw.lose()
	if got := pw.want(1, "").Vote(); got != v {
		t.Fatalf("voted %+v, and remembers %+v", v, got)
	}
}

// A deleted Raft group stays deleted, whether a checkpoint knows it or the journal only.
func TestDeletedGroupStaysDeletedAfterPowerLoss(t *testing.T) {
	for name, checkpoint := range map[string]bool{"in the journal only": false, "in meta.db": true} {
		t.Run(name, func(t *testing.T) {
			pw := newPowered(t)
			g, p := pw.create(1, log.Options{})
			mustAppend(t, g, p, p.noop(), p.epochBase(), p.data(100, entry.Synced))
			if checkpoint {
				if err := pw.s.Checkpoint(t.Context(), snapshotAll); err != nil {
					t.Fatal(err)
				}
			}
			if err := pw.s.DeleteGroup(g.ID()); err != nil {
				t.Fatal(err)
			}
			for range 3 { // the last time without the journal's record of it
				pw.lose()
				if g, ok := pw.s.Group(groupID(1)); ok {
					t.Fatalf("%s is back, %v", g, g.Offline())
				}
				if err := pw.s.Checkpoint(t.Context(), snapshotAll); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// The journal's record of a deletion outlives the folder: a partition rebuilt in it, of the same topic id, is not what was deleted.
func TestDeletionSparesTheNextIncarnation(t *testing.T) {
	pw := newPowered(t)
	g, p := pw.create(1, log.Options{})
	mustAppend(t, g, p, p.noop(), p.epochBase(), p.data(100, entry.Synced))
	if err := pw.s.DeleteGroup(g.ID()); err != nil {
		t.Fatal(err)
	}
	id := g.ID()
	id.Incarnation++
	g, err := pw.s.CreateGroup(id, "topic-1", 0, log.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p = newProducer(rand.New(rand.NewPCG(2, 1)), 0)
	mustAppend(t, g, p, p.noop(), p.epochBase(), p.data(2000, entry.Synced))
	before := contents(t, g)
	for range 2 {
		pw.lose()
		g, ok := pw.s.Group(id)
		if !ok || g.Offline() != nil {
			t.Fatalf("the new incarnation: there %v, %+v", ok, g)
		}
		if after := contents(t, g); after != before {
			t.Fatalf("was\n%s\nis\n%s", before, after)
		}
	}
}

// Its row would come back for good: the journal's record of the deletion is dropped one day.
func TestDeletedGroupTakesNoSnapshot(t *testing.T) {
	pw := newPowered(t)
	g, err := pw.s.CreateGroup(entry.MetadataGroup, "", 0, log.Options{}) // no segments, whose removal would stop it too
	if err != nil {
		t.Fatal(err)
	}
	p := newProducer(rand.New(rand.NewPCG(1, 1)), 0)
	mustAppend(t, g, p, p.noop(), p.command(entry.Header{Kind: entry.Metadata, Body: []byte("{}")}, nil))
	snap := snapshotAt(g, g.LastIndex())
	if err := pw.s.DeleteGroup(g.ID()); err != nil {
		t.Fatal(err)
	}
	if err := g.SaveSnapshot(snap); err == nil {
		t.Error("a deleted Raft group saved a snapshot")
	}
	if rows, _, err := pw.s.meta.LoadGroups(); err != nil || len(rows) != 0 {
		t.Fatalf("%d rows in meta.db, %v", len(rows), err)
	}
}

// A checkpoint vouches for bytes: they must be on disk before its row is, at every instant of it, and without the journal.
func TestCheckpointVouchesForSyncedBytesOnly(t *testing.T) {
	pw := newPowered(t)
	g, p := pw.create(1, log.Options{SegmentBytes: 2000})
	mustAppend(t, g, p, p.noop(), p.epochBase())
	for range 8 {
		mustAppend(t, g, p, p.data(300, entry.Synced)) // inline: not synced in the segment
	}
	before := payloads(t, g)
	stop := pw.gather(0, nil)
	if err := pw.s.Checkpoint(t.Context(), snapshotAll); err != nil {
		t.Fatal(err)
	}
	states := append(stop(), pw.capture())
	for i, w := range states {
		pw.goOn(w)
		if got := payloads(t, pw.want(1, "")); !bytes.Equal(got, before) {
			t.Fatalf("state %d of %d: %d bytes, acknowledged were %d", i, len(states), len(got), len(before))
		}
	}
}

// What recovery puts back into the segments counts as not synced there, or the next checkpoint vouches for bytes in memory.
func TestReplayedPayloadsAreSynced(t *testing.T) {
	pw := newPowered(t)
	g, p := pw.create(1, log.Options{})
	mustAppend(t, g, p, p.noop(), p.epochBase(), p.data(100, entry.Synced), p.data(300, entry.Synced))
	before := payloads(t, g)
	for range 2 {
		pw.lose()
		g = pw.want(1, "")
		if !bytes.Equal(payloads(t, g), before) {
			t.Fatal("payloads changed")
		}
		if g.LastIndex() != 0 {
			if err := pw.s.Checkpoint(t.Context(), snapshotAll); err != nil {
				t.Fatal(err)
			}
			if err := g.TruncatePrefix(g.LastIndex()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A payload above the mark that reads well may be in the page cache only, after a failed sync even for good: it is written again.
func TestPayloadAboveTheMarkIsWrittenAgain(t *testing.T) {
	pw := newPowered(t)
	g, p := pw.create(1, log.Options{})
	mustAppend(t, g, p, p.noop(), p.epochBase())
	mustAppend(t, g, p, p.data(2000, entry.Synced))
	before := contents(t, g)
	e, _ := g.Entry(g.LastIndex())
	w := pw.capture() // the journal carries no mark of it yet
	var mu sync.Mutex
	written := false
	w.mem.SetHook(func(c vfs.Call) vfs.Outcome {
		if c.Op == vfs.OpWrite && strings.HasSuffix(c.Name, ".log") {
			mu.Lock()
			written = true
			mu.Unlock()
		}
		return vfs.Outcome{}
	})
	pw.goOn(w)
	pw.want(1, before)
	mu.Lock()
	defer mu.Unlock()
	if !written || e.PlaceLength < 2000 {
		t.Fatalf("%d bytes that were perhaps never synced are believed", e.PlaceLength)
	}
}

// The mark says that the payload is on disk: it waits for the segment's sync, even when the journal's is over long before.
func TestMarkWaitsForThePayload(t *testing.T) {
	pw := newPowered(t)
	g, p := pw.create(1, log.Options{})
	mustAppend(t, g, p, p.noop(), p.epochBase())
	first := pw.s.journal.NextSequence()
	var mu sync.Mutex
	var marks []uint64
	pw.w.mem.SetHook(func(c vfs.Call) vfs.Outcome {
		if c.Op != vfs.OpSync || !strings.HasSuffix(c.Name, ".log") {
			return vfs.Outcome{}
		}
		if _, err := pw.s.journal.Append(nil, true).Wait(); err != nil { // behind the entry's record
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		marks = append(marks, pw.s.journal.Mark())
		return vfs.Outcome{}
	})
	mustAppend(t, g, p, p.data(2000, entry.Synced))
	pw.w.mem.SetHook(nil)
	mu.Lock()
	defer mu.Unlock()
	if len(marks) == 0 || marks[0] >= first {
		t.Fatalf("marks %v while the payload of record %d was not synced", marks, first)
	}
	if mark := pw.s.journal.Mark(); mark < first {
		t.Fatalf("mark %d behind the append of record %d", mark, first)
	}
}

// The journal still holds the inline payload of an entry that was replaced; the new entry's payload, at the same place of the
// segment, is in the segment only.
func TestSupersededInlinePayloadIsNotReplayed(t *testing.T) {
	pw := newPowered(t)
	g, p := pw.create(1, log.Options{})
	mustAppend(t, g, p, p.noop(), p.epochBase())
	keep := *p
	mustAppend(t, g, p, p.data(500, entry.Synced))
	old, _ := g.Entry(3)
	if err := g.TruncateSuffix(3, keep.state); err != nil {
		t.Fatal(err)
	}
	p.resume(2, 1, keep.state)
	mustAppend(t, g, p, p.data(2000, entry.Synced))
	if now, _ := g.Entry(3); now.Place != old.Place || now.PlaceLength <= old.PlaceLength {
		t.Fatalf("the new entry is at %v, the old one was at %v", now.Place, old.Place)
	}
	before := contents(t, g)
	for range 2 {
		pw.lose()
		pw.want(1, before)
	}
}

// The journal's record of a truncation is durable before the segments lose a byte: else entries would exist without payload.
func TestTruncationIsRecordedBeforeTheSegmentsChange(t *testing.T) {
	pw := newPowered(t)
	g, p := pw.create(1, log.Options{})
	mustAppend(t, g, p, p.noop(), p.epochBase(), p.data(2000, entry.Synced))
	keep := *p
	before := contents(t, g)
	mustAppend(t, g, p, p.data(2000, entry.Synced), p.data(2000, entry.Synced))
	var mu sync.Mutex
	var states []*world
	pw.w.mem.SetHook(func(c vfs.Call) vfs.Outcome {
		if c.Op == vfs.OpTruncate && strings.HasSuffix(c.Name, ".log") {
			mu.Lock()
			defer mu.Unlock()
			states = append(states, pw.capture())
		}
		return vfs.Outcome{}
	})
	if err := g.TruncateSuffix(4, keep.state); err != nil {
		t.Fatal(err)
	}
	pw.w.mem.SetHook(nil)
	states = append(states, pw.capture())
	if len(states) < 2 {
		t.Fatal("the segment was not truncated")
	}
	for _, w := range states {
		pw.goOn(w)
		pw.want(1, before)
	}
}

// A checkpoint must not drop the record of an append that began before it and ends behind it.
func TestAppendUnderWayPinsTheJournal(t *testing.T) {
	pw := newPowered(t)
	g, p := pw.create(1, log.Options{})
	mustAppend(t, g, p, p.noop(), p.epochBase())
	if err := pw.s.Checkpoint(t.Context(), snapshotAll); err != nil {
		t.Fatal(err)
	}
	sequence := pw.s.journal.NextSequence()
	var once sync.Once
	first := uint64(0)
	pw.w.mem.SetHook(func(c vfs.Call) vfs.Outcome {
		if c.Op == vfs.OpSync && strings.HasSuffix(c.Name, ".log") {
			once.Do(func() {
				if _, err := pw.s.journal.Append(nil, true).Wait(); err != nil {
					t.Error(err)
				}
				pw.s.journal.PayloadSynced(sequence) // as far as the mark goes, nothing holds it
				first, _ = pw.s.keep()
			})
		}
		return vfs.Outcome{}
	})
	mustAppend(t, g, p, p.data(2000, entry.Synced))
	pw.w.mem.SetHook(nil)
	if first == 0 || first > sequence {
		t.Fatalf("the journal is kept from record %d, the append under way has record %d", first, sequence)
	}
}

// Entries above a snapshot are in the journal only.
func TestCheckpointKeepsTheEntriesAboveTheSnapshot(t *testing.T) {
	pw := newPowered(t)
	g, p := pw.create(1, log.Options{})
	mustAppend(t, g, p, p.noop(), p.epochBase(), p.data(100, entry.Synced), p.data(100, entry.Synced), p.data(100, entry.Synced))
	before := payloads(t, g)
	err := pw.s.Checkpoint(t.Context(), func(_ context.Context, g *Group) error { return g.SaveSnapshot(snapshotAt(g, 3)) })
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		pw.lose()
		if g := pw.want(1, ""); g.LastIndex() != 5 || !bytes.Equal(payloads(t, g), before) {
			t.Fatalf("last index %d", g.LastIndex())
		}
	}
}

// A stop is clean only when nothing was opened behind it: the flag is gone for good before anything else happens.
func TestCleanFlagIsGoneOnceTheStoreIsOpen(t *testing.T) {
	o := testOptions(t.TempDir())
	s := openStore(t, o)
	if err := s.Close(true); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false, false} {
		s = openStore(t, o)
		if got := s.Meta().WasClean(); got != want {
			t.Fatalf("start %d: clean = %v", i, got)
		}
		if err := s.Close(false); err != nil {
			t.Fatal(err)
		}
	}
}

// What is missing on the disk is voided once and for all: entries that take the voided indexes must not be mixed with it.
func TestVoidedEntriesStayVoided(t *testing.T) {
	p := newPowered(t)
	g, l := p.create(1, log.Options{})
	other, ol := createGroup(t, p.s, 2)
	mustAppend(t, g, l, l.noop(), l.epochBase(), l.data(100, entry.Synced))
	mustAppend(t, g, l, l.data(5000, entry.Cached), l.data(100, entry.Cached))
	mustAppend(t, other, ol, ol.noop()) // syncs the journal, not the payload
	p.lose()
	g, _ = p.s.Group(groupID(1))
	if g.Offline() != nil || g.LastIndex() != 3 {
		t.Fatalf("%v, last index %d, the payload of 4 is gone", g.Offline(), g.LastIndex())
	}
	l.resume(3, l.term, g.State())
	mustAppend(t, g, l, l.noop(), l.data(5000, entry.Synced), l.data(10, entry.Synced))
	before := contents(t, g)
	p.lose()
	p.want(1, before)
}
