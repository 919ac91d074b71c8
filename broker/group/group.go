package group

import (
	"slices"
	"time"
)

// consumerType is the protocol type of consumers; Kafka Connect and the schema registry have others.
const consumerType = "consumer"

// state is where a classic group is between two generations. Source: Kafka's ClassicGroupState.
type state uint8

const (
	stateEmpty      state = iota // no members; offsets may be there
	statePreparing               // members are to join again
	stateCompleting              // all have joined; the leader's assignment is awaited
	stateStable                  // every member has, or can ask for, its assignment
	stateDead                    // no longer in the map of groups
)

// States are the names of the states that a group can be found in, as clients see them.
func States() []string {
	return []string{stateEmpty.String(), statePreparing.String(), stateCompleting.String(), stateStable.String()}
}

// String is the name that clients see.
func (s state) String() string {
	return [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"}[s]
}

// group is one classic consumer group. Guarded by the lock of its shard. It does no I/O, starts nothing and asks no clock: the
// methods of membership move it from state to state.
type group struct {
	id           string
	state        state
	previous     state     // the state before; the first rebalance of a group is delayed
	since        time.Time // when it came into this state; zero = not known (a record of an old version)
	generation   int32     // siteEpoch << 18 | n
	protocolType string    // "" = none: nobody ever joined, or only offsets were committed by name
	protocol     *string   // what the members voted for; nil while there is none
	leader       string    // member id; "" = none
	members      map[string]*member
	order        []*member            // the members in the order in which they came
	instances    map[string]*member   // the static ones, by instance id
	offered      map[string]int       // by protocol name, how many members offer it
	pending      map[string]*timer    // member ids that were given out and have not joined yet, until their session ends
	unsynced     map[*member]struct{} // members of this generation that have not sent SyncGroup
	topics       map[string]struct{}  // what the members subscribe to; nil = not known
	joining      int                  // members that wait for the answer to their JoinGroup
	grown        bool                 // a member came while the first rebalance was being delayed
	before       int                  // members that it had when it was taken over from the other site, until its first generation here
	storing      bool                 // the assignment of this generation is being written
	joinTimer    timer                // ends the wait for JoinGroup requests
	syncTimer    timer                // ends the wait for SyncGroup requests
}

func newGroup(id string, generation int32, now time.Time) *group {
	return &group{
		id: id, generation: generation, previous: stateDead, since: now,
		members: make(map[string]*member), instances: make(map[string]*member), offered: make(map[string]int),
		pending: make(map[string]*timer), unsynced: make(map[*member]struct{}),
	}
}

// consumers says whether members speak the consumer protocol (and not, say, Kafka Connect's).
func (g *group) consumers() bool { return g.protocolType == consumerType }

// subscribed says whether offsets of a topic are in use by members: when the subscriptions are not known, those of a consumer
// group count as subscribed to everything. Source: ClassicGroup.isSubscribedToTopic.
func (g *group) subscribed(topic string) bool {
	if g.topics == nil {
		return g.consumers()
	}
	_, ok := g.topics[topic]
	return ok
}

// deletable is nil, or why DeleteGroups refuses. Source: ClassicGroup.validateDeleteGroup.
func (g *group) deletable() error {
	switch g.state {
	case stateDead:
		return ErrGroupIDNotFound
	case stateEmpty:
		return nil
	default:
		return ErrNonEmptyGroup
	}
}

// identify finds a member by its id and, for a static one, instance id. Source: ClassicGroup.validateMember.
func (g *group) identify(memberID string, instance *string) (*member, error) {
	if instance != nil {
		m, ok := g.instances[*instance]
		if !ok {
			return nil, ErrUnknownMember
		}
		if m.id != memberID {
			return nil, ErrFencedInstance
		}
	}
	m, ok := g.members[memberID]
	if !ok {
		return nil, ErrUnknownMember
	}
	return m, nil
}

// validateCommit says whether an OffsetCommit is accepted: nil or a Kafka error. instance is nil for a dynamic member.
// Source: ClassicGroup.validateOffsetCommit.
func (g *group) validateCommit(memberID string, instance *string, generation int32) error {
	switch {
	case g.state == stateDead:
		return ErrCoordinatorNotAvailable
	case generation < 0 && g.state == stateEmpty:
		return nil // an admin client, or a consumer that assigns itself its partitions
	case generation >= 0 || memberID != "" || instance != nil:
		if _, err := g.identify(memberID, instance); err != nil {
			return err
		}
		if generation != g.generation {
			return ErrIllegalGeneration
		}
	default:
		return ErrUnknownMember
	}
	if g.state == stateCompleting {
		return ErrRebalanceInProgress // it has joined, so the answer to SyncGroup will tell it what is still its own
	}
	return nil
}

// supports says whether members that speak these protocols could be in the group: of a group with members, all must know at
// least one of them. Source: ClassicGroup.supportsProtocols.
func (g *group) supports(protocolType string, protocols []Protocol) bool {
	if g.state == stateEmpty {
		return protocolType != "" && len(protocols) > 0
	}
	return g.protocolType == protocolType && slices.ContainsFunc(protocols, func(p Protocol) bool { return g.common(p.Name) })
}

// common says whether all members offer a protocol.
func (g *group) common(name string) bool { return g.offered[name] == len(g.members) }

// vote chooses the protocol of the next generation: each member votes for the first of its own that all members offer. Of
// several with the most votes it takes the one that Kafka takes. Source: ClassicGroup.selectProtocol.
func (g *group) vote() string {
	var candidates []string
	votes := make(map[string]int)
	for _, m := range g.order {
		i := slices.IndexFunc(m.protocols, func(p Protocol) bool { return g.common(p.Name) })
		if i < 0 {
			continue // cannot be: a member is let in only when all have something in common
		}
		name := m.protocols[i].Name
		if votes[name]++; votes[name] == 1 {
			candidates = append(candidates, name)
		}
	}
	slices.SortStableFunc(candidates, func(a, b string) int { return hashSlot(a) - hashSlot(b) })
	best := ""
	for i, name := range candidates {
		if i == 0 || votes[name] > votes[best] {
			best = name
		}
	}
	return best
}

// hashSlot is where a java.util.HashMap of up to 12 entries keeps a key: its order is what decides between equal votes in
// Kafka.
func hashSlot(s string) int {
	h := uint32(javaHash(s))
	return int((h ^ h>>16) & 15)
}

// add makes a member part of the group.
func (g *group) add(m *member) {
	if len(g.members) == 0 {
		g.protocolType = m.protocolType
	}
	if g.leader == "" {
		g.leader = m.id
	}
	if m.instance != nil {
		g.instances[*m.instance] = m
	}
	g.members[m.id] = m
	g.order = append(g.order, m)
	g.count(m.protocols, 1)
}

// remove takes a member out of the group; who waits for it has to be answered before.
func (g *group) remove(m *member) {
	delete(g.members, m.id)
	delete(g.unsynced, m)
	if m.instance != nil {
		delete(g.instances, *m.instance)
	}
	g.order = slices.DeleteFunc(g.order, func(o *member) bool { return o == m })
	g.count(m.protocols, -1)
	if g.leader == m.id {
		g.leader = ""
		if len(g.order) > 0 {
			g.leader = g.order[0].id
		}
	}
}

// offer replaces what a member offers.
func (g *group) offer(m *member, protocols []Protocol) {
	g.count(m.protocols, -1)
	m.protocols = protocols
	g.count(m.protocols, 1)
}

func (g *group) count(protocols []Protocol, by int) {
	for _, p := range protocols {
		if g.offered[p.Name] += by; g.offered[p.Name] == 0 {
			delete(g.offered, p.Name)
		}
	}
}

// rename gives a static member a new id; nothing else changes.
func (g *group) rename(m *member, id string) {
	delete(g.members, m.id)
	if g.leader == m.id {
		g.leader = id
	}
	m.id = id
	g.members[id] = m
}

// enter moves the group to another state.
func (g *group) enter(s state, now time.Time) {
	g.previous, g.state, g.since = g.state, s, now
}

// rebalanceTimeout is how long members may take to join again: as long as the slowest asks for.
func (g *group) rebalanceTimeout() time.Duration {
	longest := time.Duration(0)
	for _, m := range g.order {
		longest = max(longest, m.rebalanceTimeout)
	}
	return longest
}

// allJoined says whether there is nobody left to wait for before the next generation.
func (g *group) allJoined() bool { return g.joining == len(g.members) && len(g.pending) == 0 }

// reunited says that as many members have joined as the group had before it was taken over: there is nobody to be expected for whom its
// first rebalance should be delayed.
func (g *group) reunited() bool { return g.before > 0 && g.joining >= g.before && g.allJoined() }

// electJoined makes sure that the leader is one of those who have joined. It returns false when nobody has.
// Source: ClassicGroup.maybeElectNewJoinedLeader.
func (g *group) electJoined() bool {
	if leader := g.members[g.leader]; leader != nil && leader.joinWaiter != nil {
		return true
	}
	for _, m := range g.order {
		if m.joinWaiter != nil {
			g.leader = m.id
			return true
		}
	}
	return false
}
