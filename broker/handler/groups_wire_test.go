package handler_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/brokertest"
)

// coordinatorBroker starts a broker that coordinates all groups, without delays, with a topic "t" of two partitions.
func coordinatorBroker(t *testing.T, set ...string) *brokertest.Broker {
	t.Helper()
	b := brokertest.Start(t, append([]string{"group.initial.rebalance.delay.ms=0", "offsets.topic.num.partitions=1"}, set...)...)
	b.CreateTopic("t", 2)
	coordinated(t, b)
	return b
}

// coordinated waits until the groups of a broker are loaded.
func coordinated(t *testing.T, b *brokertest.Broker) {
	t.Helper()
	c := b.Dial()
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.SetVersion(1)
	fetch := kmsg.NewPtrOffsetFetchRequest()
	fetch.SetVersion(2)
	await(t, "the groups", func() bool {
		return c.Do(find).(*kmsg.FindCoordinatorResponse).ErrorCode == 0 && c.Do(fetch).(*kmsg.OffsetFetchResponse).ErrorCode == 0
	})
}

// commitOf asks to commit an offset for each partition of a topic.
func commitOf(version int16, group, topic string, offset int64, partitions ...int32) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.SetVersion(version)
	req.Group, req.Generation, req.RetentionTimeMillis = group, -1, -1
	tr := kmsg.NewOffsetCommitRequestTopic()
	tr.Topic = topic
	for _, id := range partitions {
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = id, offset, 3, kmsg.StringPtr("m")
		tr.Partitions = append(tr.Partitions, p)
	}
	req.Topics = append(req.Topics, tr)
	return req
}

// commit returns the code of each partition, in the order of the request.
func commit(c *brokertest.Conn, req *kmsg.OffsetCommitRequest) []int16 {
	var codes []int16
	for _, t := range c.Do(req).(*kmsg.OffsetCommitResponse).Topics {
		for _, p := range t.Partitions {
			codes = append(codes, p.ErrorCode)
		}
	}
	return codes
}

// offsetOf is what a group has committed for a partition of "t".
func offsetOf(c *brokertest.Conn, group string, partition int32) kmsg.OffsetFetchResponseGroupTopicPartition {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.SetVersion(9)
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	g.Topics = []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", Partitions: []int32{partition}}}
	req.Groups = append(req.Groups, g)
	return c.Do(req).(*kmsg.OffsetFetchResponse).Groups[0].Topics[0].Partitions[0]
}

// TestOffsetCommitVersions: what each version commits, and the codes that it gets.
func TestOffsetCommitVersions(t *testing.T) {
	b := coordinatorBroker(t, "offsets.retention.check.interval.ms=5")
	c := b.Dial()
	long := strings.Repeat("x", 4097)
	for version := int16(2); version <= 9; version++ {
		group := string(rune('a' + version))
		req := commitOf(version, group, "t", 40+int64(version), 0, 7, -1, 1)
		req.Topics[0].Partitions[3].Metadata = &long
		other := kmsg.NewOffsetCommitRequestTopic()
		other.Topic, other.Partitions = "nowhere", req.Topics[0].Partitions[:1]
		req.Topics = append(req.Topics, other)
		unknown := kerr.UnknownTopicOrPartition.Code
		if codes := commit(c, req); !slices.Equal(codes, []int16{0, unknown, unknown, kerr.OffsetMetadataTooLarge.Code, unknown}) {
			t.Errorf("version %d: codes %d", version, codes)
		}
		epoch := int32(-1)
		if version >= 6 {
			epoch = 3
		}
		if p := offsetOf(c, group, 0); p.Offset != 40+int64(version) || p.LeaderEpoch != epoch || *p.Metadata != "m" {
			t.Errorf("version %d: %+v", version, p)
		}
		if p := offsetOf(c, group, 1); p.Offset != -1 {
			t.Errorf("version %d: %+v", version, p)
		}

		member := commitOf(version, "nobody", "t", 1, 0)
		member.Generation, member.MemberID = 3, "m"
		want := kerr.IllegalGeneration.Code
		if version >= 9 {
			want = kerr.GroupIDNotFound.Code
		}
		if codes := commit(c, member); !slices.Equal(codes, []int16{want}) {
			t.Errorf("version %d, a member of no group: %d", version, codes)
		}
		member.Topics[0].Topic = "nowhere" // the group is not asked
		if codes := commit(c, member); !slices.Equal(codes, []int16{unknown}) {
			t.Errorf("version %d, no topic: %d", version, codes)
		}
		member.Topics = nil
		if codes := commit(c, member); len(codes) != 0 {
			t.Errorf("version %d, nothing: %d", version, codes)
		}
		member = commitOf(version, group, "t", 1, 0)
		member.Generation, member.MemberID = 3, "m"
		if codes := commit(c, member); !slices.Equal(codes, []int16{kerr.UnknownMemberID.Code}) {
			t.Errorf("version %d, not a member: %d", version, codes)
		}
	}
	for version := int16(2); version <= 4; version++ { // from version 5 on no client asks for a retention of its own
		short := commitOf(version, "short", "t", 1, 0)
		short.RetentionTimeMillis = 1
		if codes := commit(c, short); !slices.Equal(codes, []int16{0}) {
			t.Fatalf("version %d: %d", version, codes)
		}
		await(t, "the expiry", func() bool { return offsetOf(c, "short", 0).Offset == -1 })
	}
	for version := int16(2); version <= 9; version++ {
		if p := offsetOf(c, string(rune('a'+version)), 0); p.Offset != 40+int64(version) {
			t.Errorf("version %d: has expired: %+v", version, p)
		}
	}
}

