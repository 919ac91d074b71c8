package storage

import (
	"fmt"
	"testing"

	"github.com/tandembroker/tandem/storage/entry"
)

// Entries of a Raft group were taken away, and its newest checkpoint covers all that they were: it needs neither them nor the record
// that took them away, and a lost end with its newest records does not hurt it.
func TestLostEndBehindATruncationThatACheckpointCovers(t *testing.T) {
	dir := scratchDir(t)
	id := crashGroups[1]
	before := damaged(t, dir, func(a *actor) error {
		l := &lostWorld{actor: a, t: t}
		g, _ := a.store.Group(id)
		l.write(1)
		was := g.LastIndex()
		state, err := g.StateAt(was - 1)
		if err == nil {
			err = g.TruncateSuffix(was, state)
		}
		if err != nil {
			return err
		}
		a.change(id, func(m *groupModel) { m.entries, m.durable = m.entries[:was-1:was-1], was-1 })
		delete(a.producers, id)
		for g.LastIndex() <= was {
			if err := a.append(g, a.model().groups[id]); err != nil {
				return err
			}
		}
		l.write(0)
		if err := a.saveSnapshot(g); err != nil {
			return err
		}
		if need := g.needs(); need != 0 {
			t.Fatalf("record %d pins the journal", need)
		}
		l.saveMark()
		return nil
	})
	j := tailOf(t, before)
	if j.owner(j.mark) != id {
		t.Fatal("the newest record is not of the Raft group")
	}
	lose(t, before, dir, j.file, j.ends[j.mark]-1, nil).live()
}

// saveSnapshot saves one of all entries of g.
func (d *actor) saveSnapshot(g *Group) error {
	last := g.LastIndex()
	err := g.SaveSnapshot(d.model().groups[g.ID()].snapshotOf(d.model().groups[g.ID()].entries, last))
	if err == nil {
		d.change(g.ID(), func(m *groupModel) { m.snapshot, m.durable = last, max(m.durable, last) })
	}
	return err
}

// Between the look at where the Raft groups end and the store of it, one goes on: a newer vote, a truncation. What these take the
// place of is still needed, since they are behind what is stored, and may be lost with it.
func TestTailsKeepWhatOnlyNewerRecordsMakeSuperfluous(t *testing.T) {
	dir := scratchDir(t)
	id, other := crashGroups[1], crashGroups[2]
	for what, goOn := range map[string]func(a *actor, g *Group) error{
		"vote": newVote,
		"truncation": func(_ *actor, g *Group) error {
			state, err := g.StateAt(g.mu.snapshot.Index)
			if err == nil {
				err = g.TruncateSuffix(g.mu.snapshot.Index+1, state)
			}
			return err
		},
	} {
		for _, all := range []bool{false, true} {
			var lost uint64
			before := damaged(t, dir, func(a *actor) error {
				l := &lostWorld{actor: a, t: t}
				l.checkpoint()
				g, _ := a.store.Group(id)
				if what == "vote" {
					if err := newVote(a, g); err != nil {
						return err
					}
				} else {
					p := a.leader(g, a.model().groups[id])
					if err := a.send(g, p, []Entry{p.data(100, entry.Synced)}); err != nil {
						return err
					}
				}
				lost = a.store.journal.NextSequence() - 1
				o, _ := a.store.Group(other)
				p := a.leader(o, a.model().groups[other])
				if err := a.send(o, p, []Entry{p.data(100, entry.Cached)}); err != nil {
					return err
				}
				if waits, err := a.store.saveMark(); err != nil || !waits {
					t.Fatalf("waits %v, %v", waits, err)
				}
				was := a.model()
				if err := goOn(a, g); err != nil {
					return err
				}
				if all {
					a.store.rowing.Lock()
					a.store.tails.settle(a.store.journal.Mark())
					err := a.store.commitJournalLocked(a.store.meta.Journal(), nil, true)
					a.store.rowing.Unlock()
					if err != nil {
						return err
					}
				} else if _, err := a.store.saveMark(); err != nil {
					return err
				}
				if at := a.store.meta.Journal().Mark; at != lost+1 {
					t.Fatalf("%s, all %v: mark %d, the record is %d", what, all, at, lost)
				}
				a.mu.model = was
				return nil
			})
			j := tailOf(t, before)
			l := lose(t, before, dir, j.file, j.ends[lost]-1, map[GroupID]bool{id: true, other: true})
			l.how = fmt.Sprintf("%s, all %v: %s", what, all, l.how)
			l.live()
		}
	}
}

// newVote votes in the next term.
func newVote(a *actor, g *Group) error {
	v := g.Vote()
	v = Vote{Term: v.Term + 1, VotedTerm: v.Term + 1, Candidate: "1@disk"}
	err := g.SetVote(v)
	if err == nil {
		a.change(g.ID(), func(m *groupModel) { m.vote = v })
	}
	return err
}
