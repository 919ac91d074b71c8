package controller

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/broker/config"
	"github.com/tandembroker/tandem/broker/partition"
	"github.com/tandembroker/tandem/replication/raft"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/meta"
)

// Options configures a Controller. Host, Meta and Config are required.
type Options struct {
	Host   *raft.Host
	Meta   *meta.DB
	Config *config.Config
	Logger *slog.Logger
	Rand   io.Reader // of topic ids; nil = crypto/rand
	// OnFatal is called when meta.db fails or holds what this binary does not understand: the process must end.
	OnFatal func(error)
	// OnConfig is told of the broker's configuration whenever AlterConfigs has changed it; nil = nobody asks.
	OnConfig func(*config.Config)
	// OnTopicDeleted is told of each topic that is deleted, when the metadata no longer has it and it does not come back: one that is kept
	// for a time when that is over, or when a topic of its name is created. It must not block; nil = nobody asks.
	OnTopicDeleted func(*Topic)
	OffsetsTopic   OffsetsTopic
	Now            func() time.Time // when a topic was deleted; nil = time.Now
}

// Controller is this broker's part of the metadata quorum. Safe for concurrent use.
type Controller struct {
	opts     Options
	logger   *slog.Logger
	machine  *machine
	life     *lifecycle
	ids      ProducerIDs
	auto     autoCreation
	group    *raft.Group // set by Start
	cancel   context.CancelFunc
	wait     sync.WaitGroup // the saver
	altering chan struct{}  // holds one entry while configs are being changed
	follows  chan struct{}  // holds one entry while the active's metadata is being applied
	mu       sync.Mutex     // orders proposals: their order is the order of the log
}

// New reads the metadata from meta.db. Nothing runs before Start.
func New(o Options) (*Controller, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.OnFatal == nil {
		o.OnFatal = func(err error) { panic(err) }
	}
	if o.OnConfig == nil {
		o.OnConfig = func(*config.Config) {}
	}
	if o.OnTopicDeleted == nil {
		o.OnTopicDeleted = func(*Topic) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.OffsetsTopic = o.OffsetsTopic.withDefaults()
	c := &Controller{opts: o, logger: o.Logger, life: newLifecycle(o.Host.ServerID(), o.Logger), altering: make(chan struct{}, 1),
		follows: make(chan struct{}, 1)}
	c.machine = &machine{
		db: o.Meta, base: o.Config, node: strconv.Itoa(int(o.Host.Store().Identity().NodeID)), life: c.life, logger: o.Logger,
		onFatal: o.OnFatal, onConfig: o.OnConfig, onDeleted: o.OnTopicDeleted, wake: make(chan struct{}, 1),
	}
	c.machine.config.Store(o.Config)
	c.machine.mu.state = newState()
	c.life.standby = c.machine.standby
	c.life.image, c.life.gone, c.life.taken = c.machine.Image, c.machine.forget, c.machine.kept
	c.ids.Allocate, c.auto.controller = c.AllocateProducerIDs, c
	c.auto.running = map[string]chan struct{}{}
	if err := c.machine.load(); err != nil {
		return nil, err
	}
	return c, nil
}

// Spec completes the Spec of a partition that was found on disk: configuration and leader-epoch floor of its topic, as far as
// meta.db has them (what it misses, Start sets). Retention deletes nothing of a partition that no topic is known to claim. It
// is partition.Options.Topic.
func (c *Controller) Spec(s partition.Spec) partition.Spec {
	if t, ok := c.Image().TopicByID(s.TopicID); ok {
		s.Topic, s.Config, s.EpochFloor = t.Name, t.Config, t.EpochFloor
	} else if t, ok := c.machine.aside(s.TopicID); ok {
		s.Topic, s.Config, s.EpochFloor = t.Name, t.Config, t.EpochFloor
	} else {
		s.Config = c.Config().Topic
		s.Config.RetentionMs, s.Config.RetentionBytes, s.EpochFloor = -1, -1, -1
	}
	return s
}

// Start opens the metadata Raft group, waits until it leads, registers this broker, and begins to make the partitions follow
// the metadata; it does not wait for these. endpoints are what clients are told, by listener.
func (c *Controller) Start(ctx context.Context, partitions Partitions, endpoints []Endpoint) error {
	if err := c.machine.outlive(c.opts.Host.Store()); err != nil {
		return err
	}
	group, err := c.opts.Host.Open(entry.MetadataGroup, c.machine, raft.Boot{})
	if err != nil {
		return fmt.Errorf("controller: open the metadata Raft group: %w", err)
	}
	c.group = group
	saving, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.wait.Go(func() { c.machine.saver(saving) }) // stopped and awaited in Close
	if err := group.WaitReady(ctx); err != nil {
		return fmt.Errorf("controller: metadata Raft group: %w", err)
	}
	c.life.partitions = partitions
	c.life.reconcile(c.machine.activate())
	c.opts.OnConfig(c.Config())
	return c.register(ctx, endpoints)
}

// Close gives up what is under way, and leaves meta.db with everything that was applied. The Raft group is its Host's to
// close, before or after. Twice is safe.
func (c *Controller) Close() error {
	c.auto.close()
	c.life.close()
	if c.cancel == nil {
		return nil
	}
	c.cancel()
	c.wait.Wait()
	return c.machine.save()
}

// Image is the metadata as of now.
func (c *Controller) Image() *Image { return c.machine.Image() }

// Ready says whether this broker can change the metadata now.
func (c *Controller) Ready() bool { return c.group != nil && c.group.Ready() }

// Reconciled says whether the partitions that the metadata has and the disk had not at the start, because a crash interrupted
// their creation, have been created; one that could not be at the first attempt is not waited for.
func (c *Controller) Reconciled() bool { return c.life.ready() }

// Leader is the node id of the controller; -1 = unknown.
func (c *Controller) Leader() int32 {
	if c.group == nil {
		return -1
	}
	node, _ := c.group.Leader()
	return node
}

// propose hands in a command; the order of calls is the order of the log.
func (c *Controller) propose(command uint8, document any) (*raft.Future, error) {
	body, err := encodeCommand(command, document)
	if err != nil {
		return nil, err
	}
	if len(body) > entry.BodyMax {
		return nil, refuse(ErrPolicy, "The change takes %d bytes, the limit is %d.", len(body), entry.BodyMax)
	}
	if c.group == nil {
		return nil, ErrNotController
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.group.Propose(&entry.Header{Kind: entry.Metadata, Body: body}, nil, nil), nil
}

// outcome waits for a command; T is what the machine returns for it.
func outcome[T any](ctx context.Context, f *raft.Future) (T, error) {
	var none T
	result, err := f.Wait(ctx)
	switch {
	case err != nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)):
		return none, fmt.Errorf("%w: %w", ErrTimeout, err)
	case err != nil:
		return none, fmt.Errorf("%w: %w", ErrNotController, err)
	}
	if err, ok := result.(error); ok {
		return none, err
	}
	value, _ := result.(T)
	return value, nil
}

func (c *Controller) newTopicID() (uuid.UUID, error) {
	for {
		id, err := uuid.NewRandomFromReader(c.opts.Rand)
		// Kafka never gives out one that its tools would print with a leading dash.
		if err != nil || id[0]>>2 != dash {
			return id, err
		}
	}
}

// dash is the value of "-" in base64url.
const dash = 62