// TestOffsetDelete: each partition with its own code, or one for the group.
func TestOffsetDelete(t *testing.T) {
	b := coordinatorBroker(t)
	c := b.Dial()
	ask := func(group, topic string, partitions ...int32) (code int16, codes []int16) {
		req := kmsg.NewPtrOffsetDeleteRequest()
		req.Group = group
		tr := kmsg.NewOffsetDeleteRequestTopic()
		tr.Topic = topic
		for _, id := range partitions {
			tr.Partitions = append(tr.Partitions, kmsg.OffsetDeleteRequestTopicPartition{Partition: id})
		}
		req.Topics = append(req.Topics, tr)
		resp := c.Do(req).(*kmsg.OffsetDeleteResponse)
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				codes = append(codes, p.ErrorCode)
			}
		}
		return resp.ErrorCode, codes
	}
	check := func(what string, group, topic string, partitions []int32, want int16, each ...int16) {
		t.Helper()
		if code, codes := ask(group, topic, partitions...); code != want || !slices.Equal(codes, each) {
			t.Errorf("%s: %d, %d", what, code, codes)
		}
	}
	if codes := commit(c, commitOf(9, "g", "t", 5, 0)); !slices.Equal(codes, []int16{0}) {
		t.Fatal(codes)
	}
	unknown := kerr.UnknownTopicOrPartition.Code
	check("a group that is not there", "nobody", "t", []int32{0}, kerr.GroupIDNotFound.Code)
	check("no group", "", "t", []int32{0}, kerr.InvalidGroupID.Code)
	check("a group that is not there, before partitions that are not", "nobody", "t", []int32{7, -1}, kerr.GroupIDNotFound.Code)
	check("no group, before a topic that is not there", "", "nowhere", []int32{0}, kerr.InvalidGroupID.Code)
	check("partitions that are not there", "g", "t", []int32{7, -1}, 0, unknown, unknown)
	check("a topic that is not there", "g", "nowhere", []int32{0}, 0, unknown)
	if p := offsetOf(c, "g", 0); p.Offset != 5 {
		t.Fatalf("%+v", p)
	}
	check("one that is, one that is not, and one that was never committed", "g", "t", []int32{0, 9, 1, 0}, 0, 0, unknown, 0, 0)
	if p := offsetOf(c, "g", 0); p.Offset != -1 {
		t.Errorf("%+v", p)
	}

	join := kmsg.NewPtrJoinGroupRequest()
	join.SetVersion(3)
	join.Group, join.ProtocolType, join.SessionTimeoutMillis, join.RebalanceTimeoutMillis = "workers", "connect", 30_000, 30_000
	join.Protocols = append(join.Protocols, kmsg.JoinGroupRequestProtocol{Name: "default"})
	if resp := c.Do(join).(*kmsg.JoinGroupResponse); resp.ErrorCode != 0 {
		t.Fatalf("%+v", resp)
	}
	check("members that are no consumers", "workers", "t", []int32{0}, kerr.NonEmptyGroup.Code)
}

