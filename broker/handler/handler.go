package handler

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/config"
	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/partition"
	"github.com/tandembroker/tandem/broker/server"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage"
)

// Partitions is the part of partition.Manager that requests need.
type Partitions interface {
	Get(topic string, id int32) (*partition.Partition, bool)
	All() []*partition.Partition
}

// Metrics counts what requests do. Methods are called on hot paths and must be fast.
type Metrics interface {
	RequestError(api string, code int16)
	Produced(records, bytes int, took time.Duration)
	Fetched(bytes int64, took time.Duration)
}

// Options configures a Handler. Config, Controller, Partitions, Identity and Endpoint are required.
type Options struct {
	Config     *config.Config
	Controller *controller.Controller
	Partitions Partitions
	Identity   storage.Identity
	// ClusterID is what clients are told, where that is not Identity's; nil = it is.
	ClusterID func() string
	// Endpoint is what clients of a listener are told to connect to; ok is false for one that is not advertised.
	Endpoint func(listener string) (host string, port int32, ok bool)
	// DirError is why a folder of log.dirs is offline; nil = none ever is.
	DirError func(dir string) error
	Members  Members // of groups
	Offsets  Offsets // of groups
	Sites    Sites   // nil = this broker is not of a pair of sites
	Metrics  Metrics // nil = nothing is counted
	DR       DR      // nil = operator requests are told that no site is configured
	Logger   *slog.Logger
	Now      func() time.Time
}

// Handler answers requests. It implements server.Handler.
type Handler struct {
	config     *config.Config
	controller *controller.Controller
	partitions Partitions
	identity   storage.Identity
	clusterID  func() string
	endpoint   func(listener string) (host string, port int32, ok bool)
	dirError   func(dir string) error
	members    Members
	offsets    Offsets
	sites      *sites // nil = one site
	bounded    bounded
	metrics    Metrics
	dr         DR
	sessions   *sessionCache
	logger     *slog.Logger
	now        func() time.Time
}

var _ server.Handler = (*Handler)(nil)

