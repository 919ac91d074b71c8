package handler_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/entry"
)

// TestMetadataWaitsForTheNewLeaders: in the middle of a change of roles nobody takes produces, and a client that is told so, or of the leader
// of before, would keep that for seconds.
func TestMetadataWaitsForTheNewLeaders(t *testing.T) {
	const (
		other = 1 << 18
		looks = 10
		waits = 5 * time.Second // longer than a request does
	)
	for name, c := range map[string]struct {
		begin, end func(h *half, id site.PartitionID)
		leader     int32
	}{
		"the log is fenced, and then led at the other site": {
			func(h *half, _ site.PartitionID) { h.fence("t", 1) },
			func(h *half, _ site.PartitionID) { h.pair.role(false) },
			away,
		},
		"the log is fenced, and the switchover given up": {
			func(h *half, _ site.PartitionID) { h.fence("t", 1) },
			func(h *half, _ site.PartitionID) {
				h.order(h.partition("t"), entry.Header{Kind: entry.Unfence, Body: entry.UnfenceBody(1)}, nil)
			},
			own,
		},
		"the leader at the other site does not serve yet": {
			func(h *half, id site.PartitionID) {
				h.pair.role(false)
				h.pair.set(func(p *pair) { p.leader[id] = [2]int32{away, -1} })
			},
			func(h *half, id site.PartitionID) { h.pair.set(func(p *pair) { p.leader[id] = [2]int32{away, other} }) },
			away,
		},
		"the other site is gone, and this one takes over": {
			func(h *half, id site.PartitionID) {
				h.follow(1)
				h.pair.role(false)
				h.pair.set(func(p *pair) { p.leader[id], p.gone = [2]int32{away, other}, true })
			},
			func(h *half, _ site.PartitionID) {
				h.pair.role(true)
				h.promote(4)
			},
			own,
		},
		"the other site is gone, and comes back": {
			func(h *half, id site.PartitionID) {
				h.pair.role(false)
				h.pair.set(func(p *pair) { p.leader[id], p.gone = [2]int32{away, other}, true })
			},
			func(h *half, _ site.PartitionID) { h.pair.set(func(p *pair) { p.gone = false }) },
			away,
		},
		"this site is promoted, and its log not yet": {
			func(h *half, _ site.PartitionID) {
				h.follow(1)
				h.pair.role(true)
			},
			func(h *half, _ site.PartitionID) { h.promote(4) },
			own,
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := startHalf(t)
			id := site.PartitionID{Topic: h.topic("t", 1).ID}
			c.begin(h, id)
			conn := h.dial()
			before := h.pair.views()
			named, all := metadata("t"), kmsg.NewPtrMetadataRequest()
			all.Topics = nil
			for _, req := range []*kmsg.MetadataRequest{named, all} {
				req.SetVersion(12)
				conn.Send(conn.Frame(req))
			}
			// One that waits looks at the role again and again; one that is answered does so a few times.
			for late := time.Now().Add(waits); h.pair.views() < before+looks; time.Sleep(time.Millisecond) {
				if time.Now().After(late) {
					t.Fatal("no request waits")
				}
			}
			c.end(h, id)
			for _, req := range []*kmsg.MetadataRequest{named, all} {
				topics := conn.Response(req).(*kmsg.MetadataResponse).Topics
				if len(topics) == 0 || topics[0].Partitions[0].Leader != c.leader {
					t.Errorf("leader %d is awaited: %+v", c.leader, topics)
				}
			}
		})
	}
}

// TestMetadataDoesNotWaitForEver: where no leader comes the answer says so; where nobody can be one, at once.
func TestMetadataDoesNotWaitForEver(t *testing.T) {
	h := startHalf(t)
	id := site.PartitionID{Topic: h.topic("t", 1).ID}
	c := h.dial()
	asked := func(leader [2]int32) time.Duration {
		t.Helper()
		h.pair.role(false)
		h.pair.set(func(p *pair) { p.leader[id] = leader })
		began := time.Now()
		p := ask[*kmsg.MetadataResponse](c, metadata("t"), 12).Topics[0].Partitions[0]
		if p.Leader != -1 || p.ErrorCode != kerr.LeaderNotAvailable.Code {
			t.Errorf("%+v", p)
		}
		return time.Since(began)
	}
	if took := asked([2]int32{away, -1}); took < time.Second {
		t.Errorf("answered after %v", took)
	}
	if took := asked([2]int32{-1, -1}); took > time.Second {
		t.Errorf("answered after %v", took)
	}
}

// fence makes a log take nothing more, for the other site to take over in an epoch.
func (h *half) fence(name string, target uint32) {
	h.t.Helper()
	p := h.partition(name)
	h.order(p, entry.Header{Kind: entry.Fence, Body: entry.Fencing{Target: target, Next: entry.UnknownOffset}.Append(nil)}, nil)
	h.until("the log is not fenced", p.Fenced)
}
