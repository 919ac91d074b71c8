package group

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/protocol/record"
)

func TestCommitIsAnsweredWhenTheLogHasIt(t *testing.T) {
	h := newHand(t, newFakePartition()).ready()
	h.log.set(func() { h.log.held = true })
	first := h.begun(offsetsOf("g", 1, 0))
	h.log.await(1)
	var later []<-chan outcome
	for i := range 100 {
		later = append(later, h.begun(offsetsOf("g", int64(2+i), 0, 1)))
	}
	select {
	case <-first:
		t.Fatal("answered before the log had it")
	default:
	}
	if got := h.at("g", 0); got != -1 {
		t.Fatalf("offset %d before the log had it", got)
	}
	h.log.set(func() { h.log.held = false })
	for _, ch := range append(later, first) {
		if o := receive(t, ch); o.err != nil || errors.Join(o.each...) != nil {
			t.Fatalf("%+v", o)
		}
	}
	if h.log.appends != 2 {
		t.Errorf("%d appends: what waits goes together", h.log.appends)
	}
	if h.at("g", 0) != 101 || h.at("g", 1) != 101 {
		t.Error("the last commit counts")
	}
	h.reload()
	got, err := h.Fetch("g", nil)
	if err != nil || len(got) != 2 || got[0].Offset != 101 || got[0].LeaderEpoch != 3 || got[0].Metadata != "m" {
		t.Errorf("read again: %+v, %v", got, err)
	}
}

func TestFailedAppends(t *testing.T) {
	h := newHand(t, newFakePartition()).ready()
	h.commit(offsetsOf("g", 5, 0))
	h.log.set(func() { h.log.outcome = errDefinite })
	if o := h.commit(offsetsOf("g", 6, 0)); !errors.Is(o.err, ErrCoordinatorNotAvailable) {
		t.Fatalf("%+v", o)
	}
	if o := h.commit(offsetsOf("new", 6, 0)); !errors.Is(o.err, ErrCoordinatorNotAvailable) {
		t.Fatalf("%+v", o)
	}
	if err := h.deleteGroup("g"); !errors.Is(err, ErrCoordinatorNotAvailable) {
		t.Fatal(err)
	}
	if h.at("g", 0) != 5 {
		t.Error("what failed counts")
	}
	if d, err := h.Members().Describe("g"); err != nil || d.State != "Empty" {
		t.Errorf("a group whose deletion failed: %+v, %v", d, err)
	}
	if _, err := h.Members().Describe("new"); !errors.Is(err, ErrGroupIDNotFound) {
		t.Errorf("a failed commit made a group: %v", err)
	}
	h.log.set(func() { h.log.outcome = nil })
	if err := h.deleteGroup("g"); err != nil {
		t.Fatal(err)
	}
	if h.at("g", 0) != -1 {
		t.Error("offsets of a deleted group")
	}
	if err := h.deleteGroup("g"); !errors.Is(err, ErrGroupIDNotFound) {
		t.Error(err)
	}
}

// TestUncertainAppend: what may be in the log although its append failed is found out by reading it again.
func TestUncertainAppend(t *testing.T) {
	for _, lost := range []bool{false, true} {
		h := newHand(t, newFakePartition()).ready()
		h.commit(offsetsOf("g", 5, 0))
		h.log.set(func() { h.log.outcome, h.log.lost = errUncertain, lost })
		if o := h.commit(offsetsOf("g", 6, 0)); !errors.Is(o.err, ErrNotCoordinator) {
			t.Fatalf("%+v", o)
		}
		eventually(t, func() bool { _, err := h.Fetch("g", nil); return errors.Is(err, ErrNotCoordinator) })
		h.log.set(func() { h.log.outcome = nil })
		if !h.slot().shard.Load().over(1, h.time()) {
			t.Fatal("the shard goes on")
		}
		h.reload()
		want := map[bool]int64{false: 5, true: 6}[lost]
		if got := h.at("g", 0); got != want {
			t.Errorf("offset %d, the log has %d", got, want)
		}
	}
}

