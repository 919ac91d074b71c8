package handler_test

import (
	"errors"
	"io"
	"math"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/brokertest"
	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/replication/site"
)

func metadata(names ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	return req
}

// TestMetadataOfTwoSites: both sites list the brokers of both, each with its site as rack; leaders and the controller are where the
// site serves, replicas at both.
func TestMetadataOfTwoSites(t *testing.T) {
	h := startHalf(t)
	topic := h.topic("t", 1)
	c := h.dial()
	id := site.PartitionID{Topic: topic.ID}
	check := func(name string, controller, leader, epoch int32, replicas, isr []int32) {
		t.Helper()
		m := ask[*kmsg.MetadataResponse](c, metadata("t"), 12)
		brokers := map[int32]string{}
		for _, b := range m.Brokers {
			if b.Rack != nil {
				brokers[b.NodeID] = *b.Rack
			}
		}
		if len(m.Brokers) != 2 || brokers[own] != "west" || brokers[away] != "east" || m.ControllerID != controller {
			t.Errorf("%s: brokers %+v, controller %d, want %d", name, m.Brokers, m.ControllerID, controller)
		}
		if p := m.Topics[0].Partitions[0]; p.Leader != leader || epoch >= 0 && p.LeaderEpoch != epoch || !slices.Equal(p.Replicas, replicas) ||
			!slices.Equal(p.ISR, isr) {
			t.Errorf("%s: %+v, want leader %d, epoch %d, replicas %v, in sync %v", name, p, leader, epoch, replicas, isr)
		}
		d := ask[*kmsg.DescribeClusterResponse](c, kmsg.NewPtrDescribeClusterRequest(), 0)
		if len(d.Brokers) != 2 || d.ControllerID != controller {
			t.Errorf("%s: DescribeCluster %+v", name, d)
		}
		req := kmsg.NewPtrDescribeTopicPartitionsRequest()
		req.ResponsePartitionLimit = 10
		p := ask[*kmsg.DescribeTopicPartitionsResponse](c, req, 0).Topics[0].Partitions[0]
		if p.LeaderID != leader || !slices.Equal(p.Replicas, replicas) || !slices.Equal(p.ISR, isr) {
			t.Errorf("%s: DescribeTopicPartitions %+v", name, p)
		}
	}
	check("active, lag unknown", own, own, -1, []int32{own, away}, []int32{own})
	h.pair.set(func(p *pair) { p.shared[id] = 0 })
	check("active, in sync", own, own, -1, []int32{own, away}, []int32{own, away})
	h.pair.set(func(p *pair) { p.apart = "t" })
	check("active, not shipped", own, own, -1, []int32{own}, []int32{own})
	h.pair.set(func(p *pair) { p.apart = "" })
	h.pair.role(false)
	check("standby", away, away, 1<<18, []int32{away, own}, []int32{away, own})
	h.pair.set(func(p *pair) { delete(p.leader, id) })
	check("standby, leader unknown", away, -1, -1, []int32{away, own}, []int32{away, own})
	h.pair.set(func(p *pair) { p.peers = nil })
	m := ask[*kmsg.MetadataResponse](c, metadata("t"), 12)
	if p := m.Topics[0].Partitions[0]; len(m.Brokers) != 1 || m.ControllerID != -1 || p.Leader != -1 || p.ErrorCode != kerr.LeaderNotAvailable.Code {
		t.Errorf("standby without contact: %+v", m)
	}
	h.pair.set(func(p *pair) { p.peers = []controller.Broker{{Node: away}} })
	if m := ask[*kmsg.MetadataResponse](c, metadata("t"), 12); len(m.Brokers) != 1 {
		t.Errorf("a broker without the client's listener is listed: %+v", m.Brokers)
	}
}

