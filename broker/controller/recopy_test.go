package controller

import (
	"errors"
	"testing"

	"github.com/tandembroker/tandem/replication/site"
)

// A log that is begun anew has an incarnation that none of this site has had or gets later, also where it was not the first of its revision, and the
// metadata says which log went, across a restart and while its topic is set aside.
func TestLogBegunAnewHasAnIncarnationOfItsOwn(t *testing.T) {
	active, s, _ := twoSites(t)
	active.must(active.create("t", 2, nil))
	s.must(s.follow(active.frame(nil), -1))
	epoch := s.record().Epoch
	used := map[uint32]bool{0: true}
	use := func(topic string, i int32) uint32 {
		t.Helper()
		got := s.topic(topic).Partitions[i].Incarnation
		if used[got] {
			t.Errorf("incarnation %d of %s-%d was used before", got, topic, i)
		}
		used[got] = true
		return got
	}
	order := func(i int32, done bool) recopyPartition {
		top := s.topic("t")
		return recopyPartition{Topic: top.ID, Partition: i, Incarnation: top.Partitions[i].Incarnation, Dropped: top.Partitions[i].Incarnation, Epoch: epoch, Done: done}
	}
	use("t", 0)
	var dropped uint32
	for range 3 { // anew in the middle, too
		dropped = s.topic("t").Partitions[0].Incarnation
		before := dropped
		s.must(s.do(commandRecopy, order(0, false)))
		if got := use("t", 0); got <= before {
			t.Errorf("incarnation %d behind %d", got, before)
		}
	}
	active.must(active.create("next", 1, nil))
	s.must(s.follow(active.frame(nil), -1))
	use("next", 0)
	for name, c := range map[string]func(*recopyPartition){
		"decided before":         func(c *recopyPartition) { c.Incarnation, c.Dropped = dropped, dropped },
		"log before not deleted": func(c *recopyPartition) { c.Dropped = dropped },
		"another site epoch":     func(c *recopyPartition) { c.Epoch++ },
		"no such partition":      func(c *recopyPartition) { c.Partition = 2 },
	} {
		order := order(0, false)
		c(&order)
		if err := s.do(commandRecopy, order); !errors.Is(err, ErrRecopy) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := active.do(commandRecopy, recopyPartition{Topic: active.topic("t").ID, Epoch: epoch}); !errors.Is(err, ErrRecopy) {
		t.Errorf("by the active: %v", err)
	}
	want := DroppedLog{Topic: "t", ID: s.topic("t").ID, Incarnation: dropped, Epoch: epoch}
	is := func(when string) {
		t.Helper()
		if got := s.DroppedLogs(); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %+v, want %+v", when, got, want)
		}
	}
	is("being copied")
	s.restart()
	is("restarted")
	active.remove("t")
	s.must(s.follow(active.frame(nil), -1))
	is("set aside")
	s.must(active.do(commandUndeleteTopic, undeleteTopic{ID: want.ID}))
	s.must(s.follow(active.frame(nil), -1))
	is("back")
	s.must(s.do(commandRecopy, order(0, true)))
	if got := s.DroppedLogs(); len(got) != 0 || s.record().Role != site.Standby {
		t.Errorf("copied: %+v", got)
	}
	earlier := order(0, false) // the log on disk may be an earlier one
	earlier.Dropped = dropped
	s.must(s.do(commandRecopy, earlier))
	use("t", 0)
	is("of an earlier log")
}

// The log that was drained for a switchover may have been dropped since: the role does not go over before the copy is whole. By a failover, which the
// operator has been asked about, it does.
func TestNoSwitchoverToAHalfCopy(t *testing.T) {
	active, s, _ := twoSites(t)
	active.must(active.create("t", 2, nil))
	s.must(s.follow(active.frame(nil), -1))
	top, r := s.topic("t"), s.record()
	c := recopyPartition{Topic: top.ID, Partition: 1, Incarnation: top.Partitions[1].Incarnation, Dropped: top.Partitions[1].Incarnation, Epoch: r.Epoch}
	s.must(s.do(commandRecopy, c))
	failover := r
	failover.Role, failover.Epoch, failover.Seen = site.Active, 1, 1
	if s.machine.copiedLocked(stateOf(r), stateOf(failover)) != nil {
		t.Error("a failover is refused")
	}
	promoted := r
	promoted.Role, promoted.Epoch, promoted.Seen, promoted.Planned = site.Active, 1, 1, true
	if err := s.do(commandSite, siteChange{Role: roleOf(promoted)}); !errors.Is(err, ErrHalfCopy) || s.record() != r {
		t.Fatalf("%v, %+v", err, s.record())
	}
	whole := c
	whole.Incarnation, whole.Done = s.topic("t").Partitions[1].Incarnation, true
	s.must(s.do(commandRecopy, whole))
	s.must(s.do(commandSite, siteChange{Role: roleOf(promoted)}))
}

func stateOf(r site.Record) *siteState { return &siteState{SiteRecord: SiteRecord{Role: r}} }