func TestCommitLimits(t *testing.T) {
	p := newFakePartition()
	p.max = 3000
	h := newHand(t, p).ready()
	r := offsetsOf("g", 7, 0, 1)
	r.Offsets[1].Metadata = strings.Repeat("x", 4097)
	if o := h.commit(r); o.err != nil || o.each[0] != nil || !errors.Is(o.each[1], ErrMetadataTooLarge) {
		t.Errorf("%+v", o)
	}
	if h.at("g", 0) != 7 || h.at("g", 1) != -1 {
		t.Error("half of it was to be committed")
	}
	r.Offsets = r.Offsets[1:]
	if o := h.commit(r); o.err != nil || !errors.Is(o.each[0], ErrMetadataTooLarge) || p.appends != 1 {
		t.Errorf("%+v", o)
	}
	many := make([]int32, 100)
	for i := range many {
		many[i] = int32(i)
	}
	if o := h.commit(offsetsOf("g", 8, many...)); !errors.Is(o.err, ErrCommitTooLarge) || h.at("g", 0) != 7 {
		t.Errorf("%+v", o)
	}
	if o := h.commit(offsetsOf(strings.Repeat("g", 40_000), 8, 0)); !errors.Is(o.err, ErrInvalidGroupID) {
		t.Errorf("%+v", o)
	}
	if o := h.commit(offsetsOf("", 9, 0)); o.err != nil || h.at("", 0) != 9 {
		t.Errorf("the empty group id: %+v", o)
	}
	r = offsetsOf("nobody", 1, 0)
	r.Generation, r.MemberID = 3, "x"
	if o := h.commit(r); !errors.Is(o.err, ErrGroupIDNotFound) {
		t.Errorf("%+v", o)
	}
}

// join brings one member into a group and its assignment into the log.
func (h *hand) join(group string, topics ...string) (memberID string, generation int32) {
	h.t.Helper()
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Topics = topics
	joined := make(chan JoinResult, 1)
	h.Members().Join(JoinRequest{
		GroupID: group, ClientID: "c", ProtocolType: consumerType, SessionTimeout: 10 * time.Second, RebalanceTimeout: time.Minute,
		Protocols: []Protocol{{Name: "range", Metadata: meta.AppendTo(nil)}},
	}, func(r JoinResult) { joined <- r })
	h.locked(func(s *shard) { s.mu.groups.timers.run(h.time()) })
	j := receive(h.t, joined)
	if j.Err != nil {
		h.t.Fatal(j.Err)
	}
	synced := make(chan SyncResult, 1)
	h.Members().Sync(SyncRequest{GroupID: group, MemberID: j.MemberID, Generation: j.Generation,
		Assignments: maps.All(map[string][]byte{j.MemberID: []byte("a")})}, func(r SyncResult) { synced <- r })
	if s := receive(h.t, synced); s.Err != nil {
		h.t.Fatal(s.Err)
	}
	return j.MemberID, j.Generation
}

func TestMembersCommit(t *testing.T) {
	h := newHand(t, newFakePartition()).ready()
	id, generation := h.join("g", "t")
	r := offsetsOf("g", 4, 0)
	r.MemberID, r.Generation = id, generation
	if o := h.commit(r); o.err != nil {
		t.Fatal(o.err)
	}
	stale := r
	stale.Generation++
	if o := h.commit(stale); !errors.Is(o.err, ErrIllegalGeneration) {
		t.Errorf("%+v", o)
	}
	if o := h.commit(offsetsOf("g", 9, 0)); !errors.Is(o.err, ErrUnknownMember) {
		t.Errorf("from outside: %+v", o)
	}
	if o := h.deleteOffsets("g", TopicPartition{"t", 0}, TopicPartition{"u", 0}); o.err != nil || !errors.Is(o.each[0], ErrSubscribedToTopic) || o.each[1] != nil {
		t.Errorf("%+v", o)
	}
	if err := h.deleteGroup("g"); !errors.Is(err, ErrNonEmptyGroup) {
		t.Error(err)
	}
	h.reload() // the member goes on as if nothing had been
	if err := h.Members().Heartbeat(HeartbeatRequest{GroupID: "g", MemberID: id, Generation: generation}); err != nil {
		t.Error(err)
	}
	r.Offsets[0].Offset = 5
	if o := h.commit(r); o.err != nil || h.at("g", 0) != 5 {
		t.Errorf("%+v", o)
	}
}

