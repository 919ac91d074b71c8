package group

import (
	"bytes"
	"fmt"
	"time"
)

// JoinRequest is a JoinGroup.
type JoinRequest struct {
	GroupID          string
	MemberID         string  // "" = not known yet
	InstanceID       *string // static membership; nil = dynamic
	ClientID         string
	ClientHost       string
	ProtocolType     string
	Protocols        []Protocol // owned by the group from now on
	SessionTimeout   time.Duration
	RebalanceTimeout time.Duration
	Reason           string // why the client joins, as it says
	// NeedsID: a dynamic member without an id is given one and has to come again with it (v4).
	NeedsID bool
	// SkipsAssignment: a leader that joins a Stable group may be told that its assignment stays (v9).
	SkipsAssignment bool
}

// JoinResult is the answer to a JoinGroup. Slices are shared with the group and must not be changed.
type JoinResult struct {
	Err            error
	MemberID       string
	Generation     int32 // -1 with most errors
	ProtocolType   *string
	Protocol       *string
	Leader         string
	SkipAssignment bool
	Members        []JoinMember // for the leader only
}

// JoinMember is what the leader is told about a member.
type JoinMember struct {
	MemberID   string
	InstanceID *string
	Metadata   []byte
}

// refused is the answer that has nothing but an error and a member id.
func refused(err error, memberID string) JoinResult {
	return JoinResult{Err: err, MemberID: memberID, Generation: -1}
}

// join handles a JoinGroup. reply is called once, under the shard's lock, now or when the rebalance is over; it must not block.
// Source: GroupMetadataManager.classicGroupJoin, and GroupCoordinatorService.joinGroup for the checks in front.
func (s *membership) join(now time.Time, r JoinRequest, reply func(JoinResult)) {
	switch {
	case r.GroupID == "":
		reply(refused(ErrInvalidGroupID, r.MemberID))
		return
	case r.SessionTimeout < s.opts.SessionMin || r.SessionTimeout > s.opts.SessionMax:
		reply(refused(ErrInvalidSessionTimeout, r.MemberID))
		return
	case len(r.base())+idOverhead > stringMax:
		reply(refused(fmt.Errorf("%w: client id or group instance id too long", ErrInvalidRequest), r.MemberID))
		return
	}
	r.Protocols = distinct(r.Protocols)
	r.RebalanceTimeout = max(r.RebalanceTimeout, 0)
	g, known := s.byID[r.GroupID]
	if s.log.full() && (!known || g.members[r.MemberID] == nil) { // who comes may make records
		reply(refused(ErrCoordinatorNotAvailable, r.MemberID))
		return
	}
	if !known {
		if r.MemberID != "" {
			reply(refused(ErrUnknownMember, r.MemberID))
			return
		}
		g = s.findOrCreate(r.GroupID, now)
	}
	switch {
	case !s.accepts(g, r.MemberID):
		s.turnAway(g, r.MemberID, now)
		reply(refused(ErrGroupMaxSize, ""))
	case !g.supports(r.ProtocolType, r.Protocols):
		reply(refused(ErrInconsistentProtocol, r.MemberID))
	case !s.opts.MemberBytes.fits(s.needs(g, &r)):
		s.opts.Logger.Warn("no memory for more group members", "group", g.id)
		reply(refused(ErrCoordinatorNotAvailable, r.MemberID))
	case r.MemberID == "":
		s.joinNew(g, now, r, reply)
	default:
		s.joinKnown(g, now, r, reply)
	}
	if !known {
		s.storeNew(g)
	}
}

// idOverhead is what a member id has besides the client id or the group instance id.
const idOverhead = 1 + 36

// base is what the id of a new member begins with.
func (r *JoinRequest) base() string {
	if r.InstanceID != nil {
		return *r.InstanceID
	}
	return r.ClientID
}

// needs is the memory that a member takes in addition.
func (s *membership) needs(g *group, r *JoinRequest) int64 {
	if m, ok := g.members[r.MemberID]; ok {
		return protocolBytes(r.Protocols) - protocolBytes(m.protocols)
	}
	n := memberOverhead + 2*len(r.base()) + idOverhead + len(r.ClientHost)
	return int64(n) + protocolBytes(r.Protocols)
}

// accepts says whether there is room for a member. While members join again, those count who have: so it is the last to come
// who are turned away when the limit was lowered. Source: GroupMetadataManager.acceptJoiningMember.
func (s *membership) accepts(g *group, memberID string) bool {
	if s.opts.SizeMax <= 0 {
		return true
	}
	m, known := g.members[memberID]
	switch g.state {
	case statePreparing:
		return known && m.joinWaiter != nil || g.joining < s.opts.SizeMax
	case stateCompleting, stateStable:
		return known || len(g.members) < s.opts.SizeMax
	default:
		return true
	}
}

