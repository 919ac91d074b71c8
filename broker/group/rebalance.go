package group

import (
	"slices"
	"time"
)

// advance starts a rebalance, or ends the one that goes on when all have joined.
// Source: GroupMetadataManager.maybePrepareRebalanceOrCompleteJoin.
func (s *membership) advance(g *group, now time.Time, reason string) {
	if g.state == statePreparing {
		s.completeLater(g, now)
		return
	}
	s.prepareRebalance(g, now, reason)
}

// completeLater ends a rebalance when all have joined; not the first one of a group, which waits for its time, or for those whom it had
// before it was taken over. Source: GroupMetadataManager.maybeCompleteJoinPhase.
func (s *membership) completeLater(g *group, now time.Time) {
	if g.state == statePreparing && (g.previous != stateEmpty && g.allJoined() || g.reunited()) {
		s.completeJoin(g, now)
	}
}

// prepareRebalance asks all members to join again: those who wait for their assignment at once, the others with their next
// heartbeat. The first rebalance of a group waits for members to come. Source: GroupMetadataManager.prepareRebalance.
func (s *membership) prepareRebalance(g *group, now time.Time, reason string) {
	if g.state == stateCompleting {
		s.propagate(g, now, nil, ErrRebalanceInProgress)
	}
	clear(g.unsynced)
	g.storing = false
	s.timers.stop(&g.syncTimer)
	first := g.state == stateEmpty
	g.enter(statePreparing, now)
	s.opts.Logger.Info("group rebalances", "group", g.id, "generation", g.generation, "reason", reason)
	switch {
	case first && !g.reunited():
		delay := s.opts.InitialDelay
		s.awaitMore(g, now, delay, max(g.rebalanceTimeout()-delay, 0))
	case g.allJoined():
		s.completeJoin(g, now)
	default:
		s.awaitJoins(g, now, g.rebalanceTimeout())
	}
}

// awaitJoins completes the rebalance with whoever has joined when the time is up.
func (s *membership) awaitJoins(g *group, now time.Time, wait time.Duration) {
	g.joinTimer.fire = func(now time.Time) { s.completeJoin(g, now) }
	s.timers.set(&g.joinTimer, now.Add(wait))
}

// awaitMore delays the first rebalance, and once more whenever members came meanwhile, for at most the rebalance timeout in
// all: a service that starts with many members has one rebalance, not one for each.
// Source: GroupMetadataManager.tryCompleteInitialRebalanceElseSchedule.
func (s *membership) awaitMore(g *group, now time.Time, delay, remaining time.Duration) {
	g.joinTimer.fire = func(now time.Time) {
		if !g.grown || remaining == 0 {
			s.completeJoin(g, now)
			return
		}
		g.grown = false
		s.awaitMore(g, now, min(s.opts.InitialDelay, remaining), max(remaining-delay, 0))
	}
	s.timers.set(&g.joinTimer, now.Add(delay))
}

// completeJoin begins the next generation with those who have joined. Dynamic members that have not are out; static ones stay
// until their session ends. Source: GroupMetadataManager.completeClassicGroupJoin.
func (s *membership) completeJoin(g *group, now time.Time) {
	s.timers.stop(&g.joinTimer)
	for _, m := range slices.Clone(g.order) {
		if m.joinWaiter == nil && m.instance == nil {
			s.opts.Logger.Info("member did not join again", "group", g.id, "member", m.id)
			s.remove(g, m)
		}
	}
	if !g.electJoined() && len(g.order) > 0 {
		// Static members only, and none is there: wait for their sessions to end. A client may ask for no rebalance timeout.
		s.awaitJoins(g, now, max(g.rebalanceTimeout(), absentRetry))
		return
	}
	g.grown, g.before = false, 0
	if !g.nextGeneration(s.opts.SiteEpoch) {
		s.exhausted(g)
	}
	if len(g.order) == 0 {
		s.becomeEmpty(g, now)
		return
	}
	g.protocol = pointer(g.vote())
	g.topics = g.subscriptions()
	g.enter(stateCompleting, now)
	s.opts.Logger.Info("group has a new generation", "group", g.id, "generation", g.generation, "members", len(g.order))
	clear(g.unsynced)
	for _, m := range g.order {
		s.answerJoin(g, m, g.current(m, true))
		s.alive(g, m, now)
		m.fresh = false
		g.unsynced[m] = struct{}{}
	}
	g.syncTimer.fire = func(now time.Time) { s.expireSync(g, now) }
	s.timers.set(&g.syncTimer, now.Add(g.rebalanceTimeout()))
}

// becomeEmpty stores that a group has no members left. When that fails and the broker restarts, the generation before is there
// again, and its members' sessions end once more.
func (s *membership) becomeEmpty(g *group, now time.Time) {
	g.protocol = nil
	g.topics = g.subscriptions()
	clear(g.unsynced)
	g.enter(stateEmpty, now)
	s.opts.Logger.Info("group is empty", "group", g.id, "generation", g.generation)
	s.log.persist(g.id, g.snapshot(nil), func(_ time.Time, err error) {
		if err != nil {
			s.opts.Logger.Warn("empty group was not stored", "group", g.id, "err", err)
		}
	})
}

// nextGeneration counts up within the site epoch. False: all numbers of this epoch are used.
func (g *group) nextGeneration(siteEpoch int32) bool {
	if epoch := g.generation >> generationBits; epoch < siteEpoch {
		g.generation = siteEpoch << generationBits // the first of a new epoch is above all of the one before
	}
	if g.generation&generationMask == generationMask {
		g.generation &^= generationMask
		return false
	}
	g.generation++
	return true
}

// exhausted begins to count anew. Nobody may take a new generation for an old one of the same number, so no member id stays
// valid.
func (s *membership) exhausted(g *group) {
	s.opts.Logger.Warn("group has used all generations of its site epoch: all members have to join as new ones", "group", g.id)
	for _, m := range slices.Clone(g.order) {
		s.remove(g, m)
	}
}

// expireSync takes out who has not asked for its assignment in time. Source: GroupMetadataManager.expirePendingSync.
func (s *membership) expireSync(g *group, now time.Time) {
	if len(g.unsynced) == 0 || g.state != stateCompleting && g.state != stateStable {
		return
	}
	for _, m := range slices.Clone(g.order) {
		if _, missing := g.unsynced[m]; missing {
			s.opts.Logger.Info("member did not sync", "group", g.id, "member", m.id)
			s.remove(g, m)
		}
	}
	s.prepareRebalance(g, now, "members did not sync in time")
}

func pointer[T any](v T) *T { return &v }
