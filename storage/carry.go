package storage

import (
	"slices"

	"github.com/tandembroker/tandem/storage/journal"
)

// carry moves what pins the journal to its head (journal.CarryAll): the records of Raft groups that are offline, or make no
// progress, so that no checkpoint shortens what a restart needs of theirs. It is done when the journal has grown by as much as
// would be copied, and by CheckpointBytes: copying costs a part of what is written in any case. g.write of all these is held
// meanwhile. s.checkpointing is held.
func (s *Store) carry() error {
	if s.journal.Size() < s.opts.CheckpointBytes+2*s.carried || s.Writable() != nil { // copies need space before they make any
		return nil
	}
	pins := s.pins(s.journal.Behind(s.opts.CheckpointBytes / 2))
	if len(pins) == 0 {
		return nil
	}
	s.carried = 0
	for _, g := range pins {
		g.write.Lock()
		defer g.write.Unlock()
	}
	pins = slices.DeleteFunc(pins, func(g *Group) bool { return g.write.closed || g.needs() == 0 }) // deleted, or it went on
	if len(pins) == 0 {
		return nil
	}
	list := make([]journal.Live, len(pins))
	for i, g := range pins {
		list[i] = journal.Live{Group: g.id, From: g.needs(), Hurt: g.hurt}
		if snap, ok := g.Snapshot(); ok {
			list[i].Snapshot = snap.Index
		}
	}
	carried, err := s.journal.CarryAll(list)
	if err != nil {
		return s.fatal(err)
	}
	for i, g := range pins {
		if err := carried[i].Err; err != nil {
			s.opts.Logger.Warn("journal kept for one Raft group", "group", g.id, "folder", g.folder, "journalBytes", s.journal.Size(),
				"first", list[i].From, "offline", g.Offline(), "err", err)
			continue
		}
		s.carried += carried[i].Bytes
		s.space.wrote(carried[i].Bytes)
		g.moveRecords(carried[i].First)
		s.opts.Logger.Info("journal records carried", "group", g.id, "folder", g.folder, "from", list[i].From,
			"to", carried[i].First, "bytes", carried[i].Bytes, "offline", g.Offline() != nil)
	}
	return s.dropJournal()
}

// pins are the Raft groups that need journal records below horizon.
func (s *Store) pins(horizon uint64) []*Group {
	var pins []*Group
	for _, g := range s.Groups() {
		if need := g.needs(); need != 0 && need < horizon {
			pins = append(pins, g)
		}
	}
	return pins
}

// moveRecords notes that all of g's records that were below first are at or above it now. g.write is held.
func (g *Group) moveRecords(first uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, at := range []*uint64{&g.mu.pending, &g.mu.voteAt, &g.mu.bornAt, &g.mu.pin} {
		if *at != 0 {
			*at = max(*at, first)
		}
	}
	for i := range g.mu.entries {
		e := &g.mu.entries[i]
		e.sequence = max(e.sequence, first) // not exact: what the first of them needs is all that counts
	}
}
