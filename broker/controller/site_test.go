package controller

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/broker/config"
	"github.com/tandembroker/tandem/replication/raft"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/entry"
)

// twoSites are an active and a standby in site epoch 0.
func twoSites(t *testing.T) (active, standby *modelSite, p *modelPair) {
	p = newModelPair(t, 1)
	for _, s := range p.sites {
		s.partBytes = partBytes
	}
	return p.sites[0], p.sites[1], p
}

func (s *modelSite) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *modelSite) topic(name string) *Topic {
	s.t.Helper()
	t, ok := s.Image().Topic(name)
	if !ok {
		s.t.Fatalf("no topic %s", name)
	}
	return t
}

func (s *modelSite) remove(name string) {
	s.t.Helper()
	t := s.topic(name)
	s.must(s.do(commandDeleteTopic, deleteTopic{ID: t.ID, EpochFloor: t.EpochFloor + 5, Hidden: s.hideAt()}))
}

func (s *modelSite) record() site.Record {
	r, _ := s.SiteRecord()
	return r.Role
}

// TestSiteRecordNeverGoesBack lists changes of the record that are refused.
func TestSiteRecordNeverGoesBack(t *testing.T) {
	now := time.UnixMilli(1)
	s := newModelSite(t, "east", 1, &now)
	facts := func(change func(*SiteFacts)) *SiteFacts {
		f := &SiteFacts{Name: "east", Index: 0, Cluster: "c", Peer: &PeerSite{Name: "west", Index: 1, Brokers: []PeerBroker{{Node: 101}}}}
		change(f)
		return f
	}
	if err := s.do(commandSite, siteChange{Role: roleOf(site.Record{})}); !errors.Is(err, ErrSiteRecord) {
		t.Errorf("a record without facts: %v", err)
	}
	s.must(s.do(commandSite, siteChange{Role: roleOf(site.Record{Role: site.Active}), Facts: &SiteFacts{Name: "east", Index: 0}}))
	s.must(s.do(commandSite, siteChange{Facts: facts(func(f *SiteFacts) {})}))
	s.must(s.do(commandSite, siteChange{Role: roleOf(site.Record{Role: site.Active, Epoch: 4, Seen: 5, Refused: 5, LastTarget: 5})}))
	if r, ok := s.SiteRecord(); !ok || r.Role.Epoch != 4 || r.Peer.Name != "west" || r.Cluster != "c" {
		t.Errorf("record %+v", r)
	}
	for what, c := range map[string]siteChange{
		"a lower epoch":         {Role: roleOf(site.Record{Role: site.Active, Epoch: 0, Seen: 5, Refused: 5, LastTarget: 5})},
		"another role in it":    {Role: roleOf(site.Record{Role: site.Standby, Epoch: 4, Seen: 5, Refused: 5, LastTarget: 5})},
		"a target once more":    {Role: roleOf(site.Record{Role: site.Active, Epoch: 4, Seen: 5, Refused: 5, LastTarget: 1})},
		"a word taken back":     {Role: roleOf(site.Record{Role: site.Active, Epoch: 4, Seen: 5, Refused: 1, LastTarget: 5})},
		"less seen":             {Role: roleOf(site.Record{Role: site.Active, Epoch: 4, Seen: 4, Refused: 5, LastTarget: 5})},
		"another name":          {Facts: facts(func(f *SiteFacts) { f.Name = "north" })},
		"another index":         {Facts: facts(func(f *SiteFacts) { f.Index = 2 })},
		"another cluster":       {Facts: facts(func(f *SiteFacts) { f.Cluster = "d" })},
		"another site":          {Facts: facts(func(f *SiteFacts) { f.Peer.Name = "north" })},
		"no site any more":      {Facts: facts(func(f *SiteFacts) { f.Peer = nil })},
		"the same node.id":      {Facts: facts(func(f *SiteFacts) { f.Peer.Brokers = []PeerBroker{{Node: 1}} })},
		"an index out of range": {Facts: facts(func(f *SiteFacts) { f.Index = 4 })},
	} {
		before, _ := s.SiteRecord()
		if err := s.do(commandSite, c); !errors.Is(err, ErrSiteRecord) {
			t.Errorf("%s: %v", what, err)
		}
		if after, _ := s.SiteRecord(); !reflect.DeepEqual(before, after) {
			t.Errorf("%s was stored: %+v", what, after)
		}
	}
	if err := s.do(commandRegisterBroker, registerBroker{Node: 101, Disks: []string{"d"}}); !errors.Is(err, ErrInvalidRequest) {
		t.Errorf("a broker with a node.id of the other site: %v", err)
	}
	if got := s.Image().OtherBrokers(); len(got) != 1 || got[0].Node != 101 || got[0].Site != "west" || got[0].Rack != "west" {
		t.Errorf("brokers of the other site: %+v", got)
	}
	if got := s.Image().Brokers(); len(got) != 1 || got[0].Site != "east" {
		t.Errorf("brokers: %+v", got)
	}
	for _, c := range []struct {
		own, other []int32
		want       string
	}{{[]int32{1, 2}, []int32{3}, ""}, {[]int32{1, 2, 3}, []int32{3, 3, 1}, "[1 3]"}, {nil, nil, ""}} {
		if err := CheckDisjoint(c.own, c.other); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v and %v: %v", c.own, c.other, err)
		}
	}
}

