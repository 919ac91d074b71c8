package controller

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/entry"
)

// Version is the version of the logical metadata: of what both sites have. N rises with each change at the active site; a promotion
// begins a new Epoch, the site epoch.
type Version struct {
	Epoch uint32 `json:"epoch"`
	N     uint64 `json:"n"`
}

// Compare orders versions.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Epoch, w.Epoch), cmp.Compare(v.N, w.N))
}

func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Epoch, v.N) }

// removedMax is how many deletions are surely remembered for LogicalChanges; whoever is further behind gets everything.
const removedMax = 10_000

// changes is what a site remembers of what has changed in this run.
type changes struct {
	deltasFrom     Version   // changes since then, or a later version, are known
	removed        []removal // in the order in which they came
	clusterChanged Version   // when the configs of all brokers were changed last
}

// removal is a topic that was deleted.
type removal struct {
	ID    uuid.UUID `json:"id"`
	Name  string    `json:"name"`
	Floor int32     `json:"floor"` // leader epochs of the next topic of the name
	at    Version
}

func (m *machine) removedLocked(t *Topic, v Version) {
	m.mu.removed = append(m.mu.removed, removal{ID: t.ID, Name: t.Name, Floor: m.mu.floors[t.Name], at: v})
	if excess := len(m.mu.removed) - removedMax; excess > removedMax/4 { // not one by one
		m.mu.deltasFrom = m.mu.removed[excess-1].at
		m.mu.removed = slices.Delete(m.mu.removed, 0, excess)
	}
}

func (m *machine) unremoveLocked(id uuid.UUID) {
	m.mu.removed = slices.DeleteFunc(m.mu.removed, func(r removal) bool { return r.ID == id })
}

// logical is the logical metadata, or the changes of it since Base, as it goes to the other site (docs/formats.md section 8). What
// is a site's own is not in it: where partitions are, brokers and their configs.
type logical struct {
	Version Version           `json:"version"`
	Base    *Version          `json:"base,omitempty"` // nil = everything
	Topics  []logicalTopic    `json:"topics,omitempty"`
	Removed []removal         `json:"removed,omitempty"` // since Base; one that is in Topics as well was undeleted
	Cluster map[string]string `json:"cluster"`           // configs of all brokers; null = unchanged
	Floors  map[string]int32  `json:"floors,omitempty"`  // leader-epoch floors of the next topics of names: all, or those of Topics
	NextPID int64             `json:"nextPID"`
}

// logicalTopic is a topic as both sites have it.
type logicalTopic struct {
	Name       string            `json:"name"`
	ID         uuid.UUID         `json:"id"`
	Partitions int32             `json:"partitions"`
	Replicas   int               `json:"replicas"` // of each; a site with fewer brokers has as many as it can
	Runs       []partitionRun    `json:"runs,omitempty"`
	Configs    map[string]string `json:"configs,omitempty"`
	EpochFloor int32             `json:"epochFloor,omitempty"`
}

// partitionRun says of the partitions from First on, up to the next run, when they came into being. In front of the first run, and
// without any, that was in site epoch 0, at offset 0.
type partitionRun struct {
	First int32  `json:"first"`
	Born  uint32 `json:"born"`
	Start int64  `json:"start"`
}

func logicalOf(t *Topic) logicalTopic {
	l := logicalTopic{Name: t.Name, ID: t.ID, Partitions: int32(len(t.Partitions)), Configs: t.Configs, EpochFloor: t.EpochFloor}
	var last partitionRun
	for i, p := range t.Partitions {
		l.Replicas = max(l.Replicas, len(p.Servers))
		if p.Born != last.Born || p.Start != last.Start {
			last = partitionRun{int32(i), p.Born, p.Start}
			l.Runs = append(l.Runs, last)
		}
	}
	return l
}

// run is when partition i came into being.
func (t *logicalTopic) run(i int32) (r partitionRun) {
	for _, next := range t.Runs {
		if next.First > i {
			break
		}
		r = next
	}
	return r
}

// LogicalImage is the logical metadata of this active site as of now, whole, for the other one. Errors: ErrStandby.
func (c *Controller) LogicalImage() (Version, []byte, error) {
	m := c.machine
	m.mu.Lock()
	if err := m.mu.site.notActive(); err != nil {
		m.mu.Unlock()
		return Version{}, nil, err
	}
	l := m.logicalLocked(nil, c.ships)
	m.mu.Unlock()
	data, err := encodeLogical(l)
	return l.Version, data, err
}

