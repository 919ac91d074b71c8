package group

import (
	"testing"
	"time"
)

const week = 7 * 24 * time.Hour

func TestSimpleGroupExpires(t *testing.T) {
	h := newHand(t, newFakePartition()).ready()
	h.commit(offsetsOf("g", 1, 0))
	h.advance(week / 2)
	h.commit(offsetsOf("g", 2, 1))
	h.advance(week/2 - time.Millisecond)
	h.expire()
	if h.at("g", 0) != 1 {
		t.Fatal("expired too early")
	}
	h.advance(time.Millisecond)
	h.expire()
	if h.at("g", 0) != -1 || h.at("g", 1) != 2 {
		t.Fatalf("offsets %d, %d", h.at("g", 0), h.at("g", 1))
	}
	h.advance(week / 2)
	h.expire()
	for range 2 {
		if _, err := h.Members().Describe("g"); h.at("g", 1) != -1 || err == nil {
			t.Error("the group is still there")
		}
		h.reload()
	}
	if got := h.Counts(); got.Expired != 2 || got.Offsets != 0 {
		t.Errorf("%+v", got)
	}
}

// TestRetentionOfItsOwn: old clients say how long an offset is to stay.
func TestRetentionOfItsOwn(t *testing.T) {
	h := newHand(t, newFakePartition()).ready()
	r := offsetsOf("g", 1, 0)
	r.RetentionMs = 60_000
	h.commit(r)
	h.commit(offsetsOf("g", 1, 1))
	h.reload()
	h.advance(time.Minute)
	h.expire()
	if h.at("g", 0) != -1 || h.at("g", 1) != 1 {
		t.Errorf("offsets %d, %d", h.at("g", 0), h.at("g", 1))
	}
}

// TestOffsetsOfMembersExpire: what members subscribe to stays; the rest goes; when the group is empty, a week counts from then.
func TestOffsetsOfMembersExpire(t *testing.T) {
	h := newHand(t, newFakePartition()).ready()
	id, generation := h.join("g", "t")
	r := offsetsOf("g", 1, 0)
	r.MemberID, r.Generation = id, generation
	r.Offsets = append(r.Offsets, Commit{TopicPartition: TopicPartition{"left", 0}, Offset: 5})
	if o := h.commit(r); o.err != nil {
		t.Fatal(o.err)
	}
	h.advance(2 * week)
	h.expire()
	if got, _ := h.Fetch("g", nil); len(got) != 1 || got[0].Topic != "t" {
		t.Fatalf("%+v", got)
	}
	if _, err := h.Members().Leave(LeaveRequest{GroupID: "g", Members: []LeaveMember{{MemberID: id}}}); err != nil {
		t.Fatal(err)
	}
	h.idle()
	h.advance(week - time.Millisecond)
	h.expire()
	if h.at("g", 0) != 1 {
		t.Fatal("a week counts from when the group became empty")
	}
	h.reload()
	h.advance(time.Millisecond)
	h.expire()
	for range 2 {
		if _, err := h.Members().Describe("g"); h.at("g", 0) != -1 || err == nil {
			t.Error("still there")
		}
		h.reload()
	}
}

// TestExpiryAndCommit: a commit on its way keeps the offset.
func TestExpiryAndCommit(t *testing.T) {
	h := newHand(t, newFakePartition()).ready()
	h.commit(offsetsOf("g", 1, 0))
	h.advance(week)
	h.log.set(func() { h.log.held = true })
	again := h.begun(offsetsOf("g", 2, 0))
	h.locked(func(s *shard) { s.expireLocked(h.time()) })
	h.log.set(func() { h.log.held = false })
	if o := receive(t, again); o.err != nil {
		t.Fatal(o.err)
	}
	h.idle()
	if h.at("g", 0) != 2 {
		t.Error("expired while it was being committed")
	}
}

// TestFailedExpiry: what could not be removed is still there, and goes the next time.
func TestFailedExpiry(t *testing.T) {
	h := newHand(t, newFakePartition()).ready()
	h.commit(offsetsOf("g", 1, 0))
	h.advance(week)
	h.log.set(func() { h.log.outcome = errDefinite })
	h.expire()
	if _, err := h.Members().Describe("g"); h.at("g", 0) != 1 || err != nil {
		t.Fatalf("offset %d, %v", h.at("g", 0), err)
	}
	h.log.set(func() { h.log.outcome = nil })
	h.expire()
	if h.at("g", 0) != -1 {
		t.Error("still there")
	}
}