// TestOnlyTheActiveSiteChangesTheMetadata: a standby refuses, and an active that hands over; each change at the active raises the version.
func TestOnlyTheActiveSiteChangesTheMetadata(t *testing.T) {
	active, standby, _ := twoSites(t)
	active.must(active.create("t", 1, nil))
	active.must(active.create("d", 1, nil))
	standby.must(standby.follow(active.frame(nil), -1))
	one := "1000"
	changes := func(s *modelSite) map[string]error {
		top, other := s.topic("t"), s.topic("d")
		out := map[string]error{}
		for what, c := range map[string]struct {
			command  uint8
			document any
		}{
			"create":       {commandCreateTopic, createTopic{Name: "new", ID: uuid.New(), Partitions: []placement{{Servers: []string{"1@disk"}}}}},
			"delete":       {commandDeleteTopic, deleteTopic{ID: other.ID, Hidden: 1}},
			"partitions":   {commandCreatePartitions, createPartitions{ID: top.ID, First: 1, Added: []placement{{Servers: []string{"1@disk"}}}}},
			"configs":      {commandSetConfigs, setConfigs{topicResource(top.ID), map[string]*string{"retention.ms": &one}}},
			"all brokers":  {commandSetConfigs, setConfigs{clusterResource, map[string]*string{"log.retention.ms": &one}}},
			"producer ids": {commandAllocateProducerIDs, allocateProducerIDs{Count: 1}},
		} {
			before := s.LogicalVersion()
			err := s.do(c.command, c.document)
			if raised := s.LogicalVersion().Compare(before) > 0; raised != (err == nil) {
				t.Errorf("%s: %v, version %s, before %s", what, err, s.LogicalVersion(), before)
			}
			out[what] = err
		}
		return out
	}
	for what, err := range changes(standby) {
		if !errors.Is(err, ErrStandby) || !errors.Is(err, ErrNotController) {
			t.Errorf("standby, %s: %v", what, err)
		}
	}
	before := standby.LogicalVersion()
	standby.must(standby.do(commandSetConfigs, setConfigs{brokerResource("101"), map[string]*string{"log.retention.ms": &one}}))
	standby.must(standby.do(commandRegisterBroker, registerBroker{Node: 102, Disks: []string{"d"}}))
	if standby.LogicalVersion() != before {
		t.Errorf("local changes raised the version from %s to %s", before, standby.LogicalVersion())
	}
	fencing := active.record()
	fencing.Fencing, fencing.LastTarget = 1, 1
	active.must(active.do(commandSite, siteChange{Role: roleOf(fencing)}))
	for what, err := range changes(active) {
		if !errors.Is(err, ErrStandby) {
			t.Errorf("handing over, %s: %v", what, err)
		}
	}
	fencing.Fencing = 0
	active.must(active.do(commandSite, siteChange{Role: roleOf(fencing)}))
	for what, err := range changes(active) {
		if err != nil {
			t.Errorf("active, %s: %v", what, err)
		}
	}
}

