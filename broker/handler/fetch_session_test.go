package handler_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/brokertest"
)

// sessionClient makes the requests of a session by hand.
type sessionClient struct {
	t  *testing.T
	b  *brokertest.Broker
	c  *brokertest.Conn
	id int32 // of the session, from the last answer
}

// fetch sends what ask says: "v12 id epoch topic/partition@offset ... -topic/partition", id "." = the session's. The answer is
// "session" or "none", the error code if any, and each partition as topic/partition=count of batches, HW, error code.
func (s *sessionClient) fetch(ask string) string {
	s.t.Helper()
	fields := strings.Fields(ask)
	var version int16
	var epoch int32
	scan(s.t, fields[0], "v%d", &version)
	scan(s.t, fields[2], "%d", &epoch)
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(version)
	req.MaxBytes, req.SessionID, req.SessionEpoch = 1<<20, s.id, epoch
	if fields[1] != "." {
		scan(s.t, fields[1], "%d", &req.SessionID)
	}
	for _, f := range fields[3:] {
		var partition int32
		var offset int64
		if topic, rest, _ := strings.Cut(strings.TrimPrefix(f, "-"), "/"); f[0] == '-' {
			scan(s.t, rest, "%d", &partition)
			ft := kmsg.NewFetchRequestForgottenTopic()
			ft.Topic, ft.TopicID, ft.Partitions = topic, topicID(s.b, topic), []int32{partition}
			req.ForgottenTopics = append(req.ForgottenTopics, ft)
		} else {
			scan(s.t, rest, "%d@%d", &partition, &offset)
			req.Topics = append(req.Topics, fetchTopic(s.b, topic, partition, offset))
		}
	}
	resp := s.c.Do(req).(*kmsg.FetchResponse)
	names := map[[16]byte]string{topicID(s.b, "t"): "t", topicID(s.b, "u"): "u"}
	out := "none"
	if resp.SessionID != 0 {
		out, s.id = "session", resp.SessionID
	}
	if resp.ErrorCode != 0 {
		out += fmt.Sprintf(" !%d", resp.ErrorCode)
	}
	for _, rt := range resp.Topics {
		if rt.Topic == "" {
			rt.Topic = names[rt.TopicID]
		}
		for _, p := range rt.Partitions {
			records := 0
			for b := p.RecordBatches; len(b) > 0; records++ {
				b = b[12+int(b[8])<<24+int(b[9])<<16+int(b[10])<<8+int(b[11]):]
			}
			out += fmt.Sprintf(" %s/%d=%d,%d", rt.Topic, p.Partition, records, p.HighWatermark)
			if p.ErrorCode != 0 {
				out += fmt.Sprintf("!%d", p.ErrorCode)
			}
		}
	}
	return out
}

func scan(t *testing.T, s, format string, to ...any) {
	t.Helper()
	if _, err := fmt.Sscanf(s, format, to...); err != nil {
		t.Fatalf("%q: %v", s, err)
	}
}