func TestDeleteOffsets(t *testing.T) {
	h := newHand(t, newFakePartition()).ready()
	h.commit(offsetsOf("g", 4, 0, 1))
	h.log.set(func() { h.log.held = true })
	h.begun(offsetsOf("g", 6, 2))
	deleted := make(chan outcome, 1) // also what is still on its way
	h.DeleteOffsets("g", []TopicPartition{{"t", 0}, {"t", 2}, {"t", 9}, {"t", 0}}, func(each []error, err error) { deleted <- outcome{each, err} })
	h.log.set(func() { h.log.held = false })
	if o := receive(t, deleted); o.err != nil || errors.Join(o.each...) != nil {
		t.Fatalf("%+v", o)
	}
	for range 2 {
		if h.at("g", 0) != -1 || h.at("g", 1) != 4 || h.at("g", 2) != -1 {
			t.Errorf("offsets %d, %d, %d", h.at("g", 0), h.at("g", 1), h.at("g", 2))
		}
		h.reload()
	}
	if o := h.deleteOffsets("other"); !errors.Is(o.err, ErrGroupIDNotFound) {
		t.Error(o.err)
	}
	if o := h.deleteOffsets(""); !errors.Is(o.err, ErrInvalidGroupID) {
		t.Error(o.err)
	}
}

// TestDeleteThenCommit: the order of requests is the order of their records, also when all wait for one append.
func TestDeleteThenCommit(t *testing.T) {
	h := newHand(t, newFakePartition()).ready()
	h.commit(offsetsOf("g", 4, 0, 1))
	h.log.set(func() { h.log.held = true })
	h.begun(offsetsOf("other", 1, 0))
	h.log.await(2)
	deleted := make(chan error, 1)
	h.DeleteGroups([]string{"g"}, func(each []error) { deleted <- each[0] })
	again := h.begun(offsetsOf("g", 9, 0))
	h.log.set(func() { h.log.held = false })
	if err := receive(t, deleted); err != nil {
		t.Fatal(err)
	}
	if o := receive(t, again); o.err != nil {
		t.Fatal(o.err)
	}
	for range 2 {
		if h.at("g", 0) != 9 || h.at("g", 1) != -1 {
			t.Errorf("offsets %d, %d", h.at("g", 0), h.at("g", 1))
		}
		h.reload()
	}
}

func TestLoading(t *testing.T) {
	p := newFakePartition()
	newHand(t, p).ready().commit(offsetsOf("g", 4, 0))
	p.set(func() { p.blocked = true })
	h := newHand(t, p)
	if _, err := h.Fetch("g", nil); !errors.Is(err, ErrCoordinatorLoading) {
		t.Errorf("fetch: %v", err)
	}
	if o := h.commit(offsetsOf("g", 5, 0)); !errors.Is(o.err, ErrCoordinatorLoading) {
		t.Errorf("commit: %v", o.err)
	}
	if _, err := h.Members().List(Filter{}); !errors.Is(err, ErrCoordinatorLoading) {
		t.Errorf("list: %v", err)
	}
	if got := h.Counts(); got.Loading != 1 || got.Loaded != 0 {
		t.Errorf("%+v", got)
	}
	p.set(func() { p.blocked = false })
	if h.ready(); h.at("g", 0) != 4 {
		t.Error("offset lost")
	}
	p.set(func() { p.leading = false })
	if _, err := h.Fetch("g", nil); !errors.Is(err, ErrNotCoordinator) {
		t.Errorf("without leadership: %v", err)
	}
}

