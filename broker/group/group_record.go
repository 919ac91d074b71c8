package group

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// groupRecordVersion is the version of GroupMetadataValue that Kafka 4.x writes.
const groupRecordVersion = 3

// snapshot is the record that a broker needs to go on with this group: members of the generation with these assignments (by
// member id), none of an Empty group. Of what members offer it has the chosen protocol only, as Kafka's.
func (g *group) snapshot(assignments map[string][]byte) *kmsg.GroupMetadataValue {
	v := kmsg.NewGroupMetadataValue()
	v.Version = groupRecordVersion
	v.ProtocolType = g.protocolType
	v.Generation = g.generation
	v.Protocol = g.protocol
	if g.leader != "" {
		v.Leader = pointer(g.leader)
	}
	if !g.since.IsZero() {
		v.CurrentStateTimestamp = g.since.UnixMilli()
	}
	for _, m := range g.order {
		out := kmsg.NewGroupMetadataValueMember()
		out.MemberID, out.InstanceID = m.id, m.instance
		out.ClientID, out.ClientHost = m.clientID, m.clientHost
		out.RebalanceTimeoutMillis = int32(m.rebalanceTimeout.Milliseconds())
		out.SessionTimeoutMillis = int32(m.sessionTimeout.Milliseconds())
		out.Subscription = m.metadata(g.protocol)
		out.Assignment = assignments[m.id]
		v.Members = append(v.Members, out)
	}
	return &v
}

// restoreGroup is the inverse of snapshot for a record read at start, of any version. It keeps no reference to v. It fails when
// the record makes no sense. Source: GroupMetadataManager.replay.
func restoreGroup(id string, v *kmsg.GroupMetadataValue) (*group, error) {
	g := newGroup(id, v.Generation, time.Time{})
	if v.Generation < 0 {
		return nil, fmt.Errorf("group %q: generation %d", id, v.Generation)
	}
	if v.CurrentStateTimestamp >= 0 {
		g.since = time.UnixMilli(v.CurrentStateTimestamp)
	}
	g.protocolType = v.ProtocolType
	if v.Protocol != nil {
		g.protocol = pointer(*v.Protocol)
	}
	if len(v.Members) > 0 && g.protocol == nil {
		return nil, fmt.Errorf("group %q: members without a protocol", id)
	}
	for i := range v.Members {
		m, err := restoreMember(v, &v.Members[i])
		if err != nil {
			return nil, fmt.Errorf("group %q: %w", id, err)
		}
		if g.members[m.id] != nil || m.instance != nil && g.instances[*m.instance] != nil {
			return nil, fmt.Errorf("group %q: two members %q", id, m.id)
		}
		g.add(m)
		g.state = stateStable
	}
	if v.Leader != nil && g.members[*v.Leader] != nil {
		g.leader = *v.Leader
	}
	g.topics = g.subscriptions()
	return g, nil
}

func restoreMember(v *kmsg.GroupMetadataValue, from *kmsg.GroupMetadataValueMember) (*member, error) {
	rebalance := from.RebalanceTimeoutMillis
	if rebalance == -1 { // version 0 has none
		rebalance = from.SessionTimeoutMillis
	}
	if rebalance < 0 || from.SessionTimeoutMillis < 0 || from.MemberID == "" {
		return nil, fmt.Errorf("member %q has timeouts %d and %d ms", from.MemberID, rebalance, from.SessionTimeoutMillis)
	}
	m := &member{
		id: from.MemberID, clientID: from.ClientID, clientHost: from.ClientHost, protocolType: v.ProtocolType,
		rebalanceTimeout: time.Duration(rebalance) * time.Millisecond,
		sessionTimeout:   time.Duration(from.SessionTimeoutMillis) * time.Millisecond,
		protocols:        []Protocol{{Name: *v.Protocol, Metadata: append([]byte(nil), from.Subscription...)}},
		assignment:       append([]byte(nil), from.Assignment...),
	}
	if from.InstanceID != nil {
		m.instance = pointer(*from.InstanceID)
	}
	return m, nil
}

// subscriptions is what the members of a consumer group subscribe to; nil = it is no consumer group, or it cannot be known.
// Source: ClassicGroup.computeSubscribedTopics.
func (g *group) subscriptions() map[string]struct{} {
	if !g.consumers() {
		return nil
	}
	topics := make(map[string]struct{})
	for _, m := range g.order {
		if !readSubscription(m.metadata(g.protocol), topics) {
			return nil
		}
	}
	return topics
}

// readSubscription adds the topics of a ConsumerProtocolSubscription, whose version 0 begins all versions: version int16, topics
// array of string, user data. It returns false when b is something else.
func readSubscription(b []byte, topics map[string]struct{}) bool {
	if len(b) < 6 || int16(binary.BigEndian.Uint16(b)) < 0 {
		return false
	}
	count := int32(binary.BigEndian.Uint32(b[2:]))
	b = b[6:]
	for ; count > 0; count-- {
		if len(b) < 2 {
			return false
		}
		n := int(int16(binary.BigEndian.Uint16(b)))
		if n < 0 || len(b) < 2+n {
			return false
		}
		topics[string(b[2:2+n])] = struct{}{}
		b = b[2+n:]
	}
	if count < 0 || len(b) < 4 {
		return false
	}
	userData := int32(binary.BigEndian.Uint32(b))
	return userData >= -1 && int64(userData) <= int64(len(b)-4)
}