// TestStandbyTakesNoProduce: nothing is written on a site that does not serve, although the log would take it, and the answer says who
// leads. The connection of a client that goes on is closed, but not at once.
func TestStandbyTakesNoProduce(t *testing.T) {
	h := startHalf(t)
	h.topic("t", 1)
	c := h.dial()
	if p := produced(c, "t", 10); p.ErrorCode != 0 {
		t.Fatalf("active: %+v", p)
	}
	h.pair.role(false)
	refuse := func() {
		t.Helper()
		resp := ask[*kmsg.ProduceResponse](c, produce(10, "t", -1, batch(t, nil, "x")), 10)
		p := resp.Topics[0].Partitions[0]
		if p.ErrorCode != kerr.NotLeaderForPartition.Code || p.CurrentLeader.LeaderID != away || p.CurrentLeader.LeaderEpoch != 1<<18 ||
			len(resp.Brokers) != 1 || resp.Brokers[0].NodeID != away || resp.Brokers[0].Host != "east.example" || *resp.Brokers[0].Rack != "east" {
			t.Fatalf("standby: %+v", resp)
		}
	}
	refuse()
	refuse()
	if _, hw, _, leo := h.partition("t").Offsets(); hw != 1 || leo != 1 {
		t.Errorf("written up to %d, %d", hw, leo)
	}
	h.pair.role(true)
	h.skew.Add(int64(time.Minute))
	if p := produced(c, "t", 10); p.ErrorCode != 0 {
		t.Fatalf("active again: %+v", p)
	}
	h.pair.role(false) // the grace begins anew
	refuse()
	h.skew.Add(int64(time.Minute))
	refuse() // answered, then closed
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		t.Errorf("connection after the grace period: %v", err)
	}
}

func TestBoundedProduceWaitsForTheOtherSite(t *testing.T) {
	h := startHalf(t)
	mode, limit := "bounded", "1000"
	h.topic("t", 1, controller.NewConfig{Name: "dr.mode", Value: &mode}, controller.NewConfig{Name: "dr.max.lag.ms", Value: &limit})
	h.topic("async", 1)
	c := h.dial()
	h.pair.set(func(p *pair) { p.behind = time.Second })
	if p := produced(c, "t", 10); p.ErrorCode != 0 {
		t.Fatalf("within the limit: %+v", p)
	}
	h.pair.set(func(p *pair) { p.behind = time.Second + 1 })
	if p := produced(c, "async", 10); p.ErrorCode != 0 {
		t.Fatalf("a topic that does not wait: %+v", p)
	}
	req := produce(10, "t", -1, plain("x"))
	req.TimeoutMillis = 50
	p := ask[*kmsg.ProduceResponse](c, req, 10).Topics[0].Partitions[0]
	if p.ErrorCode != kerr.NotEnoughReplicas.Code || p.ErrorMessage == nil || !strings.Contains(*p.ErrorMessage, "bounded") {
		t.Fatalf("beyond the limit: %+v", p)
	}
	if _, hw, _, leo := h.partition("t").Offsets(); hw != 1 || leo != 1 {
		t.Fatalf("written up to %d, %d", hw, leo)
	}
	done := make(chan kmsg.ProduceResponseTopicPartition, 1)
	go func() { done <- produced(c, "t", 10) }()
	select {
	case p := <-done:
		t.Fatalf("not held: %+v", p)
	case <-time.After(50 * time.Millisecond):
	}
	h.pair.set(func(p *pair) { p.behind = 0 })
	if p := <-done; p.ErrorCode != 0 || p.BaseOffset != 1 {
		t.Fatalf("after the other site has caught up: %+v", p)
	}
}

// TestStandbyLetsGoOfWhoAsksForProducerIDs: librdkafka asks for a producer id on a connection that it has, and on no other while it has it.
func TestStandbyLetsGoOfWhoAsksForProducerIDs(t *testing.T) {
	h := startHalf(t)
	h.pair.role(false)
	c := h.dial()
	refuse := func() {
		t.Helper()
		if p := ask[*kmsg.InitProducerIDResponse](c, kmsg.NewPtrInitProducerIDRequest(), 4); p.ErrorCode != kerr.CoordinatorLoadInProgress.Code {
			t.Fatalf("standby: %+v", p)
		}
	}
	refuse()
	refuse()
	h.skew.Add(int64(time.Minute))
	refuse() // answered, then closed
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		t.Errorf("connection after the grace period: %v", err)
	}
}

