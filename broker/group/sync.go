package group

import (
	"bytes"
	"fmt"
	"iter"
	"time"
)

// SyncRequest is a SyncGroup.
type SyncRequest struct {
	GroupID      string
	MemberID     string
	InstanceID   *string
	Generation   int32
	ProtocolType *string // nil = not said
	Protocol     *string // nil = not said
	// Assignments are those that the leader gives to members, by their id; borrowed until Sync returns. nil = none.
	Assignments iter.Seq2[string, []byte]
}

// SyncResult is the answer to a SyncGroup. The assignment is shared with the group and must not be changed.
type SyncResult struct {
	Err          error
	ProtocolType *string
	Protocol     *string
	Assignment   []byte
}

// sync handles a SyncGroup. reply is called once, under the shard's lock, now or when the leader's assignment is stored; it must
// not block. Source: GroupMetadataManager.classicGroupSync.
func (s *membership) sync(now time.Time, r SyncRequest, reply func(SyncResult)) {
	g, m, err := s.checkSync(r)
	if err != nil {
		reply(SyncResult{Err: err})
		return
	}
	delete(g.unsynced, m)
	if len(g.unsynced) == 0 {
		s.timers.stop(&g.syncTimer)
	}
	if g.state == stateStable {
		reply(g.assigned(m))
		return
	}
	s.answerSync(m, SyncResult{Err: ErrRebalanceInProgress}) // as in rejoin
	m.syncWaiter = reply
	if g.leader == m.id && !g.storing {
		s.storeAssignment(g, now, r.Assignments)
	}
}

// checkSync finds the member of a SyncGroup, in a state in which it may send one.
func (s *membership) checkSync(r SyncRequest) (*group, *member, error) {
	if r.GroupID == "" {
		return nil, nil, ErrInvalidGroupID
	}
	g, ok := s.byID[r.GroupID]
	if !ok || g.state == stateEmpty {
		return nil, nil, ErrUnknownMember
	}
	m, err := g.identify(r.MemberID, r.InstanceID)
	switch {
	case err != nil:
		return nil, nil, err
	case r.Generation != g.generation:
		return nil, nil, ErrIllegalGeneration
	case differs(r.ProtocolType, &g.protocolType) || differs(r.Protocol, g.protocol):
		return nil, nil, ErrInconsistentProtocol
	case g.state == statePreparing:
		return nil, nil, ErrRebalanceInProgress
	}
	return g, m, nil
}

// differs compares what is said on both sides.
func differs(a, b *string) bool { return a != nil && b != nil && *a != *b }

// storeAssignment stores what the leader has assigned, then tells the members. What it says about others than the members of
// this generation is dropped.
func (s *membership) storeAssignment(g *group, now time.Time, given iter.Seq2[string, []byte]) {
	assignments, size := g.chosen(given)
	generation := g.generation
	g.storing = true
	done := func(now time.Time, err error) {
		if g.state != stateCompleting || g.generation != generation {
			return // another rebalance has begun
		}
		g.storing = false
		if err != nil {
			s.opts.Logger.Warn("assignment was not stored", "group", g.id, "generation", generation, "err", err)
			s.propagate(g, now, nil, err)
			s.prepareRebalance(g, now, "the assignment was not stored")
			return
		}
		s.propagate(g, now, assignments, nil)
		g.enter(stateStable, now)
	}
	if s.log.full() || !s.opts.MemberBytes.fits(size) {
		done(now, fmt.Errorf("%w: no memory for more assignments", ErrCoordinatorNotAvailable))
		return
	}
	for id, b := range assignments {
		assignments[id] = bytes.Clone(b)
	}
	s.log.persist(g.id, g.snapshot(assignments), done)
}

// chosen is what of the given assignments is for members, with nil for those who get none, and how much larger they are than the
// ones before. The bytes are those of given.
func (g *group) chosen(given iter.Seq2[string, []byte]) (assignments map[string][]byte, size int64) {
	assignments = make(map[string][]byte, len(g.order))
	for _, m := range g.order {
		assignments[m.id] = nil
		size -= int64(len(m.assignment))
	}
	if given != nil {
		for id, b := range given {
			if _, ok := assignments[id]; ok {
				assignments[id] = b
			}
		}
	}
	for _, b := range assignments {
		size += int64(len(b))
	}
	return assignments, size
}

// propagate gives each member its assignment, nil = none, and answers those who wait for it. Their sessions start anew: while
// they waited nobody looked at them.
func (s *membership) propagate(g *group, now time.Time, assignments map[string][]byte, err error) {
	for _, m := range g.order {
		before := m.size()
		m.assignment = assignments[m.id]
		s.opts.MemberBytes.add(m.size() - before)
		answer := SyncResult{Err: err}
		if err == nil {
			answer = g.assigned(m)
		}
		if s.answerSync(m, answer) {
			s.alive(g, m, now)
		}
	}
}

// assigned is the answer to a member of a Stable group.
func (g *group) assigned(m *member) SyncResult {
	return SyncResult{ProtocolType: pointer(g.protocolType), Protocol: g.protocol, Assignment: m.assignment}
}
