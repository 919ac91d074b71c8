package group

import (
	"log/slog"
	"time"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/partition"
)

// OffsetsTopic is the internal topic that holds groups and their offsets, as in Kafka.
const OffsetsTopic = "__consumer_offsets"

// Topics is the part of controller.Controller that a Coordinator needs.
type Topics interface {
	Image() *controller.Image
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

	OffsetRetention  time.Duration // offsets.retention.minutes
	ExpiryInterval   time.Duration // offsets.retention.check.interval.ms
	MetadataBytesMax int           // offset.metadata.max.bytes

	SiteEpoch      int32         // of this broker's site
	InitialDelay   time.Duration // group.initial.rebalance.delay.ms; 0 = none
	SessionMin     time.Duration // group.min.session.timeout.ms
	SessionMax     time.Duration // group.max.session.timeout.ms
	SizeMax        int           // group.max.size; 0 = unlimited, as in Kafka
	MemberBytesMax int64         // memory of all members' metadata and assignments; 0 = 256 MiB
}

// Coordinator is this broker's group coordinator: it has the groups whose partition of __consumer_offsets this broker leads.
// Safe for concurrent use.
type Coordinator struct{ opts Options }

// New returns a Coordinator. Nothing runs before Start; calls get ErrCoordinatorNotAvailable until then.
func New(o Options) *Coordinator { return &Coordinator{opts: o} }

// Start begins to load what this broker leads, in the background.
func (c *Coordinator) Start() {}

// Close answers all who wait with ErrNotCoordinator and awaits what is under way. Partitions must be open until it has
// returned. Twice is safe.
func (c *Coordinator) Close() {}

// Members is the part that knows who is in which group.
func (c *Coordinator) Members() Members { return Members{shards: c} }

// PartitionFor is the partition of __consumer_offsets that a group belongs to; false = the topic is not there.
func (c *Coordinator) PartitionFor(groupID string) (int32, bool) { return 0, false }

// Locate is the node id of a group's coordinator, for FindCoordinator. It begins to create __consumer_offsets where that is not
// there. Errors: ErrCoordinatorNotAvailable (try again).
func (c *Coordinator) Locate(groupID string) (node int32, err error) {
	return -1, ErrCoordinatorNotAvailable
}

func (c *Coordinator) with(groupID string, fn func(s *membership, now time.Time)) error {
	return ErrCoordinatorNotAvailable
}

func (c *Coordinator) each(fn func(s *membership)) error { return nil }

// TopicDeleted removes the offsets of a topic that was deleted, in the background. It does not block.
func (c *Coordinator) TopicDeleted(name string) {}

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
func (c *Coordinator) Counts() Counts { return Counts{} }