// TestStandbyGivesProducerIDsOfTheActive: for as long as the client likes to ask.
func TestStandbyGivesProducerIDsOfTheActive(t *testing.T) {
	h := startHalf(t)
	h.pair.role(false)
	h.pair.set(func(p *pair) { p.ids = 4000 })
	c := h.dial()
	for n := range int64(3) {
		if p := ask[*kmsg.InitProducerIDResponse](c, kmsg.NewPtrInitProducerIDRequest(), 4); p.ErrorCode != 0 || p.ProducerID != 4001+n || p.ProducerEpoch != 0 {
			t.Fatalf("%+v", p)
		}
		h.skew.Add(int64(time.Minute))
	}
	h.pair.role(true)
	if p := ask[*kmsg.InitProducerIDResponse](c, kmsg.NewPtrInitProducerIDRequest(), 4); p.ErrorCode != 0 || p.ProducerID == 4004 {
		t.Errorf("a site that serves gives ids of the other one: %+v", p)
	}
}

// TestRefusedProduceWaitsForTheNameOfTheNewLeader: while the other site takes over, the answer waits until it can name the leader there, and
// that one takes produces; of one that nobody hears of it tells in the end.
func TestRefusedProduceWaitsForTheNameOfTheNewLeader(t *testing.T) {
	h := startHalf(t)
	topic := h.topic("t", 1)
	c := h.dial()
	var known map[site.PartitionID][2]int32
	h.pair.set(func(p *pair) {
		known, p.leader = p.leader, map[site.PartitionID][2]int32{}
		p.view = site.View{Role: site.Standby, Fencing: 5}
	})
	id := site.PartitionID{Topic: topic.ID}
	time.AfterFunc(50*time.Millisecond, func() {
		h.pair.set(func(p *pair) { p.leader[id] = [2]int32{away, -1} }) // it leads there, and does not serve yet
	})
	time.AfterFunc(100*time.Millisecond, func() {
		h.pair.set(func(p *pair) { p.leader, p.view.Fencing = known, 0 })
	})
	if p := produced(c, "t", 10); p.ErrorCode != kerr.NotLeaderForPartition.Code || p.CurrentLeader.LeaderID != away || p.CurrentLeader.LeaderEpoch != 1<<18 {
		t.Errorf("when the leader becomes known: %+v", p)
	}
	h.pair.set(func(p *pair) { p.leader = map[site.PartitionID][2]int32{} })
	if p := produced(c, "t", 10); p.ErrorCode != kerr.NotLeaderForPartition.Code || p.CurrentLeader.LeaderID != -1 {
		t.Errorf("when it does not: %+v", p)
	}
	h.pair.role(true)
	h.pair.set(func(p *pair) { p.leader = known })
	h.fence("t", 5)
	time.AfterFunc(50*time.Millisecond, func() { h.pair.role(false) })
	if p := produced(c, "t", 10); p.ErrorCode != kerr.NotLeaderForPartition.Code || p.CurrentLeader.LeaderID != away {
		t.Errorf("behind a fence: %+v", p)
	}
}

// What an idempotent producer has sent behind a batch that a standby refused is not written before that one, where the site is active by then.
func TestProducerGoesOnWhereAStandbyRefusedIt(t *testing.T) {
	h := startHalf(t)
	h.topic("t", 1)
	c := h.dial()
	send := func(sequence int32) (int16, int64) {
		b := record.NewBuilder()
		b.ProducerID, b.ProducerEpoch, b.BaseSequence = 77, 0, sequence
		b.Append(time.Now().UnixMilli(), nil, []byte("x"))
		batch, err := b.Batch()
		h.check(err)
		req := produce(9, "t", -1, slices.Clone(batch))
		req.TimeoutMillis = math.MaxInt32
		p := ask[*kmsg.ProduceResponse](c, req, 9).Topics[0].Partitions[0]
		return p.ErrorCode, p.BaseOffset
	}
	h.pair.role(false)
	if code, _ := send(0); code != kerr.NotLeaderForPartition.Code {
		t.Fatalf("error code %d of a standby", code)
	}
	h.pair.role(true)
	if code, at := send(1); code != kerr.NotLeaderForPartition.Code {
		t.Errorf("the second batch before the first: error code %d, offset %d", code, at)
	}
	for i := range int32(2) {
		if code, at := send(i); code != 0 || at != int64(i) {
			t.Errorf("batch %d: error code %d, offset %d", i, code, at)
		}
	}
}

