package group

import "time"

// HeartbeatRequest is a Heartbeat.
type HeartbeatRequest struct {
	GroupID    string
	MemberID   string
	InstanceID *string
	Generation int32
}

// heartbeat handles a Heartbeat. ErrRebalanceInProgress tells the member to join again; its session goes on all the same.
// Source: GroupMetadataManager.classicGroupHeartbeat.
func (s *membership) heartbeat(now time.Time, r HeartbeatRequest) error {
	if r.GroupID == "" {
		return ErrInvalidGroupID
	}
	g, ok := s.byID[r.GroupID]
	if !ok {
		return ErrUnknownMember
	}
	m, err := g.identify(r.MemberID, r.InstanceID)
	switch {
	case err != nil:
		return err
	case r.Generation != g.generation:
		return ErrIllegalGeneration
	}
	s.alive(g, m, now)
	if g.state == statePreparing {
		return ErrRebalanceInProgress
	}
	return nil
}

// LeaveRequest is a LeaveGroup.
type LeaveRequest struct {
	GroupID string
	Members []LeaveMember
}

// LeaveMember names a member that leaves: by its id, or, as an administrator does it, a static one by its instance id alone.
type LeaveMember struct {
	MemberID   string
	InstanceID *string
	Reason     string // as the client says it
}

// leave handles a LeaveGroup. It returns what became of each member, in their order, or why nothing was done at all.
// Source: GroupMetadataManager.classicGroupLeave.
func (s *membership) leave(now time.Time, r LeaveRequest) ([]error, error) {
	if r.GroupID == "" {
		return nil, ErrInvalidGroupID
	}
	out := make([]error, len(r.Members))
	g, ok := s.byID[r.GroupID]
	left := 0
	for i, l := range r.Members {
		if !ok {
			out[i] = ErrUnknownMember
			continue
		}
		if out[i] = s.leaveOne(g, l); out[i] == nil {
			left++
		}
	}
	if left > 0 {
		switch g.state {
		case stateStable, stateCompleting:
			s.prepareRebalance(g, now, "members left")
		case statePreparing:
			s.completeLater(g, now)
		case stateEmpty, stateDead:
		}
	}
	return out, nil
}

func (s *membership) leaveOne(g *group, l LeaveMember) error {
	if l.MemberID == "" {
		if l.InstanceID == nil || g.instances[*l.InstanceID] == nil {
			return ErrUnknownMember
		}
		l.MemberID = g.instances[*l.InstanceID].id
	}
	if s.withdraw(g, l.MemberID) {
		return nil
	}
	m, err := g.identify(l.MemberID, l.InstanceID)
	if err != nil {
		return err
	}
	s.opts.Logger.Info("member left", "group", g.id, "member", m.id, "reason", l.Reason)
	s.remove(g, m)
	return nil
}
