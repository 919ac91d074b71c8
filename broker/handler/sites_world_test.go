package handler_test

import (
	"context"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/brokertest"
	"github.com/tandembroker/tandem/broker/config"
	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/group"
	"github.com/tandembroker/tandem/broker/handler"
	"github.com/tandembroker/tandem/broker/partition"
	"github.com/tandembroker/tandem/broker/server"
	"github.com/tandembroker/tandem/replication/raft"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage"
)

const (
	listener = brokertest.Listener
	own      = 1 // node id of the broker under test
	away     = 2 // of the other site's
)

// pair is what the test says of the two sites.
type pair struct {
	mu     sync.Mutex
	view   site.View
	viewed int // how often it was asked for
	may    func() bool
	peers  []controller.Broker
	leader map[site.PartitionID][2]int32
	behind time.Duration
	gone   bool
	ids    int64                      // of the other site: the last that was given; 0 = it gives none
	apart  string                     // a topic that is not shipped
	shared map[site.PartitionID]int64 // the other site has all below
}

func (p *pair) View() site.View {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.viewed++
	return p.view
}

func (p *pair) MayAcknowledge() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.may()
}

func (p *pair) PeerBrokers() []controller.Broker {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.peers
}

func (p *pair) Leader(id site.PartitionID) (node, epoch int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at, ok := p.leader[id]; ok {
		return at[0], at[1]
	}
	return -1, -1
}

func (p *pair) InSync(id site.PartitionID, offset int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	end, ok := p.shared[id]
	return ok && offset <= end
}

func (p *pair) BrokenOff() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone
}

func (p *pair) ProducerID(context.Context) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ids == 0 {
		return 0, controller.ErrNotController
	}
	p.ids++
	return p.ids, nil
}

func (p *pair) Ships(topic string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return topic != p.apart
}

func (p *pair) Exceeds(_ site.PartitionID, limit time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.behind > limit
}

// views is how often the site's role was asked for.
func (p *pair) views() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.viewed
}

// set changes what the pair says.
func (p *pair) set(change func(*pair)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

// role makes this site serve or not.
func (p *pair) role(serving bool) {
	p.set(func(p *pair) {
		p.view = site.View{Role: site.Standby}
		if serving {
			p.view = site.View{Role: site.Active, Serving: true}
		}
		p.may = func() bool { return serving }
	})
}

// half is one broker of a pair of sites at format level 2, without the other site: the test says what that does.
type half struct {
	t          *testing.T
	pair       *pair
	skew       atomic.Int64 // of the handler's clock, ns
	fetches    atomic.Int64 // answered
	controller *controller.Controller
	partitions *partition.Manager
	groups     *group.Coordinator
	address    string
}

func (h *half) check(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *half) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), brokertest.Limit)
	h.t.Cleanup(cancel)
	return ctx
}

func (h *half) now() time.Time { return time.Now().Add(time.Duration(h.skew.Load())) }

// counted counts the fetches (handler.Metrics).
type counted struct{ h *half }

// RequestError implements handler.Metrics.
func (counted) RequestError(string, int16) {}

// Produced implements handler.Metrics.
func (counted) Produced(int, int, time.Duration) {}

// Fetched implements handler.Metrics.
func (c counted) Fetched(int64, time.Duration) { c.h.fetches.Add(1) }

