package group

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/protocol/record"
	logentry "github.com/tandembroker/tandem/storage/entry"
)

const (
	// recordOverhead is what a record takes in a batch besides its key and value, at most.
	recordOverhead = 32
	// entryOverhead and keyValueOverhead are what an entry takes in memory besides the bytes of its records, about.
	entryOverhead    = 256
	keyValueOverhead = 192
	// queueBytesMax bounds what waits to be appended in all shards, as far as clients can fill it.
	queueBytesMax = 64 << 20
)

type shardState uint8

const (
	shardLoading shardState = iota
	shardActive
	shardFailed // could not be read
	shardClosed // leadership was lost, or the coordinator closes
)

// shard is what one partition of __consumer_offsets holds, for the time of one leadership: groups and offsets as its log has
// them, and what is on its way into the log. Another leadership makes another shard.
type shard struct {
	c     *Coordinator
	id    int32
	log   partitionLog
	epoch int32
	due   atomic.Int64 // when timers have to run, in ns since c.base; MaxInt64 = never

	mu struct { // before the partition's locks; done functions of entries run under it
		sync.Mutex
		state    shardState
		retry    time.Time // of a failed one
		groups   *membership
		offsets  offsetMap
		queue    []*entry
		inFlight []*entry       // of the append under way
		writing  bool           // a goroutine runs drain
		pending  map[string]int // entries in queue and inFlight, by group
		deleted  []string       // topics that were deleted while the log was read
	}
}

// entry is records that are written together, or not at all.
type entry struct {
	group   string
	records []keyValue
	commits []Commit // what of it are offsets, for those who have to know before the log does
	bytes   int
	done    func(now time.Time, err error) // under the shard's lock, once
}

// errGroupTooLarge: the record of a group does not fit into a batch. UNKNOWN_SERVER_ERROR, as in Kafka.
var errGroupTooLarge = errors.New("group: too many members, or too much about them, for one record")

var _ recordLog = (*shard)(nil)

// memory is what the entry takes while it waits.
func (e *entry) memory() int64 {
	n := int64(entryOverhead)
	for _, kv := range e.records {
		n += int64(keyValueOverhead + len(kv.key) + len(kv.value))
	}
	return n
}

// full implements recordLog: what waits for the disk, in all shards, is too much already.
func (s *shard) full() bool { return !s.c.queued.fits(1) }

func newShard(c *Coordinator, id int32, log partitionLog, epoch int32) *shard {
	s := &shard{c: c, id: id, log: log, epoch: epoch}
	s.due.Store(math.MaxInt64)
	membership := c.membership
	membership.SiteEpoch = int32(logentry.SiteEpochOf(epoch))
	s.mu.groups = newMembership(s, membership)
	s.mu.offsets = newOffsetMap()
	s.mu.pending = map[string]int{}
	return s
}

// usableLocked says why the shard cannot answer now.
func (s *shard) usableLocked() error {
	switch s.mu.state {
	case shardLoading:
		return ErrCoordinatorLoading
	case shardActive:
		if epoch, ok := s.log.serving(); ok && epoch == s.epoch {
			return nil
		}
		s.c.nudge() // to close it
	}
	return ErrNotCoordinator
}

// persist implements recordLog. Called under the lock.
func (s *shard) persist(groupID string, v *kmsg.GroupMetadataValue, done func(now time.Time, err error)) {
	kv, err := groupRecord(groupID, v)
	e := &entry{group: groupID, done: func(now time.Time, err error) {
		if errors.Is(err, ErrCommitTooLarge) {
			err = errGroupTooLarge
		}
		done(now, err)
	}}
	if err == nil {
		e.records = []keyValue{kv}
	} else {
		e.bytes = math.MaxInt // drain refuses it: done must not be called from here
	}
	s.enqueueLocked(e)
}

// enqueueLocked puts records behind all that were enqueued before. done runs under the lock, later.
func (s *shard) enqueueLocked(e *entry) {
	if e.bytes == 0 {
		for _, kv := range e.records {
			e.bytes += kv.size()
		}
	}
	s.mu.queue = append(s.mu.queue, e)
	s.mu.pending[e.group]++
	s.c.queued.add(e.memory())
	if !s.mu.writing {
		s.mu.writing = true
		s.c.wait.Go(s.drain) // ends when the queue is empty; Close empties it and waits
	}
}

// drain writes what is queued, a batch at a time, until there is nothing left.
func (s *shard) drain() {
	for {
		batch, more := s.next()
		if !more {
			return
		}
		err := batch.write(s.log, s.epoch)
		if err != nil {
			s.c.failed.Add(1)
			if !certain(err) {
				s.c.logger.Warn("append failed, the partition is read again", "partition", s.id, "err", err)
			}
		}
		s.settle(err)
	}
}

// batchLimit is how many bytes of records a batch may have.
func (s *shard) batchLimit() int { return s.log.bytesMax() - record.HeaderLen }

func (s *shard) tooLarge() error {
	return fmt.Errorf("%w: the limit is %d bytes", ErrCommitTooLarge, s.batchLimit())
}

// outgoing is a batch to be.
type outgoing struct {
	builder *record.Builder
	refused error
}