// LogicalChanges are the changes since a version that the other site has; everything where they are not known, and nil where there
// are none. Errors: ErrStandby.
func (c *Controller) LogicalChanges(since Version) (Version, []byte, error) {
	m := c.machine
	m.mu.Lock()
	if err := m.mu.site.notActive(); err != nil {
		m.mu.Unlock()
		return Version{}, nil, err
	}
	if since == m.mu.version {
		m.mu.Unlock()
		return since, nil, nil
	}
	base := &since
	if since.Epoch != m.mu.version.Epoch || since.Compare(m.mu.deltasFrom) < 0 || since.Compare(m.mu.version) > 0 {
		base = nil
	}
	l := m.logicalLocked(base, c.ships)
	m.mu.Unlock()
	data, err := encodeLogical(l)
	return l.Version, data, err
}

// FollowedVersion is the version of the active's metadata that stands here, for LogicalChanges there; ok is false where LogicalImage
// is needed.
func (c *Controller) FollowedVersion() (v Version, ok bool) {
	c.machine.mu.Lock()
	defer c.machine.mu.Unlock()
	s := c.machine.mu.site
	return c.machine.mu.version, s != nil && s.Role.Role == site.Standby && s.Followed
}

// LogicalVersion is the version of the logical metadata as of now.
func (c *Controller) LogicalVersion() Version {
	c.machine.mu.Lock()
	defer c.machine.mu.Unlock()
	return c.machine.mu.version
}

// OnVersion has changed called whenever the version of the logical metadata has changed; it must not wait. nil = nobody asks.
func (c *Controller) OnVersion(changed func()) {
	if changed == nil {
		c.machine.onVersion.Store(nil)
		return
	}
	c.machine.onVersion.Store(&changed)
}

// ships says whether a topic goes to the other site: dr.topics.include and exclude.
func (c *Controller) ships(topic string) bool {
	s := c.opts.Config.Site
	return s == nil || s.Ships(topic)
}

func (m *machine) logicalLocked(base *Version, ships func(string) bool) logical {
	l := logical{Version: m.mu.version, Base: base, NextPID: m.mu.nextPID}
	newer := func(v Version) bool { return base == nil || v.Compare(*base) > 0 }
	for _, t := range m.mu.topics {
		if newer(t.changed) && ships(t.Name) {
			l.Topics = append(l.Topics, logicalOf(t))
		}
	}
	slices.SortFunc(l.Topics, func(a, b logicalTopic) int { return strings.Compare(a.Name, b.Name) })
	if newer(m.mu.clusterChanged) {
		l.Cluster = maps.Clone(m.mu.configs[clusterResource])
		if l.Cluster == nil {
			l.Cluster = map[string]string{}
		}
	}
	if base == nil {
		l.Floors = maps.Clone(m.mu.floors)
		return l
	}
	l.Floors = map[string]int32{}
	for _, t := range l.Topics {
		if floor, ok := m.mu.floors[t.Name]; ok { // one that was undeleted
			l.Floors[t.Name] = floor
		}
	}
	for _, r := range m.mu.removed {
		if newer(r.at) && ships(r.Name) {
			l.Removed = append(l.Removed, r)
		}
	}
	return l
}

// The frame of a document between sites: version u8, kind u8, reserved u16, CRC32C of the document u32, JSON.
const (
	frameVersion = 1
	frameHeader  = 8

	frameLogical = 1
	frameFacts   = 2

	// frameMax is far above the metadata of 100,000 topics.
	frameMax = 256 << 20
	// topicPartitionsMax bounds what another site can have placed by one number.
	topicPartitionsMax = 200_000
)

// ErrFrame is a document of the other site that cannot be read.
var ErrFrame = errors.New("controller: corrupt metadata of the other site")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encodeFrame(kind uint8, document any) ([]byte, error) {
	text, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("controller: encode metadata for the other site: %w", err)
	}
	if len(text) > frameMax {
		return nil, fmt.Errorf("controller: the metadata takes %d bytes, the other site takes %d", len(text), frameMax)
	}
	frame := binary.BigEndian.AppendUint32([]byte{frameVersion, kind, 0, 0}, crc32.Checksum(text, castagnoli))
	return append(frame, text...), nil
}

// decodeFrame reads a document of the other site. A field that it does not know is an error, as in a command.
func decodeFrame[T any](kind uint8, frame []byte) (T, error) {
	var none T
	switch {
	case len(frame) < frameHeader || len(frame) > frameHeader+frameMax:
		return none, fmt.Errorf("%w: %d bytes", ErrFrame, len(frame))
	case frame[0] != frameVersion || frame[1] != kind || frame[2] != 0 || frame[3] != 0:
		return none, fmt.Errorf("%w: header % x, want version %d and kind %d", ErrFrame, frame[:4], frameVersion, kind)
	case binary.BigEndian.Uint32(frame[4:]) != crc32.Checksum(frame[frameHeader:], castagnoli):
		return none, fmt.Errorf("%w: checksum", ErrFrame)
	}
	v, err := decodeDocument[T](frame[frameHeader:])
	if err != nil {
		return none, fmt.Errorf("%w: %w", ErrFrame, err)
	}
	return v, nil
}

