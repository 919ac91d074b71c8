package handler

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/group"
	"github.com/tandembroker/tandem/broker/partition"
	"github.com/tandembroker/tandem/broker/server"
	"github.com/tandembroker/tandem/replication/site"
)

// Sites is what requests must know of the pair of sites that this broker is of. It is asked by each request, so it must not wait, but for
// ProducerID, and answer fast. Safe for concurrent use.
type Sites interface {
	// View is the role of this site.
	View() site.View
	// MayAcknowledge says whether a write may be called safe now. It is asked when the answer leaves, not when the write comes.
	MayAcknowledge() bool
	// PeerBrokers are the live brokers of the other site by node id, with their endpoints; none = nobody is in contact.
	PeerBrokers() []controller.Broker
	// Leader is the broker that leads the Raft group of a partition at the other site, and its leader epoch, as last heard; -1, -1 = unknown.
	Leader(id site.PartitionID) (node, epoch int32)
	// BrokenOff says that the other site has just gone, or fallen silent, and has not come back: this site may be told in a moment to take over.
	BrokenOff() bool
	// ProducerID returns a producer id of the active site, where this one does not serve. It waits for the other site. Errors:
	// controller.ErrNotController, controller.ErrTimeout.
	ProducerID(ctx context.Context) (int64, error)
	// Ships says whether a topic of that name goes to the other site.
	Ships(topic string) bool
	// InSync says that the other site is known to hold all of a partition below offset.
	InSync(id site.PartitionID, offset int64) bool
	// Exceeds says that the other site is, or may be, more than limit behind in a partition that is shipped there.
	Exceeds(id site.PartitionID, limit time.Duration) bool
}

// refusedGrace is how long a client may go on producing to a site that does not serve before its connection is closed. kafka-python
// stays on a connection that answers, whatever it answers; others take a connection that is closed at once for a dead broker, and do
// not look at the leader that the answer names.
const refusedGrace = 5 * time.Second

// handoverWait is how long an answer waits, from the arrival of its request, for the new leader of a partition to be known: that of a produce
// which was refused, and metadata. A switchover is over by then. handoverLook is how often that is looked at meanwhile.
const (
	handoverWait = 2 * time.Second
	handoverLook = 10 * time.Millisecond
)

// sites is Sites with what the handler adds. A nil one is a broker that is not of a pair.
type sites struct {
	Sites
	now     func() time.Time
	refused atomic.Int64 // when the first produce was refused since the site serves no more, ns since 1970; 0 = none was
}

// serves says that clients may write here, and that what is led here is led.
func (s *sites) serves() bool { return s == nil || s.View().Serving }

// leads says that clients are to stay here. A site whose lease has lapsed serves, and acknowledges nothing: the other one may have taken over, and
// who asks both is to go there.
func (s *sites) leads() bool { return s.serves() && s.mayAcknowledge() }

// settling says that whoever leads a partition that nobody seems to lead may be known in a moment: here it has been fenced for the other
// site, or was promoted and does not serve yet, or the other site has not said of it that it serves.
func (s *sites) settling() bool { return s != nil && (s.View().Serving || len(s.PeerBrokers()) > 0) }

// mayAcknowledge is asked where an answer says that something is safe.
func (s *sites) mayAcknowledge() bool { return s == nil || s.MayAcknowledge() }

// errNotActive is what the metadata's writers are told by a site that does not serve.
var errNotActive = fmt.Errorf("%w: this site does not serve", controller.ErrNotController)

// outlasted is why a connection is to be closed on which a produce, or a producer id, was refused because this site does not serve; nil = it is not.
func (s *sites) outlasted() error {
	if s == nil {
		return nil
	}
	first := s.refused.Load()
	if s.leads() {
		if first != 0 {
			s.refused.Store(0)
		}
		return nil
	}
	now := s.now().UnixNano()
	if first == 0 {
		s.refused.CompareAndSwap(0, now)
	} else if now-first >= int64(refusedGrace) {
		return fmt.Errorf("%w: the client goes on writing to a site that does not serve", server.ErrClose)
	}
	return nil
}

// home is the rack of this broker: of a pair of sites, each is a rack (KIP-392).
func (h *Handler) home() string {
	if h.sites != nil && h.config.Site != nil {
		return h.config.Site.Name
	}
	return h.config.Rack
}

// peerEndpoint is how clients of a listener reach a broker of the other site; ok is false where it does not have that listener.
func peerEndpoint(b *controller.Broker, listener string) (at brokerEndpoint, ok bool) {
	for _, e := range b.Endpoints {
		if e.Listener == listener {
			return brokerEndpoint{b.Node, e.Host, e.Port, cmp.Or(b.Site, b.Rack)}, true
		}
	}
	return brokerEndpoint{}, false
}

// peer finds a live broker of the other site.
func (s *sites) peer(node int32, listener string) (at brokerEndpoint, ok bool) {
	if s == nil || node < 0 {
		return brokerEndpoint{}, false
	}
	live := s.PeerBrokers()
	for i := range live {
		if live[i].Node == node {
			return peerEndpoint(&live[i], listener)
		}
	}
	return brokerEndpoint{}, false
}

// replica is the broker that has a partition of topic at the other site, as far as known; -1 = unknown, or none has.
func (s *sites) replica(topic string, id site.PartitionID) int32 {
	if s == nil || !s.Ships(topic) {
		return -1
	}
	live := s.PeerBrokers()
	if node, _ := s.Leader(id); slices.ContainsFunc(live, func(b controller.Broker) bool { return b.Node == node }) {
		return node
	}
	if len(live) == 1 {
		return live[0].Node
	}
	return -1
}