// TestWhatIsNotApplied lists frames that a standby refuses, and that it is unchanged then.
func TestWhatIsNotApplied(t *testing.T) {
	active, standby, p := twoSites(t)
	active.must(active.create("a", 1, nil))
	v1, first := active.LogicalVersion(), active.frame(nil)
	if err := standby.follow(active.frame(&Version{}), -1); err != nil { // not known to a standby that has nothing: whole
		t.Fatal(err)
	}
	active.must(active.create("b", 1, nil))
	v2, change := active.LogicalVersion(), active.frame(&v1)
	active.must(active.create("c", 1, nil))
	gap := active.frame(&v2)
	try := func(what string, frame []byte, want error) {
		t.Helper()
		before := standby.logicalView()
		err := standby.follow(frame, -1)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
		if want != nil && !reflect.DeepEqual(before, standby.logicalView()) {
			t.Errorf("%s changed the metadata", what)
		}
	}
	try("changes with a gap before them", gap, ErrNeedWhole)
	try("changes", change, nil)
	try("changes twice", change, nil)
	try("an older image", first, ErrOldMetadata)
	try("more changes", gap, nil)
	try("older changes", change, ErrOldMetadata)
	if err := active.follow(gap, -1); !errors.Is(err, ErrNotFollowing) {
		t.Errorf("an active: %v", err)
	}
	old := active.frame(nil)
	p.promote(1)
	try("the lost active's", old, ErrNotFollowing)
	p.hear(0)
	standby, active = p.sites[0], p.sites[1]
	try("what it has itself", old, ErrNotFollowing)
	active.must(active.create("d", 1, nil))
	v3 := active.LogicalVersion()
	active.must(active.create("e", 1, nil))
	try("changes of a new active", active.frame(&v3), ErrNeedWhole)
	try("everything of a new active", active.frame(nil), nil)
	for what, frame := range map[string][]byte{
		"nothing": nil, "short": old[:7], "cut": old[:len(old)-1], "damaged": append(slices.Clone(old[:len(old)-1]), 'x'), "facts": append([]byte{1, 2}, old[2:]...),
	} {
		try(what, frame, ErrFrame)
	}
}

// TestRecreatedTopicIsAnother: a topic of the same name with another id never gets the data of the one before.
func TestRecreatedTopicIsAnother(t *testing.T) {
	active, standby, _ := twoSites(t)
	active.must(active.create("a", 2, nil))
	standby.must(standby.follow(active.frame(nil), -1))
	v := active.LogicalVersion()
	old := active.topic("a").ID
	active.remove("a")
	active.must(active.create("a", 1, nil))
	standby.must(standby.follow(active.frame(&v), -1))
	top := standby.topic("a")
	if top.ID == old || top.ID != active.topic("a").ID || top.EpochFloor != 5 || len(top.Partitions) != 1 {
		t.Errorf("topic %+v", top)
	}
	if h := standby.HiddenTopics(); len(h) != 1 || h[0].ID != old || h[0].Lost {
		t.Errorf("kept: %+v", h)
	}
	// The machine itself refuses, whoever has planned it.
	s := standby.machine.mu.site
	v = standby.LogicalVersion()
	v.N++
	err := standby.do(commandFollow, followCommand{Epoch: 0, Revision: s.Revision, Version: &v, Whole: true, Create: []followCreate{{
		Topic: logicalTopic{Name: "a", ID: uuid.New(), Partitions: 1}, Placed: []placement{{Servers: []string{"101@disk"}}},
	}}})
	if !errors.Is(err, ErrTopicExists) || standby.topic("a") != top {
		t.Errorf("another topic of the same name: %v", err)
	}
}