func produced(c *brokertest.Conn, topic string, version int16) kmsg.ProduceResponseTopicPartition {
	req := produce(version, topic, -1, plain("x"))
	req.TimeoutMillis = math.MaxInt32 // the handler's clock may be ahead
	return ask[*kmsg.ProduceResponse](c, req, version).Topics[0].Partitions[0]
}

// plain is a batch of values without keys.
func plain(values ...string) record.Batch {
	b := record.NewBuilder()
	for _, v := range values {
		b.Append(time.Now().UnixMilli(), nil, []byte(v))
	}
	out, err := b.Batch()
	if err != nil {
		panic(err)
	}
	return slices.Clone(out)
}

// TestNothingIsAcknowledgedWithoutTheLease: what was written while the site served is not called safe when it must not acknowledge at
// the moment when the answer leaves, whatever it may have done when the request came.
func TestNothingIsAcknowledgedWithoutTheLease(t *testing.T) {
	h := startHalf(t)
	h.topic("t", 1)
	c := h.dial()
	if r := commitOffset(c, "g", "t", 1); r != 0 {
		t.Fatalf("commit: %d", r) // the group's log is there from here on
	}
	h.pair.set(func(p *pair) { p.may = func() bool { return false } })
	for _, acks := range []int16{1, -1} {
		resp := ask[*kmsg.ProduceResponse](c, produce(9, "t", acks, plain("x")), 9)
		if p := resp.Topics[0].Partitions[0]; p.ErrorCode != kerr.NotLeaderForPartition.Code || p.BaseOffset != -1 {
			t.Errorf("produce with acks=%d: %+v", acks, p)
		}
	}
	if code := commitOffset(c, "g", "t", 2); code != kerr.CoordinatorNotAvailable.Code {
		t.Errorf("offset commit: %d", code)
	}
	created := ask[*kmsg.CreateTopicsResponse](c, createTopics(7, newTopic("u", 1, 1, nil)), 7).Topics[0]
	if created.ErrorCode != kerr.NotController.Code {
		t.Errorf("create topic: %+v", created)
	}
	if code := deletedRecords(c, "t", 1); code != kerr.NotLeaderForPartition.Code {
		t.Errorf("delete records: %d", code)
	}
	groups := kmsg.NewPtrDeleteGroupsRequest()
	groups.Groups = []string{"g"}
	if g := ask[*kmsg.DeleteGroupsResponse](c, groups, 2).Groups[0]; g.ErrorCode != kerr.CoordinatorNotAvailable.Code {
		t.Errorf("delete group: %+v", g)
	}
}

// A site whose lease has lapsed names itself to nobody, and lets go of who stays: the other one may have taken over.
func TestClientsLeaveASiteWithoutTheLease(t *testing.T) {
	h := startHalf(t)
	h.topic("t", 1)
	c := h.dial()
	if p := produced(c, "t", 10); p.ErrorCode != 0 {
		t.Fatalf("with the lease: %+v", p)
	}
	h.pair.set(func(p *pair) { p.may = func() bool { return false } })
	if p := produced(c, "t", 10); p.ErrorCode != kerr.NotLeaderForPartition.Code || p.CurrentLeader.LeaderID == own {
		t.Errorf("produce: %+v", p)
	}
	if m := ask[*kmsg.MetadataResponse](c, metadata("t"), 12); m.Topics[0].Partitions[0].Leader == own || m.ControllerID == own {
		t.Errorf("metadata: %+v", m)
	}
	if f := find(c, "g", 2); f.ErrorCode == 0 && f.NodeID == own {
		t.Errorf("coordinator: %+v", f)
	}
	beat := kmsg.NewPtrHeartbeatRequest()
	beat.Group = "g"
	if code := ask[*kmsg.HeartbeatResponse](c, beat, 3).ErrorCode; code != kerr.NotCoordinator.Code {
		t.Errorf("heartbeat: error code %d", code)
	}
	if p := ask[*kmsg.InitProducerIDResponse](c, kmsg.NewPtrInitProducerIDRequest(), 4); p.ErrorCode == 0 {
		t.Errorf("producer id: %+v", p)
	}
	h.skew.Add(int64(time.Minute))
	produced(c, "t", 10) // answered, then closed
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		t.Errorf("connection after the grace period: %v", err)
	}
}

