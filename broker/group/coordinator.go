package group

import (
	"cmp"
	"context"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/partition"
)

// OffsetsTopic is the internal topic that holds groups and their offsets, as in Kafka.
const OffsetsTopic = "__consumer_offsets"

// Topics is the part of controller.Controller that a Coordinator needs.
type Topics interface {
	Image() *controller.Image
	Kept(name string) bool
	AutoCreate(name string) <-chan struct{}
}

// Partitions is the part of partition.Manager that a Coordinator needs.
type Partitions interface {
	Get(topic string, id int32) (*partition.Partition, bool)
}

// Options configures a Coordinator. Topics and Partitions are required; elsewhere zero stands for Kafka's default.
type Options struct {
	Topics     Topics
	Partitions Partitions
	Logger     *slog.Logger
	Now        func() time.Time

	OffsetRetention time.Duration // offsets.retention.minutes
	ExpiryInterval  time.Duration // offsets.retention.check.interval.ms
	MetadataMax     int           // offset.metadata.max.bytes, which counts UTF-16 units; negative = none

	// Serves says whether this broker's site serves clients in a site epoch; nil = there is one site. Groups are looked after under the
	// leader epochs of that site epoch only. It is called often, and must not wait.
	Serves         func(siteEpoch uint32) bool
	InitialDelay   time.Duration // group.initial.rebalance.delay.ms; 0 = none
	SessionMin     time.Duration // group.min.session.timeout.ms
	SessionMax     time.Duration // group.max.session.timeout.ms
	SizeMax        int           // group.max.size; 0 = unlimited, as in Kafka
	MemberBytesMax int64         // memory of all members, and of member ids that are given out; 0 = 256 MiB
}

// Coordinator is this broker's group coordinator: it has the groups whose partition of __consumer_offsets this broker leads.
// Safe for concurrent use.
type Coordinator struct {
	opts       Options
	membership membershipOptions
	logger     *slog.Logger
	open       func(id int32) (partitionLog, bool) // a partition of __consumer_offsets
	named      func(topic string) bool             // whether a topic exists
	kept       func(topic string) bool             // whether one that was deleted may come back

	table  atomic.Pointer[table] // nil = the topic is not there
	armed  atomic.Int64          // when run wakes up by itself, in ns since base
	wanted atomic.Bool           // somebody asked for the topic
	wake   chan struct{}         // has run look at everything; holds one
	moved  chan struct{}         // the same, but it need not be at once; holds one
	queued *budget               // memory of what waits to be appended
	base   time.Time             // what armed and a shard's due are counted from: a jump of the clock must not move them
	loads  chan struct{}         // one token for each partition that may be read at the same time
	cancel context.CancelFunc    // nil before Start
	runs   sync.WaitGroup        // run
	wait   sync.WaitGroup        // what shards have started
	mu     struct {
		sync.Mutex
		deleted []string // topics whose offsets run has to remove
		closed  bool
	}

	commits, expired, failed atomic.Uint64
	loadTime                 atomic.Int64 // ns
}

// table is the partitions of __consumer_offsets. Their number counts from when it was first seen: where a group is depends on it.
type table struct {
	id    uuid.UUID // of the topic
	slots []slot
}

// slot is one partition, here or not. Only run writes it.
type slot struct {
	log    partitionLog // nil = not here yet
	cancel func()       // of the subscription
	shard  atomic.Pointer[shard]
}

// loadsMax is how many partitions are read at the same time.
const loadsMax = 4

// New returns a Coordinator. Nothing runs before Start; calls get ErrCoordinatorNotAvailable until then.
func New(o Options) *Coordinator {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.OffsetRetention = cmp.Or(o.OffsetRetention, 7*24*time.Hour)
	o.ExpiryInterval = cmp.Or(o.ExpiryInterval, 10*time.Minute)
	o.MetadataMax = cmp.Or(o.MetadataMax, 4096)
	if o.Serves == nil {
		o.Serves = func(uint32) bool { return true }
	}
	o.MemberBytesMax = cmp.Or(o.MemberBytesMax, 256<<20)
	c := &Coordinator{
		opts: o, logger: o.Logger, wake: make(chan struct{}, 1), moved: make(chan struct{}, 1), loads: make(chan struct{}, loadsMax),
		queued: &budget{limit: queueBytesMax}, base: o.Now(),
		membership: membershipOptions{
			InitialDelay: o.InitialDelay, SessionMin: o.SessionMin, SessionMax: o.SessionMax,
			SizeMax: o.SizeMax, MemberBytes: &budget{limit: o.MemberBytesMax}, Logger: o.Logger,
		},
	}
	c.open = func(id int32) (partitionLog, bool) {
		p, ok := o.Partitions.Get(OffsetsTopic, id)
		return realLog{p, &c.opts.Serves}, ok
	}
	c.named = func(topic string) bool {
		_, ok := o.Topics.Image().Topic(topic)
		return ok
	}
	c.kept = func(topic string) bool { return o.Topics.Kept(topic) }
	c.armed.Store(math.MaxInt64)
	return c
}

// Start begins to load what this broker leads, in the background. The metadata must be there. To be called once.
func (c *Coordinator) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.runs.Go(func() { c.run(ctx) }) // stopped and awaited in Close
}

// Close answers all who wait with ErrNotCoordinator and awaits what is under way: as long as the disk takes for an append. Partitions
// must be open until it has returned. Twice is safe.
func (c *Coordinator) Close() {
	c.mu.Lock()
	c.mu.closed = true
	c.mu.Unlock()
	if c.cancel != nil {
		c.cancel()
	}
	c.runs.Wait()
	if t := c.table.Swap(nil); t != nil {
		t.close()
	}
	c.wait.Wait()
}

