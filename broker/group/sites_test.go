package group

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tandembroker/tandem/broker/partition"
	"github.com/tandembroker/tandem/replication/raft"
	logentry "github.com/tandembroker/tandem/storage/entry"
)

// lead is the leadership of another site epoch.
func (h *hand) lead(siteEpoch int32) {
	h.log.set(func() { h.log.epoch = siteEpoch << generationBits })
	h.reload()
}

// TestGroupsBeginAnewInAnotherSiteEpoch: a member of before can neither commit nor go on, and sees so from the errors of Kafka; the group's
// next generation is one of the new site epoch, and the committed offsets are there. A restart in the same site epoch changes nothing.
func TestGroupsBeginAnewInAnotherSiteEpoch(t *testing.T) {
	h := newHand(t, newFakePartition()).ready()
	id, generation := h.join("g", "t")
	commit := offsetsOf("g", 5, 0)
	commit.MemberID, commit.Generation = id, generation
	if o := h.commit(commit); o.err != nil {
		t.Fatal(o.err)
	}
	h.reload()
	if err := h.Members().Heartbeat(HeartbeatRequest{GroupID: "g", MemberID: id, Generation: generation}); err != nil {
		t.Errorf("another leadership in the same site epoch: %v", err)
	}
	h.advance(30 * 24 * time.Hour) // a long time in one generation
	h.lead(5)
	if o := h.commit(commit); !errors.Is(o.err, ErrUnknownMember) {
		t.Errorf("commit of before: %v", o.err)
	}
	if err := h.Members().Heartbeat(HeartbeatRequest{GroupID: "g", MemberID: id, Generation: generation}); !errors.Is(err, ErrUnknownMember) {
		t.Errorf("heartbeat of before: %v", err)
	}
	if h.expire(); h.at("g", 0) != 5 {
		t.Errorf("the offset is %d", h.at("g", 0))
	}
	_, later := h.join("g", "t")
	if later != 5<<18+1 { // docs/formats.md section 1: the other site's are others
		t.Errorf("generation %#x behind %#x", later, generation)
	}
	if h.lead(5); h.log.epoch>>generationBits != 5 {
		t.Fatalf("leader epoch %#x", h.log.epoch)
	}
	d, err := h.Members().Describe("g")
	if err != nil || d.State != stateStable.String() || len(d.Members) != 1 {
		t.Errorf("another leadership in the new site epoch: %+v, %v", d, err)
	}
	if _, first := h.join("new", "t"); first != 5<<18+1 {
		t.Errorf("first generation of a new group %#x", first)
	}
}

// TestFencedLogIsNotReadAgain: for as long as a switchover goes on every write is refused. Its members go on where it is given up, and the log is not read
// again with each of their tries.
func TestFencedLogIsNotReadAgain(t *testing.T) {
	h := newHand(t, newFakePartition()).ready()
	id, generation := h.join("g", "t")
	commit := offsetsOf("g", 5, 0)
	commit.MemberID, commit.Generation = id, generation
	before := h.slot().shard.Load()
	h.log.set(func() {
		h.log.outcome = fmt.Errorf("%w: %w", partition.ErrNotLeader, &raft.VoidError{Reason: logentry.VoidFenced})
	})
	for range 3 {
		if o := h.commit(commit); !errors.Is(o.err, ErrNotCoordinator) && (len(o.each) == 0 || !errors.Is(o.each[0], ErrNotCoordinator)) {
			t.Errorf("commit into a fenced log: %+v", o)
		}
	}
	if before.over(1, h.time()) || strings.Contains(h.out.String(), "read again") {
		t.Errorf("the log is read again: %s", h.out.String())
	}
	h.log.set(func() { h.log.outcome = nil })
	if o := h.commit(commit); o.err != nil || h.at("g", 0) != 5 {
		t.Errorf("commit once the switchover was given up: %+v", o)
	}
	h.log.set(func() { h.log.outcome = partition.ErrNotLeader }) // it may be in the log all the same
	if h.commit(commit); !before.over(1, h.time()) {
		t.Error("the log is not read again")
	}
}

// TestGroupsAreLookedAfterWhereTheSiteServes: nothing is loaded, and nothing expires, before the site serves in the site epoch of the log.
func TestGroupsAreLookedAfterWhereTheSiteServes(t *testing.T) {
	s := newSite(t)
	id := s.topic("t")
	if err := s.commit("g", "t", id, 5); err != nil {
		t.Fatal(err)
	}
	s.close(false)
	s.serves = func(uint32) bool { return s.serving.Load() }
	s.open()
	asked := func() error {
		_, err := s.Fetch("g", nil)
		return err
	}
	eventually(t, func() bool { return s.table.Load() != nil && errors.Is(asked(), ErrNotCoordinator) })
	if n := s.Counts(); n.Loaded+n.Loading > 0 {
		t.Errorf("loaded: %+v", n)
	}
	s.serving.Store(true)
	s.check(s.retried(asked)) // without an election
	s.serving.Store(false)
	if err := asked(); !errors.Is(err, ErrNotCoordinator) {
		t.Errorf("after the site has ceased to serve: %v", err)
	}
	eventually(t, func() bool { return s.Counts().Loaded == 0 })
}
