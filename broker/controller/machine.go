package controller

import (
	"cmp"
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
	"github.com/tandembroker/tandem/replication/site"
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
	// onDeleted is told of topics that are deleted for good, or replaced, in the order of the log.
	onDeleted func(*Topic)
	onVersion atomic.Pointer[func()] // told that the version of the logical metadata has changed
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
	applied  uint64  // index of the last entry
	term     uint64  // and its validated term
	version  Version // rises with every change of the logical metadata
	nextPID  int64   // first producer id that was not given out, without the site epoch
	topics   map[string]*Topic
	byID     map[uuid.UUID]*Topic
	brokers  map[int32]registerBroker
	configs  map[string]map[string]string // of brokers, by resource
	floors   map[string]int32             // leader-epoch floor of the next topic of a name that was deleted
	deleting map[uuid.UUID]*Topic         // committed deletions that this broker's disks have not finished

	site    *siteState            // nil = no pair of sites
	hidden  map[uuid.UUID]*hidden // deleted, and kept for a time
	changes                       // what LogicalChanges knows
}

func newState() state {
	return state{
		topics: map[string]*Topic{}, byID: map[uuid.UUID]*Topic{}, brokers: map[int32]registerBroker{},
		configs: map[string]map[string]string{}, floors: map[string]int32{}, deleting: map[uuid.UUID]*Topic{},
		hidden: map[uuid.UUID]*hidden{},
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
		brokers[node] = Broker{Node: node, Rack: b.Rack, Site: m.mu.site.name(), Endpoints: b.Endpoints}
	}
	i := newImage(maps.Clone(m.mu.topics), maps.Clone(m.mu.byID), brokers)
	i.others, i.since = m.mu.site.otherBrokers(), m.mu.deltasFrom
	if c := m.mu.clusterChanged; c.Compare(i.since) > 0 {
		i.since = c
	}
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
	before := m.mu.version
	result, act := m.applyLocked(h)
	active, moved := m.mu.active, m.mu.version != before
	m.mu.Unlock()
	m.wakeSaver()
	if errors.Is(asError(result), errCommand) || errors.Is(asError(result), errCommandUnknown) {
		m.onFatal(fmt.Errorf("metadata entry %d: %w", index, asError(result)))
		return result
	}
	if active && act != nil {
		act()
	}
	if told := m.onVersion.Load(); moved && told != nil {
		(*told)()
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
	case commandSite:
		return execute(document, m.siteLocked)
	case commandFollow:
		return execute(document, m.followLocked)
	case commandUndeleteTopic:
		return execute(document, m.undeleteLocked)
	case commandPurgeTopics:
		return execute(document, m.purgeLocked)
	case commandArchivedTopics:
		return execute(document, m.archivedLocked)
	case commandRecopy:
		return execute(document, m.recopyLocked)
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

// changedLocked counts a change of the logical metadata: of what both sites have. What is this site's own (placement, brokers, the
// configs of one broker) does not count.
func (m *machine) changedLocked() Version {
	m.mu.version.N++
	m.image.Store(nil)
	return m.mu.version
}

func (m *machine) createTopicLocked(c createTopic) (any, func()) {
	if err := m.mu.site.refusal(); err != nil {
		return err, nil
	}
	if _, ok := m.mu.topics[c.Name]; ok {
		return refuse(ErrTopicExists, "Topic '%s' already exists.", c.Name), nil
	}
	if _, ok := m.mu.byID[c.ID]; ok {
		return refuse(ErrTopicExists, "Topic id %s already exists.", c.ID), nil
	}
	c.EpochFloor = max(c.EpochFloor, m.mu.floors[c.Name])
	for i := range c.Partitions {
		c.Partitions[i].Born, c.Partitions[i].Start = m.mu.site.epoch(), 0
	}
	t := &Topic{
		Name: c.Name, ID: c.ID, Configs: c.Configs, Config: m.parse(c.Name, c.Configs), EpochFloor: c.EpochFloor,
		Partitions: m.partitions(c.Name, c.Partitions), changed: m.changedLocked(),
	}
	m.addTopicLocked(t)
	another := m.keptLocked(t.Name, 0)
	return t, func() {
		if another { // what belongs to the name is not this one's
			m.onDeleted(t)
		}
		m.life.create(t, 0)
	}
}

// addTopicLocked stores a topic that was not there.
func (m *machine) addTopicLocked(t *Topic) {
	m.putTopicLocked(t)
	m.writeLocked(bucketNames, []byte(t.Name), t.ID[:])
	m.writeJSONLocked(bucketConfigs, configKey(t.ID), t.Configs)
}

func (m *machine) deleteTopicLocked(c deleteTopic) (any, func()) {
	if err := m.mu.site.refusal(); err != nil {
		return err, nil
	}
	t, ok := m.mu.byID[c.ID]
	if !ok {
		return refuse(ErrUnknownTopicID, "This server does not host this topic ID."), nil
	}
	m.dropTopicLocked(t, c.EpochFloor)
	m.removedLocked(t, m.changedLocked())
	var act func()
	if at := c.Hidden; at != 0 || t.unsaved() {
		act = m.hideLocked(t, cmp.Or(at, t.ExtraAt), false)
	} else {
		m.mu.deleting[t.ID] = t
		m.writeJSONLocked(bucketDeleting, t.ID[:], recordOf(t))
		act = func() { m.life.remove(t) }
	}
	return t, func() {
		act()
		if c.Hidden == 0 {
			m.onDeleted(t)
		}
	}
}

// dropTopicLocked takes a topic out of the metadata, except for the leader epochs that its name has had.
func (m *machine) dropTopicLocked(t *Topic, floor int32) {
	delete(m.mu.byID, t.ID)
	delete(m.mu.topics, t.Name)
	m.writeLocked(bucketTopics, t.ID[:], nil)
	m.writeLocked(bucketNames, []byte(t.Name), nil)
	m.writeLocked(bucketConfigs, configKey(t.ID), nil)
	m.raiseFloorLocked(t.Name, max(t.EpochFloor, floor))
}

func (m *machine) raiseFloorLocked(name string, floor int32) {
	m.mu.floors[name] = max(m.mu.floors[name], floor)
	m.writeLocked(bucketFloors, []byte(name), encodeUint32(uint32(m.mu.floors[name])))
}

func (m *machine) createPartitionsLocked(c createPartitions) (any, func()) {
	if err := m.mu.site.refusal(); err != nil {
		return err, nil
	}
	old, ok := m.mu.byID[c.ID]
	if !ok {
		return refuse(ErrUnknownTopic, "This server does not host this topic-partition."), nil
	}
	if int(c.First) != len(old.Partitions) {
		return refuse(ErrInvalidPartitions, "The topic %s now has %d partition(s).", old.Name, len(old.Partitions)), nil
	}
	if len(old.Extra) > 0 {
		return refuse(ErrPolicy, "The topic %s has partitions of a time before this site followed the other one; they are kept for dr.delete.delay.ms, until then it can have no more.", old.Name), nil
	}
	for i := range c.Added { // the other site has no records of it, and clients have no offsets below
		c.Added[i].Born, c.Added[i].Start = m.mu.site.epoch(), entry.BandStart(m.mu.site.epoch())
	}
	t := *old
	t.Partitions = append(old.Partitions[:len(old.Partitions):len(old.Partitions)], m.partitions(t.Name, c.Added)...)
	t.changed = m.changedLocked()
	m.putTopicLocked(&t)
	return &t, func() { m.life.create(&t, int(c.First)) }
}

// allocateLocked gives out a block of producer ids; the result is the first.
func (m *machine) allocateLocked(c allocateProducerIDs, siteEpoch uint32) (any, func()) {
	if err := m.mu.site.refusal(); err != nil {
		return err, nil
	}
	if c.Count < 1 || c.Count > producerIDBlockMax || m.mu.nextPID+c.Count > 1<<entry.ProducerIDBits {
		return refuse(ErrPolicy, "no block of %d producer ids is left", c.Count), nil
	}
	first := site.ProducerID(max(siteEpoch, m.mu.site.epoch()), m.mu.nextPID)
	m.mu.nextPID += c.Count
	m.mu.version.N++
	return first, nil
}

func (m *machine) registerBrokerLocked(c registerBroker) (any, func()) {
	if s := m.mu.site; s != nil && s.Peer != nil {
		for _, b := range s.Peer.Brokers {
			if err := CheckDisjoint([]int32{c.Node}, []int32{b.Node}); err != nil {
				return refuse(ErrInvalidRequest, "%s", err), nil
			}
		}
	}
	m.mu.brokers[c.Node] = c
	m.writeJSONLocked(bucketBrokers, encodeUint32(uint32(c.Node)), c)
	m.image.Store(nil)
	return nil, nil
}

// forget notes that this broker's disks have nothing left of a deleted topic. It is not a command: other brokers are where
// they are.
func (m *machine) forget(id uuid.UUID) {
	m.mu.Lock()
	delete(m.mu.deleting, id)
	m.writeLocked(bucketDeleting, id[:], nil)
	m.mu.Unlock()
	m.wakeSaver()
}

// wakeSaver tells the saver that there are writes; it never waits.
func (m *machine) wakeSaver() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// activate lets changes reach the lifecycle from now on, and returns what is there already.
func (m *machine) activate() (topics, deleting, aside []*Topic) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.active = true
	for _, t := range m.mu.topics {
		topics = append(topics, t)
	}
	for _, t := range m.mu.deleting {
		deleting = append(deleting, t)
	}
	for _, h := range m.mu.hidden {
		aside = append(aside, h.aside())
	}
	return topics, deleting, aside
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
		q := Partition{Incarnation: p.Incarnation, Servers: p.Servers, Born: p.Born, Start: p.Start, Recopying: p.Recopying}
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