func commitOffset(c *brokertest.Conn, group, topic string, offset int64) int16 {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation = group, -1
	rt, rp := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
	rt.Topic, rp.Offset = topic, offset
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	for deadline := time.Now().Add(brokertest.Limit); ; time.Sleep(time.Millisecond) {
		code := ask[*kmsg.OffsetCommitResponse](c, req, 7).Topics[0].Partitions[0].ErrorCode
		switch code {
		case kerr.CoordinatorLoadInProgress.Code, kerr.NotCoordinator.Code:
		case kerr.CoordinatorNotAvailable.Code:
			if offset == 2 { // of whom it is expected
				return code
			}
		default:
			return code
		}
		if time.Now().After(deadline) {
			return code
		}
	}
}

func deletedRecords(c *brokertest.Conn, topic string, offset int64) int16 {
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 10_000
	rt, rp := kmsg.NewDeleteRecordsRequestTopic(), kmsg.NewDeleteRecordsRequestTopicPartition()
	rt.Topic, rp.Offset = topic, offset
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return ask[*kmsg.DeleteRecordsResponse](c, req, 2).Topics[0].Partitions[0].ErrorCode
}

// TestStandbyLeavesTheMetadataAlone: topics and configs change where the site serves, and a standby makes none by itself.
func TestStandbyLeavesTheMetadataAlone(t *testing.T) {
	h := startHalf(t)
	h.topic("t", 1)
	h.pair.role(false)
	c := h.dial()
	want := kerr.NotController.Code
	got := map[string]int16{
		"create":   ask[*kmsg.CreateTopicsResponse](c, createTopics(7, newTopic("u", 1, 1, nil)), 7).Topics[0].ErrorCode,
		"topic":    alterOne(c, kmsg.ConfigResourceTypeTopic, "t", "retention.ms", "1000"),
		"cluster":  alterOne(c, kmsg.ConfigResourceTypeBroker, "", "log.retention.ms", "1000"),
		"unknown":  deleteOne(c, "nobody"),
		"delete":   deleteOne(c, "t"),
		"validate": ask[*kmsg.CreateTopicsResponse](c, validateOnly(createTopics(7, newTopic("u", 1, 1, nil))), 7).Topics[0].ErrorCode,
	}
	more := kmsg.NewPtrCreatePartitionsRequest()
	mt := kmsg.NewCreatePartitionsRequestTopic()
	mt.Topic, mt.Count = "t", 3
	more.Topics = append(more.Topics, mt)
	got["partitions"] = ask[*kmsg.CreatePartitionsResponse](c, more, 3).Topics[0].ErrorCode
	for what, code := range got {
		if code != want {
			t.Errorf("%s: error code %d, want %d", what, code, want)
		}
	}
	if code := alterOne(c, kmsg.ConfigResourceTypeBroker, "1", "max.connections", "1000"); code != 0 {
		t.Errorf("a config of this broker alone: error code %d", code)
	}
	if code := deletedRecords(c, "t", 0); code != kerr.NotLeaderForPartition.Code {
		t.Errorf("delete records: %d", code)
	}
	auto := metadata("born")
	auto.AllowAutoTopicCreation = true
	if m := ask[*kmsg.MetadataResponse](c, auto, 9); m.Topics[0].ErrorCode != kerr.UnknownTopicOrPartition.Code {
		t.Errorf("auto-creation: %+v", m.Topics[0])
	}
	if find(c, "g", 3).NodeID != away { // which would create __consumer_offsets
		t.Error("the group's coordinator is not at the other site")
	}
	h.pair.role(true)
	for _, topic := range h.controller.Image().Topics() {
		if topic.Name != "t" || len(topic.Partitions) != 1 {
			t.Errorf("topic %s of %d partitions", topic.Name, len(topic.Partitions))
		}
	}
}

