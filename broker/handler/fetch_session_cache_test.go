package handler

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/protocol/wire"
)

// sized makes a session of so many partitions.
func sized(parts int, now time.Time) *fetchSession {
	s := newFetchSession(false, now)
	for i := range parts {
		s.addLocked(fetchKey{topic: "t", partition: int32(i)})
	}
	return s
}

// TestSessionEviction: who has to go for whom, step by step. "+name:size" opens a session, "-name" closes it, "name" uses it,
// "120s" lets time pass; what follows "=" are the sessions then.
func TestSessionEviction(t *testing.T) {
	for name, script := range map[string]string{
		"room":                      "+a:1 +b:1 = a b",
		"no room, all are young":    "+a:1 +b:1 +c:1 +d:99 = a b c",
		"closed, and room again":    "+a:1 +b:1 +c:1 -b +d:1 = a c d",
		"the oldest is stale":       "+a:9 +b:1 +c:1 121s +d:1 = b c d",
		"used lately, so not stale": "+a:9 +b:1 +c:1 121s a b c +d:1 = a b c",
		"a larger takes the place":  "+a:9 +b:2 +c:3 121s a b c +d:3 = a c d",
		"as large is not larger":    "+a:9 +b:2 +c:3 121s a b c +d:2 = a b c",
		"the young are safe":        "+a:9 +b:1 100s +c:1 21s a b +d:2 +e:2 = a c d",
		"the stale one goes first":  "+a:9 60s +b:1 +c:1 61s +d:2 = b c d",
	} {
		now := time.Unix(0, 0)
		next := int32(0)
		c := newSessionCache(3, func() time.Time { return now }, func() int32 { next++; return next })
		ids := map[string]*fetchSession{}
		steps, want, _ := strings.Cut(script, " = ")
		for _, step := range strings.Fields(steps) {
			var size int
			switch {
			case step[0] == '+':
				label, number, _ := strings.Cut(step[1:], ":")
				if _, err := fmt.Sscan(number, &size); err != nil {
					t.Fatal(err)
				}
				ids[label] = sized(size, now)
				c.open(ids[label])
			case step[0] == '-':
				c.close(ids[step[1:]].id)
			case step[0] >= '0' && step[0] <= '9':
				d, err := time.ParseDuration(step)
				if err != nil {
					t.Fatal(err)
				}
				now = now.Add(d)
			default:
				s := ids[step]
				req := kmsg.NewPtrFetchRequest()
				req.SessionID, req.SessionEpoch = s.id, s.mu.epoch
				if got, code := c.resume(12, req); got != s || code != 0 {
					t.Fatalf("%s: %s: code %d", name, step, code)
				}
			}
		}
		var got []string
		bytes := int64(0)
		for _, label := range strings.Split("abcde", "") {
			if s := ids[label]; s != nil && c.mu.sessions[s.id] == s {
				got = append(got, label)
				bytes += s.mu.bytes
			}
		}
		if text := strings.Join(got, " "); text != want || c.mu.bytes != bytes || len(c.mu.sessions) != len(got) {
			t.Errorf("%s: %s, want %s; %d bytes counted, %d held", name, text, want, c.mu.bytes, bytes)
		}
		uses := 0
		for s := c.mu.uses.newer; s != &c.mu.uses; s = s.newer {
			uses++
		}
		if uses != len(got) {
			t.Errorf("%s: %d in the ring, %d sessions", name, uses, len(got))
		}
	}
}

// TestSessionMemory: what all sessions remember is bounded; a session that grows above is closed.
func TestSessionMemory(t *testing.T) {
	next := int32(0)
	c := newSessionCache(1000, time.Now, func() int32 { next++; return next })
	half := sessionBytesMax/cachedPartitionBytes/2 - 10
	first, second := sized(half, time.Now()), sized(half/2, time.Now())
	if c.open(first) == 0 || c.open(second) == 0 {
		t.Fatal("no session")
	}
	if c.open(sized(half, time.Now())) != 0 {
		t.Error("a session above the limit")
	}
	req := kmsg.NewPtrFetchRequest()
	req.SessionID, req.SessionEpoch = second.id, 1
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic = strings.Repeat("x", 200)
	for i := range half {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition = int32(i)
		rt.Partitions = append(rt.Partitions, p)
	}
	req.Topics = append(req.Topics, rt)
	if _, code := c.resume(12, req); code != codeFetchSessionIDNotFound {
		t.Errorf("grown above the limit: code %d", code)
	}
	if c.mu.bytes != first.mu.bytes {
		t.Errorf("%d bytes counted, %d held", c.mu.bytes, first.mu.bytes)
	}
}