// startHalf runs a broker of site "west", which serves; set holds key=value settings.
func startHalf(t *testing.T, set ...string) *half {
	t.Helper()
	h := &half{t: t, pair: &pair{leader: map[site.PartitionID][2]int32{}, shared: map[site.PartitionID]int64{}}}
	h.pair.role(true)
	h.pair.peers = []controller.Broker{{Node: away, Site: "east", Endpoints: []controller.Endpoint{
		{Listener: "OTHER", Host: "nowhere", Port: 1}, {Listener: listener, Host: "east.example", Port: 9092},
	}}}
	dir := t.TempDir()
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	fatal := func(err error) { t.Errorf("fatal: %v", err) }
	cfg, err := config.Load(config.Input{Set: append([]string{
		"log.dirs=" + dir, "node.id=" + strconv.Itoa(own), "listeners=" + listener + "://127.0.0.1:0", "admin.listener=",
		"offsets.topic.num.partitions=2", "group.initial.rebalance.delay.ms=0",
	}, set...)})
	h.check(err)
	cfg.Site = &config.Site{Name: "west"}
	store, err := storage.Open(storage.Options{
		Dirs: []string{dir}, NodeID: own, Logger: logger, OnFatal: fatal, ReserveBytes: -1, BallastBytes: -1, MetaNoSync: true, FormatLevel: 2,
	})
	h.check(err)
	host := raft.NewHost(store, raft.Options{Logger: logger, OnFatal: fatal})
	h.controller, err = controller.New(controller.Options{
		Host: host, Meta: store.Meta(), Config: cfg, OnFatal: fatal, OnTopicDeleted: func(t *controller.Topic) { h.groups.TopicDeleted(t.Name) },
		OffsetsTopic: controller.OffsetsTopic{Partitions: 2},
	})
	h.check(err)
	h.partitions, err = partition.Open(host, partition.Options{Logger: logger, Topic: h.controller.Spec})
	h.check(err)
	srv, err := server.Listen(server.Options{Listeners: cfg.Listeners, Limits: cfg.Network, Logger: logger})
	h.check(err)
	h.groups = group.New(group.Options{Topics: h.controller, Partitions: h.partitions, Logger: logger, SessionMin: 1})
	hd := handler.New(handler.Options{
		Config: cfg, Controller: h.controller, Partitions: h.partitions, Identity: store.Identity(), Endpoint: srv.Endpoint,
		Members: h.groups.Members(), Offsets: h.groups, Sites: h.pair, Logger: logger, Now: h.now, Metrics: counted{h},
	})
	h.check(h.controller.Start(h.ctx(), h.partitions, []controller.Endpoint{{Listener: listener, Host: "h", Port: 1}}))
	h.groups.Start()
	srv.Serve(hd)
	h.address = srv.Addr(listener).String()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), brokertest.Limit)
		defer cancel()
		_ = srv.Shutdown(ctx) // cuts off who is left
		h.groups.Close()
		h.partitions.Close()
		h.check(h.controller.Close())
		h.check(host.Close(ctx))
		h.check(store.Close(true))
	})
	return h
}

// dial opens a raw connection.
func (h *half) dial() *brokertest.Conn {
	h.t.Helper()
	nc, err := net.Dial("tcp", h.address)
	h.check(err)
	h.t.Cleanup(func() { _ = nc.Close() })
	h.check(nc.SetDeadline(time.Now().Add(brokertest.Limit)))
	return brokertest.NewConn(h.t, nc)
}

// client is a franz-go client that knows this broker only.
func (h *half) client(opts ...kgo.Opt) *kgo.Client {
	h.t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(h.address)}, opts...)...)
	h.check(err)
	h.t.Cleanup(c.Close)
	return c
}

// topic creates a topic and says where its first partition is led at the other site: by node away, in leader epoch 1<<18.
func (h *half) topic(name string, partitions int32, configs ...controller.NewConfig) *controller.Topic {
	h.t.Helper()
	made := h.controller.CreateTopics(h.ctx(), []controller.NewTopic{{Name: name, Partitions: partitions, ReplicationFactor: 1, Configs: configs}}, false)
	h.check(made[0].Err)
	h.pair.set(func(p *pair) {
		for i := range partitions {
			p.leader[site.PartitionID{Topic: made[0].Topic.ID, Partition: i}] = [2]int32{away, 1 << 18}
		}
	})
	return made[0].Topic
}

func (h *half) partition(name string) *partition.Partition {
	h.t.Helper()
	p, ok := h.partitions.Get(name, 0)
	if !ok {
		h.t.Fatalf("no partition of %s", name)
	}
	return p
}

// ask sends a request in a version and returns the answer.
func ask[R kmsg.Response](c *brokertest.Conn, req kmsg.Request, version int16) R {
	req.SetVersion(version)
	return c.Do(req).(R)
}