// TestPlanOfOtherMetadataIsRefused: what was planned before another change is not applied behind it.
func TestPlanOfOtherMetadataIsRefused(t *testing.T) {
	active, standby, _ := twoSites(t)
	active.must(active.create("a", 1, nil))
	l, err := decodeLogical(active.frame(nil))
	active.must(err)
	p, err := standby.planFollow(&l)
	active.must(err)
	active.must(active.create("b", 1, nil))
	standby.must(standby.follow(active.frame(nil), -1))
	v, _ := standby.FollowedVersion()
	late := p.parts(partBytes)[0]
	late.Version, late.Create = &Version{v.Epoch, v.N + 1}, nil
	if err := standby.do(commandFollow, late); !errors.Is(err, ErrMetadataMoved) || standby.LogicalVersion() != v {
		t.Errorf("%v, version %s", err, standby.LogicalVersion())
	}
}

// TestConflictIsReported: a topic that this site does not ship keeps its name and data; the active's of that name is left out until
// it is gone.
func TestConflictIsReported(t *testing.T) {
	active, standby, p := twoSites(t)
	active.must(active.create("a", 1, nil))
	standby.must(standby.follow(active.frame(nil), -1))
	p.promote(1)
	p.hear(0)
	standby, active = p.sites[0], p.sites[1]
	standby.must(standby.follow(active.frame(nil), -1))
	p.promote(0)
	p.hear(1)
	active, standby = p.sites[0], p.sites[1]
	active.must(active.create("local", 1, nil)) // that it is shipped is the active's own business
	p.promote(1)                                // which does nothing: it has not followed
	standby.must(standby.follow(active.frame(nil), -1))
	p.promote(1)
	p.hear(0)
	standby, active = active, standby
	active.must(active.create("local", 1, nil))
	active.opts.Config.Site = mustSite(t)
	frame := active.frame(nil)
	standby.must(standby.follow(frame, -1))
	ours, theirs := standby.topic("local").ID, active.topic("local").ID
	s := standby.machine.mu.site
	if want := []Conflict{{"local", ours, theirs}}; ours == theirs || !slices.Equal(s.Conflicts, want) {
		t.Fatalf("conflicts %+v", s.Conflicts)
	}
	v := active.LogicalVersion()
	active.must(active.create("b", 1, nil))
	standby.must(standby.follow(active.frame(&v), -1))
	if len(standby.machine.mu.site.Conflicts) != 1 || standby.topic("b") == nil {
		t.Errorf("changes of other topics: conflicts %+v", standby.machine.mu.site.Conflicts)
	}
	// The way out is to delete the one that is not wanted.
	active.remove("local")
	v = active.LogicalVersion()
	standby.must(standby.follow(active.frame(nil), -1))
	if len(standby.machine.mu.site.Conflicts) != 0 || standby.topic("local").ID != ours {
		t.Errorf("conflicts %+v at version %s", standby.machine.mu.site.Conflicts, v)
	}
}

// mustSite is a site that ships everything.
func mustSite(t *testing.T) *config.Site {
	cfg, err := config.Load(config.Input{Set: []string{"site.name=all", "site.peers=other@h:1", "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SITE:PLAINTEXT"}})
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Site
}

// TestForeignDataIsNotTouched: a standby that has topics of its own before it ever met its active takes nothing over.
func TestForeignDataIsNotTouched(t *testing.T) {
	now := time.UnixMilli(1)
	s := newModelSite(t, "west", 101, &now)
	s.must(s.create("mine", 1, nil))
	s.must(s.role(site.Record{}, "east", 1))
	active, _, _ := twoSites(t)
	active.must(active.create("a", 1, nil))
	err := s.follow(active.frame(nil), -1)
	if !errors.Is(err, ErrForeignData) || !strings.Contains(err.Error(), "mine") || len(s.Image().Topics()) != 1 {
		t.Errorf("%v, topics %v", err, s.Image().Topics())
	}
}