// TestFetchSessions: what each request of a session is answered, in a version with names and in one with ids. "produce" writes
// a batch of one record.
func TestFetchSessions(t *testing.T) {
	for _, version := range []string{"v7", "v12", "v13", "v18"} {
		b := brokertest.Start(t)
		b.CreateTopic("t", 3)
		b.CreateTopic("u", 1)
		s := &sessionClient{t: t, b: b, c: b.Dial()}
		cl := b.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
		other, mixed := "v13", "!106"
		if version >= "v13" && len(version) == 3 {
			other = "v12"
		}
		for i, step := range []struct{ ask, want string }{
			{"produce t/0", ""},
			{"0 0 t/0@0 t/1@0 t/2@0", "session t/0=1,1 t/1=0,0 t/2=0,0"},
			{". 1 t/0@1", "session"}, // nothing new
			{"produce t/1", ""},
			{". 2", "session t/1=1,1"},
			{". 3", "session t/1=1,1"}, // asked from the same offset again
			{". 4 t/1@1", "session"},
			{". 4", "none !71"}, // again
			{". 9", "none !71"},
			{". -7", "none !71"},
			{"77 5", "none !70"},
			{". 5 u/0@0", "session u/0=0,0"}, // added
			{"produce t/0", ""}, {"produce t/1", ""}, {"produce t/2", ""},
			{". 6 t/0@1 t/1@1", "session t/0=1,2 t/2=1,1 t/1=1,2"}, // t/1 gave records in an incremental answer before: it comes behind
			{"produce t/0", ""}, {"produce u/0", ""},
			{". 7 t/0@2 t/1@2 t/2@1", "session u/0=1,1 t/0=1,3"},
			{". 8 t/0@3 u/0@1 -t/2", "session"},
			{"produce t/2", ""},
			{". 9", "session"},                             // forgotten
			{". 10 t/2@9", "session t/2=0,-1!1"},           // an error is always answered
			{". 11", "session t/2=0,-1!1"},                 // again
			{". 12 t/2@2", "session t/2=0,2"},              // and its end as well
			{". 13 t/7@0", "session t/7=0,-1!3"},           // no such partition
			{". 14 -t/7", "session"},                       //
			{other + " . 15", "none " + mixed},             // names in a session of ids, or the reverse
			{". 15", "session"},                            // which does not count
			{". 16 -t/0 -t/1 -t/2 -u/0", "none"},           // nothing is left
			{". 17 t/0@3", "none !70"},                     // so it is closed
			{"0 0 t/0@3", "session t/0=0,3"},               //
			{". -1 t/0@3", "none t/0=0,3"},                 // closed by its client
			{". 1", "none !70"},                            //
			{"0 0 t/0@3", "session t/0=0,3"},               //
			{". 0 t/1@2 t/2@2", "session t/1=0,2 t/2=0,2"}, // another in its place
			{". 1", "session"},
			{"0 -1 t/1@2", "none t/1=0,2"},
		} {
			if topic, ok := strings.CutPrefix(step.ask, "produce "); ok {
				r := &kgo.Record{}
				name, id, _ := strings.Cut(topic, "/")
				r.Topic = name
				scan(t, id, "%d", &r.Partition)
				if err := cl.ProduceSync(b.Context(), r).FirstErr(); err != nil {
					t.Fatal(err)
				}
				continue
			}
			ask := step.ask
			if ask[0] != 'v' {
				ask = version + " " + ask
			}
			if got := s.fetch(ask); got != step.want {
				t.Errorf("step %d: %s: %s, want %s", i, ask, got, step.want)
			}
		}
	}
}

// TestFetchSessionsTakeTurns: under a limit that one partition fills, the others come next.
func TestFetchSessionsTakeTurns(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("t", 3)
	b.CreateTopic("u", 1)
	cl := b.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for id := range int32(3) {
		for range 4 {
			if err := cl.ProduceSync(b.Context(), &kgo.Record{Topic: "t", Partition: id, Value: make([]byte, 1000)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	c := b.Dial()
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(12)
	req.MaxBytes, req.SessionEpoch = 1, 0
	for id := range int32(3) {
		req.Topics = append(req.Topics, fetchTopic(b, "t", id, 0))
	}
	var order []int32
	for epoch := range int32(6) {
		req.SessionEpoch = epoch
		resp := c.Do(req).(*kmsg.FetchResponse)
		req.SessionID, req.Topics = resp.SessionID, nil
		for _, rt := range resp.Topics {
			for _, p := range rt.Partitions {
				if len(p.RecordBatches) > 0 {
					order = append(order, p.Partition)
					req.Topics = append(req.Topics, fetchTopic(b, "t", p.Partition, int64(epoch/3)+1))
				}
			}
		}
	}
	// The first answer, to the full request, does not move partitions, as in Kafka.
	if got := fmt.Sprint(order); got != "[0 0 1 2 0 1]" {
		t.Errorf("partitions in turn: %s", got)
	}
}

// TestNoFetchSessions: without slots every request is full.
func TestNoFetchSessions(t *testing.T) {
	b := brokertest.Start(t, "max.incremental.fetch.session.cache.slots=0")
	b.CreateTopic("t", 1)
	b.CreateTopic("u", 1)
	s := &sessionClient{t: t, b: b, c: b.Dial()}
	if got := s.fetch("v12 0 0 t/0@0"); got != "none t/0=0,0" {
		t.Error(got)
	}
}
