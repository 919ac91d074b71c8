package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/tandembroker/tandem/broker/config"
	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/group"
	"github.com/tandembroker/tandem/broker/handler"
	"github.com/tandembroker/tandem/broker/metrics"
	"github.com/tandembroker/tandem/broker/partition"
	"github.com/tandembroker/tandem/broker/server"
	"github.com/tandembroker/tandem/broker/sites"
	"github.com/tandembroker/tandem/replication/raft"
	"github.com/tandembroker/tandem/storage"
	"github.com/tandembroker/tandem/storage/archive"
	"github.com/tandembroker/tandem/storage/vfs"
)

const (
	// drainTimeout is how long clients get for the requests that they have sent.
	drainTimeout = 10 * time.Second
	// closeTimeout is how long the last checkpoint may take. Together they stay within the 30 s that Kubernetes gives.
	closeTimeout = 15 * time.Second
	// startTimeout is how long the metadata Raft group may take to elect itself.
	startTimeout = 60 * time.Second
)

// Options configures a Broker. OnFatal is required; the zero value of everything else works.
type Options struct {
	Logger  *slog.Logger
	Version string // shown in metrics and in the log
	// OnFatal must end the process: storage has failed, and nothing will be acknowledged any more, or the Broker cannot stop. It is
	// called from the goroutine that met the failure, and must not wait for the Broker.
	OnFatal func(error)
	// CheckMeta checks a bbolt file in a child process; nil = in this one.
	CheckMeta func(path string) error
	// Listen opens the admin listener; nil = net.Listen.
	Listen func(network, address string) (net.Listener, error)
	Now    func() time.Time
}

// Broker is one running broker.
type Broker struct {
	cfg     *config.Config
	opts    Options
	logger  *slog.Logger
	metrics *metrics.Metrics
	files   *metrics.Files

	admin      *metrics.Admin
	adminAddr  net.Addr
	store      *storage.Store
	host       *raft.Host
	controller *controller.Controller
	partitions *partition.Manager
	groups     *group.Coordinator
	archives   *archive.Archives // nil = one site
	pair       *sites.Pair       // nil = one site
	server     *server.Server
	handler    *handler.Handler

	stopCheckpoints context.CancelFunc
	checkpoints     chan struct{} // closed when the goroutine that takes checkpoints has ended
	serving         atomic.Bool
	drainTimeout    time.Duration
	stopLimits      stopLimits
}

// New opens the data directories and everything on them, and binds the listeners. It takes as long as recovery takes. What is
// open when it fails is closed again.
func New(cfg *config.Config, o Options) (*Broker, error) {
	b := create(cfg, o, vfs.OS{})
	if err := b.open(); err != nil {
		return nil, errors.Join(err, b.close(false))
	}
	return b, nil
}

