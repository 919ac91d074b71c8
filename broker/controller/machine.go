package controller

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/broker/config"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/meta"
)

// machine is the state behind the metadata Raft group. Apply is deterministic: it reads the command and the state, nothing
// else.
type machine struct {
	db       *meta.DB
	base     *config.Config                // what the broker was started with
	config   atomic.Pointer[config.Config] // that under what commands have set for brokers
	node     string                        // this broker's node id
	onConfig func(*config.Config)          // told of changes, in the order of the log
	// onDeleted is told of deleted topics, in the order of the log.
	onDeleted func(*Topic)
	life      *lifecycle
	logger    *slog.Logger
	onFatal   func(error)
	wake      chan struct{} // tells the saver that there are writes; capacity 1

	image atomic.Pointer[Image] // nil = must be made anew

	mu struct {
		sync.Mutex
		state
		active bool    // changes reach the lifecycle; before, Start has not looked at the topics yet
		writes []write // applied, not yet in meta.db
	}
	saving sync.Mutex // orders the transactions of save; held across them
}

// state is what commands change.
type state struct {
	applied  uint64 // index of the last entry
	term     uint64 // and its validated term
	version  uint64 // rises with every change of the logical metadata
	nextPID  int64  // first producer id that was not given out, without the site epoch
	topics   map[string]*Topic
	byID     map[uuid.UUID]*Topic
	brokers  map[int32]registerBroker
	configs  map[string]map[string]string // of brokers, by resource
	floors   map[string]int32             // leader-epoch floor of the next topic of a name that was deleted
	deleting map[uuid.UUID]*Topic         // committed deletions that this broker's disks have not finished
}

func newState() state {
	return state{
		topics: map[string]*Topic{}, byID: map[uuid.UUID]*Topic{}, brokers: map[int32]registerBroker{},
		configs: map[string]map[string]string{}, floors: map[string]int32{}, deleting: map[uuid.UUID]*Topic{},
	}
}