func encodeLogical(l logical) ([]byte, error) { return encodeFrame(frameLogical, l) }

// decodeLogical reads and checks what an active site has sent. Nothing of it is believed before.
func decodeLogical(frame []byte) (logical, error) {
	l, err := decodeFrame[logical](frameLogical, frame)
	if err != nil {
		return logical{}, err
	}
	if l.Base != nil && l.Base.Compare(l.Version) >= 0 {
		return logical{}, fmt.Errorf("%w: changes from version %s to %s", ErrFrame, *l.Base, l.Version)
	}
	if l.NextPID < 0 || l.NextPID > 1<<entry.ProducerIDBits {
		return logical{}, fmt.Errorf("%w: producer id %d", ErrFrame, l.NextPID)
	}
	names, ids := map[string]bool{}, map[uuid.UUID]bool{}
	for i := range l.Topics {
		t := &l.Topics[i]
		if err := t.check(l.Version.Epoch); err != nil {
			return logical{}, err
		}
		if names[t.Name] || ids[t.ID] {
			return logical{}, fmt.Errorf("%w: topic %s with id %s twice", ErrFrame, t.Name, t.ID)
		}
		names[t.Name], ids[t.ID] = true, true
	}
	for _, r := range l.Removed {
		if CheckName(r.Name) != nil || r.Floor < 0 || l.Base == nil {
			return logical{}, fmt.Errorf("%w: deletion of topic %s", ErrFrame, shorten(r.Name))
		}
	}
	for name, floor := range l.Floors {
		if CheckName(name) != nil || floor < 0 {
			return logical{}, fmt.Errorf("%w: leader-epoch floor of topic %s", ErrFrame, shorten(name))
		}
	}
	if l.Base == nil && l.Cluster == nil {
		return logical{}, fmt.Errorf("%w: everything, without the configs of all brokers", ErrFrame)
	}
	return l, nil
}

func (t *logicalTopic) check(siteEpoch uint32) error {
	last := partitionRun{First: -1}
	ok := CheckName(t.Name) == nil && t.Name != metadataTopic && t.ID != uuid.Nil && t.ID != entry.MetadataGroup.Topic &&
		t.Partitions >= 1 && t.Partitions <= topicPartitionsMax && t.Replicas >= 0 && t.EpochFloor >= 0
	for _, r := range t.Runs {
		ok = ok && r.First > last.First && r.First < t.Partitions && r.Born <= siteEpoch && (r.Start == 0 || r.Start == entry.BandStart(r.Born))
		last = r
	}
	if !ok {
		return fmt.Errorf("%w: topic %s with id %s", ErrFrame, shorten(t.Name), t.ID)
	}
	return nil
}

// LocalFacts is this site's own metadata for the other one: its brokers.
func (c *Controller) LocalFacts() ([]byte, error) {
	m := c.machine
	m.mu.Lock()
	var facts PeerSite
	if s := m.mu.site; s != nil {
		facts.Name, facts.Index = s.Name, s.Index
	}
	for _, node := range slices.Sorted(maps.Keys(m.mu.brokers)) {
		facts.Brokers = append(facts.Brokers, PeerBroker{Node: node, Endpoints: m.mu.brokers[node].Endpoints})
	}
	m.mu.Unlock()
	return encodeFrame(frameFacts, facts)
}

// factsBrokersMax is how many brokers a site has at most.
const factsBrokersMax = 1000

// DecodeFacts reads what LocalFacts of the other site has made; StoreSite keeps it as Peer. Errors: ErrFrame.
func DecodeFacts(frame []byte) (*PeerSite, error) {
	f, err := decodeFrame[PeerSite](frameFacts, frame)
	if err != nil {
		return nil, err
	}
	if len(f.Brokers) > factsBrokersMax {
		return nil, fmt.Errorf("%w: %d brokers", ErrFrame, len(f.Brokers))
	}
	for i, b := range f.Brokers {
		if b.Node < 0 || i > 0 && b.Node <= f.Brokers[i-1].Node {
			return nil, fmt.Errorf("%w: broker %d", ErrFrame, b.Node)
		}
		for _, e := range b.Endpoints {
			if e.Listener == "" || e.Host == "" || e.Port < 1 || e.Port > 65535 {
				return nil, fmt.Errorf("%w: listener of broker %d", ErrFrame, b.Node)
			}
		}
	}
	return &f, nil
}
