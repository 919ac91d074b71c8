package handler_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/brokertest"
	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/partition"
	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/entry"
)

// order appends what the link of a partition would, and waits for the log.
func (h *half) order(p *partition.Partition, e entry.Header, payload []byte) {
	h.t.Helper()
	done := make(chan error, 1)
	p.Shipped(0).Propose(e, payload, func() {}, func(reason entry.VoidReason, err error) {
		if err == nil && reason != entry.Admitted {
			h.t.Errorf("kind %d: void: %s", e.Kind, reason)
		}
		done <- err
	})
	select {
	case err := <-done:
		h.check(err)
	case <-time.After(brokertest.Limit):
		h.t.Fatal("the log does not answer")
	}
}

func (h *half) until(what string, ok func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(brokertest.Limit); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatal(what)
		}
	}
}

// follow makes this site the standby, in all logs.
func (h *half) follow(siteEpoch uint32) {
	h.t.Helper()
	h.pair.role(false)
	h.pair.set(func(p *pair) { p.view.Epoch = siteEpoch })
	for _, p := range h.partitions.All() {
		_, _, _, end := p.Offsets()
		h.order(p, entry.Header{Kind: entry.Follow, SiteEpoch: siteEpoch, Body: entry.Followed{SiteEpoch: siteEpoch, Shared: end}.Append(nil)}, nil)
		h.until("the log does not follow", p.Follows)
	}
}

// promote makes this site the active one, unplanned, in all logs.
func (h *half) promote(siteEpoch uint32) {
	h.t.Helper()
	for _, p := range h.partitions.All() {
		h.order(p, entry.Header{Kind: entry.Promote, SiteEpoch: siteEpoch, Body: entry.Promotion{
			SiteEpoch: siteEpoch, Base: entry.BandStart(siteEpoch), Shared: -1}.Append(nil)}, nil)
		view, _ := p.Shipped(0).LogView()
		h.order(p, entry.Header{Kind: entry.EpochBase, SiteEpoch: siteEpoch, Body: entry.EpochBaseBody(view.Term, 0)}, nil)
		h.check(p.WaitReady(h.ctx()))
	}
	h.pair.role(true)
	h.pair.set(func(p *pair) { p.view.Epoch = siteEpoch })
}

// ship appends a batch of the other site.
func (h *half) ship(p *partition.Partition, siteEpoch uint32, b record.Batch, offset int64, leaderEpoch int32) {
	h.t.Helper()
	b.SetBaseOffset(offset)
	b.SetLeaderEpoch(leaderEpoch)
	rows, _, err := entry.RowsOf(b)
	h.check(err)
	h.order(p, entry.Header{Kind: entry.Data, SiteEpoch: siteEpoch, Rows: rows, PayloadLength: uint32(len(b))}, b)
	h.until("shipped data is not there", func() bool { _, hw, _, _ := p.Offsets(); return hw >= rows[len(rows)-1].LastOffset+1 })
}

func fetchAt(topic *controller.Topic, offset int64, epoch int32, rack string) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.MinBytes, req.MaxBytes, req.Rack = 1, 1<<20, rack
	rt, rp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	rt.Topic, rt.TopicID = topic.Name, topic.ID
	rp.FetchOffset, rp.CurrentLeaderEpoch, rp.PartitionMaxBytes = offset, epoch, 1<<20
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

func fetched(c *brokertest.Conn, req *kmsg.FetchRequest, version int16) kmsg.FetchResponseTopicPartition {
	return ask[*kmsg.FetchResponse](c, req, version).Topics[0].Partitions[0]
}

