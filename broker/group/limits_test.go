package group

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/tandembroker/tandem/protocol/record"
)

// TestFullQueue: while the disk does not keep up, what waits for it stays within a limit, and then all goes on.
func TestFullQueue(t *testing.T) {
	h := newHand(t, newFakePartition()).ready()
	h.queued.limit = 10_000
	h.commit(offsetsOf("deleted", 1, 0))
	h.log.set(func() { h.log.held = true })
	var open []<-chan outcome
	for i := 0; h.queued.fits(1); i++ {
		if i > 100 {
			t.Fatal("a limit of 10 kB for 100 commits")
		}
		open = append(open, h.begun(offsetsOf("g", int64(i), 0)))
	}
	if o := h.commit(offsetsOf("g", 1000, 0)); !errors.Is(o.err, ErrCoordinatorNotAvailable) {
		t.Errorf("commit: %+v", o)
	}
	if o := h.deleteOffsets("deleted", TopicPartition{"t", 0}); !errors.Is(o.err, ErrCoordinatorNotAvailable) {
		t.Errorf("deletion of offsets: %+v", o)
	}
	if err := h.deleteGroup("deleted"); !errors.Is(err, ErrCoordinatorNotAvailable) {
		t.Errorf("deletion of a group: %v", err)
	}
	joined := make(chan JoinResult, 1)
	h.Members().Join(JoinRequest{
		GroupID: "new", ProtocolType: "consumer", Protocols: []Protocol{{Name: "range"}}, SessionTimeout: 10 * time.Second, NeedsID: true,
	}, func(r JoinResult) { joined <- r })
	if r := receive(t, joined); !errors.Is(r.Err, ErrCoordinatorNotAvailable) {
		t.Errorf("a new group: %+v", r)
	}
	h.log.set(func() { h.log.held = false })
	for _, ch := range open {
		if o := receive(t, ch); o.err != nil {
			t.Fatal(o.err)
		}
	}
	h.idle()
	if used := h.queued.used.Load(); used != 0 {
		t.Errorf("%d bytes are counted of nothing", used)
	}
	if o := h.commit(offsetsOf("g", 1000, 0)); o.err != nil || h.at("g", 0) != 1000 {
		t.Errorf("%+v", o)
	}
}

// TestExpiryLeavesRoom: what expires at once does not fill the queue, and goes in several rounds.
func TestExpiryLeavesRoom(t *testing.T) {
	h := newHand(t, newFakePartition()).ready()
	h.queued.limit = 20_000
	const groups = 100
	for i := range groups {
		if o := h.commit(offsetsOf(fmt.Sprint("g", i), 1, 0)); o.err != nil {
			t.Fatal(o.err)
		}
	}
	h.idle()
	h.advance(8 * 24 * time.Hour)
	r := &runner{c: h.Coordinator, expireNext: h.time()}
	for rounds := 1; ; rounds++ {
		h.log.set(func() { h.log.held = true })
		r.expire(h.time())
		if used := h.queued.used.Load(); used > 15_000 {
			t.Fatalf("%d bytes of 20,000 wait", used)
		}
		ch := h.begun(offsetsOf("client", 1, 0))
		h.log.set(func() { h.log.held = false })
		if o := receive(t, ch); o.err != nil {
			t.Fatal(o.err)
		}
		h.idle()
		left, err := h.Members().List(Filter{})
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 1 && rounds > 1 {
			break
		}
		if wait := r.expireNext.Sub(h.time()); wait > expiryPause || rounds > groups {
			t.Fatalf("%d groups are left after %d rounds, and the next is in %v", len(left)-1, rounds, wait)
		}
		h.advance(expiryPause)
	}
}

// TestClockJump: sessions end when their time is over, also when somebody has turned back the clock of the machine meanwhile.
func TestClockJump(t *testing.T) {
	began := time.Now()
	h := newHandAt(t, newFakePartition(), began).ready()
	h.join("g", "t")
	later := turned(began.Add(11*time.Second), -time.Hour)
	if later.Sub(began) != 11*time.Second || later.Unix() != began.Unix()+11-3600 {
		t.Fatal("the test does not know the form of a time")
	}
	h.set(later)
	h.table.Load().fire(later)
	if d, err := h.Members().Describe("g"); err != nil || len(d.Members) != 0 {
		t.Errorf("%+v, %v", d, err)
	}
	h.idle()
}

// turned is what time.Now would have said at t if the wall clock, and nothing else, had been moved by d, whole seconds, before.
func turned(t time.Time, d time.Duration) time.Time {
	form := (*struct { // of a time with a monotonic reading, see the source of package time
		wall uint64
		ext  int64
		loc  *time.Location
	})(unsafe.Pointer(&t))
	form.wall += uint64(int64(d/time.Second) << 30)
	return t
}

// TestFailedLoadIsTriedAgain: a partition that could not be read is read again in time, without a request that asks for it.
func TestFailedLoadIsTriedAgain(t *testing.T) {
	p := newFakePartition()
	p.put(t, nil, keyValue{key: groupKeyBytes("g")})
	p.refused = errUncertain
	h := newHand(t, p)
	h.open = func(int32) (partitionLog, bool) { return p, true }
	h.slot().log = p
	r := &runner{c: h.Coordinator}
	eventually(t, func() bool { return h.slot().shard.Load().failed() })
	if r.followOne(h.slot(), 0) {
		t.Error("nobody looks at a partition that could not be read")
	}
	p.set(func() { p.refused = nil })
	h.advance(loadRetry)
	if !r.followOne(h.slot(), 0) {
		t.Error("it is looked at while it is read again")
	}
	h.ready()
	if o := h.commit(offsetsOf("g", 1, 0)); o.err != nil {
		t.Error(o.err)
	}
}

// TestPartlyDeletedGroup: offsets that could not be removed stay those of a group, which can be deleted again.
func TestPartlyDeletedGroup(t *testing.T) {
	p := newFakePartition()
	h := newHand(t, p).ready()
	h.commit(offsetsOf("g", 1, 0))
	h.idle()
	begun := 0
	p.set(func() {
		p.max, p.held, p.outcome = record.HeaderLen+60, true, errDefinite // a batch for each record
		begun = p.appends
	})
	deleted := make(chan error, 1)
	h.DeleteGroups([]string{"g"}, func(each []error) { deleted <- each[0] })
	p.await(begun + 1)
	p.set(func() {
		p.waiting[0]()
		p.waiting, p.outcome, p.held = nil, nil, false
	})
	if err := receive(t, deleted); !errors.Is(err, ErrCoordinatorNotAvailable) {
		t.Fatal(err)
	}
	if h.at("g", 0) != 1 {
		t.Fatal("the offset is gone")
	}
	if d, err := h.Members().Describe("g"); err != nil || d.State != "Empty" {
		t.Errorf("%+v, %v", d, err)
	}
	if err := h.deleteGroup("g"); err != nil || h.at("g", 0) != -1 {
		t.Error(err)
	}
}

// TestLongNames: a member id is in answers to other members, and in records, whose strings have a limit.
func TestLongNames(t *testing.T) {
	long := strings.Repeat("x", stringMax)
	for name, r := range map[string]JoinRequest{"client id": {ClientID: long}, "group instance id": {InstanceID: &long}} {
		w := newWorld(membershipOptions{})
		r.GroupID, r.ProtocolType, r.Protocols, r.SessionTimeout = "g", "consumer", []Protocol{{Name: "range"}}, 10*time.Second
		err := error(nil)
		w.s.join(w.now, r, func(res JoinResult) { err = res.Err })
		if !errors.Is(err, ErrInvalidRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