// turnAway takes out what there is no room for.
func (s *membership) turnAway(g *group, memberID string, now time.Time) {
	s.withdraw(g, memberID)
	if m, ok := g.members[memberID]; ok {
		s.remove(g, m)
	}
	s.completeLater(g, now)
}

// storeNew writes the record of a group that has nothing yet, so that it exists after a restart too.
func (s *membership) storeNew(g *group) {
	if g.state != stateEmpty {
		return // its first generation will be stored
	}
	s.log.persist(g.id, g.snapshot(nil), func(_ time.Time, err error) {
		if err != nil {
			s.opts.Logger.Warn("new group was not stored", "group", g.id, "err", err)
		}
	})
}

// joinNew handles a member without an id.
func (s *membership) joinNew(g *group, now time.Time, r JoinRequest, reply func(JoinResult)) {
	if r.InstanceID != nil {
		id := r.base() + "-" + s.opts.NewID()
		if old, ok := g.instances[*r.InstanceID]; ok {
			s.replace(g, old, id, now, r, reply)
			return
		}
		s.admit(g, id, now, r, reply)
		return
	}
	id := r.base() + "-" + s.opts.NewID()
	if !r.NeedsID {
		s.admit(g, id, now, r, reply)
		return
	}
	if len(g.pending) >= pendingMax {
		reply(refused(ErrCoordinatorNotAvailable, ""))
		return
	}
	t := &timer{fire: func(now time.Time) { s.expirePending(g, id, now) }}
	g.pending[id] = t
	s.opts.MemberBytes.add(pendingBytes(id))
	s.timers.set(t, now.Add(r.SessionTimeout))
	reply(refused(ErrMemberIDRequired, id))
}

// joinKnown handles a member that says its id. Source: GroupMetadataManager.classicGroupJoinExistingMember.
func (s *membership) joinKnown(g *group, now time.Time, r JoinRequest, reply func(JoinResult)) {
	if _, ok := g.pending[r.MemberID]; ok {
		if r.InstanceID != nil { // Kafka fails with an exception here
			reply(refused(ErrUnknownMember, r.MemberID))
			return
		}
		s.withdraw(g, r.MemberID)
		s.admit(g, r.MemberID, now, r, reply)
		return
	}
	m, err := g.identify(r.MemberID, r.InstanceID)
	if err != nil {
		reply(refused(err, r.MemberID))
		return
	}
	switch same := m.matches(r.Protocols); {
	case g.state == stateEmpty:
		reply(refused(ErrUnknownMember, r.MemberID)) // no member is in an Empty group
	case g.state == stateCompleting && same, // it may not have got the answer
		g.state == stateStable && same && g.leader != m.id: // a leader joins when the topics have changed
		reply(g.current(m, g.state == stateCompleting))
	default:
		s.rejoin(g, m, r, reply)
		s.advance(g, now, joinReason(r, "a member joined again"))
	}
}

// admit adds a new member.
func (s *membership) admit(g *group, id string, now time.Time, r JoinRequest, reply func(JoinResult)) {
	m := &member{
		id: id, instance: r.InstanceID, clientID: r.ClientID, clientHost: r.ClientHost,
		rebalanceTimeout: r.RebalanceTimeout, sessionTimeout: r.SessionTimeout,
		protocolType: r.ProtocolType, protocols: r.Protocols, fresh: true, joinWaiter: reply,
	}
	if g.state == statePreparing && g.previous == stateEmpty {
		g.grown = true
	}
	g.add(m)
	g.joining++
	s.opts.MemberBytes.add(m.size())
	// It does not know its id, so it sends no heartbeats; and that its client has gone need not be noticed. Not to collect
	// members that are not there, it may wait for so long only; its client, if it is there, comes again.
	s.expect(g, m, now.Add(freshMax))
	s.advance(g, now, joinReason(r, "a member joined"))
}

// rejoin notes what a member says anew and that it waits for the next generation.
func (s *membership) rejoin(g *group, m *member, r JoinRequest, reply func(JoinResult)) {
	s.opts.MemberBytes.add(protocolBytes(r.Protocols) - protocolBytes(m.protocols))
	g.offer(m, r.Protocols)
	m.rebalanceTimeout, m.sessionTimeout = r.RebalanceTimeout, r.SessionTimeout
	// An earlier JoinGroup of this member came on another connection, which its client has most likely given up. Kafka never
	// answers that one; here it would keep its connection waiting.
	s.answerJoin(g, m, refused(ErrRebalanceInProgress, m.id))
	m.joinWaiter = reply
	g.joining++
}

