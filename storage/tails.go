package storage

import (
	"github.com/tandembroker/tandem/storage/meta"
)

// tails is the table of meta.db that says which journal records each Raft group needs (docs/formats.md section 6). With it a start
// that finds records missing up to where it is complete knows whose they were. It is complete up to the mark beside it: where the
// Raft groups end is taken from the journal first, and stored with the mark once that has got there.
type tails struct {
	stored map[GroupID]meta.Tail // as meta.db has them
	known  uint64                // up to here
	lost   map[GroupID]uint64    // a record that a hurt Raft group has lost: goes with the next store
	taken  ends                  // not all below the mark yet
	ready  ends                  // to be stored
}

// ends is where Raft groups ended when the journal was written up to at: the changes since what was taken before.
type ends struct {
	at   uint64
	last map[GroupID]uint64
	need map[GroupID]uint64 // what a start needed of them then, and of those that did not change where they were looked at
}

// takeTails asks the journal. What was taken and is not ready waits for the newer one. With all it also looks at what the Raft groups
// need that have nothing new. Store.rowing is held.
func (s *Store) takeTails(all bool) {
	t, need := &s.tails, map[GroupID]uint64{}
	first := s.meta.Journal().First
	look := func(id GroupID) uint64 {
		need[id] = s.needed(id, first)
		return need[id]
	}
	if all { // before the ends: a Raft group that goes on in between is looked at once more
		for id := range t.stored {
			look(id)
		}
	}
	for _, last := range []map[GroupID]uint64{t.ready.last, t.taken.last} {
		for id := range last {
			look(id)
		}
	}
	at, changed := s.journal.Tails(look)
	if at == 0 {
		return
	}
	if t.taken.last == nil {
		t.taken.last = make(map[GroupID]uint64, len(changed))
	}
	for _, c := range changed {
		t.taken.last[c.Group] = c.Sequence
	}
	t.taken.at, t.taken.need = at, need
}

// settle makes ready what mark has passed.
func (t *tails) settle(mark uint64) {
	if t.taken.at == 0 || mark < t.taken.at {
		return
	}
	if t.ready.last == nil {
		t.ready.last = t.taken.last
	} else {
		for id, last := range t.taken.last {
			t.ready.last[id] = last
		}
	}
	t.ready.at, t.ready.need, t.taken = t.taken.at, t.taken.need, ends{}
}

// changes are the rows to be stored with what is ready, where the journal is kept from first on; a zero one goes. With all every row
// is looked at, for records that checkpoints have made superfluous and for those below first. Store.rowing is held.
func (s *Store) changes(first uint64, all bool) map[GroupID]meta.Tail {
	t, rows := &s.tails, map[GroupID]meta.Tail{}
	look := func(id GroupID, last uint64) {
		old := t.stored[id]
		row := meta.Tail{Last: max(last, old.Last, t.lost[id])}
		if row.Need = s.needed(id, first); row.Need > t.ready.at && row.Need != nothing {
			// What it went on with since is not to be relied on: it may be lost together with what it takes the place of.
			row.Need = t.ready.need[id]
		}
		if row.Need > t.ready.at || row.Last < first {
			row = meta.Tail{}
		}
		if row != old {
			rows[id] = row
		}
	}
	for id, last := range t.ready.last {
		look(id, last)
	}
	for id := range t.lost {
		look(id, t.ready.last[id])
	}
	if all {
		for id := range t.stored {
			if _, done := t.ready.last[id]; !done {
				look(id, 0)
			}
		}
	}
	return rows
}

// nothing is above all sequences.
const nothing = ^uint64(0)

// needed is the first journal record that a start needs for a Raft group, where the journal is kept from first on; nothing where all is
// in meta.db.
func (s *Store) needed(id GroupID, first uint64) uint64 {
	g, ok := s.Group(id)
	if !ok {
		return 1 // being created, or deleted: what it has in the journal means something until it is gone
	}
	need := g.needs()
	if need == 0 {
		need = nothing
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	if at := g.mu.cutAt; at != 0 && at >= first && g.mu.cutTo > g.mu.snapshot.Index {
		need = min(need, at) // without it, what it took away would be back
	}
	return need
}

// store notes that meta.db has what changes said.
func (t *tails) store(rows map[GroupID]meta.Tail) {
	for id, row := range rows {
		if row == (meta.Tail{}) {
			delete(t.stored, id)
		} else {
			t.stored[id] = row
		}
	}
	t.known, t.ready = max(t.known, t.ready.at), ends{at: t.ready.at}
	clear(t.lost)
}
