package partition

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/replication/raft"
	"github.com/tandembroker/tandem/storage"
	"github.com/tandembroker/tandem/storage/entry"
)

// openersMax bounds how many partitions are opened at once: enough that their elections share the journal's syncs.
const openersMax = 64

// Spec says what a partition is.
type Spec struct {
	Topic       string
	TopicID     uuid.UUID
	Partition   int32
	Incarnation uint32
	EpochFloor  int32 // the first leader epoch; above those of a deleted topic of the same name; -1 = unknown (Options.Topic)
	Start       int64 // offset of the first record; 0 but for partitions added after a promotion
	Config      Config
	// OwnFolder: the folder of this name is still that of a topic of the same name, which was set aside.
	OwnFolder bool
}

func (s *Spec) groupID() storage.GroupID {
	return storage.GroupID{Topic: s.TopicID, Partition: s.Partition, Incarnation: s.Incarnation}
}

// ownFolderNameMax is how much of a topic's name is in a folder that has the topic id in its name as well.
const ownFolderNameMax = 200

func (s *Spec) folder() string {
	topic := s.Topic
	if s.OwnFolder {
		topic = topic[:min(len(topic), ownFolderNameMax)] + "." + hex.EncodeToString(s.TopicID[:])
	}
	return topic + "-" + strconv.Itoa(int(s.Partition))
}

type name struct {
	topic     string
	partition int32
}

// Manager holds the partitions of this broker. Safe for concurrent use.
type Manager struct {
	host    *raft.Host
	options Options
	stop    context.CancelFunc
	done    chan struct{}
	created atomic.Pointer[func(*Partition)] // nil = nobody is told
	shipped atomic.Pointer[func(*Partition) (acked int64, known, ships bool)]
	held    atomic.Int64 // sum of the partitions' held
	expire  atomic.Int64 // producer.id.expiration.ms, as a time.Duration

	cleanerMu     sync.Mutex // guards the next two; held while compaction is stopped
	cleaner       *cleaner   // nil = none runs
	cleanerClosed bool
	cleaning      cleanerShared
	temper        *temper // what appends take, with and without compaction

	mu struct {
		sync.RWMutex
		byName map[name]*Partition
		closed bool
	}
}

// Open opens all partitions that the Host's Store has. One whose data is not usable is there as well: it answers ErrStorage
// with the reason. One whose first leader epoch is neither stored nor known (a crash came while it was created) is left to
// Create and Delete. Open does not wait for elections; see WaitReady. Errors: a group whose folder is not a partition's.
func Open(host *raft.Host, o Options) (*Manager, error) {
	m := &Manager{host: host, options: o.withDefaults(), done: make(chan struct{})}
	m.mu.byName, m.temper = map[name]*Partition{}, newTemper(m.options.Now)
	m.cleaning.busy, m.cleaning.later = map[*Partition]bool{}, map[*Partition]time.Time{}
	m.SetProducerExpiration(m.options.ProducerExpiration)
	var (
		wg    sync.WaitGroup
		slots = make(chan struct{}, openersMax)
	)
	for _, g := range host.Store().Groups() {
		if g.ID() == entry.MetadataGroup {
			continue
		}
		if g.Folder() == "" && g.Offline() != nil {
			continue // its creation is lost, and with it the name: whoever knows that creates it, and learns why it serves nothing
		}
		topic, number, ok := splitFolder(g.Folder())
		if !ok || number != g.ID().Partition {
			return nil, fmt.Errorf("partition: %s has folder %q", g.ID(), g.Folder())
		}
		spec := m.options.Topic(Spec{Topic: topic, TopicID: g.ID().Topic, Partition: number})
		topic = cmp.Or(spec.Topic, topic) // the folder may have another, see OwnFolder
		spec.Topic, spec.TopicID, spec.Partition, spec.Incarnation = topic, g.ID().Topic, number, g.ID().Incarnation
		if state := g.State(); spec.EpochFloor < 0 && !state.HasEpochBase && state.Role == entry.Single && g.Offline() == nil {
			continue // nothing was ever written: whoever knows the floor creates it
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			p := m.newPartition(&spec)
			if err := p.open(&spec, g); err != nil {
				p.opened = err
				m.options.Logger.Error("partition offline", "topic", topic, "partition", number, "err", err)
			}
			m.mu.Lock()
			m.mu.byName[name{topic, number}] = p
			m.mu.Unlock()
		})
	}
	wg.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	m.stop = cancel
	go m.maintain(ctx) // stopped and awaited in Close
	m.SetCleaner(m.options.Cleaner)
	return m, nil
}

// splitFolder is the reverse of Spec.folder.
func splitFolder(folder string) (topic string, partition int32, ok bool) {
	i := strings.LastIndexByte(folder, '-')
	if i <= 0 {
		return "", 0, false
	}
	n, err := strconv.ParseInt(folder[i+1:], 10, 32)
	return folder[:i], int32(n), err == nil && n >= 0
}