// replace gives a static member that has restarted a new id. In a Stable group that is all that happens, unless the vote for
// the protocol changes. Source: GroupMetadataManager.updateStaticMemberThenRebalanceOrCompleteJoin.
func (s *membership) replace(g *group, m *member, id string, now time.Time, r JoinRequest, reply func(JoinResult)) {
	old := replaced{m.id, g.leader, m.protocols, m.rebalanceTimeout, m.sessionTimeout}
	s.answerJoin(g, m, refused(ErrFencedInstance, m.id))
	s.answerSync(m, SyncResult{Err: ErrFencedInstance})
	s.rename(g, m, id)
	m.fresh = false
	s.rejoin(g, m, r, reply)
	s.alive(g, m, now)
	s.opts.Logger.Info("static member came back", "group", g.id, "instance", *m.instance, "member", id)
	switch {
	case g.state == stateCompleting:
		// The leader may already have got the old id, and would assign to that.
		s.prepareRebalance(g, now, "a static member was replaced")
	case g.state == stateStable && g.protocol != nil && g.vote() == *g.protocol:
		s.storeReplaced(g, m, old, r.SkipsAssignment)
	default:
		s.advance(g, now, joinReason(r, "a static member came back with other protocols"))
	}
}

// replaced is what a static member was before it came back.
type replaced struct {
	id               string
	leader           string // of the group
	protocols        []Protocol
	rebalanceTimeout time.Duration
	sessionTimeout   time.Duration
}

// storeReplaced answers a static member that has come back to a Stable group once its new id is stored.
func (s *membership) storeReplaced(g *group, m *member, old replaced, skips bool) {
	id, generation := m.id, g.generation
	s.log.persist(g.id, g.snapshot(g.assignments()), func(now time.Time, err error) {
		if g.state != stateStable || g.generation != generation || g.members[id] != m {
			return // it takes part in the rebalance that has begun; or it has left, or was replaced again
		}
		answer := g.current(m, false)
		switch {
		case err != nil:
			s.opts.Logger.Warn("static member was not stored", "group", g.id, "member", id, "err", err)
			s.restore(g, m, old)
			answer.Err, answer.MemberID, answer.Leader = err, "", old.leader
		case !skips:
			answer.Leader = old.leader // this client cannot be told to leave the assignment alone, so it must not think that it leads
		case g.leader == id:
			answer.Members, answer.SkipAssignment = g.list(), true
		}
		if s.answerJoin(g, m, answer) {
			s.alive(g, m, now)
		}
	})
}

// restore makes a static member again what it was.
func (s *membership) restore(g *group, m *member, old replaced) {
	s.opts.MemberBytes.add(protocolBytes(old.protocols) - protocolBytes(m.protocols))
	g.offer(m, old.protocols)
	m.rebalanceTimeout, m.sessionTimeout = old.rebalanceTimeout, old.sessionTimeout
	s.rename(g, m, old.id)
}

// rename gives a static member a new id.
func (s *membership) rename(g *group, m *member, id string) {
	s.opts.MemberBytes.add(int64(len(id) - len(m.id)))
	g.rename(m, id)
}

// current tells a member about the generation that it is in. asLeader: the members are listed if it leads.
func (g *group) current(m *member, asLeader bool) JoinResult {
	r := JoinResult{MemberID: m.id, Generation: g.generation, ProtocolType: pointer(g.protocolType), Protocol: g.protocol, Leader: g.leader}
	if asLeader && g.leader == m.id {
		r.Members = g.list()
	}
	return r
}

// list is what the leader gets to assign partitions by.
func (g *group) list() []JoinMember {
	out := make([]JoinMember, len(g.order))
	for i, m := range g.order {
		out[i] = JoinMember{MemberID: m.id, InstanceID: m.instance, Metadata: m.metadata(g.protocol)}
	}
	return out
}

func (g *group) assignments() map[string][]byte {
	out := make(map[string][]byte, len(g.order))
	for _, m := range g.order {
		out[m.id] = bytes.Clone(m.assignment)
	}
	return out
}

func joinReason(r JoinRequest, what string) string {
	if r.Reason == "" {
		return what
	}
	return what + ": " + r.Reason
}