// TestSessionEpochs: 1 follows the largest.
func TestSessionEpochs(t *testing.T) {
	for epoch, want := range map[int32]int32{0: 1, 1: 2, 1<<31 - 1: 1} {
		if got := nextSessionEpoch(epoch); got != want {
			t.Errorf("after %d: %d, want %d", epoch, got, want)
		}
	}
}

// TestSessionAllocations: an incremental fetch allocates the same with many idle partitions in its session as with few.
func TestSessionAllocations(t *testing.T) {
	measure := func(parts int) float64 {
		h := &Handler{sessions: newSessionCache(10, time.Now, func() int32 { return 7 }), metrics: noMetrics{}}
		s := sized(parts, time.Now())
		for _, c := range s.mu.parts {
			c.hw, c.logStart = 5, 0
		}
		h.sessions.open(s)
		req := kmsg.NewPtrFetchRequest()
		req.SessionID, req.SessionEpoch = s.id, 1
		return testing.AllocsPerRun(100, func() {
			got, code := h.sessions.resume(12, req)
			if got == nil {
				t.Fatalf("code %d", code)
			}
			f := &fetchReply{h: h, session: got, expected: nextSessionEpoch(req.SessionEpoch), sessionID: s.id}
			s.mu.Lock()
			f.parts, s.mu.spare = s.mu.spare[:0], nil
			f.topics = append(f.topics, fetchedTopic{name: "t"})
			for c := s.mu.ring.next; c != &s.mu.ring; c = c.next {
				f.parts = append(f.parts, fetchedPartition{cached: c, id: c.partition})
				f.parts[len(f.parts)-1].read.HW, f.parts[len(f.parts)-1].read.LSO = 5, 5
			}
			s.mu.Unlock()
			if resp, sent := f.respond(); len(sent) != 0 || resp.SessionID != s.id {
				t.Fatalf("%+v", resp)
			}
			f.Done()
			req.SessionEpoch = nextSessionEpoch(req.SessionEpoch)
		})
	}
	if few, many := measure(1), measure(2000); many > few+1 {
		t.Errorf("%.0f allocations with one partition, %.0f with 2000", few, many)
	}
}

// TestSessionAnswers: what is told in an incremental answer, of a partition of which HW 5 and log start 2 were told. Source:
// FetchSession.CachedPartition.maybeUpdateResponseData.
func TestSessionAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*wire.FetchPartition)
		told bool
		hw   int64 // remembered
	}{
		"nothing new":        {func(*wire.FetchPartition) {}, false, 5},
		"records":            {func(p *wire.FetchPartition) { p.RecordsBytes = 1 }, true, 5},
		"high watermark":     {func(p *wire.FetchPartition) { p.HighWatermark = 6 }, true, 6},
		"log start":          {func(p *wire.FetchPartition) { p.LogStartOffset = 3 }, true, 5},
		"last stable offset": {func(p *wire.FetchPartition) { p.LastStableOffset = 4 }, false, 5},
		"another replica":    {func(p *wire.FetchPartition) { p.PreferredReadReplica = 3 }, true, 5},
		"diverging epoch":    {func(p *wire.FetchPartition) { p.DivergingEpoch = &wire.EpochEndOffset{} }, true, 5},
		"an error":           {func(p *wire.FetchPartition) { p.ErrorCode = codeNotLeaderOrFollower }, true, -1},
	} {
		out := wire.NewFetchPartition(0, 0)
		out.HighWatermark, out.LastStableOffset, out.LogStartOffset = 5, 5, 2
		c.edit(&out)
		p := cachedPartition{hw: 5, logStart: 2}
		if told := p.answer(&out); told != c.told || p.hw != c.hw {
			t.Errorf("%s: told %v, high watermark %d; want %v, %d", name, told, p.hw, c.told, c.hw)
		}
		if (name == "high watermark" || name == "log start") && p.answer(&out) {
			t.Errorf("%s: told twice", name)
		}
	}
}
