package group

import (
	"fmt"
	"maps"
	"testing"
	"time"
)

// BenchmarkHeartbeat is a heartbeat in a shard of 10,000 members, in groups of 50.
func BenchmarkHeartbeat(b *testing.B) {
	w := newWorld(membershipOptions{})
	requests := make([]HeartbeatRequest, 0, 10_000)
	for i := range cap(requests) {
		id := fmt.Sprintf("g%d", i/50)
		w.s.join(w.now, JoinRequest{
			GroupID: id, ClientID: "c", ProtocolType: consumerType, Protocols: []Protocol{{"range", make([]byte, 50)}},
			SessionTimeout: 30 * time.Minute, RebalanceTimeout: time.Minute,
		}, func(r JoinResult) {
			requests = append(requests, HeartbeatRequest{GroupID: id, MemberID: r.MemberID, Generation: r.Generation})
		})
	}
	w.advance(0)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		w.now = w.now.Add(time.Microsecond)
		if err := w.s.heartbeat(w.now, requests[i%len(requests)]); err != nil {
			b.Fatal(err)
		}
		w.s.timers.run(w.now)
	}
}

// BenchmarkRebalance is all that the state machine does for a rebalance of 50 members over 900 partitions.
func BenchmarkRebalance(b *testing.B) {
	w := newWorld(membershipOptions{})
	ids := make([]string, 0, 50)
	generation := int32(0)
	request := func(id string) JoinRequest {
		return JoinRequest{
			GroupID: "g", MemberID: id, ClientID: "c", ProtocolType: consumerType, Protocols: []Protocol{{"range", make([]byte, 50)}},
			SessionTimeout: 30 * time.Minute, RebalanceTimeout: time.Minute,
		}
	}
	for range cap(ids) {
		w.s.join(w.now, request(""), func(r JoinResult) { ids = append(ids, r.MemberID); generation = r.Generation })
	}
	w.advance(0)
	b.ReportAllocs()
	for b.Loop() {
		assignments := make(map[string][]byte, len(ids))
		for _, id := range ids {
			assignments[id] = make([]byte, 18*4)
		}
		for _, id := range ids {
			w.s.sync(w.now, SyncRequest{GroupID: "g", MemberID: id, Generation: generation, Assignments: maps.All(assignments)}, func(r SyncResult) {
				if r.Err != nil {
					b.Fatal(r.Err)
				}
			})
		}
		w.pump()
		for _, id := range ids {
			w.s.join(w.now, request(id), func(r JoinResult) { generation = r.Generation })
		}
	}
}