// TestTopicDeletedWhileLoading also meets a topic that was deleted while the broker was away.
func TestTopicDeletedWhileLoading(t *testing.T) {
	p := newFakePartition()
	first := newHand(t, p).ready()
	r := offsetsOf("g", 4, 0, 1)
	r.Offsets[1].Topic = "gone"
	r.Offsets = append(r.Offsets, Commit{TopicPartition: TopicPartition{"stays", 0}, Offset: 1})
	first.commit(r)
	p.set(func() { p.blocked = true })
	h := newHand(t, p)
	h.named = func(topic string) bool { return topic != "gone" }
	h.TopicDeleted("t")
	(&runner{c: h.Coordinator}).forget()
	p.set(func() { p.blocked = false })
	h.ready().idle()
	h.named = func(string) bool { return true } // another one has its name
	for range 2 {
		if got, err := h.Fetch("g", nil); err != nil || len(got) != 1 || got[0].Topic != "stays" {
			t.Errorf("%+v, %v", got, err)
		}
		h.reload()
	}
}

// TestOffsetsOfATopicThatMayComeBack are nobody's while it is away, and there again when it is; not where another one takes its name.
func TestOffsetsOfATopicThatMayComeBack(t *testing.T) {
	p := newFakePartition()
	h := newHand(t, p).ready()
	h.commit(offsetsOf("g", 4, 0, 1))
	there, kept := false, true
	h.named, h.kept = func(string) bool { return there }, func(string) bool { return kept }
	for range 2 {
		all, err := h.Fetch("g", nil)
		if at := h.at("g", 0); at != -1 || len(all) != 0 || err != nil {
			t.Errorf("while it is away: %d, %+v, %v", at, all, err)
		}
		h.reload()
		h.idle()
	}
	there, kept = true, false
	if a, b := h.at("g", 0), h.at("g", 1); a != 4 || b != 4 {
		t.Errorf("offsets %d, %d", a, b)
	}
	p.set(func() { p.held = true })
	h.TopicDeleted("t")
	(&runner{c: h.Coordinator}).forget()
	if at := h.at("g", 0); at != -1 {
		t.Errorf("offset %d before its removal is stored", at)
	}
	p.set(func() { p.held = false })
	h.idle()
	h.reload()
	if at := h.at("g", 0); at != -1 {
		t.Errorf("offset %d behind its removal", at)
	}
}

func TestDamagedRecords(t *testing.T) {
	p := newFakePartition()
	good := func(partition int32, offset int64) keyValue {
		kv, err := offsetRecord("g", TopicPartition{"t", partition}, &committed{offset: offset, expireMs: -1, leaderEpoch: -1})
		if err != nil {
			t.Fatal(err)
		}
		return kv
	}
	p.put(t, nil, good(0, 1))
	p.put(t, func(b *record.Builder) {
		b.Transactional, b.ProducerID, b.ProducerEpoch, b.BaseSequence = true, 1, 0, 0
	}, good(0, 99))
	p.set(func() { p.putLocked(record.ControlBatch(record.Control{Type: record.Commit, ProducerID: 1})) })
	p.put(t, nil, good(1, 99))
	last := p.batches[len(p.batches)-1]
	last[len(last)-3] ^= 1 // its checksum is wrong now
	garbage := []keyValue{
		{nil, []byte("x")}, {[]byte{0}, nil}, {[]byte{0, 1, 0, 200, 'g'}, []byte("x")}, {[]byte{0, 3, 0, 1, 'g'}, []byte("x")},
		{[]byte{0xff, 0xff}, []byte("x")}, {good(5, 0).key, []byte{0, 3, 1}}, {good(5, 0).key, []byte{}}, {append(good(5, 0).key, 0), good(5, 0).value},
		{groupKeyBytes("broken"), []byte{0, 3, 0xff}}, {groupKeyBytes("old"), []byte{0xff, 0xff}},
	}
	p.put(t, nil, garbage...)
	p.put(t, nil, good(2, 3))
	h := newHand(t, p).ready()
	for partition, want := range []int64{1, -1, 3} {
		if got := h.at("g", int32(partition)); got != want {
			t.Errorf("partition %d: offset %d, want %d", partition, got, want)
		}
	}
	if got, _ := h.Fetch("g", nil); len(got) != 2 {
		t.Errorf("%+v", got)
	}
	if n := strings.Count(h.out.String(), "left out"); n != 1 || !strings.Contains(h.out.String(), "count=12") {
		t.Errorf("%d lines:\n%s", n, h.out)
	}
}