// TestStandbyIsReadByItsOwnRack: a consumer that says the standby's name as its rack is sent there for what the standby has, and reads
// there (KIP-392); others, and what the standby lacks, are read at the active.
func TestStandbyIsReadByItsOwnRack(t *testing.T) {
	h := startHalf(t)
	topic := h.topic("t", 1)
	id := site.PartitionID{Topic: topic.ID}
	c := h.dial()
	for range 2 {
		produced(c, "t", 9)
	}
	sent := func(offset int64, rack string) int32 {
		t.Helper()
		p := fetched(c, fetchAt(topic, offset, -1, rack), 11)
		if p.ErrorCode != 0 || p.HighWatermark != 2 || (p.PreferredReadReplica == -1) != (len(p.RecordBatches) > 0) {
			t.Errorf("offset %d, rack %q: %+v", offset, rack, p)
		}
		return p.PreferredReadReplica
	}
	if n := sent(0, "east"); n != -1 {
		t.Errorf("sent to %d, of which nothing is known", n)
	}
	h.pair.set(func(p *pair) { p.shared[id] = 1 })
	if n := sent(0, "east"); n != away {
		t.Errorf("rack of the standby: %d", n)
	}
	if n := sent(1, "east"); n != away {
		t.Errorf("at the end of what the standby has: %d", n)
	}
	h.pair.set(func(p *pair) { p.shared[id] = 0 })
	if n := sent(1, "east"); n != -1 {
		t.Errorf("behind what the standby has: %d", n)
	}
	for _, rack := range []string{"", "west", "north"} {
		if n := sent(0, rack); n != -1 {
			t.Errorf("rack %q: %d", rack, n)
		}
	}

	h.follow(1)
	if p := fetched(c, fetchAt(topic, 0, -1, "west"), 11); p.ErrorCode != 0 || len(p.RecordBatches) == 0 || p.PreferredReadReplica != -1 {
		t.Errorf("at the standby: %+v", p)
	}
	if p := fetched(c, fetchAt(topic, 0, -1, ""), 10); p.ErrorCode != kerr.NotLeaderForPartition.Code {
		t.Errorf("by a client that knows no racks: %+v", p)
	}
	// Kafka says OFFSET_OUT_OF_RANGE, which clients take for an end of their records where they believe that this broker leads.
	if p := fetched(c, fetchAt(topic, 9, -1, "west"), 11); p.ErrorCode != kerr.NotLeaderForPartition.Code {
		t.Errorf("above what the standby has: %+v", p)
	}
	if p := fetched(c, fetchAt(topic, 0, 2<<18, "west"), 11); p.ErrorCode != kerr.UnknownLeaderEpoch.Code {
		t.Errorf("by a client that knows a later promotion: %+v", p)
	}
	late := fetchAt(topic, 2, -1, "west")
	late.MaxWaitMillis = int32(brokertest.Limit.Milliseconds())
	late.SetVersion(11)
	c.Send(c.Frame(late))
	h.ship(h.partition("t"), 1, plain("x"), 2, 1<<18)
	if p := c.Response(late).(*kmsg.FetchResponse).Topics[0].Partitions[0]; p.ErrorCode != 0 || len(p.RecordBatches) == 0 || p.HighWatermark != 3 {
		t.Errorf("what was shipped while the client waited: %+v", p)
	}
}

// TestCommitsInTheGapAreFetchedClamped: a group that committed what was lost goes on at the end of the log, or where it was continued.
func TestCommitsInTheGapAreFetchedClamped(t *testing.T) {
	h := startHalf(t)
	h.topic("t", 1)
	c := h.dial()
	produced(c, "t", 9)
	if code := commitOffset(c, "g", "t", 1); code != 0 {
		t.Fatalf("commit: %d", code)
	}
	h.follow(1)
	h.promote(4)
	for _, want := range []int64{1, 4 << 42} {
		if code := commitOffset(c, "g", "t", 1000); code != 0 {
			t.Fatalf("commit: %d", code)
		}
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Group = "g"
		if p := ask[*kmsg.OffsetFetchResponse](c, req, 6).Topics[0].Partitions[0]; p.Offset != want {
			t.Errorf("fetched %d, want %d", p.Offset, want)
		}
		produced(c, "t", 9)
	}
}

// TestConsumerCrossesTheGap: a franz-go consumer without a policy for resets reads on across a promotion, whatever it had read of what was
// lost, and gets what comes next.
func TestConsumerCrossesTheGap(t *testing.T) {
	h := startHalf(t)
	h.topic("t", 1)
	c := h.dial()
	for range 3 {
		produced(c, "t", 9)
	}
	consumer := h.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"t": {0: kgo.NewOffset().At(2).WithEpoch(0)}}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.MetadataMinAge(10*time.Millisecond))
	next := func() *kgo.Record {
		t.Helper()
		for {
			f := consumer.PollFetches(h.ctx())
			for _, e := range f.Errors() {
				t.Fatalf("%v", e.Err)
			}
			if r := f.Records(); len(r) > 0 {
				return r[0]
			}
		}
	}
	if r := next(); r.Offset != 2 {
		t.Fatalf("at %d", r.Offset)
	}
	h.follow(1)
	h.promote(4)
	produced(c, "t", 9)
	if r := next(); r.Offset != 4<<42 {
		t.Errorf("at %d", r.Offset)
	}
}