// create makes a Broker on a file system, of which nothing is open.
func create(cfg *config.Config, o Options, files vfs.FS) *Broker {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Listen == nil {
		o.Listen = net.Listen
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Broker{
		cfg: cfg, opts: o, logger: o.Logger, metrics: metrics.New(o.Version, cfg.NodeID), files: metrics.CountFiles(files),
		drainTimeout: drainTimeout, stopLimits: defaultStopLimits,
	}
}

// open brings the parts up, each after those that it needs. What it has opened when it fails, close closes.
func (b *Broker) open() error {
	began := b.opts.Now()
	if err := b.openAdmin(); err != nil {
		return err
	}
	if err := b.openStorage(); err != nil {
		return err
	}
	if err := b.openPartitions(); err != nil {
		return err
	}
	if err := b.openServer(); err != nil {
		return err
	}
	b.watch()
	id := b.store.Identity()
	b.logger.Info("started", "version", b.opts.Version, "cluster", id.ClusterID, "node", id.NodeID, "dirs", b.cfg.LogDirs,
		"partitions", len(b.partitions.All()), "took", b.opts.Now().Sub(began))
	return nil
}

// openAdmin comes first, so that a long recovery can be watched.
func (b *Broker) openAdmin() error {
	if b.cfg.AdminListener == "" {
		return nil
	}
	listener, err := metrics.Listen(b.opts.Listen, b.cfg.AdminListener, b.cfg.AdminMayMove)
	if err != nil {
		return err
	}
	b.adminAddr = listener.Addr()
	b.admin = b.metrics.Serve(listener, metrics.AdminOptions{Ready: b.Ready, Logger: b.logger})
	b.logger.Info("admin listener", "address", listener.Addr().String(), "asked", b.cfg.AdminListener)
	return nil
}

func (b *Broker) openStorage() error {
	s := b.cfg.Storage
	store, err := storage.Open(storage.Options{
		FS: b.files, Dirs: b.cfg.LogDirs, MetaDir: b.cfg.MetadataLogDir, NodeID: b.cfg.NodeID, ClusterID: b.cfg.ClusterID,
		Logger: b.logger, InlineMax: orNone(s.InlineBytesMax), JournalSegmentBytes: s.JournalSegmentBytes,
		CheckpointBytes: s.CheckpointBytes, CheckpointPayloadBytes: s.CheckpointPayloadBytes, CheckpointInterval: s.CheckpointInterval,
		ReserveBytes: orNone(s.ReserveBytes), BallastBytes: orNone(s.BallastBytes),
		OnFatal: b.opts.OnFatal, CheckMeta: b.opts.CheckMeta, Now: b.opts.Now, FormatLevel: b.formatLevel(),
	})
	if err != nil {
		return err
	}
	b.store = store
	b.host = raft.NewHost(store, raft.Options{Logger: b.logger, OnFatal: b.opts.OnFatal, HoldEpochBase: b.holdEpochBase})
	return nil
}

// orNone turns the 0 that means "none" in a setting into the negative number that means it to storage, whose 0 is a default.
func orNone[T int | int64](n T) T {
	if n == 0 {
		return -1
	}
	return n
}

func (b *Broker) openPartitions() error {
	var err error
	b.controller, err = controller.New(controller.Options{
		Host: b.host, Meta: b.store.Meta(), Config: b.cfg, Logger: b.logger, OnFatal: b.opts.OnFatal,
		OnConfig: b.reconfigure, OnTopicDeleted: func(t *controller.Topic) { b.groups.TopicDeleted(t.Name) },
		OffsetsTopic: controller.OffsetsTopic{
			Partitions: b.cfg.Groups.TopicPartitions, ReplicationFactor: b.cfg.Groups.TopicReplication, SegmentBytes: b.cfg.Groups.TopicSegment,
		},
	})
	if err != nil {
		return err
	}
	if b.archives, err = b.openArchives(); err != nil {
		return err
	}
	b.partitions, err = partition.Open(b.host, partition.Options{
		Archives: b.archives, HoldBytes: b.holdBytes(),
		Logger: b.logger, Now: b.opts.Now, ProducerExpiration: b.cfg.ProducerIDExpiration,
		RetentionInterval: b.cfg.RetentionCheckInterval, Topic: b.controller.Spec, Cleaner: cleanerOptions(b.cfg),
	})
	return err
}

// reconfigure goes by a configuration that AlterConfigs has changed; what is a topic's default reaches its partitions by the
// controller.
func (b *Broker) reconfigure(cfg *config.Config) {
	b.server.SetConnectionLimits(cfg.Network.ConnectionsMax, cfg.Network.ConnectionsPerIPMax)
	b.partitions.SetProducerExpiration(cfg.ProducerIDExpiration)
	b.partitions.SetCleaner(cleanerOptions(cfg))
}

// cleanerOptions is what the configuration says of compaction.
func cleanerOptions(cfg *config.Config) partition.CleanerOptions {
	c := &cfg.Cleaner
	return partition.CleanerOptions{
		Disabled: !c.Enabled, Threads: c.Threads, DedupeBytes: c.DedupeBytes, LoadFactor: c.LoadFactor, BufferBytes: c.BufferBytes,
		BytesPerSecond: c.BytesPerSecond, Backoff: c.Backoff, ReserveBytes: cfg.Storage.ReserveBytes,
	}
}

// openServer binds the listeners before the metadata group starts, because what is bound is what it registers.
func (b *Broker) openServer() error {
	var err error
	b.server, err = server.Listen(server.Options{
		Listeners: b.cfg.Listeners, Limits: b.cfg.Network, Metrics: b.metrics, Logger: b.logger, Now: b.opts.Now,
	})
	if err != nil {
		return err
	}
	b.groups = group.New(b.groupOptions())
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	var endpoints []controller.Endpoint
	for _, l := range b.cfg.Listeners {
		if host, port, ok := b.server.Endpoint(l.Name); ok {
			endpoints = append(endpoints, controller.Endpoint{Listener: l.Name, Host: host, Port: port})
		}
	}
	if err := b.controller.Start(ctx, b.partitions, endpoints); err != nil {
		return err
	}
	if err := b.openPair(); err != nil {
		return err
	}
	b.handler = handler.New(b.handlerOptions())
	b.groups.Start() // the metadata says which topics there are
	return nil
}

func (b *Broker) handlerOptions() handler.Options {
	o := handler.Options{
		Config: b.cfg, Controller: b.controller, Partitions: b.partitions, Identity: b.store.Identity(), Endpoint: b.server.Endpoint,
		DirError: b.store.DirError, Members: b.groups.Members(), Offsets: b.groups,
		Metrics: b.metrics, Logger: b.logger, Now: b.opts.Now,
	}
	if b.pair != nil {
		o.Sites, o.DR, o.ClusterID = b.pair, b.pair.DR(), b.pair.ClusterID
	}
	return o
}

func (b *Broker) groupOptions() group.Options {
	g := &b.cfg.Groups
	return group.Options{
		Topics: b.controller, Partitions: b.partitions, Logger: b.logger, Now: b.opts.Now, Serves: b.servesIn,
		OffsetRetention: g.OffsetRetention, ExpiryInterval: g.ExpiryInterval, MetadataMax: orNone(g.MetadataMax),
		InitialDelay: g.InitialDelay, SizeMax: g.SizeMax,
		SessionMin: max(g.SessionMin, 1), SessionMax: max(g.SessionMax, 1), // 0 would be Kafka's default
	}
}

// Ready is nil while the broker serves clients, else it says why it does not.
func (b *Broker) Ready() error {
	if !b.serving.Load() {
		return errors.New("starting or stopping")
	}
	if err := b.store.Failed(); err != nil {
		return err
	}
	if !b.controller.Ready() {
		return errors.New("the metadata has no leader")
	}
	if !b.controller.Reconciled() {
		return errors.New("partitions are being created")
	}
	waiting := 0
	for _, p := range b.partitions.All() {
		if p.Offline() == nil && !p.Led() {
			waiting++
		}
	}
	if waiting > 0 {
		return fmt.Errorf("%d partitions are without a leader", waiting)
	}
	return nil
}

// Addr is the address that a listener is bound to; nil when there is none of that name.
func (b *Broker) Addr(listener string) net.Addr { return b.server.Addr(listener) }

// AdminAddr is the address of the admin listener; nil when there is none.
func (b *Broker) AdminAddr() net.Addr { return b.adminAddr }

// Run serves clients until ctx ends, then drains and closes everything. The error says what of that failed: the next start
// then recovers as after a crash. To be called once.
func (b *Broker) Run(ctx context.Context) error {
	checkpointing, stop := context.WithCancel(context.WithoutCancel(ctx))
	b.stopCheckpoints, b.checkpoints = stop, make(chan struct{})
	go func() { // stopped and awaited in close
		defer close(b.checkpoints)
		b.host.Run(checkpointing)
	}()
	b.server.Serve(b.handler)
	b.serving.Store(true)
	for _, l := range b.cfg.Listeners {
		b.logger.Info("listening", "listener", l.Name, "address", b.server.Addr(l.Name).String())
	}
	<-ctx.Done()
	b.logger.Info("stopping")
	return b.close(true)
}

// close drains and closes what is open, in the reverse order of open. clean asks for a last checkpoint and the mark of a clean
// stop; without it the data directories are left as after a crash. The process ends where that does not (stopLimits).
func (b *Broker) close(clean bool) error {
	began := b.opts.Now()
	stop, ended := b.watchStop()
	defer ended()
	b.serving.Store(false)
	stop.at("the clients' connections")
	b.shutServer()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout) // of its own: a client may use up the drain
	defer cancel()
	var errs []error
	if b.stopCheckpoints != nil {
		stop.at("a checkpoint")
		b.stopCheckpoints()
		<-b.checkpoints
	}
	if b.pair != nil {
		stop.at("the links to the other site")
		errs = append(errs, b.pair.Close(ctx))
	}
	if b.groups != nil {
		stop.at("the coordinator of consumer groups")
		b.groups.Close()
	}
	if b.partitions != nil {
		stop.at("retention and compaction")
		b.partitions.Close()
	}
	if b.controller != nil {
		stop.at("the metadata")
		errs = append(errs, b.controller.Close())
	}
	if b.host != nil {
		stop.at("the last checkpoint, or a Raft group")
		errs = append(errs, b.host.Close(ctx))
	}
	if b.store != nil {
		stop.at("the storage")
		clean = clean && errors.Join(errs...) == nil
		errs = append(errs, b.store.Close(clean))
	}
	if b.admin != nil {
		stop.at("the admin listener")
		errs = append(errs, b.admin.Close(ctx))
	}
	err := errors.Join(errs...)
	if err == nil && clean {
		b.logger.Info("stopped cleanly", "took", b.opts.Now().Sub(began))
	}
	return err
}

func (b *Broker) shutServer() {
	if b.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), b.drainTimeout)
	defer cancel()
	if err := b.server.Shutdown(ctx); err != nil {
		b.logger.Warn("connections cut off at the end of the drain", "error", err) // not a failure: clients retry
	}
}
