package controller

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/broker/config"
	"github.com/tandembroker/tandem/broker/partition"
	"github.com/tandembroker/tandem/replication/raft"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/meta"
)

// modelSite is a site's metadata without Raft, disk and partitions: the machine and the planner that production runs.
type modelSite struct {
	*Controller
	t     *testing.T
	node  int32
	index uint64
	now   *time.Time

	partBytes int // of a command
}

// noPartitions is a broker with no partition.
type noPartitions struct{ Partitions }

func (noPartitions) Get(string, int32) (*partition.Partition, bool) { return nil, false }

const modelDelay = time.Hour

// newModelSite is a site of one broker. Topics named local* are its own.
func newModelSite(t *testing.T, name string, node int32, now *time.Time) *modelSite {
	t.Helper()
	cfg, err := config.Load(config.Input{Set: []string{
		"listeners=PLAINTEXT://127.0.0.1:0", "site.name=" + name, "site.peers=other@h:1", "dr.topics.exclude=local.*",
		"dr.delete.delay.ms=3600000", "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SITE:PLAINTEXT",
	}})
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	life := newLifecycle(fmt.Sprintf("%d@disk", node), logger)
	life.partitions = noPartitions{}
	m := &machine{base: cfg, node: fmt.Sprint(node), life: life, logger: logger, wake: make(chan struct{}, 1),
		onFatal: func(err error) { t.Errorf("fatal: %v", err) }, onConfig: func(*config.Config) {}, onDeleted: func(*Topic) {}}
	m.config.Store(cfg)
	m.mu.state = newState()
	s := &modelSite{t: t, node: node, now: now, partBytes: partBytes, Controller: &Controller{
		machine: m, life: life, logger: logger, follows: make(chan struct{}, 1),
		opts: Options{Config: cfg, Logger: logger, Now: func() time.Time { return *now }},
	}}
	s.do(commandRegisterBroker, registerBroker{Node: node, Disks: []string{"disk"}})
	return s
}

// do commits a command; the error is the machine's refusal.
func (s *modelSite) do(command uint8, document any) error {
	_, err := s.result(command, document)
	return err
}

func (s *modelSite) result(command uint8, document any) (any, error) {
	s.t.Helper()
	body, err := encodeCommand(command, document)
	if err != nil {
		s.t.Fatal(err)
	}
	s.index++
	r := s.machine.Apply(s.index, &entry.Header{Kind: entry.Metadata, Body: body, ValidatedTerm: 1})
	return r, asError(r)
}

// role stores a record of the site's role.
func (s *modelSite) role(r site.Record, peer string, index uint32) error {
	facts := &SiteFacts{Name: s.opts.Config.Site.Name, Index: index, Peer: &PeerSite{Name: peer, Index: 1 - index}}
	return s.do(commandSite, siteChange{Role: roleOf(r), Facts: facts})
}

// follow is ApplyLogical without Raft. A crash comes behind crash of the commands; a negative one is none.
func (s *modelSite) follow(frame []byte, crash int) error {
	l, err := decodeLogical(frame)
	if err != nil {
		return err
	}
	p, err := s.planFollow(&l)
	if err != nil || p == nil {
		return err
	}
	for i, command := range p.parts(s.partBytes) {
		if i == crash {
			return errCrashed
		}
		if err := s.do(commandFollow, command); err != nil {
			return err
		}
	}
	return nil
}

var errCrashed = errors.New("crashed")

func (s *modelSite) create(name string, partitions int, configs map[string]string) error {
	c := createTopic{Name: name, ID: uuid.New(), Configs: configs, EpochFloor: s.machine.floor(name)}
	for range partitions {
		c.Partitions = append(c.Partitions, placement{Servers: []string{raft.ServerID(s.node, "disk")}})
	}
	return s.do(commandCreateTopic, c)
}

func (s *modelSite) frame(since *Version) []byte {
	s.t.Helper()
	var frame []byte
	var err error
	if since == nil {
		_, frame, err = s.LogicalImage()
	} else {
		_, frame, err = s.LogicalChanges(*since)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return frame
}

// logicalView is what both sites must have alike.
func (s *modelSite) logicalView() map[string]any {
	view := map[string]any{"version": s.LogicalVersion(), "cluster": s.machine.brokerConfigs(clusterResource)}
	for _, t := range s.Image().Topics() {
		if s.ships(t.Name) {
			l := logicalOf(t)
			l.Replicas = 0
			if len(l.Configs) == 0 {
				l.Configs = nil
			}
			view[t.Name] = l
		}
	}
	return view
}

// modelPair is two sites and what is between them.
type modelPair struct {
	t     *testing.T
	rng   *rand.Rand
	now   time.Time
	sites [2]*modelSite
	wire  [][]byte              // frames that may arrive, in any order, once more, or never
	seen  [2]map[uuid.UUID]bool // topics whose data a site has had
	story []string
}

func (p *modelPair) say(format string, args ...any) {
	p.story = append(p.story, fmt.Sprintf(format, args...))
}

func (p *modelPair) fail(format string, args ...any) {
	p.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(p.story[max(0, len(p.story)-60):], "\n"))
}