// TestGroupLifecycle: a consumer group from its first member to its deletion, past a restart of the broker.
func TestGroupLifecycle(t *testing.T) {
	b := coordinatorBroker(t)
	ctx, a := b.Context(), kadm.NewClient(b.Client())
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	listed := func(states ...string) []string {
		t.Helper()
		l, err := a.ListGroups(ctx, states...)
		must("list", err)
		return l.Groups()
	}
	described := func() kadm.DescribedGroup {
		t.Helper()
		d, err := a.DescribeGroups(ctx, "g")
		must("describe", err)
		return d["g"]
	}
	producer := b.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for _, id := range []int32{0, 0, 1} {
		must("produce", producer.ProduceSync(ctx, &kgo.Record{Topic: "t", Partition: id, Value: []byte("v")}).FirstErr())
	}
	consumer := b.Client(kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.DisableAutoCommit(), kgo.ClientID("reader"))
	var records []*kgo.Record
	for len(records) < 3 {
		f := consumer.PollFetches(ctx)
		must("poll", f.Err())
		records = append(records, f.Records()...)
	}
	must("commit", consumer.CommitRecords(ctx, records...))
	if d := described(); d.State != "Stable" || d.ProtocolType != "consumer" || len(d.Members) != 1 || d.Members[0].ClientID != "reader" {
		t.Errorf("%+v", d)
	}
	if stable, empty := listed("Stable"), listed("Empty"); !slices.Equal(stable, []string{"g"}) || len(empty) != 0 {
		t.Errorf("stable %q, empty %q", stable, empty)
	}
	var both kadm.TopicsSet
	both.Add("t", 0, 1)
	deleted, err := a.DeleteOffsets(ctx, "g", both)
	must("delete offsets", err)
	if e, _ := deleted.Lookup("t", 0); e != kerr.GroupSubscribedToTopic {
		t.Errorf("deleted what is consumed: %v", e)
	}
	if d, err := a.DeleteGroup(ctx, "g"); err != kerr.NonEmptyGroup {
		t.Errorf("deleted with its members: %+v, %v", d, err)
	}
	consumer.CloseAllowingRebalance() // leaves
	if d := described(); d.State != "Empty" || len(d.Members) != 0 {
		t.Errorf("%+v", d)
	}

	b.Restart()
	coordinated(t, b)
	a = kadm.NewClient(b.Client())
	if empty := listed("Empty"); !slices.Equal(empty, []string{"g"}) {
		t.Errorf("empty %q", empty)
	}
	offsets := func() (zero, one int64) {
		t.Helper()
		o, err := a.FetchOffsets(ctx, "g")
		must("fetch offsets", err)
		zero, one = -1, -1
		if r, ok := o.Lookup("t", 0); ok {
			zero = r.At
		}
		if r, ok := o.Lookup("t", 1); ok {
			one = r.At
		}
		return zero, one
	}
	if zero, one := offsets(); zero != 2 || one != 1 {
		t.Errorf("after the restart %d and %d", zero, one)
	}
	var first kadm.TopicsSet
	first.Add("t", 0)
	deleted, err = a.DeleteOffsets(ctx, "g", first)
	must("delete offsets", err)
	must("delete offsets", deleted.Error())
	if zero, one := offsets(); zero != -1 || one != 1 {
		t.Errorf("after the deletion %d and %d", zero, one)
	}
	_, err = a.DeleteGroup(ctx, "g")
	must("delete group", err)
	if all := listed(); len(all) != 0 {
		t.Errorf("left: %q", all)
	}
	if d := described(); d.Err != kerr.GroupIDNotFound && d.State != "Dead" {
		t.Errorf("%+v", d)
	}
	if zero, one := offsets(); zero != -1 || one != -1 {
		t.Errorf("left: %d and %d", zero, one)
	}
}
