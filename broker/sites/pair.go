package sites

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/broker/config"
	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/partition"
	"github.com/tandembroker/tandem/broker/sites/lost"
	"github.com/tandembroker/tandem/broker/sites/verify"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/replication/transport"
	"github.com/tandembroker/tandem/storage"
	"github.com/tandembroker/tandem/storage/archive"
	"github.com/tandembroker/tandem/storage/meta"
)

// PairOptions configures a Pair. All but Listener and Now are required.
type PairOptions struct {
	Config     *config.Site
	Record     controller.SiteRecord // as controller.OpenSite has it
	Identity   storage.Identity
	Level      int // format level in force
	Controller *controller.Controller
	Partitions *partition.Manager
	Archives   *archive.Archives
	Meta       *meta.DB
	Room       func(bytes int64) error // nil where so many bytes more may be written, else why not
	Listener   net.Listener            // of the other site's brokers; nil = this broker only dials. The Pair closes it
	Logger     *slog.Logger
	Now        func() time.Time // nil = time.Now
}

// Pair is a broker's part in a pair of sites: the connections, the role and the links, and the metadata that goes over. Safe for
// concurrent use.
type Pair struct {
	options   PairOptions
	logger    *slog.Logger
	driver    *Driver
	transport *transport.Transport
	boot      site.Boot
	peers     atomic.Pointer[[]transport.PeerID] // connected now
	met       atomic.Bool                        // the record names the other site
	follows   *follower
	remote    remote
	codec     *codec
	calls     calls
	ids       controller.ProducerIDs // of the active, for clients that begin at this standby
	history   *history
	ordering  sync.Mutex // held from when an order is decided until it is among orders
	orders    orders
	passed    orders // to the other site
	handed    handover
	archives  *archive.Archives
	shelf     *lost.Shelf
	before    lastContact // of an earlier run
	runs      *verify.Runs
	recopies  sync.Mutex // held while a partition is dropped by order
	drops     drops
	lost      sync.Mutex    // held while topics that only this site had are archived, or brought back
	ticks     int           // of run
	reported  time.Duration // when the newest report was made, by the driver's clock; of run
	unsent    atomic.Int32  // reports that wait to go out
	rtt       atomic.Int64  // of the line, ns; 0 = unknown
	versions  chan struct{} // the metadata has another version; capacity 1
	aside     chan struct{} // topics may have been set aside; capacity 1

	ctx   context.Context
	stop  context.CancelFunc
	tasks sync.WaitGroup
}

// recordTimeout is how long a change of the site's record, or of the metadata, may take to be stored.
const recordTimeout = 30 * time.Second

// Open makes a broker part of a pair of sites, and begins to look for the other one. The metadata Raft group must lead.
func Open(o PairOptions) (*Pair, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	codec, err := newCodec()
	if err != nil {
		return nil, errors.Join(err, closeListener(o.Listener))
	}
	p := &Pair{options: o, logger: o.Logger, boot: newBoot(), codec: codec, versions: make(chan struct{}, 1), aside: make(chan struct{}, 1)}
	p.peers.Store(&[]transport.PeerID{})
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.met.Store(o.Record.Peer != nil)
	p.driver = New(Options{
		// An active that has never met the other site has sent nothing to it (Send), so nobody can have taken over: there is nobody to ask.
		Found: o.Record.Role.Role == site.Active && o.Record.Peer == nil,
		Site:  p.siteOptions(&o.Record), Record: o.Record.Role, Boot: p.boot, Records: p, Network: p, Logger: o.Logger, Now: o.Now,
		Changed: p.roleChanged, Room: o.Room, Held: p.remote.full, RTT: func() time.Duration { return time.Duration(p.rtt.Load()) },
		Recopy: p.recopy,
		Needs:  func(topic uuid.UUID) uint64 { return o.Controller.Image().Changed(topic).N },
	})
	p.ids.Allocate = p.borrowProducerIDs
	p.drops = drops{metadata: o.Controller, warn: func(id site.PartitionID, err error) {
		o.Logger.Warn("archive of a log that was dropped does not count yet", "topic", id.Topic, "partition", id.Partition, "error", err)
	}}
	p.follows = &follower{pair: p, wake: make(chan struct{}, 1)}
	p.history, p.archives, p.runs = newHistory(p), o.Archives, newRuns(p)
	p.shelf = lost.New(lost.Options{Archives: o.Archives, Site: o.Config.Name, Node: o.Identity.NodeID})
	if p.before, err = p.loadContact(); err != nil {
		p.stop()
		return nil, errors.Join(err, closeListener(o.Listener))
	}
	if err := p.connect(); err != nil {
		p.stop()
		return nil, err
	}
	p.roleChanged() // as it is found
	o.Partitions.OnCreate(func(part *partition.Partition) { p.link(o.Controller.Image(), part) })
	o.Partitions.OnShipped(p.shipped)
	o.Controller.OnVersion(p.versionChanged)
	p.driver.Start()
	p.tasks.Go(p.run)
	p.tasks.Go(p.follows.run)
	p.tasks.Go(p.history.run)
	p.tasks.Go(p.keepContact)
	p.tasks.Go(p.purge)
	return p, nil
}

func closeListener(l net.Listener) error {
	if l == nil {
		return nil
	}
	return l.Close()
}