func TestUnreadablePartition(t *testing.T) {
	p := newFakePartition()
	newHand(t, p).ready().commit(offsetsOf("g", 4, 0))
	p.set(func() { p.refused = errUncertain })
	h := newHand(t, p).ready()
	if _, err := h.Fetch("g", nil); !errors.Is(err, ErrNotCoordinator) {
		t.Error(err)
	}
	s := h.slot().shard.Load()
	if s.over(1, h.time()) || !s.over(1, h.time().Add(loadRetry)) {
		t.Error("it is to be tried again, after a while")
	}
}

func TestRecordsAreKafkas(t *testing.T) {
	want := committed{offset: 42, commitMs: 7, expireMs: -1, leaderEpoch: 5, metadata: "md"}
	kv, err := offsetRecord("group", TopicPartition{"topic", 3}, &want)
	if err != nil {
		t.Fatal(err)
	}
	const key = "\x00\x01\x00\x05group\x00\x05topic\x00\x00\x00\x03"
	const value = "\x00\x03\x00\x00\x00\x00\x00\x00\x00\x2a\x00\x00\x00\x05\x00\x02md\x00\x00\x00\x00\x00\x00\x00\x07"
	if string(kv.key) != key || string(kv.value) != value {
		t.Errorf("%q, %q", kv.key, kv.value)
	}
	if got, err := readOffset(kv.value); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	want.expireMs, want.leaderEpoch = 9, -1
	kv, _ = offsetRecord("group", TopicPartition{"topic", 3}, &want)
	if got, err := readOffset(kv.value); err != nil || got != want || kv.value[1] != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	if got := string(groupKeyBytes("g")); got != "\x00\x02\x00\x01g" {
		t.Errorf("%q", got)
	}
}

func TestPartitionOf(t *testing.T) {
	tb := &table{slots: make([]slot, 50)}
	// The hashCode of "polygenelubricants" is Integer.MIN_VALUE, which has no absolute value.
	for id, want := range map[string]int32{"": 0, "a": 47, "polygenelubricants": 0} {
		if got := tb.partition(id); got != want {
			t.Errorf("%q: %d, want %d", id, got, want)
		}
	}
	for i := range 1000 {
		if p := tb.partition(fmt.Sprint("group-", i)); p < 0 || p >= 50 {
			t.Fatal(p)
		}
	}

}

// TestCommitOfAnotherLeadership: what was accepted in one leadership is not written in the next, whose shard would not know of it.
func TestCommitOfAnotherLeadership(t *testing.T) {
	h := newHand(t, newFakePartition()).ready()
	ch := make(chan outcome, 1)
	r := offsetsOf("g", 1, 0)
	h.locked(func(s *shard) {
		s.commitLocked(&r, h.time(), func(each []error, err error) { ch <- outcome{each, err} })
		h.log.set(func() { h.log.epoch++ }) // before the append
	})
	if o := receive(t, ch); !errors.Is(o.err, ErrNotCoordinator) || len(h.log.batches) != 0 {
		t.Errorf("%+v, %d batches", o, len(h.log.batches))
	}
}