// TestNobodyIsToldOfADeletionThatCanBeUndone before it cannot be any more: its time is over, or another topic takes the name.
func TestNobodyIsToldOfADeletionThatCanBeUndone(t *testing.T) {
	active, _, p := twoSites(t)
	told := 0
	active.machine.onDeleted, active.machine.mu.active = func(*Topic) { told++ }, true
	active.node, active.life.taken, active.life.gone = 99, active.machine.kept, func(uuid.UUID) {} // partitions of another broker
	t.Cleanup(active.life.close)
	expect := func(what string, want int) {
		t.Helper()
		if told != want {
			t.Errorf("%s: told %d times, want %d", what, told, want)
		}
	}
	active.must(active.create("a", 1, nil))
	first := active.topic("a").ID
	active.remove("a")
	expect("deleted", 0)
	active.must(active.do(commandUndeleteTopic, undeleteTopic{ID: first}))
	expect("undeleted", 0)
	active.remove("a")
	active.must(active.create("a", 1, nil))
	expect("replaced", 1)
	p.now = p.now.Add(time.Minute)
	active.remove("a")
	p.now = p.now.Add(modelDelay - time.Second)
	p.purge(0)
	expect("the older one is gone", 1)
	if !active.Kept("a") {
		t.Error("the newer one is not kept")
	}
	p.now = p.now.Add(time.Second)
	p.purge(0)
	expect("both are gone", 2)
	if active.Kept("a") {
		t.Error("it is still kept")
	}
	active.must(active.create("a", 1, nil))
	expect("nothing was there", 2)
}

// TestDeletionCanBeUndone, at both sites, until its time has come.
func TestDeletionCanBeUndone(t *testing.T) {
	active, standby, p := twoSites(t)
	active.must(active.create("a", 2, map[string]string{"retention.ms": "7"}))
	standby.must(standby.follow(active.frame(nil), -1))
	id := active.topic("a").ID
	v := active.LogicalVersion()
	active.remove("a")
	standby.must(standby.follow(active.frame(&v), -1))
	if len(standby.Image().Topics())+len(active.Image().Topics()) != 0 {
		t.Fatal("the topic is still there")
	}
	if err := standby.do(commandUndeleteTopic, undeleteTopic{ID: id}); !errors.Is(err, ErrStandby) {
		t.Errorf("undeleted at the standby: %v", err)
	}
	if err := active.do(commandUndeleteTopic, undeleteTopic{ID: uuid.New()}); !errors.Is(err, ErrUnknownTopicID) {
		t.Errorf("a topic of nobody: %v", err)
	}
	active.must(active.create("a", 1, nil))
	if err := active.do(commandUndeleteTopic, undeleteTopic{ID: id}); !errors.Is(err, ErrTopicExists) {
		t.Errorf("over another one: %v", err)
	}
	active.remove("a")
	active.must(active.do(commandUndeleteTopic, undeleteTopic{ID: id}))
	v, _ = standby.FollowedVersion()
	standby.must(standby.follow(active.frame(&v), -1))
	for _, s := range p.sites {
		if top := s.topic("a"); top.ID != id || len(top.Partitions) != 2 || top.Configs["retention.ms"] != "7" || len(s.HiddenTopics()) > 1 {
			t.Errorf("%s: %+v, kept %+v", s.opts.Config.Site.Name, top, s.HiddenTopics())
		}
	}
	active.remove("a")
	for _, c := range []struct {
		later time.Duration
		left  int
	}{{modelDelay - time.Millisecond, 2}, {time.Millisecond, 0}} {
		p.now = p.now.Add(c.later)
		p.purge(0)
		if got := len(active.HiddenTopics()); got != c.left {
			t.Errorf("%d topics are kept after %s, want %d", got, c.later, c.left)
		}
	}
	if len(active.machine.mu.deleting) != 2 {
		t.Errorf("being deleted: %v", active.machine.mu.deleting)
	}
}

