package controller

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/broker/partition"
	"github.com/tandembroker/tandem/replication/site"
)

// TestSetAsideTopicsKeepTheirData goes through partitions on a disk: deleted, created again under the same name, over restarts of both
// kinds, purged, undeleted.
func TestSetAsideTopicsKeepTheirData(t *testing.T) {
	w := newWorld(t)
	w.level, w.set = 2, []string{"site.name=east", "site.peers=west@h:1", "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SITE:PLAINTEXT"}
	w.open(nil)
	w.check(w.StoreSite(w.ctx(), &site.Record{Role: site.Active}, &SiteFacts{Name: "east"}))
	first := w.create("a", 2)
	if err := w.DeleteTopics(w.ctx(), []uuid.UUID{first.ID})[0]; err != nil {
		t.Fatal(err)
	}
	w.check(w.CreateTopics(w.ctx(), []NewTopic{{Name: "b", Partitions: 1, ReplicationFactor: -1}}, false)[0].Err)
	second := w.create("a", 1)
	holds := func(what string, live, aside *Topic) {
		t.Helper()
		for i := range live.Partitions {
			p, ok := w.partitions.Get("a", int32(i))
			if !ok || p.TopicID() != live.ID || p.Offline() != nil {
				t.Fatalf("%s: partition %d of the topic is %v", what, i, p)
			}
		}
		name := "a~" + aside.ID.String()
		for i := range aside.Partitions {
			w.await(what+": partition set aside", func() bool {
				p, ok := w.partitions.Get(name, int32(i))
				return ok && p.TopicID() == aside.ID && p.Offline() == nil && p.Config().RetentionMs == -1
			})
		}
	}
	holds("created again", second, first)
	folder := filepath.Join(w.dir, fmt.Sprintf("a.%x-0", second.ID[:]))
	if p, _ := w.partitions.Get("a", 0); !strings.HasSuffix(folder, w.folder(p)) {
		t.Errorf("folder %s, want %s", w.folder(p), folder)
	}
	for _, crash := range []bool{false, true} {
		w.close(crash)
		w.open(nil)
		holds(fmt.Sprintf("restarted, crash %v", crash), second, first)
	}
	if n, err := w.PurgeHidden(w.ctx()); n != 0 || err != nil {
		t.Errorf("%d purged before their time, %v", n, err)
	}
	// The other way round, with meta.db behind at the crash.
	w.cancel()
	w.wait.Wait()
	if err := w.DeleteTopics(w.ctx(), []uuid.UUID{second.ID})[0]; err != nil {
		t.Fatal(err)
	}
	w.check(w.UndeleteTopic(w.ctx(), first.ID, false))
	holds("undeleted", first, second)
	w.close(true)
	w.open(nil)
	holds("undeleted, restarted", first, second)
	w.now = w.now.Add(25 * time.Hour)
	if n, err := w.PurgeHidden(w.ctx()); n != 1 || err != nil {
		t.Errorf("%d purged, %v", n, err)
	}
	w.await("the purge", func() bool {
		return !slices.ContainsFunc(w.partitions.All(), func(p *partition.Partition) bool { return p.TopicID() == second.ID })
	})
	w.close(false)
	w.open(nil)
	if len(w.HiddenTopics()) != 0 {
		t.Errorf("kept: %+v", w.HiddenTopics())
	}
	if r, ok := w.SiteRecord(); !ok || r.Name != "east" || r.Role.Role != site.Active {
		t.Errorf("record %+v", r)
	}
}

// TestNoPairOfSitesBelowLevel2: nothing of it is written before every broker can read it.
func TestNoPairOfSitesBelowLevel2(t *testing.T) {
	w := newWorld(t)
	w.open(nil)
	if err := w.StoreSite(w.ctx(), &site.Record{Role: site.Active}, &SiteFacts{Name: "east"}); !errors.Is(err, ErrFormatLevel) {
		t.Errorf("record: %v", err)
	}
	if _, err := w.ApplyLogical(w.ctx(), nil); !errors.Is(err, ErrFormatLevel) {
		t.Errorf("metadata: %v", err)
	}
	top := w.create("a", 1)
	if err := w.DeleteTopics(w.ctx(), []uuid.UUID{top.ID})[0]; err != nil {
		t.Fatal(err)
	}
	if _, ok := w.SiteRecord(); ok || len(w.HiddenTopics()) != 0 {
		t.Errorf("kept: %+v", w.HiddenTopics())
	}
}