func newModelPair(t *testing.T, seed uint64) *modelPair {
	p := &modelPair{t: t, rng: rand.New(rand.NewPCG(seed, 7)), now: time.UnixMilli(1_700_000_000_000)}
	p.sites[0] = newModelSite(t, "east", 1, &p.now)
	p.sites[1] = newModelSite(t, "west", 101, &p.now)
	p.seen = [2]map[uuid.UUID]bool{{}, {}}
	for i, s := range p.sites {
		s.partBytes = 1 + p.rng.IntN(1000)
		r := site.Record{Role: site.Standby}
		if i == 0 {
			r.Role = site.Active
		}
		if err := s.role(r, p.sites[1-i].opts.Config.Site.Name, uint32(i)); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// step does something that may happen.
func (p *modelPair) step() {
	i := p.rng.IntN(2)
	s := p.sites[i]
	topics := s.Image().Topics()
	pick := func() *Topic {
		if len(topics) == 0 {
			return nil
		}
		return topics[p.rng.IntN(len(topics))]
	}
	p.now = p.now.Add(time.Duration(p.rng.IntN(10)) * time.Minute)
	switch n := p.rng.IntN(100); {
	case n < 20:
		name := []string{"a", "b", "c", "d", "local"}[p.rng.IntN(5)]
		err := s.create(name, 1+p.rng.IntN(3), map[string]string{"retention.ms": fmt.Sprint(p.rng.IntN(9))})
		p.say("%d creates %s: %v", i, name, err)
	case n < 30:
		if t := pick(); t != nil {
			c := deleteTopic{ID: t.ID, EpochFloor: t.EpochFloor + 1, Hidden: s.hideAt()}
			p.say("%d deletes %s %s: %v", i, t.Name, t.ID, s.do(commandDeleteTopic, c))
		}
	case n < 38:
		if t := pick(); t != nil {
			c := createPartitions{ID: t.ID, First: int32(len(t.Partitions)), Added: []placement{{Servers: []string{raft.ServerID(s.node, "disk")}}}}
			p.say("%d adds a partition to %s: %v", i, t.Name, s.do(commandCreatePartitions, c))
		}
	case n < 44:
		if t := pick(); t != nil {
			value := fmt.Sprint(p.rng.IntN(9))
			p.say("%d sets %s: %v", i, t.Name, s.do(commandSetConfigs, setConfigs{topicResource(t.ID), map[string]*string{"retention.ms": &value}}))
		}
	case n < 48:
		value := fmt.Sprint(1000 + p.rng.IntN(9))
		_ = s.do(commandSetConfigs, setConfigs{clusterResource, map[string]*string{"log.retention.ms": &value}})
		_ = s.do(commandSetConfigs, setConfigs{brokerResource(fmt.Sprint(s.node)), map[string]*string{"log.retention.bytes": &value}})
		_ = s.do(commandAllocateProducerIDs, allocateProducerIDs{Count: 1000})
	case n < 52:
		for _, h := range s.HiddenTopics() {
			p.say("%d undeletes %s %s: %v", i, h.Name, h.ID, s.do(commandUndeleteTopic, undeleteTopic{ID: h.ID, Lost: h.Lost && p.rng.IntN(2) == 0}))
			break
		}
	case n < 57:
		p.purge(i)
	case n < 75:
		p.send(i)
	case n < 95:
		p.arrive(i)
	case n < 97:
		p.promote(i)
	case n < 98:
		s.restart()
	default:
		p.hear(i)
	}
	p.check()
}

// send puts what the other site lacks, by what this one knows of it, or everything, on the wire.
func (p *modelPair) send(i int) {
	since, ok := p.sites[1-i].FollowedVersion()
	if p.sites[i].standby() {
		return
	}
	var frame []byte
	if !ok || p.rng.IntN(4) == 0 {
		frame = p.sites[i].frame(nil)
	} else if frame = p.sites[i].frame(&since); frame == nil {
		return
	}
	p.wire = append(p.wire, frame)
	if len(p.wire) > 8 {
		p.wire = slices.Delete(p.wire, 0, 1+p.rng.IntN(4)) // lost
	}
}

// arrive delivers any frame to a site, often twice, also one of its own: the machine must know.
func (p *modelPair) arrive(i int) {
	if len(p.wire) == 0 {
		return
	}
	frame := p.wire[p.rng.IntN(len(p.wire))]
	before, followed := p.sites[i].FollowedVersion()
	standby := p.sites[i].standby()
	crash := -1
	if p.rng.IntN(10) == 0 {
		crash = p.rng.IntN(4)
	}
	err := p.sites[i].follow(frame, crash)
	after, _ := p.sites[i].FollowedVersion()
	l, _ := decodeLogical(frame)
	p.say("%d gets %s (base %v, %d topics): %v, now %s", i, l.Version, l.Base, len(l.Topics), err, after)
	switch {
	case followed && after.Compare(before) < 0:
		p.fail("site %d went from version %s back to %s", i, before, after)
	case err == nil && !standby:
		p.fail("site %d took metadata and is no standby", i)
	case err == nil && followed && l.Version.Compare(before) < 0:
		p.fail("site %d took version %s over %s", i, l.Version, before)
	case err != nil && !expected(err):
		p.fail("site %d: %v", i, err)
	}
}

func (s *modelSite) standby() bool {
	r, _ := s.SiteRecord()
	return r.Role.Role == site.Standby
}

func expected(err error) bool {
	for _, e := range []error{ErrNotFollowing, ErrOldMetadata, ErrNeedWhole, ErrForeignData, errCrashed} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (p *modelPair) promote(i int) {
	s := p.sites[i]
	r, _ := s.SiteRecord()
	other, _ := p.sites[1-i].SiteRecord()
	if _, followed := s.FollowedVersion(); r.Role.Role == site.Active || !followed {
		return
	}
	role := r.Role
	role.Role, role.Epoch = site.Active, site.NextOwned(uint32(i), max(r.Role.Epoch, other.Role.Epoch))
	p.say("%d is promoted to %d: %v", i, role.Epoch, s.do(commandSite, siteChange{Role: roleOf(role)}))
}

// hear lets a site follow the other one, if that was promoted above it.
func (p *modelPair) hear(i int) {
	r, _ := p.sites[i].SiteRecord()
	other, _ := p.sites[1-i].SiteRecord()
	if other.Role.Role == site.Active && other.Role.Epoch > r.Role.Epoch {
		role := r.Role
		role.Role, role.Epoch = site.Standby, other.Role.Epoch
		p.say("%d follows %d: %v", i, role.Epoch, p.sites[i].do(commandSite, siteChange{Role: roleOf(role)}))
	}
}

func (p *modelPair) purge(i int) {
	s := p.sites[i]
	c := purgeTopics{Now: p.now.UnixMilli(), Delay: modelDelay.Milliseconds()}
	due := map[uuid.UUID]bool{}
	for _, h := range s.HiddenTopics() {
		c.Topics = append(c.Topics, h.ID) // also those that are not due: the machine must know
		before, both := due[h.ID]         // a topic, and its extra partitions
		due[h.ID] = (before || !both) && p.now.Sub(h.At) >= modelDelay && (!h.Lost || h.Archived)
	}
	n, err := s.result(commandPurgeTopics, c)
	if err != nil {
		p.fail("purge: %v", err)
	}
	left := map[uuid.UUID]bool{}
	for _, h := range s.HiddenTopics() {
		left[h.ID] = true
	}
	for id, may := range due {
		if !may && !left[id] {
			p.fail("site %d deleted the data of %s before its time", i, id)
		}
		if !left[id] {
			delete(p.seen[i], id)
		}
	}
	p.say("%d purges %v", i, n)
}

// check holds each site to what must be true at all times.
func (p *modelPair) check() {
	for i, s := range p.sites {
		m := s.machine
		for id := range p.seen[i] {
			if m.mu.byID[id] == nil && m.mu.hidden[id] == nil {
				p.fail("site %d has lost the data of %s", i, id)
			}
		}
		for id, t := range m.mu.byID {
			p.seen[i][id] = true
			if m.mu.topics[t.Name] != t || m.mu.hidden[id] != nil {
				p.fail("site %d: topic %s with id %s is not alone", i, t.Name, id)
			}
			for _, q := range t.all() {
				if !slices.Equal(q.Replicas, []int32{s.node}) || q.Start != 0 && q.Start != entry.BandStart(q.Born) {
					p.fail("site %d: topic %s has a partition %+v", i, t.Name, q)
				}
			}
		}
		if len(m.mu.brokers) != 1 || m.mu.configs[brokerResource(fmt.Sprint(p.sites[1-i].node))] != nil {
			p.fail("site %d has local facts of the other: %v, %v", i, m.mu.brokers, m.mu.configs)
		}
	}
}

// settle ends the faults: the site of the lower epoch follows, and gets what it lacks.
func (p *modelPair) settle() {
	p.hear(0)
	p.hear(1)
	active, standby := p.sites[0], p.sites[1]
	if active.standby() {
		active, standby = standby, active
	}
	if active.standby() || !standby.standby() {
		p.fail("not one active")
	}
	for range 3 {
		since, ok := standby.FollowedVersion()
		frame := active.frame(nil)
		if ok {
			frame = active.frame(&since)
		}
		if frame == nil {
			break
		}
		err := standby.follow(frame, -1)
		p.say("settling: %v", err)
		if errors.Is(err, ErrNeedWhole) {
			err = standby.follow(active.frame(nil), -1)
		}
		if err != nil {
			p.fail("settling: %v", err)
		}
	}
	if got, want := standby.logicalView(), active.logicalView(); !reflect.DeepEqual(got, want) {
		p.fail("the standby has\n%v\nthe active\n%v", got, want)
	}
	if standby.machine.mu.nextPID < active.machine.mu.nextPID {
		p.fail("producer ids of the standby go on at %d, of the active at %d", standby.machine.mu.nextPID, active.machine.mu.nextPID)
	}
	for name, floor := range active.machine.mu.floors {
		if standby.ships(name) && standby.machine.mu.floors[name] < floor {
			p.fail("leader epochs of %s go on at %d, at the active at %d", name, standby.machine.mu.floors[name], floor)
		}
	}
	p.check()
}

var modelSeeds = flag.Int("seeds", 300, "random histories of TestSitesAgreeOnTheirMetadata")

// TestSitesAgreeOnTheirMetadata runs two sites through random changes, promotions, splits, and frames that are lost, late, doubled
// and out of order: at all times no data is lost before its delay or taken for another topic's, and in the end both have the same.
func TestSitesAgreeOnTheirMetadata(t *testing.T) {
	seeds := *modelSeeds
	if testing.Short() {
		seeds = min(seeds, 50)
	}
	for seed := range uint64(seeds) {
		p := newModelPair(t, seed)
		p.say("seed %d", seed)
		for range 200 {
			p.step()
		}
		p.settle()
		if seed < 10 {
			for _, s := range p.sites {
				s.reload()
			}
		}
	}
}

// restart forgets what has changed in this run.
func (s *modelSite) restart() {
	m := s.machine
	m.mu.changes = changes{deltasFrom: m.mu.version}
	for id, old := range m.mu.byID {
		t := *old
		t.changed = Version{}
		m.mu.byID[id], m.mu.topics[t.Name] = &t, &t
	}
	m.image.Store(nil)
}

// reload stores the metadata, loads it and compares.
func (s *modelSite) reload() {
	s.t.Helper()
	db, err := meta.Open(s.t.TempDir()+"/meta.db", meta.Options{NoSync: true, Initial: meta.Identity{ClusterID: "c", NodeID: s.node, DiskID: "d", SiteDomain: "s"}})
	if err != nil {
		s.t.Fatal(err)
	}
	defer db.Close()
	m := s.machine
	m.db = db
	if err := m.save(); err != nil {
		s.t.Fatal(err)
	}
	before := m.mu.state
	if err := m.load(); err != nil {
		s.t.Fatal(err)
	}
	after := m.mu.state
	if before.version != after.version || before.nextPID != after.nextPID || !reflect.DeepEqual(before.site, after.site) ||
		!maps.Equal(before.floors, after.floors) || len(before.hidden) != len(after.hidden) || len(before.byID) != len(after.byID) {
		s.t.Fatalf("stored %+v, loaded %+v", before, after)
	}
	for id, h := range before.hidden {
		g := after.hidden[id]
		if g == nil || g.at != h.at || g.lost != h.lost || !reflect.DeepEqual(recordOf(g.topic), recordOf(h.topic)) || !maps.Equal(g.topic.Configs, h.topic.Configs) {
			s.t.Fatalf("hidden topic %+v, loaded %+v", h, g)
		}
	}
	for id, a := range before.byID {
		b := after.byID[id]
		if b == nil || !reflect.DeepEqual(recordOf(a), recordOf(b)) || !maps.Equal(a.Configs, b.Configs) {
			s.t.Fatalf("topic %+v, loaded %+v", a, b)
		}
	}
}