// next takes from the queue what fits into one batch.
func (s *shard) next() (outgoing, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mu.queue) == 0 {
		s.mu.writing = false
		return outgoing{}, false
	}
	if s.mu.state == shardClosed {
		s.takeLocked(len(s.mu.queue))
		return outgoing{refused: ErrNotCoordinator}, true
	}
	limit := s.batchLimit()
	first := s.mu.queue[0]
	if first.bytes > limit {
		s.takeLocked(1)
		return outgoing{refused: s.tooLarge()}, true
	}
	count, size := 0, 0
	for count < len(s.mu.queue) && s.mu.queue[count].bytes <= limit-size {
		size += s.mu.queue[count].bytes
		count++
	}
	s.takeLocked(count)
	b := record.NewBuilder() // a new one each time: the batch is the partition's
	ms := s.c.opts.Now().UnixMilli()
	for _, e := range s.mu.inFlight {
		for _, kv := range e.records {
			b.Append(ms, kv.key, kv.value)
		}
	}
	return outgoing{builder: b}, true
}

func (s *shard) takeLocked(count int) {
	s.mu.inFlight = append([]*entry(nil), s.mu.queue[:count]...)
	s.mu.queue = append([]*entry(nil), s.mu.queue[count:]...)
}

// write appends the batch and waits until it is committed. The leader must still be the one that read the log.
func (o outgoing) write(log partitionLog, epoch int32) error {
	if o.refused != nil {
		return o.refused
	}
	batch, err := o.builder.Batch()
	if err != nil {
		return err
	}
	done, result := log.append(batch, epoch)
	<-done
	return result()
}

// settle tells the entries in flight what became of them.
func (s *shard) settle(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.c.opts.Now()
	entries := s.mu.inFlight
	s.mu.inFlight = nil
	for _, e := range entries {
		s.finishLocked(e, now, appendError(err))
	}
	if err != nil && !certain(err) {
		s.closeLocked(now) // what the log has is not known: read it again
		s.c.kick()
	}
	s.rearmLocked()
}

func (s *shard) finishLocked(e *entry, now time.Time, err error) {
	if s.mu.pending[e.group]--; s.mu.pending[e.group] == 0 {
		delete(s.mu.pending, e.group)
	}
	s.c.queued.add(-e.memory())
	e.done(now, err)
}

// close answers all who wait, with ErrNotCoordinator. What is being written is answered when it has been.
func (s *shard) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeLocked(s.c.opts.Now())
}

func (s *shard) closeLocked(now time.Time) {
	if s.mu.state == shardClosed {
		return
	}
	s.mu.state = shardClosed
	s.mu.groups.unload()
	queue := s.mu.queue
	s.mu.queue = nil
	for _, e := range queue {
		s.finishLocked(e, now, ErrNotCoordinator)
	}
	s.mu.offsets = newOffsetMap()
	s.due.Store(math.MaxInt64)
}

// rearmLocked has the coordinator's clock look at the timers in time. To be called after everything that may have set one.
func (s *shard) rearmLocked() {
	due := int64(math.MaxInt64)
	if s.mu.state == shardActive {
		if at, ok := s.mu.groups.timers.next(); ok {
			due = s.c.since(at)
		}
	}
	s.due.Store(due)
	if due < s.c.armed.Load() {
		s.c.kick()
	}
}

// fire runs the timers that are due.
func (s *shard) fire(now time.Time) {
	if s.due.Load() > s.c.since(now) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.state != shardActive {
		return
	}
	s.mu.groups.timers.run(now)
	s.rearmLocked()
}

// offsetMap is offsets by group, topic and partition.
type offsetMap struct {
	groups map[string]map[string]map[int32]committed
	count  int
}

func newOffsetMap() offsetMap {
	return offsetMap{groups: map[string]map[string]map[int32]committed{}}
}

func (o *offsetMap) put(group string, tp TopicPartition, c committed) {
	topics := o.groups[group]
	if topics == nil {
		topics = map[string]map[int32]committed{}
		o.groups[group] = topics
	}
	partitions := topics[tp.Topic]
	if partitions == nil {
		partitions = map[int32]committed{}
		topics[tp.Topic] = partitions
	}
	before := len(partitions)
	partitions[tp.Partition] = c
	o.count += len(partitions) - before
}

func (o *offsetMap) get(group string, tp TopicPartition) (committed, bool) {
	c, ok := o.groups[group][tp.Topic][tp.Partition]
	return c, ok
}

func (o *offsetMap) remove(group string, tp TopicPartition) {
	topics := o.groups[group]
	partitions := topics[tp.Topic]
	if _, ok := partitions[tp.Partition]; !ok {
		return
	}
	o.count--
	if delete(partitions, tp.Partition); len(partitions) > 0 {
		return
	}
	if delete(topics, tp.Topic); len(topics) == 0 {
		delete(o.groups, group)
	}
}

// list returns the partitions of a group that have offsets, of one topic or ("") of all.
func (o *offsetMap) list(group, topic string) []TopicPartition {
	var out []TopicPartition
	for name, partitions := range o.groups[group] {
		if topic != "" && name != topic {
			continue
		}
		for id := range maps.Keys(partitions) {
			out = append(out, TopicPartition{Topic: name, Partition: id})
		}
	}
	return out
}