// Image returns the metadata as of now.
func (m *machine) Image() *Image {
	if i := m.image.Load(); i != nil {
		return i
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.image.Load(); i != nil {
		return i
	}
	brokers := make(map[int32]Broker, len(m.mu.brokers))
	for node, b := range m.mu.brokers {
		brokers[node] = Broker{Node: node, Rack: b.Rack}
	}
	i := newImage(maps.Clone(m.mu.topics), maps.Clone(m.mu.byID), brokers)
	m.image.Store(i)
	return i
}

// Apply implements raft.Machine. The result is an error, or what the command gives: *Topic, int64, nil.
func (m *machine) Apply(index uint64, h *entry.Header) any {
	m.mu.Lock()
	if index <= m.mu.applied {
		m.mu.Unlock()
		return nil // repeated after a restart; meta.db had it
	}
	m.mu.applied, m.mu.term = index, h.ValidatedTerm
	if h.Kind != entry.Metadata {
		m.mu.Unlock()
		return nil
	}
	result, act := m.applyLocked(h)
	active := m.mu.active
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
	if errors.Is(asError(result), errCommand) || errors.Is(asError(result), errCommandUnknown) {
		m.onFatal(fmt.Errorf("metadata entry %d: %w", index, asError(result)))
		return result
	}
	if active && act != nil {
		act()
	}
	return result
}

func asError(v any) error {
	err, _ := v.(error)
	return err
}

// applyLocked executes one command; act is what the lifecycle is to be told.
func (m *machine) applyLocked(h *entry.Header) (result any, act func()) {
	command, document, err := splitCommand(h.Body)
	if err != nil {
		return err, nil
	}
	switch command {
	case commandCreateTopic:
		return execute(document, m.createTopicLocked)
	case commandDeleteTopic:
		return execute(document, m.deleteTopicLocked)
	case commandCreatePartitions:
		return execute(document, m.createPartitionsLocked)
	case commandSetConfigs:
		return execute(document, m.setConfigsLocked)
	case commandAllocateProducerIDs:
		return execute(document, func(c allocateProducerIDs) (any, func()) {
			return m.allocateLocked(c, h.SiteEpoch)
		})
	case commandRegisterBroker:
		return execute(document, m.registerBrokerLocked)
	}
	if command&maySkip != 0 {
		return nil, nil
	}
	return fmt.Errorf("%w: %d", errCommandUnknown, command), nil
}

func execute[T any](document []byte, fn func(T) (any, func())) (any, func()) {
	c, err := decodeDocument[T](document)
	if err != nil {
		return err, nil
	}
	return fn(c)
}

// changedLocked counts a change of the metadata.
func (m *machine) changedLocked() {
	m.mu.version++
	m.image.Store(nil)
}

func (m *machine) createTopicLocked(c createTopic) (any, func()) {
	if _, ok := m.mu.topics[c.Name]; ok {
		return refuse(ErrTopicExists, "Topic '%s' already exists.", c.Name), nil
	}
	if _, ok := m.mu.byID[c.ID]; ok {
		return refuse(ErrTopicExists, "Topic id %s already exists.", c.ID), nil
	}
	c.EpochFloor = max(c.EpochFloor, m.mu.floors[c.Name])
	t := &Topic{
		Name: c.Name, ID: c.ID, Configs: c.Configs, Config: m.parse(c.Name, c.Configs), EpochFloor: c.EpochFloor,
		Partitions: m.partitions(c.Name, c.Partitions),
	}
	m.putTopicLocked(t)
	m.writeLocked(bucketNames, []byte(t.Name), t.ID[:])
	m.writeJSONLocked(bucketConfigs, configKey(t.ID), t.Configs)
	m.changedLocked()
	return t, func() { m.life.create(t, 0) }
}

func (m *machine) deleteTopicLocked(c deleteTopic) (any, func()) {
	t, ok := m.mu.byID[c.ID]
	if !ok {
		return refuse(ErrUnknownTopicID, "This server does not host this topic ID."), nil
	}
	delete(m.mu.byID, t.ID)
	delete(m.mu.topics, t.Name)
	m.mu.floors[t.Name] = max(m.mu.floors[t.Name], t.EpochFloor, c.EpochFloor)
	m.mu.deleting[t.ID] = t
	m.writeLocked(bucketTopics, t.ID[:], nil)
	m.writeLocked(bucketNames, []byte(t.Name), nil)
	m.writeLocked(bucketConfigs, configKey(t.ID), nil)
	m.writeLocked(bucketFloors, []byte(t.Name), encodeUint32(uint32(m.mu.floors[t.Name])))
	m.writeJSONLocked(bucketDeleting, t.ID[:], recordOf(t))
	m.changedLocked()
	return t, func() {
		m.life.remove(t)
		m.onDeleted(t)
	}
}

func (m *machine) createPartitionsLocked(c createPartitions) (any, func()) {
	old, ok := m.mu.byID[c.ID]
	if !ok {
		return refuse(ErrUnknownTopic, "This server does not host this topic-partition."), nil
	}
	if int(c.First) != len(old.Partitions) {
		return refuse(ErrInvalidPartitions, "The topic %s now has %d partition(s).", old.Name, len(old.Partitions)), nil
	}
	t := *old
	t.Partitions = append(old.Partitions[:len(old.Partitions):len(old.Partitions)], m.partitions(t.Name, c.Added)...)
	m.putTopicLocked(&t)
	m.changedLocked()
	return &t, func() { m.life.create(&t, int(c.First)) }
}

// allocateLocked gives out a block of producer ids; the result is the first.
func (m *machine) allocateLocked(c allocateProducerIDs, siteEpoch uint32) (any, func()) {
	if c.Count < 1 || c.Count > producerIDBlockMax || m.mu.nextPID+c.Count > 1<<entry.ProducerIDBits {
		return refuse(ErrPolicy, "no block of %d producer ids is left", c.Count), nil
	}
	first := int64(siteEpoch)<<entry.ProducerIDBits | m.mu.nextPID
	m.mu.nextPID += c.Count
	return first, nil
}

func (m *machine) registerBrokerLocked(c registerBroker) (any, func()) {
	m.mu.brokers[c.Node] = c
	m.writeJSONLocked(bucketBrokers, encodeUint32(uint32(c.Node)), c)
	m.changedLocked()
	return nil, nil
}

// forget notes that this broker's disks have nothing left of a deleted topic. It is not a command: other brokers are where
// they are.
func (m *machine) forget(id uuid.UUID) {
	m.mu.Lock()
	delete(m.mu.deleting, id)
	m.writeLocked(bucketDeleting, id[:], nil)
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// activate lets changes reach the lifecycle from now on, and returns what is there already.
func (m *machine) activate() (topics, deleting []*Topic) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.active = true
	for _, t := range m.mu.topics {
		topics = append(topics, t)
	}
	for _, t := range m.mu.deleting {
		deleting = append(deleting, t)
	}
	return topics, deleting
}

func (m *machine) broker(node int32) (registerBroker, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.mu.brokers[node]
	return b, ok
}

func (m *machine) floor(name string) int32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.floors[name]
}

func (m *machine) putTopicLocked(t *Topic) {
	m.mu.topics[t.Name], m.mu.byID[t.ID] = t, t
	m.writeJSONLocked(bucketTopics, t.ID[:], recordOf(t))
}

// partitions reads the node ids out of the ServerIDs. One that does not parse cannot be this broker's; it is kept, and left
// out of the replicas.
func (m *machine) partitions(topic string, list []placement) []Partition {
	out := make([]Partition, 0, len(list))
	for i, p := range list {
		q := Partition{Incarnation: p.Incarnation, Servers: p.Servers}
		for _, server := range p.Servers {
			text, _, _ := strings.Cut(server, "@")
			node, err := strconv.ParseInt(text, 10, 32)
			if err != nil {
				m.logger.Error("replica without a node id", "topic", topic, "partition", i, "server", server)
				continue
			}
			q.Replicas = append(q.Replicas, int32(node))
		}
		out = append(out, q)
	}
	return out
}

// parse lays a topic's configs over the broker's defaults. What was accepted when it was set may not be any more, by another
// version or other defaults of the broker: the topic then lives on with the defaults.
func (m *machine) parse(name string, configs map[string]string) config.Topic {
	parsed, err := m.config.Load().ParseTopic(configs)
	if err != nil {
		m.logger.Error("topic configs are not accepted, the broker's defaults apply", "topic", name, "error", err)
		return m.config.Load().Topic
	}
	return parsed
}

// Leading implements raft.Machine. The controller needs no more than the Raft group's own word that it leads.
func (m *machine) Leading(uint64, int32) {}

// Following implements raft.Machine.
func (m *machine) Following() {}