func (m *Manager) newPartition(s *Spec) *Partition {
	p := &Partition{manager: m, id: s.groupID(), floor: max(s.EpochFloor, 0)}
	p.topic.Store(&s.Topic)
	p.mu.producers, p.mu.refusals, p.mu.savedOffset = newProducers(), refusals{}, none
	c := s.Config
	p.config.Store(&c)
	return p
}

// open starts the Raft group of p over what storage has of it.
func (p *Partition) open(s *Spec, sg *storage.Group) error {
	if err := sg.Offline(); err != nil {
		return err
	}
	p.log = sg.Log()
	p.log.SetOptions(p.manager.options.logOptions(p.id, p.config.Load()))
	if _, ok := sg.Snapshot(); !ok {
		p.mu.Lock()
		p.setOffsetsLocked(p.log.LogStart()) // until the entries are applied again
		p.mu.Unlock()
	}
	g, err := p.manager.host.Open(p.id, machine{p}, raft.Boot{EpochFloor: s.EpochFloor})
	if err != nil {
		return err
	}
	p.group = g
	return nil
}

// Create makes a partition; it exists for good when Create returns, and serves once Ready says so (a few syncs later). One that
// exists with the same topic id is returned as it is, or opened where that has failed before. Errors: ErrExists for another
// topic's, ErrStorage.
func (m *Manager) Create(ctx context.Context, s Spec) (*Partition, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.RLock()
	p, ok := m.mu.byName[name{s.Topic, s.Partition}]
	closed := m.mu.closed
	m.mu.RUnlock()
	switch {
	case closed:
		return nil, raft.ErrClosed
	case ok && p.id == s.groupID() && p.opened == nil:
		return p, nil
	case ok && p.id != s.groupID():
		return nil, fmt.Errorf("%w: %s-%d has topic id %s", ErrExists, s.Topic, s.Partition, p.id.Topic)
	}
	sg, ok := m.host.Store().Group(s.groupID())
	if !ok {
		var err error
		sg, err = m.host.Store().CreateGroup(s.groupID(), s.folder(), s.Start, m.options.logOptions(s.groupID(), &s.Config))
		if errors.Is(err, storage.ErrExists) {
			return nil, fmt.Errorf("%w: %w", ErrExists, err)
		}
		if err != nil {
			return nil, translate(err)
		}
	}
	p = m.newPartition(&s)
	err := p.open(&s, sg)
	if err != nil {
		p.opened = err // it exists, so it is there, and says why it serves nothing
	}
	m.mu.Lock()
	m.mu.byName[name{s.Topic, s.Partition}] = p
	m.mu.Unlock()
	if fn := m.created.Load(); fn != nil {
		(*fn)(p)
	}
	return p, translate(err)
}

// OnCreate has fn called for each partition that Create has made, when it is there; it must not wait. nil ends that.
func (m *Manager) OnCreate(fn func(*Partition)) {
	if fn == nil {
		m.created.Store(nil)
		return
	}
	m.created.Store(&fn)
}

// Get finds a partition.
func (m *Manager) Get(topic string, partition int32) (*Partition, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	p, ok := m.mu.byName[name{topic, partition}]
	return p, ok
}

// Find finds a partition by the id of its topic, whatever name it has. p is nil where it is not open; stored says that it is on disk.
func (m *Manager) Find(topicID uuid.UUID, partition int32) (p *Partition, stored bool) {
	if p = m.byID(topicID, partition); p != nil {
		return p, true
	}
	for _, g := range m.host.Store().Groups() {
		if g.ID().Topic == topicID && g.ID().Partition == partition && g.ID() != entry.MetadataGroup {
			return nil, true
		}
	}
	return nil, false
}

// Incarnation is that of a partition's log on disk, open or not; ok is false where there is none.
func (m *Manager) Incarnation(topicID uuid.UUID, partition int32) (incarnation uint32, ok bool) {
	for _, g := range m.host.Store().Groups() {
		if id := g.ID(); id.Topic == topicID && id.Partition == partition && id != entry.MetadataGroup {
			return id.Incarnation, true
		}
	}
	return 0, false
}

// All lists the partitions, in no order.
func (m *Manager) All() []*Partition {
	m.mu.RLock()
	defer m.mu.RUnlock()
	all := make([]*Partition, 0, len(m.mu.byName))
	for _, p := range m.mu.byName {
		all = append(all, p)
	}
	return all
}