func (t *table) close() {
	for i := range t.slots {
		t.slots[i].close()
	}
}

func (s *slot) close() {
	if s.cancel != nil {
		s.cancel()
		s.cancel = nil
	}
	s.drop()
	s.log = nil
}

func (s *slot) drop() {
	if old := s.shard.Swap(nil); old != nil {
		old.close()
	}
}

// since is a time in ns since base.
func (c *Coordinator) since(t time.Time) int64 { return int64(t.Sub(c.base)) }

// Members is the part that knows who is in which group.
func (c *Coordinator) Members() Members { return Members{shards: c} }

// kick has run look at everything.
func (c *Coordinator) kick() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// nudge has run look at everything soon.
func (c *Coordinator) nudge() {
	select {
	case c.moved <- struct{}{}:
	default:
	}
}

// PartitionFor is the partition of __consumer_offsets that a group belongs to; false = the topic is not there.
func (c *Coordinator) PartitionFor(groupID string) (int32, bool) {
	t := c.table.Load()
	if t == nil {
		return 0, false
	}
	return t.partition(groupID), true
}

// partition is where a group is.
func (t *table) partition(groupID string) int32 { return PartitionOf(groupID, len(t.slots)) }

// PartitionOf is the one of so many partitions of __consumer_offsets that a group belongs to. Source:
// GroupCoordinatorService.partitionFor, Utils.abs.
func PartitionOf(groupID string, partitions int) int32 {
	h := javaHash(groupID)
	if h == math.MinInt32 {
		return 0
	}
	return max(h, -h) % int32(partitions)
}

// Locate is the node id of a group's coordinator, for FindCoordinator. It begins to create __consumer_offsets where that is not
// there. Errors: ErrCoordinatorNotAvailable (try again).
func (c *Coordinator) Locate(groupID string) (node int32, err error) {
	t := c.known()
	if t == nil {
		return -1, ErrCoordinatorNotAvailable
	}
	p, ok := c.opts.Partitions.Get(OffsetsTopic, t.partition(groupID))
	if !ok || p.Leader() < 0 {
		c.nudge() // the topic may have been deleted
		return -1, ErrCoordinatorNotAvailable
	}
	return p.Leader(), nil
}

// known is the table, or nil: then the topic will be created if it does not exist.
func (c *Coordinator) known() *table {
	t := c.table.Load()
	if t == nil {
		c.wanted.Store(true)
		c.kick()
	}
	return t
}

// shard runs fn under the lock of a group's shard.
func (c *Coordinator) shard(groupID string, fn func(s *shard, now time.Time)) error {
	if len(groupID) > stringMax {
		return ErrInvalidGroupID
	}
	t := c.known()
	if t == nil {
		return ErrCoordinatorNotAvailable
	}
	s := t.slots[t.partition(groupID)].shard.Load()
	if s == nil {
		c.nudge()
		return ErrNotCoordinator
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usableLocked(); err != nil {
		return err
	}
	fn(s, c.opts.Now())
	s.rearmLocked()
	return nil
}

// with implements shards.
func (c *Coordinator) with(groupID string, fn func(s *membership, now time.Time)) error {
	return c.shard(groupID, func(s *shard, now time.Time) { fn(s.mu.groups, now) })
}

// each implements shards.
func (c *Coordinator) each(fn func(s *membership)) error {
	return c.eachShard(func(s *shard) error {
		if s.mu.state == shardLoading {
			return ErrCoordinatorLoading
		}
		if s.mu.state == shardActive {
			fn(s.mu.groups)
		}
		return nil
	})
}

// eachShard runs fn under the lock of one shard after the other, until it returns an error.
func (c *Coordinator) eachShard(fn func(s *shard) error) error {
	t := c.table.Load()
	if t == nil {
		return nil
	}
	for i := range t.slots {
		s := t.slots[i].shard.Load()
		if s == nil {
			continue
		}
		s.mu.Lock()
		err := fn(s)
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// TopicDeleted removes the offsets of a topic that does not come back, in the background. It does not block.
func (c *Coordinator) TopicDeleted(name string) {
	c.mu.Lock()
	if !c.mu.closed {
		c.mu.deleted = append(c.mu.deleted, name)
	}
	c.mu.Unlock()
	c.kick()
}

func (c *Coordinator) topicExists(id uuid.UUID) bool {
	_, ok := c.opts.Topics.Image().TopicByID(id)
	return ok
}

// Counts are figures for metrics.
type Counts struct {
	Groups      map[string]int // by state, Kafka's names
	Offsets     int            // committed and not expired
	Loading     int            // partitions of __consumer_offsets being read
	Loaded      int            // partitions that this broker coordinates
	Commits     uint64         // offsets committed since the start
	Expired     uint64         // offsets expired since the start
	Failed      uint64         // appends to __consumer_offsets that failed since the start
	LoadSeconds float64        // time spent reading __consumer_offsets since the start
}

// Counts takes the figures.
func (c *Coordinator) Counts() Counts {
	out := Counts{
		Groups: map[string]int{}, Commits: c.commits.Load(), Expired: c.expired.Load(), Failed: c.failed.Load(),
		LoadSeconds: time.Duration(c.loadTime.Load()).Seconds(),
	}
	_ = c.eachShard(func(s *shard) error {
		switch s.mu.state {
		case shardLoading:
			out.Loading++
		case shardActive:
			out.Loaded++
			out.Offsets += s.mu.offsets.count
			for _, g := range s.mu.groups.byID {
				out.Groups[g.state.String()]++
			}
		case shardFailed, shardClosed:
		}
		return nil
	})
	return out
}