// newBoot is the random name of this run.
func newBoot() site.Boot {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return site.Boot(binary.BigEndian.Uint64(b[:]))
}

// Close ends the connections and the links, and waits for them; ctx bounds the former.
func (p *Pair) Close(ctx context.Context) error {
	p.options.Partitions.OnCreate(nil)
	p.options.Controller.OnVersion(nil)
	p.stop()
	p.runs.Close()
	err := p.transport.Close(ctx)
	p.driver.Close()
	p.tasks.Wait()
	return err
}

// siteOptions are those of the role. Where the other site was never met its index is a guess, which only a switchover needs.
func (p *Pair) siteOptions(r *controller.SiteRecord) site.Options {
	o := site.Options{Index: r.Index, PeerIndex: (r.Index + 1) % 2, Lease: p.options.Config.FenceAfter}
	o.Drift = o.Lease/20 + 50*time.Millisecond
	if r.Peer != nil {
		o.PeerIndex = r.Peer.Index
	}
	return o
}

// StoreSite implements Records.
func (p *Pair) StoreSite(ctx context.Context, rec site.Record) error {
	return p.options.Controller.StoreSite(ctx, &rec, nil)
}

// Addr is where the other site's brokers are listened to; nil where they are not.
func (p *Pair) Addr() net.Addr {
	if p.options.Listener == nil {
		return nil
	}
	return p.options.Listener.Addr()
}

// Order gives the role an order of the operator. Errors: those of site.Site.Step.
func (p *Pair) Order(in site.Input) error { return p.driver.Order(in) }

// Metadata is the version of the logical metadata that stands here.
func (p *Pair) Metadata() string { return p.options.Controller.LogicalVersion().String() }

// Links is how the partitions stand here, in no order.
func (p *Pair) Links() []LinkStatus { return p.driver.Links() }

// View is the role of this site.
func (p *Pair) View() site.View { return p.driver.View() }

// MayAcknowledge says whether a write may be acknowledged at this moment.
func (p *Pair) MayAcknowledge() bool { return p.driver.MayAcknowledge() }

// ClusterID is the id of the cluster that both sites are: a standby takes over that of the active.
func (p *Pair) ClusterID() string {
	if r, ok := p.options.Controller.SiteRecord(); ok && r.Cluster != "" {
		return r.Cluster
	}
	return p.options.Identity.ClusterID
}

func (p *Pair) roleChanged() {
	p.handed.note(p.driver.View(), func() []site.PartitionID { return p.switched(true) })
	p.follows.look()
	p.history.look()
}

// versionChanged has run say at once which metadata this site has.
func (p *Pair) versionChanged() {
	nudge(p.versions)
}

// nudge has whoever reads ch look at what there is to do, once for all that it was not told of yet; ch has a capacity of 1. It never waits.
func nudge(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// run says what the other site has to know of this one, until Close.
func (p *Pair) run() {
	ticker := time.NewTicker(headInterval)
	defer ticker.Stop()
	for {
		p.links()
		p.measure()
		p.tell()
		p.orders.running(p) // its end is noted, and kept, also where nobody asks any more
		for waiting := true; waiting; {
			select {
			case <-p.ctx.Done():
				return
			case <-p.versions:
				p.tellVersion()
			case <-ticker.C:
				waiting = false
			}
		}
	}
}

// measure takes note of how long the line is.
func (p *Pair) measure() {
	var longest time.Duration
	for _, peer := range *p.peers.Load() {
		longest = max(longest, p.transport.RTT(peer))
	}
	p.rtt.Store(int64(longest))
}

// headInterval is how often a site tells the other of its metadata and its partitions.
const headInterval = 250 * time.Millisecond

// links gives every partition that is shipped a link, and ends those of partitions that are gone.
func (p *Pair) links() {
	image := p.options.Controller.Image()
	here := map[site.PartitionID]bool{}
	for _, part := range p.options.Partitions.All() {
		if id, ok := p.link(image, part); ok {
			here[id] = true
		}
	}
	p.driver.Keep(here)
	p.recopied(image)
}

// shipped is up to where the other site is known to have a partition, and whether it has to.
func (p *Pair) shipped(part *partition.Partition) (acked int64, known, ships bool) {
	topic, ok := p.options.Controller.Image().TopicByID(part.TopicID())
	if !ok || topic.Name != part.Topic() || !p.options.Config.Ships(topic.Name) {
		return 0, false, false
	}
	acked, known = p.driver.Acked(site.PartitionID{Topic: part.TopicID(), Partition: part.ID()})
	return acked, known, true
}

// link gives a partition a link, where it is shipped and has none yet.
func (p *Pair) link(image *controller.Image, part *partition.Partition) (id site.PartitionID, ok bool) {
	topic, ok := image.TopicByID(part.TopicID())
	if !ok || topic.Name != part.Topic() || !p.options.Config.Ships(topic.Name) || part.Offline() != nil || !topic.Has(part.ID()) {
		return id, false
	}
	of := &topic.Partitions[part.ID()]
	if _, _, anew := of.RecopiedFrom(); anew && part.Incarnation() != of.Incarnation {
		return id, false // it is about to go: the partition is copied anew
	}
	replica := p.shippedOf(image, part)
	p.driver.Add(replica)
	return replica.ID(), true
}