// TestLoserKeepsWhatOnlyItHad: topics and partitions that the new active does not have are set aside, not deleted, and not served.
func TestLoserKeepsWhatOnlyItHad(t *testing.T) {
	loser, winner, p := twoSites(t)
	loser.must(loser.create("both", 1, nil))
	winner.must(winner.follow(loser.frame(nil), -1))
	if p := winner.topic("both").Partitions[0]; p.Incarnation == 0 {
		t.Errorf("%+v: an earlier partition of the topic, which has gone, could have had that incarnation", p)
	}
	loser.must(loser.create("only", 1, nil))
	more := func(s *modelSite, name string) {
		t.Helper()
		top := s.topic(name)
		s.must(s.do(commandCreatePartitions, createPartitions{ID: top.ID, First: int32(len(top.Partitions)), Added: []placement{{Servers: []string{fmt.Sprintf("%d@disk", s.node)}}}}))
	}
	more(loser, "both")
	more(loser, "both")
	p.promote(1)
	p.hear(0)
	loser.must(loser.follow(winner.frame(nil), -1))
	both := loser.topic("both")
	if len(both.Partitions) != 1 || len(both.Extra) != 2 || len(loser.Image().Topics()) != 1 {
		t.Fatalf("topic %+v", both)
	}
	for _, h := range loser.HiddenTopics() {
		if !h.Lost || h.Extra != (h.Name == "both") {
			t.Errorf("kept: %+v", h)
		}
	}
	v := winner.LogicalVersion()
	more(winner, "both")
	loser.must(loser.follow(winner.frame(&v), -1))
	both = loser.topic("both")
	if got := both.Partitions[1]; got.Born != 1 || got.Start != entry.BandStart(1) || len(both.Extra) != 1 || got.Replicas[0] != 1 {
		t.Errorf("partition %+v, kept %+v", got, both.Extra)
	}
	// As an active again it cannot have more partitions while old ones stand where they would be.
	p.promote(0)
	if err := loser.do(commandCreatePartitions, createPartitions{ID: both.ID, First: 2, Added: []placement{{Servers: []string{"1@disk"}}}}); !errors.Is(err, ErrPolicy) {
		t.Errorf("more partitions: %v", err)
	}
	if err := loser.do(commandUndeleteTopic, undeleteTopic{ID: loser.HiddenTopics()[0].ID}); err == nil {
		t.Error("what was never deleted was undeleted")
	}
	p.now = p.now.Add(modelDelay)
	p.purge(0)
	for _, h := range loser.HiddenTopics() {
		if h.Archived {
			t.Errorf("archived by nobody: %+v", h)
		}
		if err := loser.do(commandArchivedTopics, archivedTopics{Topics: []uuid.UUID{h.ID}, At: h.At.UnixMilli() - 1}); !errors.Is(err, ErrUnknownTopicID) {
			t.Errorf("archived as of another time: %v", err)
		}
		archived := archivedTopics{Topics: []uuid.UUID{h.ID}, At: h.At.UnixMilli()}
		withdrawn := archived
		withdrawn.Withdrawn = true
		loser.must(loser.do(commandArchivedTopics, archived))
		loser.must(loser.do(commandArchivedTopics, withdrawn))
	}
	p.purge(0)
	for _, h := range loser.HiddenTopics() {
		if h.Archived {
			t.Errorf("archived though withdrawn: %+v", h)
		}
		loser.must(loser.do(commandArchivedTopics, archivedTopics{Topics: []uuid.UUID{h.ID}, At: h.At.UnixMilli()}))
	}
	if got := loser.HiddenTopics(); len(got) != 2 || !got[0].Archived || !got[1].Archived {
		t.Fatalf("kept: %+v; what only this site had goes once it is archived", got)
	}
	gone := loser.HiddenTopics()
	p.purge(0)
	if both = loser.topic("both"); len(loser.HiddenTopics()) != 0 || len(both.Extra) != 0 || len(both.Partitions) != 2 {
		t.Errorf("kept: %+v", loser.HiddenTopics())
	}
	for _, h := range gone { // its archives are all that there is
		if err := loser.do(commandArchivedTopics, archivedTopics{Topics: []uuid.UUID{h.ID}, Withdrawn: true}); !errors.Is(err, ErrUnknownTopicID) {
			t.Errorf("withdrawn behind its deletion: %v", err)
		}
	}
	more(loser, "both")
}