// TestStandbyFollows by the real thing: ApplyLogical creates, grows and deletes partitions on a disk.
func TestStandbyFollows(t *testing.T) {
	active, _, _ := twoSites(t)
	w := newWorld(t)
	w.level, w.set = 2, []string{"site.name=west", "site.peers=east@h:1", "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SITE:PLAINTEXT"}
	w.open(nil)
	w.check(w.StoreSite(w.ctx(), &site.Record{}, &SiteFacts{Name: "west", Index: 1}))
	active.must(active.create("a", 2, map[string]string{"retention.ms": "7"}))
	active.must(active.create("b", 1, nil))
	apply := func(frame []byte) {
		t.Helper()
		f, err := w.ApplyLogical(w.ctx(), frame)
		w.check(err)
		if v, ok := w.FollowedVersion(); !ok || v != f.Version || v != active.LogicalVersion() {
			t.Fatalf("version %s, want %s", v, active.LogicalVersion())
		}
	}
	apply(active.frame(nil))
	apply(active.frame(nil))
	exists := func(topic string, id int32, config int64) {
		t.Helper()
		w.await("partition", func() bool {
			p, ok := w.partitions.Get(topic, id)
			return ok && p.TopicID() == active.topic(topic).ID && p.Config().RetentionMs == config
		})
	}
	exists("a", 1, 7)
	v := active.LogicalVersion()
	top := active.topic("a")
	active.must(active.do(commandCreatePartitions, createPartitions{ID: top.ID, First: 2, Added: []placement{{Servers: []string{"1@disk"}}}}))
	eight := "8"
	active.must(active.do(commandSetConfigs, setConfigs{topicResource(top.ID), map[string]*string{"retention.ms": &eight}}))
	active.remove("b")
	apply(active.frame(&v))
	exists("a", 2, 8)
	w.await("partition set aside", func() bool { _, ok := w.partitions.Get("b", 0); return !ok })
	w.close(true)
	w.open(nil)
	exists("a", 0, 8)
	if got := w.names(); !slices.Equal(got, []string{"a/3"}) || len(w.HiddenTopics()) != 1 {
		t.Errorf("topics %v, kept %+v", got, w.HiddenTopics())
	}
	if r := w.CreateTopics(w.ctx(), []NewTopic{{Name: "x", Partitions: 1, ReplicationFactor: -1}}, false)[0]; !errors.Is(r.Err, ErrStandby) {
		t.Errorf("created at the standby: %v", r.Err)
	}
}

// TestFirstStartDecidesOnTheSite: settings make the record once, and must fit to it from then on.
func TestFirstStartDecidesOnTheSite(t *testing.T) {
	const peers, plain = "site.peers=west@h:1", "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SITE:PLAINTEXT"
	w := newWorld(t)
	w.level = 2
	for _, step := range []struct {
		set  []string
		want string // of the error; "" = none
		line bool   // the log says that something is ignored
	}{
		{nil, "", false},
		{[]string{"site.name=east", peers, plain}, "site.role is missing", false},
		{[]string{"site.name=east", "site.role=active", "site.index=2", peers, plain}, "", false},
		{[]string{"site.name=east", peers, plain}, "", false},
		{[]string{"site.name=east", "site.role=active", peers, plain}, "", true},
		{[]string{"site.name=east", "site.role=standby", peers, plain}, "", true},
		{[]string{"site.name=north", "site.role=active", peers, plain}, "site.name=north: this data directory is of the site east", false},
		{nil, "accepted: site.name=east", false},
		{[]string{"site.name=east", "site.peers=north@h:1", plain}, "the other site is west", false},
	} {
		w.set = step.set
		w.open(nil)
		lines := strings.Count(w.log.String(), "are ignored")
		r, ok, err := w.OpenSite(w.ctx())
		if (err == nil) != (step.want == "") || err != nil && (!strings.Contains(err.Error(), step.want) || !errors.Is(err, ErrSiteSettings)) {
			t.Errorf("%v: %v, want %q", step.set, err, step.want)
		}
		if err == nil && ok != (step.set != nil) || ok && (r.Name != "east" || r.Index != 2 || r.Role.Role != site.Active || r.Cluster != w.store.Identity().ClusterID) {
			t.Errorf("%v: record %+v, %v", step.set, r, ok)
		}
		if said := strings.Count(w.log.String(), "are ignored") > lines; said != step.line {
			t.Errorf("%v: a line in the log: %v", step.set, said)
		}
		if ok && r.Peer == nil {
			r.SiteFacts.Peer = &PeerSite{Name: "west", Index: 1}
			w.check(w.StoreSite(w.ctx(), nil, &r.SiteFacts))
		}
		w.close(false)
	}
}
