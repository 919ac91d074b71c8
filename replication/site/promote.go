package site

import "time"

// nextOwned is the site epoch of an unplanned promotion.
func (s *Site) nextOwned() uint32 {
	return NextOwned(s.options.Index, max(s.rec.Epoch, s.rec.Seen, s.rec.Refused, s.rec.LastTarget))
}

func (s *Site) promote(epoch uint32, planned bool) []Effect {
	rec := s.rec
	rec.Role, rec.Epoch, rec.Seen, rec.Planned = Active, epoch, max(rec.Seen, epoch), planned
	rec.Fencing, rec.StopRenew = 0, false
	return s.store(rec)
}

// failover takes over. It works from every state but that of an active which serves: a standby, an active that was not confirmed
// after its restart, one that has fenced itself or lost its lease.
func (s *Site) failover(now time.Duration, activeIsDown bool) ([]Effect, error) {
	switch {
	case s.next != nil:
		return nil, ErrBusy
	case s.MayAcknowledge(now) && s.rec.Fencing == 0:
		return nil, ErrServes
	case s.nextOwned() >= epochsMax:
		return nil, ErrExhausted
	case activeIsDown:
		return s.promote(s.nextOwned(), false), nil
	case s.rec.Role != Standby || !s.giver:
		// A site that was itself promoted by failover has no lease before its first renewal: waiting would bind nobody.
		return nil, ErrNotLeased
	case s.rec.StopRenew:
		if !s.waiting { // ordered again after a restart: from the start
			s.waiting, s.waitFrom = true, now
		}
		return nil, nil
	}
	rec := s.rec
	rec.StopRenew = true
	return s.store(rec), nil
}

// waitOver says that no lease given by this site can still be in force.
func (s *Site) waitOver(now time.Duration) bool {
	return s.waiting && s.rec.Role == Standby && s.rec.StopRenew && now >= s.waitFrom+s.options.Lease+s.options.Drift
}

func (s *Site) abortFailover() ([]Effect, error) {
	switch {
	case s.next != nil:
		return nil, ErrBusy
	case !s.rec.StopRenew:
		return nil, ErrNoFailover
	}
	rec := s.rec
	rec.StopRenew = false
	s.waiting = false
	return s.store(rec), nil
}

// selfPromote goes over to the next own epoch, for its fresh band of offsets and leader epochs.
func (s *Site) selfPromote() ([]Effect, error) {
	if err := s.settledActive(); err != nil {
		return nil, err
	}
	if s.nextOwned() >= epochsMax {
		return nil, ErrExhausted
	}
	s.keepLease = true
	return s.promote(s.nextOwned(), false), nil
}

// settledActive is nil where this site serves, and neither changes its role nor hands over.
func (s *Site) settledActive() error {
	switch {
	case s.next != nil:
		return ErrBusy
	case !s.Serving():
		return ErrNotActive
	case s.rec.Fencing != 0:
		return ErrSwitching
	}
	return nil
}

// switchover begins to hand over: the target is made durable before any log is fenced for it.
func (s *Site) switchover() ([]Effect, error) {
	if err := s.settledActive(); err != nil {
		return nil, err
	}
	rec := s.rec
	rec.Fencing = NextOwned(s.options.PeerIndex, max(rec.Epoch, rec.Seen, rec.LastTarget))
	if rec.Fencing >= epochsMax {
		return nil, ErrExhausted
	}
	rec.LastTarget = rec.Fencing
	return s.store(rec), nil
}

// abortSwitchover asks the standby for its word, at each tick until it has come: the standby may be down for as long as it likes, and must
// not carry on what was given up when it is back.
func (s *Site) abortSwitchover() ([]Effect, error) {
	if !s.Serving() || s.rec.Fencing == 0 {
		return nil, ErrNotActive
	}
	s.abandoned = s.rec.Fencing
	return []Effect{Send{Refuse{s.abandoned}}}, nil
}

// refuse gives the word that Target will not be promoted to, once that is durable.
func (s *Site) refuse(m Refuse) []Effect {
	switch {
	case s.rec.Epoch >= m.Target && s.rec.Role == Active || s.next != nil:
		return nil // promoted to it, or perhaps about to be
	case m.Target >= epochsMax:
		return nil
	case s.rec.Refused >= m.Target:
		return []Effect{Send{Refused(m)}}
	}
	rec := s.rec
	rec.Refused = m.Target
	effects := s.store(rec)
	s.reply = Refused(m)
	return effects
}

// promotePlanned promotes to the target of a switchover when every partition is drained for it.
func (s *Site) promotePlanned() []Effect {
	if s.rec.Role != Standby || s.next != nil || s.declined || s.fenced.Target == 0 {
		return nil
	}
	target := s.fenced.Target
	for _, p := range s.fenced.IDs {
		if s.drained[p] != target {
			return nil
		}
	}
	if target <= max(s.rec.Epoch, s.rec.Seen, s.rec.Refused) || target >= epochsMax || target%Sites != s.options.Index {
		return nil
	}
	return s.promote(target, true)
}