// New returns a Handler. It starts nothing.
func New(o Options) *Handler {
	if o.Metrics == nil {
		o.Metrics = noMetrics{}
	}
	if o.DirError == nil {
		o.DirError = func(string) error { return nil }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.ClusterID == nil {
		o.ClusterID = func() string { return o.Identity.ClusterID }
	}
	h := &Handler{
		config: o.Config, controller: o.Controller, partitions: o.Partitions, identity: o.Identity, clusterID: o.ClusterID, endpoint: o.Endpoint,
		dirError: o.DirError, members: o.Members, offsets: o.Offsets, metrics: o.Metrics, dr: o.DR,
		sessions: newSessionCache(o.Config.Network.FetchSessions, o.Now, rand.Int32), logger: o.Logger, now: o.Now,
	}
	if o.Sites != nil {
		h.sites = &sites{Sites: o.Sites, now: o.Now}
		h.members, h.offsets = siteMembers{o.Members, h.sites}, siteOffsets{o.Offsets, h.sites}
	}
	return h
}

// Pipelined implements server.Handler.
func (h *Handler) Pipelined(key int16) bool { return key == keyProduce }

// Handle implements server.Handler.
func (h *Handler) Handle(ctx context.Context, r *server.Request) server.Reply {
	if fn, ok := dispatch[r.Header.Key]; ok {
		return fn(h, ctx, r)
	}
	return server.Refuse(fmt.Errorf("%w: no handler for API key %d", server.ErrClose, r.Header.Key))
}

// find returns a partition of a topic of the metadata, or nil. A partition that is on disk but that no topic claims is not
// found, nor one of a topic of the same name that is about to be deleted.
func (h *Handler) find(t *controller.Topic, id int32) *partition.Partition {
	if !t.Has(id) {
		return nil
	}
	p, ok := h.partitions.Get(t.Name, id)
	if !ok || p.TopicID() != t.ID {
		return nil
	}
	return p
}

// lookup finds what a request names by topic and partition; code says why it did not.
func (h *Handler) lookup(image *controller.Image, topic string, id int32) (p *partition.Partition, code int16) {
	t, ok := image.Topic(topic)
	if !ok {
		return nil, codeUnknownTopicOrPartition
	}
	return h.locate(t, id)
}

func (h *Handler) locate(t *controller.Topic, id int32) (p *partition.Partition, code int16) {
	if !t.Has(id) {
		return nil, codeUnknownTopicOrPartition
	}
	if p = h.find(t, id); p == nil {
		return nil, codeNotLeaderOrFollower // being created
	}
	return p, codeNone
}

// lookupLed is lookup for what only the leader answers: NOT_LEADER_OR_FOLLOWER on a site that does not serve.
func (h *Handler) lookupLed(image *controller.Image, topic string, id int32) (p *partition.Partition, code int16) {
	p, code = h.lookup(image, topic, id)
	if code == codeNone && !h.sites.serves() {
		code = codeNotLeaderOrFollower
	}
	return p, code
}

// locateLed is locate for what only the leader answers.
func (h *Handler) locateLed(t *controller.Topic, id int32) (p *partition.Partition, code int16) {
	p, code = h.locate(t, id)
	if code == codeNone && !h.sites.serves() {
		code = codeNotLeaderOrFollower
	}
	return p, code
}

// newLeader is what KIP-951 tells a client with NOT_LEADER_OR_FOLLOWER or FENCED_LEADER_EPOCH; ok is false where there is
// nothing to tell: nobody takes produces, as far as is known. Of this site only this broker can be it so far.
func (h *Handler) newLeader(p *partition.Partition, listener string) (leader, epoch int32, node brokerEndpoint, ok bool) {
	if p == nil {
		return -1, -1, brokerEndpoint{}, false
	}
	if !h.sites.leads() {
		leader, epoch = h.sites.Leader(site.PartitionID{Topic: p.TopicID(), Partition: p.ID()})
		node, ok = h.sites.peer(leader, listener)
		return leader, epoch, node, ok && epoch >= 0
	}
	leader, epoch = p.Leader(), p.Epoch()
	host, port, told := h.endpoint(listener)
	if leader != h.identity.NodeID || !told || !h.leads(p, leader) || p.Fenced() {
		return -1, -1, brokerEndpoint{}, false
	}
	return leader, epoch, brokerEndpoint{leader, host, port, h.home()}, true
}

type brokerEndpoint struct {
	node int32
	host string
	port int32
	rack string
}

// rackPointer is the rack as kmsg wants it: nil = none.
func (b brokerEndpoint) rackPointer() *string {
	if b.rack == "" {
		return nil
	}
	return &b.rack
}

// brokers lists the live brokers as clients of a listener reach them: this one, and those of the other site.
func (h *Handler) brokers(listener string) iter.Seq[brokerEndpoint] {
	return func(yield func(brokerEndpoint) bool) {
		if host, port, ok := h.endpoint(listener); ok && !yield(brokerEndpoint{h.identity.NodeID, host, port, h.home()}) {
			return
		}
		if h.sites == nil {
			return
		}
		live := h.sites.PeerBrokers()
		for i := range live {
			if at, ok := peerEndpoint(&live[i], listener); ok && !yield(at) {
				return
			}
		}
	}
}

// fail counts an error code and returns it.
func (h *Handler) fail(api string, code int16) int16 {
	if code != codeNone {
		h.metrics.RequestError(api, code)
	}
	return code
}

// deadline is how long an admin request may wait. A client that gives no time gets an answer at once.
func deadline(ctx context.Context, ms int32) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, time.Duration(max(ms, 0))*time.Millisecond)
}

func text(s string) *string { return kmsg.StringPtr(s) }

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

var noTopicID uuid.UUID

type noMetrics struct{}

func (noMetrics) RequestError(string, int16)       {}
func (noMetrics) Produced(int, int, time.Duration) {}
func (noMetrics) Fetched(int64, time.Duration)     {}