// WaitReady waits until every partition serves or is offline. Errors: ctx's.
func (m *Manager) WaitReady(ctx context.Context) error {
	for _, p := range m.All() {
		if err := p.WaitReady(ctx); err != nil && ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// WaitReady waits until this broker serves the partition. Errors: ctx's, ErrStorage, ErrNotLeader when it is closed.
func (p *Partition) WaitReady(ctx context.Context) error {
	if err := p.usable(); err != nil {
		return err
	}
	err := p.group.WaitReady(ctx)
	if err != nil && ctx.Err() == nil {
		return translate(err)
	}
	return err
}

// Delete removes a partition and its data, for good on return, whether it could be opened or not. What is in flight fails with
// ErrNotLeader. Errors: ErrUnknown, ErrStorage; then it may be called again.
func (m *Manager) Delete(_ context.Context, topicID uuid.UUID, partition int32) error {
	p := m.byID(topicID, partition)
	if p == nil {
		return m.deleteStored(topicID, partition)
	}
	p.closed.Store(true)
	p.holding(0)
	p.notify()
	defer m.forgetCleaner(p)
	if err := m.host.Remove(p.id); err != nil && !errors.Is(err, storage.ErrUnknown) { // unknown: an earlier call got so far
		return translate(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.byName[name{p.Topic(), partition}] == p {
		delete(m.mu.byName, name{p.Topic(), partition})
	}
	return nil
}

// Rename gives a partition another name, until the Manager is closed: Options.Topic has to know of it at the next Open. The data
// stays where it is. Errors: ErrUnknown; ErrExists where another topic has a partition of that name and number.
func (m *Manager) Rename(topicID uuid.UUID, partition int32, topic string) error {
	p := m.byID(topicID, partition)
	if p == nil {
		return fmt.Errorf("%w: topic id %s, partition %d", ErrUnknown, topicID, partition)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if other := m.mu.byName[name{topic, partition}]; other != nil && other != p {
		return fmt.Errorf("%w: %s-%d has topic id %s", ErrExists, topic, partition, other.id.Topic)
	}
	if old := (name{p.Topic(), partition}); m.mu.byName[old] == p {
		delete(m.mu.byName, old)
		m.mu.byName[name{topic, partition}] = p
		p.topic.Store(&topic)
	}
	return nil
}

// deleteStored removes a partition that the store has and nobody opened.
func (m *Manager) deleteStored(topicID uuid.UUID, partition int32) error {
	for _, g := range m.host.Store().Groups() {
		if g.ID().Topic == topicID && g.ID().Partition == partition && g.ID() != entry.MetadataGroup {
			return translate(m.host.Remove(g.ID()))
		}
	}
	return fmt.Errorf("%w: topic id %s, partition %d", ErrUnknown, topicID, partition)
}

func (m *Manager) byID(topicID uuid.UUID, partition int32) *Partition {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, p := range m.mu.byName {
		if p.id.Topic == topicID && p.id.Partition == partition {
			return p
		}
	}
	return nil
}

// producerCheckInterval is how often producer ids are looked at for expiry. Source: Kafka
// producer.id.expiration.check.interval.ms.
const producerCheckInterval = 10 * time.Minute

// maintain runs retention and forgets producers until ctx ends.
func (m *Manager) maintain(ctx context.Context) {
	defer close(m.done)
	retention := time.NewTicker(m.options.RetentionInterval)
	defer retention.Stop()
	expiry := time.NewTicker(min(producerCheckInterval, m.options.ProducerExpiration))
	defer expiry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-retention.C:
			m.retain(ctx)
		case <-expiry.C:
			for _, p := range m.All() {
				p.expireProducers(m.options.Now(), time.Duration(m.expire.Load()))
			}
		}
	}
}

// retain takes a step of retention in every partition that this broker leads, or whose log follows the other site's.
func (m *Manager) retain(ctx context.Context) {
	for _, p := range m.All() {
		if ctx.Err() != nil {
			return
		}
		if !p.Ready() && p.role() != entry.Following {
			continue
		}
		n, err := p.Retain(ctx, m.options.Now())
		switch {
		case err != nil && ctx.Err() == nil && !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrRetriable):
			m.options.Logger.Warn("retention failed", "topic", p.Topic(), "partition", p.id.Partition, "err", err)
		case n > 0:
			m.options.Logger.Info("segments deleted", "topic", p.Topic(), "partition", p.id.Partition, "segments", n)
		}
	}
}

// SetProducerExpiration replaces Options.ProducerExpiration from the next look on.
func (m *Manager) SetProducerExpiration(d time.Duration) { m.expire.Store(int64(d)) }

// Close ends retention and compaction. The Raft groups are ended by their Host. The second Close does nothing.
func (m *Manager) Close() {
	m.mu.Lock()
	closed := m.mu.closed
	m.mu.closed = true
	m.mu.Unlock()
	if !closed {
		m.stop()
	}
	m.closeCleaner()
	<-m.done
}