// Partitions that only the lost site had are not deleted with their topic before they are archived: whoever deletes it, wherever, deletes those that it
// had by then.
func TestPartitionsThatOnlyTheLoserHadOutliveTheirTopic(t *testing.T) {
	for _, by := range []string{"the active", "this site", "this site, at once"} {
		t.Run(by, func(t *testing.T) {
			loser, winner, p := twoSites(t)
			loser.must(loser.create("t", 1, nil))
			winner.must(winner.follow(loser.frame(nil), -1))
			top := loser.topic("t")
			loser.must(loser.do(commandCreatePartitions, createPartitions{ID: top.ID, First: 1, Added: []placement{{Servers: []string{raft.ServerID(loser.node, "disk")}}}}))
			p.promote(1)
			p.hear(0)
			loser.must(loser.follow(winner.frame(nil), -1))
			extra := loser.HiddenTopics()
			if len(extra) != 1 || !extra[0].Extra || extra[0].First != 1 {
				t.Fatalf("kept: %+v", extra)
			}
			switch by {
			case "the active":
				winner.remove("t")
				loser.must(loser.follow(winner.frame(nil), -1))
			case "this site":
				p.promote(0)
				loser.remove("t")
			default:
				p.promote(0)
				loser.must(loser.do(commandDeleteTopic, deleteTopic{ID: top.ID, EpochFloor: 5}))
			}
			p.now = p.now.Add(2 * modelDelay)
			p.purge(0)
			loser.restart()
			p.purge(0)
			kept := loser.HiddenTopics()
			i := slices.IndexFunc(kept, func(h HiddenTopic) bool { return h.Extra })
			if i < 0 || kept[i] != extra[0] || len(kept) != 2 {
				t.Fatalf("kept: %+v, want %+v among it", kept, extra[0])
			}
			archived := archivedTopics{Topics: []uuid.UUID{top.ID}, Extra: true, At: extra[0].At.UnixMilli()}
			for _, wrong := range []archivedTopics{{Topics: archived.Topics, Extra: true, At: archived.At - 1}, {Topics: archived.Topics, At: archived.At - 1}} {
				if err := loser.do(commandArchivedTopics, wrong); !errors.Is(err, ErrUnknownTopicID) {
					t.Errorf("%+v: %v", wrong, err)
				}
			}
			loser.must(loser.do(commandArchivedTopics, archived))
			loser.restart()
			if _, ok := loser.Image().Topic("t"); ok {
				t.Error("the topic is back")
			}
			if p.purge(0); len(loser.HiddenTopics()) != 0 {
				t.Errorf("kept though archived: %+v", loser.HiddenTopics())
			}
		})
	}
}

// TestChangesAreSmall: with 10,000 topics, a change is as large as what has changed.
func TestChangesAreSmall(t *testing.T) {
	active, standby, _ := twoSites(t)
	for i := range 10_000 {
		active.must(active.create(fmt.Sprintf("topic-%d", i), 1, nil))
	}
	standby.must(standby.follow(active.frame(nil), -1))
	v := active.LogicalVersion()
	active.must(active.create("one-more", 1, nil))
	active.remove("topic-7")
	frame := active.frame(&v)
	if len(frame) > 1000 {
		t.Errorf("a change of two topics takes %d bytes", len(frame))
	}
	standby.must(standby.follow(frame, -1))
	if got, want := standby.logicalView(), active.logicalView(); !reflect.DeepEqual(got, want) {
		t.Error("the sites differ")
	}
	if v, frame, err := active.LogicalChanges(active.LogicalVersion()); frame != nil || err != nil || v != active.LogicalVersion() {
		t.Errorf("nothing has changed: %d bytes, %v", len(frame), err)
	}
}

// TestDeletionsAreRememberedForATime: whoever is further behind than that gets everything.
func TestDeletionsAreRememberedForATime(t *testing.T) {
	active, _, _ := twoSites(t)
	v := active.LogicalVersion()
	for range removedMax/2 + removedMax/8 + 1 {
		for _, name := range []string{"x", "y"} {
			active.must(active.create(name, 1, nil))
			active.remove(name)
		}
	}
	l, err := decodeLogical(active.frame(&v))
	if err != nil || l.Base != nil {
		t.Errorf("changes since %v, %v", l.Base, err)
	}
}