// nearest is the broker of the other site to which a consumer of the given rack goes for an offset: the rack is that site, and the broker is
// known to have all before.
func (s *sites) nearest(rack, listener string, p *partition.Partition, offset int64) (node int32, ok bool) {
	if s == nil || rack == "" || !s.serves() {
		return -1, false
	}
	id := site.PartitionID{Topic: p.TopicID(), Partition: p.ID()}
	at, ok := s.peer(s.replica(p.Topic(), id), listener)
	return at.node, ok && at.rack == rack && s.InSync(id, offset)
}

// controllerID is a broker that changes the metadata: one of the site that serves. -1 = none is known.
func (h *Handler) controllerID() int32 {
	if h.sites.leads() {
		return h.controller.Leader()
	}
	if live := h.sites.PeerBrokers(); len(live) > 0 {
		return live[0].Node
	}
	return -1
}

// change runs a change of the metadata that both sites have, of n parts, where this site serves; elsewhere each part is refused.
func (h *Handler) change(n int, run func() []error) []error {
	results := make([]error, n)
	if h.sites.serves() {
		results = run()
		if h.sites.mayAcknowledge() {
			return results
		}
	}
	for i := range results {
		if results[i] == nil {
			results[i] = errNotActive
		}
	}
	return results
}

// awayCoordinator is the broker of the other site that coordinates a group.
func (h *Handler) awayCoordinator(listener, key string) (at brokerEndpoint, ok bool) {
	live := h.sites.PeerBrokers()
	if t, known := h.controller.Image().Topic(group.OffsetsTopic); known && len(live) > 1 {
		node, _ := h.sites.Leader(site.PartitionID{Topic: t.ID, Partition: group.PartitionOf(key, len(t.Partitions))})
		return h.sites.peer(node, listener)
	}
	if len(live) != 1 {
		return brokerEndpoint{}, false
	}
	return peerEndpoint(&live[0], listener)
}

// Groups are coordinated where the site serves.

type siteMembers struct {
	Members
	sites *sites
}

// Join implements Members.
func (m siteMembers) Join(r group.JoinRequest, reply func(group.JoinResult)) {
	if !m.sites.leads() {
		reply(group.JoinResult{Err: group.ErrNotCoordinator, MemberID: r.MemberID, Generation: -1})
		return
	}
	m.Members.Join(r, reply)
}

// Sync implements Members.
func (m siteMembers) Sync(r group.SyncRequest, reply func(group.SyncResult)) {
	if !m.sites.leads() {
		reply(group.SyncResult{Err: group.ErrNotCoordinator})
		return
	}
	m.Members.Sync(r, reply)
}

// Heartbeat implements Members.
func (m siteMembers) Heartbeat(r group.HeartbeatRequest) error {
	if !m.sites.leads() {
		return group.ErrNotCoordinator
	}
	return m.Members.Heartbeat(r)
}

// Leave implements Members.
func (m siteMembers) Leave(r group.LeaveRequest) ([]error, error) {
	if !m.sites.serves() {
		return nil, group.ErrNotCoordinator
	}
	return m.Members.Leave(r)
}

// Describe implements Members.
func (m siteMembers) Describe(groupID string) (group.Description, error) {
	if !m.sites.serves() {
		return group.Description{}, group.ErrNotCoordinator
	}
	return m.Members.Describe(groupID)
}

// List implements Members: tools ask every broker for the groups that it coordinates.
func (m siteMembers) List(f group.Filter) ([]group.Listed, error) {
	if !m.sites.serves() {
		return nil, nil
	}
	return m.Members.List(f)
}

type siteOffsets struct {
	Offsets
	sites *sites
}

// Commit implements Offsets.
func (o siteOffsets) Commit(r group.CommitRequest, reply func(each []error, err error)) {
	if !o.sites.serves() {
		reply(nil, group.ErrNotCoordinator)
		return
	}
	o.Offsets.Commit(r, reply)
}

// Fetch implements Offsets.
func (o siteOffsets) Fetch(groupID string, want []group.TopicPartition) ([]group.Committed, error) {
	if !o.sites.serves() {
		return nil, group.ErrNotCoordinator
	}
	return o.Offsets.Fetch(groupID, want)
}

// DeleteOffsets implements Offsets.
func (o siteOffsets) DeleteOffsets(groupID string, list []group.TopicPartition, reply func(each []error, err error)) {
	if !o.sites.serves() {
		reply(nil, group.ErrNotCoordinator)
		return
	}
	o.Offsets.DeleteOffsets(groupID, list, reply)
}

// DeleteGroups implements Offsets.
func (o siteOffsets) DeleteGroups(ids []string, reply func(each []error)) {
	if !o.sites.serves() {
		each := make([]error, len(ids))
		for i := range each {
			each[i] = group.ErrNotCoordinator
		}
		reply(each)
		return
	}
	o.Offsets.DeleteGroups(ids, reply)
}

// settled is the outcome of a write of a group, as the answer may tell it now.
func (s *sites) settled(err error) error {
	if err == nil && !s.mayAcknowledge() {
		return fmt.Errorf("%w: whether it is safe is not known", group.ErrCoordinatorNotAvailable)
	}
	return err
}