func validateOnly(req *kmsg.CreateTopicsRequest) *kmsg.CreateTopicsRequest {
	req.ValidateOnly = true
	return req
}

func deleteOne(c *brokertest.Conn, topic string) int16 {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TimeoutMillis = 10_000
	rt := kmsg.NewDeleteTopicsRequestTopic()
	rt.Topic = &topic
	req.Topics = append(req.Topics, rt)
	return ask[*kmsg.DeleteTopicsResponse](c, req, 6).Topics[0].ErrorCode
}

func alterOne(c *brokertest.Conn, kind kmsg.ConfigResourceType, name, key, value string) int16 {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r, e := kmsg.NewIncrementalAlterConfigsRequestResource(), kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	r.ResourceType, r.ResourceName = kind, name
	e.Name, e.Value = key, &value
	r.Configs = append(r.Configs, e)
	req.Resources = append(req.Resources, r)
	return ask[*kmsg.IncrementalAlterConfigsResponse](c, req, 1).Resources[0].ErrorCode
}

func find(c *brokertest.Conn, key string, version int16) *kmsg.FindCoordinatorResponse {
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorKey = key
	return ask[*kmsg.FindCoordinatorResponse](c, req, version)
}

// TestStandbyCoordinatesNothing: groups are sent to the other site, and producer ids are not given out.
func TestStandbyCoordinatesNothing(t *testing.T) {
	h := startHalf(t)
	h.topic("t", 1)
	c := h.dial()
	if code := commitOffset(c, "g", "t", 1); code != 0 {
		t.Fatalf("commit: %d", code)
	}
	if f := find(c, "g", 3); f.NodeID != own {
		t.Fatalf("active: %+v", f)
	}
	h.pair.role(false)
	if f := find(c, "g", 3); f.ErrorCode != 0 || f.NodeID != away || f.Host != "east.example" || f.Port != 9092 {
		t.Errorf("standby: %+v", f)
	}
	offsets, _ := h.controller.Image().Topic("__consumer_offsets")
	h.pair.set(func(p *pair) { // two brokers: the one that leads the group's partition
		p.peers = append(p.peers, controller.Broker{Node: 3, Endpoints: []controller.Endpoint{{Listener: listener, Host: "third", Port: 1}}})
		for i := range offsets.Partitions {
			p.leader[site.PartitionID{Topic: offsets.ID, Partition: int32(i)}] = [2]int32{3, 1}
		}
	})
	if f := find(c, "g", 3); f.ErrorCode != 0 || f.NodeID != 3 || f.Host != "third" {
		t.Errorf("standby of two: %+v", f)
	}
	h.pair.set(func(p *pair) { p.peers = nil })
	if f := find(c, "g", 3); f.ErrorCode != kerr.CoordinatorNotAvailable.Code {
		t.Errorf("standby without contact: %+v", f)
	}

	notCoordinator := kerr.NotCoordinator.Code
	join := kmsg.NewPtrJoinGroupRequest()
	join.Group, join.ProtocolType, join.SessionTimeoutMillis = "g", "consumer", 10_000
	sync, beat, leave := kmsg.NewPtrSyncGroupRequest(), kmsg.NewPtrHeartbeatRequest(), kmsg.NewPtrLeaveGroupRequest()
	sync.Group, beat.Group, leave.Group = "g", "g", "g"
	describe, fetch, gone := kmsg.NewPtrDescribeGroupsRequest(), kmsg.NewPtrOffsetFetchRequest(), kmsg.NewPtrDeleteGroupsRequest()
	describe.Groups, fetch.Group, gone.Groups = []string{"g"}, "g", []string{"g"}
	forget := kmsg.NewPtrOffsetDeleteRequest()
	forget.Group = "g"
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Group, commit.Generation = "g", -1
	ct := kmsg.NewOffsetCommitRequestTopic()
	ct.Topic, ct.Partitions = "t", []kmsg.OffsetCommitRequestTopicPartition{kmsg.NewOffsetCommitRequestTopicPartition()}
	commit.Topics = append(commit.Topics, ct)
	for what, code := range map[string]int16{
		"join":     ask[*kmsg.JoinGroupResponse](c, join, 4).ErrorCode,
		"sync":     ask[*kmsg.SyncGroupResponse](c, sync, 3).ErrorCode,
		"beat":     ask[*kmsg.HeartbeatResponse](c, beat, 3).ErrorCode,
		"leave":    ask[*kmsg.LeaveGroupResponse](c, leave, 2).ErrorCode,
		"describe": ask[*kmsg.DescribeGroupsResponse](c, describe, 5).Groups[0].ErrorCode,
		"fetch":    ask[*kmsg.OffsetFetchResponse](c, fetch, 6).ErrorCode,
		"commit":   ask[*kmsg.OffsetCommitResponse](c, commit, 7).Topics[0].Partitions[0].ErrorCode,
		"delete":   ask[*kmsg.DeleteGroupsResponse](c, gone, 2).Groups[0].ErrorCode,
		"forget":   ask[*kmsg.OffsetDeleteResponse](c, forget, 0).ErrorCode,
	} {
		if code != notCoordinator {
			t.Errorf("%s: error code %d, want %d", what, code, notCoordinator)
		}
	}
	if l := ask[*kmsg.ListGroupsResponse](c, kmsg.NewPtrListGroupsRequest(), 3); l.ErrorCode != 0 || len(l.Groups) != 0 {
		t.Errorf("list: %+v", l)
	}
	if p := ask[*kmsg.InitProducerIDResponse](c, kmsg.NewPtrInitProducerIDRequest(), 4); p.ErrorCode != kerr.CoordinatorLoadInProgress.Code || p.ProducerID != -1 {
		t.Errorf("producer id: %+v", p)
	}
}

