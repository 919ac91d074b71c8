package main

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	sessionTimeout   = 30_000 // ms
	rebalanceTimeout = 60_000
)

// member is one that the generator leads through the life of a group, on a connection of its own.
type member struct {
	name      string // of its variables
	conn      int
	group     string
	instance  *string
	protocols []string
	kind      string
	joined    bool
}

func (g *generator) member(group string) *member {
	g.members++
	return &member{name: fmt.Sprintf("member%d", g.members), conn: g.members, group: group, kind: "consumer", protocols: []string{"range"}}
}

func (g *generator) group() string { return g.prefix + pick(g, "g1", "g1", "g2", "g3") }

func (m *member) id(s *side) string {
	id, _ := s.vars[m.name].(string)
	return id
}

// generation is that of the member's last answer, or another.
func (m *member) generation(s *side, delta int32) int32 {
	n, _ := s.vars[m.name+" generation"].(int64)
	return int32(n) + delta
}

// join adds a JoinGroup; later = its answer waits for other members.
func (g *generator) join(m *member, later bool) {
	kind, protocols, instance := m.kind, m.protocols, m.instance
	st := request(g, m.conn, 11, func(s *side, r *kmsg.JoinGroupRequest, _ int16) {
		r.Group, r.MemberID, r.InstanceID, r.ProtocolType = m.group, m.id(s), instance, kind
		r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = sessionTimeout, rebalanceTimeout
		for _, p := range protocols {
			x := kmsg.NewJoinGroupRequestProtocol()
			x.Name, x.Metadata = p, []byte("metadata of "+m.name)
			r.Protocols = append(r.Protocols, x)
		}
	}, nil)
	st.after = m.keep
	if later {
		st.later, st.group, st.after = true, m.group, nil
	}
}

// keep remembers what a join has given the member.
func (m *member) keep(s *side, resp kmsg.Response) {
	joined, ok := resp.(*kmsg.JoinGroupResponse)
	if !ok || joined.MemberID == "" {
		return
	}
	s.vars[m.name], s.vars[m.name+" generation"] = joined.MemberID, int64(joined.Generation)
	if joined.ErrorCode == 0 && joined.Protocol != nil {
		s.vars[m.name+" protocol"] = *joined.Protocol
	}
}

// protocol is the one that the group has agreed on, as far as the member knows.
func (m *member) protocol(s *side) string {
	if chosen, ok := s.vars[m.name+" protocol"].(string); ok {
		return chosen
	}
	return m.protocols[0]
}

// enter adds what a new member sends until it has joined: before version 4 once, from there on again with the id that it was given.
func (g *generator) enter(m *member, alone bool) {
	m.joined = true
	if m.instance != nil {
		g.joinVersion(m, !alone, pick[int16](g, 5, 6, 7, 8, 9))
		return
	}
	if g.chance(30) {
		g.joinVersion(m, !alone, pick[int16](g, 0, 1, 2, 3))
		return
	}
	g.joinVersion(m, false, pick[int16](g, 4, 5, 6, 7, 8, 9))
	g.joinVersion(m, !alone, pick[int16](g, 4, 5, 6, 7, 8, 9))
}

func (g *generator) joinVersion(m *member, later bool, version int16) {
	g.join(m, later)
	st := &g.steps[len(g.steps)-1]
	inner := st.build
	st.build = func(s *side) kmsg.Request {
		r := inner(s)
		r.SetVersion(version)
		return r
	}
}

// collect waits for the answer to a join or sync that was left open.
func (g *generator) collect(m *member) {
	g.steps = append(g.steps, step{conn: m.conn, collect: true, after: m.keep})
}

// sync adds a SyncGroup: of the leader with what each member gets.
func (g *generator) sync(m *member, later bool, assigned []*member) {
	wrong := g.chance(8) && !later && len(assigned) < 2 // nobody waits for it
	st := request(g, m.conn, 14, func(s *side, r *kmsg.SyncGroupRequest, _ int16) {
		r.Group, r.MemberID, r.Generation, r.InstanceID = m.group, m.id(s), m.generation(s, 0), m.instance
		r.ProtocolType, r.Protocol = kmsg.StringPtr(m.kind), kmsg.StringPtr(m.protocol(s))
		if wrong {
			r.Protocol = kmsg.StringPtr("other")
		}
		for _, a := range assigned {
			x := kmsg.NewSyncGroupRequestGroupAssignment()
			x.MemberID, x.MemberAssignment = a.id(s), []byte("assignment of "+a.name)
			r.GroupAssignment = append(r.GroupAssignment, x)
		}
	}, nil)
	st.later = later
}

