package group

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"
)

// TestReplay does at random what changes offsets and groups, with appends that fail one way or the other, and compares: what the
// coordinator has, what it has after the log was read again, and what it told its clients.
func TestReplay(t *testing.T) {
	for seed := range uint64(60) {
		replayHistory(t, seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

type offsetKey struct {
	group string
	TopicPartition
}

// history is what clients were told.
type history struct {
	*hand
	rng  *rand.Rand
	told map[offsetKey]int64
	last int64
}

func replayHistory(t *testing.T, seed uint64) {
	h := &history{hand: newHand(t, newFakePartition()).ready(), rng: rand.New(rand.NewPCG(seed, 5)), told: map[offsetKey]int64{}}
	h.log.max = 700
	for range 150 {
		switch h.rng.IntN(20) {
		case 0:
			h.remove()
		case 1:
			h.removeGroup()
		case 2:
			h.removeTopic()
		case 3:
			h.member()
		case 4:
			h.uncertain()
		case 5:
			h.log.set(func() { h.log.outcome = errDefinite })
			if o := h.commit(h.request()); o.err == nil {
				t.Fatal("a failed append was acknowledged")
			}
			h.log.set(func() { h.log.outcome = nil })
		case 6:
			h.same("before it was read again")
			h.reload()
			h.same("after it was read again")
		default:
			h.some()
		}
	}
	h.same("at last")
	h.reload()
	h.same("after all")
}

func (h *history) group() string { return fmt.Sprint("g", h.rng.IntN(4)) }

func (h *history) key() TopicPartition {
	return TopicPartition{fmt.Sprint("t", h.rng.IntN(3)), h.rng.Int32N(3)}
}

func (h *history) request() CommitRequest {
	r := CommitRequest{GroupID: h.group(), Generation: -1, RetentionMs: -1}
	for range 1 + h.rng.IntN(3) {
		h.last++
		r.Offsets = append(r.Offsets, Commit{TopicPartition: h.key(), Offset: h.last})
	}
	return r
}

// some commits several requests at once.
func (h *history) some() {
	h.log.set(func() { h.log.held = true })
	var requests []CommitRequest
	var answers []<-chan outcome
	for range 1 + h.rng.IntN(5) {
		r := h.request()
		requests, answers = append(requests, r), append(answers, h.begun(r))
	}
	h.log.set(func() { h.log.held = false })
	for i, r := range requests {
		if o := receive(h.t, answers[i]); o.err == nil {
			h.acknowledged(r)
		} else if d, err := h.Members().Describe(r.GroupID); err != nil || d.State == "Empty" {
			h.t.Errorf("commit: %v", o.err)
		}
	}
}

func (h *history) acknowledged(r CommitRequest) {
	for _, o := range r.Offsets {
		h.told[offsetKey{r.GroupID, o.TopicPartition}] = o.Offset
	}
}

func (h *history) remove() {
	group, tp := h.group(), h.key()
	if o := h.deleteOffsets(group, tp); o.err == nil && o.each[0] == nil {
		delete(h.told, offsetKey{group, tp})
	}
}

func (h *history) removeGroup() {
	group := h.group()
	if h.deleteGroup(group) == nil {
		maps.DeleteFunc(h.told, func(k offsetKey, _ int64) bool { return k.group == group })
	}
}

func (h *history) removeTopic() {
	topic := h.key().Topic
	h.TopicDeleted(topic)
	(&runner{c: h.Coordinator}).forget()
	h.idle()
	maps.DeleteFunc(h.told, func(k offsetKey, _ int64) bool { return k.Topic == topic })
}

// member comes, commits and goes.
func (h *history) member() {
	group := h.group()
	id, generation := h.join(group, "t0")
	r := h.request()
	r.GroupID, r.MemberID, r.Generation = group, id, generation
	if o := h.commit(r); o.err != nil {
		h.t.Errorf("commit of a member: %v", o.err)
	}
	h.acknowledged(r)
	if h.rng.IntN(2) == 0 {
		h.reload()
	}
	if _, err := h.Members().Leave(LeaveRequest{GroupID: group, Members: []LeaveMember{{MemberID: id}}}); err != nil {
		h.t.Error(err)
	}
	h.idle()
}

// uncertain is a commit of which the client cannot know; the log decides.
func (h *history) uncertain() {
	h.log.set(func() { h.log.outcome, h.log.lost = errUncertain, h.rng.IntN(2) == 0 })
	r := h.request()
	if o := h.commit(r); o.err == nil {
		h.t.Error("an uncertain append was acknowledged")
	} else if h.log.lost {
		h.acknowledged(r)
	}
	h.log.set(func() { h.log.outcome, h.log.lost = nil, false })
	h.reload()
}

// same compares the coordinator with what clients know.
func (h *history) same(when string) {
	h.t.Helper()
	got := map[offsetKey]int64{}
	for i := range 4 {
		group := fmt.Sprint("g", i)
		list, err := h.Fetch(group, nil)
		if err != nil {
			h.t.Fatal(err)
		}
		for _, c := range list {
			got[offsetKey{group, c.TopicPartition}] = c.Offset
		}
	}
	if !maps.Equal(got, h.told) {
		h.t.Errorf("%s:\n has %v\nwant %v", when, got, h.told)
	}
	h.locked(func(s *shard) {
		if s.mu.offsets.count != len(got) || len(s.mu.pending) != 0 || h.queued.used.Load() != 0 {
			h.t.Errorf("%s: counted %d offsets, %d are there; %d groups pending, %d bytes", when, s.mu.offsets.count, len(got), len(s.mu.pending), h.queued.used.Load())
		}
	})
}

// BenchmarkLoad reads the log of a million commits of 10,000 partitions.
func BenchmarkLoad(b *testing.B) {
	const commits = 1_000_000
	p := newFakePartition()
	var list []keyValue
	for i := range commits {
		kv, err := offsetRecord(fmt.Sprint("group-", i%100), TopicPartition{fmt.Sprint("topic-", i%7), int32(i % 10_000)},
			&committed{offset: int64(i), commitMs: 1, expireMs: -1})
		if err != nil {
			b.Fatal(err)
		}
		if list = append(list, kv); len(list) == 1000 {
			p.put(b, nil, list...)
			list = list[:0]
		}
	}
	s := newShard(New(Options{Now: time.Now}), 0, &sequential{fakePartition: p}, 1)
	b.ReportAllocs()
	for b.Loop() {
		if r, err := s.replay(); err != nil || r.records != commits {
			b.Fatal(r, err)
		}
	}
	b.ReportMetric(float64(commits*b.N)/b.Elapsed().Seconds(), "commits/s")
}

// sequential finds the next batch at once.
type sequential struct {
	*fakePartition
	at int
}

func (s *sequential) read(offset int64, _ int32) ([]byte, error) {
	if offset == 0 {
		s.at = 0
	}
	s.at++
	return s.batches[s.at-1], nil
}