// TestStandbyLeadsNothing: what only a leader answers is refused where the site does not serve, with the leader at the other one.
func TestStandbyLeadsNothing(t *testing.T) {
	h := startHalf(t)
	topic := h.topic("t", 1)
	h.pair.role(false)
	c := h.dial()
	list := kmsg.NewPtrListOffsetsRequest()
	lt := kmsg.NewListOffsetsRequestTopic()
	lt.Topic, lt.Partitions = "t", []kmsg.ListOffsetsRequestTopicPartition{{CurrentLeaderEpoch: -1, Timestamp: -1}}
	list.Topics = append(list.Topics, lt)
	if p := ask[*kmsg.ListOffsetsResponse](c, list, 5).Topics[0].Partitions[0]; p.ErrorCode != kerr.NotLeaderForPartition.Code {
		t.Errorf("list offsets: %+v", p)
	}
	if p := epochEnd(c, "t", -1, 0); p.ErrorCode != kerr.NotLeaderForPartition.Code {
		t.Errorf("epoch: %+v", p)
	}
	req := kmsg.NewPtrFetchRequest()
	ft := kmsg.NewFetchRequestTopic()
	ft.TopicID, ft.Partitions = topic.ID, []kmsg.FetchRequestTopicPartition{kmsg.NewFetchRequestTopicPartition()}
	req.Topics = append(req.Topics, ft)
	f := ask[*kmsg.FetchResponse](c, req, 16)
	if p := f.Topics[0].Partitions[0]; p.ErrorCode != kerr.NotLeaderForPartition.Code || p.CurrentLeader.LeaderID != away || len(f.Brokers) != 1 {
		t.Errorf("fetch: %+v", f)
	}
}

func epochEnd(c *brokertest.Conn, topic string, current, epoch int32) kmsg.OffsetForLeaderEpochResponseTopicPartition {
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	rt, rp := kmsg.NewOffsetForLeaderEpochRequestTopic(), kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	rt.Topic, rp.CurrentLeaderEpoch, rp.LeaderEpoch = topic, current, epoch
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return ask[*kmsg.OffsetForLeaderEpochResponse](c, req, 3).Topics[0].Partitions[0]
}