func (g *generator) heartbeat(m *member, delta int32) {
	request(g, m.conn, 12, func(s *side, r *kmsg.HeartbeatRequest, _ int16) {
		r.Group, r.MemberID, r.Generation, r.InstanceID = m.group, m.id(s), m.generation(s, delta), m.instance
	}, nil)
}

func (g *generator) leave(members ...*member) {
	unknown := g.chance(10)
	byInstance := g.chance(40)
	request(g, members[0].conn, 13, func(s *side, r *kmsg.LeaveGroupRequest, _ int16) {
		r.Group, r.MemberID = members[0].group, members[0].id(s)
		for _, m := range members {
			x := kmsg.NewLeaveGroupRequestMember()
			x.MemberID, x.InstanceID = m.id(s), m.instance
			if byInstance && m.instance != nil {
				x.MemberID = ""
			}
			r.Members = append(r.Members, x)
		}
		if unknown {
			x := kmsg.NewLeaveGroupRequestMember()
			x.MemberID = "nobody"
			r.Members = append(r.Members, x)
		}
	}, nil)
}

// groupLife leads two or three members through joins, syncs, commits and leaves.
func (g *generator) groupLife() { g.life(false) }

// staticGroup does so with members that have an instance id.
func (g *generator) staticGroup() { g.life(true) }

func (g *generator) life(static bool) {
	group := g.prefix + fmt.Sprintf("life%d", g.members)
	first, second := g.member(group), g.member(group)
	if static {
		first.instance, second.instance = kmsg.StringPtr("i1"), kmsg.StringPtr("i2")
		if g.chance(30) {
			second.instance = nil
		}
	}
	if g.chance(30) {
		first.protocols, second.protocols = []string{"range", "sticky"}, []string{"sticky", "range"}
	}
	g.enter(first, true)
	g.disturb(first)
	if g.chance(85) {
		g.sync(first, false, []*member{first})
	}
	g.disturb(first)
	if g.chance(30) { // the leader joins again, which makes a generation
		g.joinVersion(first, false, pick[int16](g, 5, 7, 9))
		g.sync(first, false, []*member{first})
	}
	if g.chance(80) {
		g.second(first, second)
	}
	if static && g.chance(60) {
		g.restarted(first, second)
	}
	switch g.IntN(4) {
	case 0:
		g.leave(first)
		g.disturb(first)
	case 1:
		g.leave(first, second)
		g.deleteGroup(group)
	}
	g.describeGroup(group)
}

// second lets another member join, and both agree.
func (g *generator) second(first, second *member) {
	g.enter(second, false)
	g.heartbeat(first, 0)
	if g.chance(30) {
		g.commitOf(first, 0)
	}
	g.joinVersion(first, true, pick[int16](g, 5, 6, 7, 8, 9))
	g.collect(first)
	g.collect(second)
	if g.chance(50) {
		g.describeGroup(first.group)
	}
	g.sync(second, true, nil)
	g.disturb(first)
	g.sync(first, false, []*member{first, second})
	g.collect(second)
	g.disturb(second)
	if g.chance(40) {
		g.describeGroup(first.group)
	}
	if g.chance(40) { // a follower that joins again without a change
		g.joinVersion(second, false, pick[int16](g, 5, 7, 9))
	}
	if g.chance(40) { // one leaves: the other learns of it, and joins alone
		g.leave(second)
		g.heartbeat(first, 0)
		g.joinVersion(first, false, pick[int16](g, 5, 7, 9))
		g.sync(first, false, []*member{first})
		g.heartbeat(first, 0)
	}
}

// restarted is a static member that comes back without its member id; what the old one sends is fenced.
func (g *generator) restarted(first, _ *member) {
	again := g.member(first.group)
	again.instance, again.protocols = first.instance, first.protocols
	g.joinVersion(again, false, pick[int16](g, 5, 6, 7, 8, 9))
	g.heartbeat(first, 0)
	g.sync(first, false, nil)
	g.commitOf(first, 0)
	g.joinVersion(first, false, pick[int16](g, 5, 7, 9))
	g.heartbeat(again, 0)
	g.describeGroup(first.group)
	if g.chance(50) {
		g.leave(first)
	}
}

// disturb sends what does not belong.
func (g *generator) disturb(m *member) {
	for range g.IntN(3) {
		switch g.IntN(7) {
		case 0:
			g.heartbeat(m, 0)
		case 1:
			g.heartbeat(m, pick[int32](g, 1, -1, 100))
		case 2:
			g.commitOf(m, 0)
		case 3:
			g.commitOf(m, pick[int32](g, 1, -1))
		case 4:
			g.groupStray()
		case 5:
			stranger := g.member(m.group) // refused: nobody else speaks what it does
			stranger.kind, stranger.protocols = pick(g, "connect", "consumer"), []string{"other"}
			if m.instance != nil && g.chance(20) {
				stranger.instance = kmsg.StringPtr("i9")
			}
			g.joinVersion(stranger, false, int16(g.IntN(10)))
		case 6:
			g.fetchOffsets()
		}
	}
}

// groupStray sends what no member would.
func (g *generator) groupStray() {
	group := pick(g, g.group(), g.prefix+"life0", "")
	id := pick(g, "nobody", "", "oracle-0000")
	generation := pick[int32](g, -1, 0, 1, 5)
	var instance *string
	if g.chance(25) {
		instance = kmsg.StringPtr(pick(g, "i1", "i7"))
	}
	switch g.IntN(5) {
	case 0:
		request(g, controlConn, 12, func(_ *side, r *kmsg.HeartbeatRequest, _ int16) {
			r.Group, r.MemberID, r.Generation, r.InstanceID = group, id, generation, instance
		}, nil)
	case 1:
		request(g, controlConn, 14, func(_ *side, r *kmsg.SyncGroupRequest, _ int16) {
			r.Group, r.MemberID, r.Generation, r.InstanceID = group, id, generation, instance
			r.ProtocolType, r.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
		}, nil)
	case 2:
		request(g, controlConn, 13, func(_ *side, r *kmsg.LeaveGroupRequest, _ int16) {
			r.Group, r.MemberID = group, id
			x := kmsg.NewLeaveGroupRequestMember()
			x.MemberID, x.InstanceID = id, instance
			r.Members = append(r.Members, x)
		}, nil)
	default:
		session := pick[int32](g, sessionTimeout, 1, 2_000_000_000, -1)
		if id == "" {
			session = pick[int32](g, 1, 2_000_000_000, -1) // a good one would leave a member behind
		}
		kind, protocols := pick(g, "consumer", ""), g.IntN(2)
		request(g, controlConn, 11, func(_ *side, r *kmsg.JoinGroupRequest, _ int16) {
			r.Group, r.MemberID, r.ProtocolType = group, id, kind
			r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = session, rebalanceTimeout
			for range protocols {
				x := kmsg.NewJoinGroupRequestProtocol()
				x.Name, x.Metadata = "range", []byte("m")
				r.Protocols = append(r.Protocols, x)
			}
		}, nil)
	}
}

func (g *generator) describeGroup(group string) {
	operations := g.chance(30)
	request(g, controlConn, 15, func(_ *side, r *kmsg.DescribeGroupsRequest, _ int16) {
		r.Groups, r.IncludeAuthorizedOperations = []string{group}, operations
	}, nil)
}

func (g *generator) describeGroups() {
	g.describeGroup(pick(g, g.group(), g.group(), g.prefix+"life0", g.prefix+"no-group", ""))
}

func (g *generator) deleteGroup(groups ...string) {
	request(g, controlConn, 42, func(_ *side, r *kmsg.DeleteGroupsRequest, _ int16) { r.Groups = groups }, nil)
}

func (g *generator) deleteGroups() {
	groups := pick(g, []string{g.group()}, []string{g.prefix + "no-group"}, []string{""}, []string{g.prefix + "g1", g.prefix + "no-group"},
		[]string{g.prefix + "life0"})
	g.deleteGroup(groups...)
}

func (g *generator) listGroups() {
	states := pick(g, nil, nil, []string{"Empty"}, []string{"Stable", "Dead"}, []string{"empty"}, []string{"Nonsense"})
	types := pick(g, nil, nil, []string{"classic"}, []string{"Consumer"}, []string{"nonsense"})
	request(g, controlConn, 16, func(_ *side, r *kmsg.ListGroupsRequest, _ int16) { r.StatesFilter, r.TypesFilter = states, types }, nil)
}

func (g *generator) findCoordinator() {
	kind := pick[int8](g, 0, 0, 0, 2, -1, 9)
	keys := pick(g, []string{g.group()}, []string{g.prefix + "g1", g.prefix + "g2"}, []string{""}, []string{})
	request(g, controlConn, 10, func(_ *side, r *kmsg.FindCoordinatorRequest, _ int16) {
		r.CoordinatorType, r.CoordinatorKeys = kind, keys
		if len(keys) > 0 {
			r.CoordinatorKey = keys[0]
		}
	}, nil)
}
