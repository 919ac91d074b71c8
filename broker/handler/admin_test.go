package handler_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/brokertest"
)

func createTopics(version int16, topics ...kmsg.CreateTopicsRequestTopic) *kmsg.CreateTopicsRequest {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.SetVersion(version)
	req.TimeoutMillis = int32(brokertest.Limit.Milliseconds())
	req.Topics = topics
	return req
}

func newTopic(name string, partitions int32, factor int16, edit func(*kmsg.CreateTopicsRequestTopic)) kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, factor
	if edit != nil {
		edit(&t)
	}
	return t
}

func assign(partition int32, replicas ...int32) kmsg.CreateTopicsRequestTopicReplicaAssignment {
	a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
	a.Partition, a.Replicas = partition, replicas
	return a
}

func withConfig(name string, value *string) func(*kmsg.CreateTopicsRequestTopic) {
	return func(t *kmsg.CreateTopicsRequestTopic) {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = name, value
		t.Configs = append(t.Configs, c)
	}
}

// TestCreateTopicsErrors: what Kafka's controller refuses, with its code; nothing of it exists afterwards.
func TestCreateTopicsErrors(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("there", 1)
	b.CreateTopic("a.b", 1)
	value := func(s string) *string { return &s }
	assignments := func(list ...kmsg.CreateTopicsRequestTopicReplicaAssignment) func(*kmsg.CreateTopicsRequestTopic) {
		return func(t *kmsg.CreateTopicsRequestTopic) { t.ReplicaAssignment = list }
	}
	cases := []struct {
		name  string
		topic kmsg.CreateTopicsRequestTopic
		want  *kerr.Error
	}{
		{"exists", newTopic("there", 1, 1, nil), kerr.TopicAlreadyExists},
		{"empty name", newTopic("", 1, 1, nil), kerr.InvalidTopicException},
		{"dot", newTopic(".", 1, 1, nil), kerr.InvalidTopicException},
		{"slash", newTopic("../x", 1, 1, nil), kerr.InvalidTopicException},
		{"long name", newTopic(strings.Repeat("x", 250), 1, 1, nil), kerr.InvalidTopicException},
		{"collision", newTopic("a_b", 1, 1, nil), kerr.InvalidTopicException},
		{"metadata topic", newTopic("__cluster_metadata", 1, 1, nil), kerr.InvalidRequest},
		{"no partitions", newTopic("x", 0, 1, nil), kerr.InvalidPartitions},
		{"minus two partitions", newTopic("x", -2, 1, nil), kerr.InvalidPartitions},
		{"too many partitions", newTopic("x", 1<<30, 1, nil), kerr.PolicyViolation},
		{"no replicas", newTopic("x", 1, 0, nil), kerr.InvalidReplicationFactor},
		{"three replicas", newTopic("x", 1, 3, nil), kerr.InvalidReplicationFactor},
		{"unknown config", newTopic("x", 1, 1, withConfig("nonsense", value("1"))), kerr.InvalidConfig},
		{"bad config", newTopic("x", 1, 1, withConfig("retention.ms", value("soon"))), kerr.InvalidConfig},
		{"null config", newTopic("x", 1, 1, withConfig("retention.ms", nil)), kerr.InvalidConfig},
		{"assignment and partitions", newTopic("x", 1, -1, assignments(assign(0, 1))), kerr.InvalidRequest},
		{"assignment and replicas", newTopic("x", -1, 1, assignments(assign(0, 1))), kerr.InvalidRequest},
		{"assignment with a hole", newTopic("x", -1, -1, assignments(assign(0, 1), assign(2, 1))), kerr.InvalidReplicaAssignment},
		{"assignment twice", newTopic("x", -1, -1, assignments(assign(0, 1), assign(0, 1))), kerr.InvalidReplicaAssignment},
		{"assignment to nobody", newTopic("x", -1, -1, assignments(assign(0))), kerr.InvalidReplicaAssignment},
		{"assignment to a stranger", newTopic("x", -1, -1, assignments(assign(0, 7))), kerr.InvalidReplicaAssignment},
		{"assignment to one twice", newTopic("x", -1, -1, assignments(assign(0, 1, 1))), kerr.InvalidReplicaAssignment},
	}
	c := b.Dial()
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			got := c.Do(createTopics(7, tc.topic)).(*kmsg.CreateTopicsResponse).Topics
			if len(got) != 1 || got[0].ErrorCode != tc.want.Code || got[0].ErrorMessage == nil || got[0].Topic != tc.topic.Topic {
				t.Errorf("got %+v, want %s", got, tc.want.Message)
			}
		})
	}
	twice := c.Do(createTopics(7, newTopic("x", 1, 1, nil), newTopic("x", 2, 1, nil))).(*kmsg.CreateTopicsResponse).Topics
	if len(twice) != 1 || twice[0].ErrorCode != kerr.InvalidRequest.Code {
		t.Errorf("twice in a request: %+v", twice)
	}
	if names := topicNames(b); !slices.Equal(names, []string{"a.b", "there"}) {
		t.Errorf("topics now: %v", names)
	}
}

func topicNames(b *brokertest.Broker) (names []string) {
	req := kmsg.NewPtrMetadataRequest()
	req.SetVersion(9)
	for _, topic := range b.Dial().Do(req).(*kmsg.MetadataResponse).Topics {
		names = append(names, *topic.Topic)
	}
	return names
}

// TestCreateTopics: every version, defaults, manual assignment, validation only; it all survives a restart.
func TestCreateTopics(t *testing.T) {
	b := brokertest.Start(t, "num.partitions=3")
	c := b.Dial()
	for version := int16(0); version <= 7; version++ {
		got := c.Do(createTopics(version, newTopic(fmt.Sprint("v", version), 2, 1, nil))).(*kmsg.CreateTopicsResponse).Topics[0]
		if got.ErrorCode != 0 {
			t.Errorf("version %d: %+v", version, got)
		}
		if version >= 5 && (got.NumPartitions != 2 || got.ReplicationFactor != 1 || len(got.Configs) < 20) {
			t.Errorf("version %d: %+v", version, got)
		}
		if (got.TopicID != [16]byte{}) != (version >= 7) {
			t.Errorf("version %d: topic id %x", version, got.TopicID)
		}
	}
	compact := "compact"
	got := c.Do(createTopics(7, newTopic("defaults", -1, -1, withConfig("cleanup.policy", &compact)),
		newTopic("manual", -1, -1, func(t *kmsg.CreateTopicsRequestTopic) {
			t.ReplicaAssignment = append(t.ReplicaAssignment, assign(1, 1), assign(0, 1))
		}))).(*kmsg.CreateTopicsResponse).Topics
	if got[0].NumPartitions != 3 || got[0].ReplicationFactor != 1 || got[1].NumPartitions != 2 {
		t.Errorf("got %+v", got)
	}
	for _, config := range got[0].Configs {
		if config.Name == "cleanup.policy" && (config.Value == nil || *config.Value != "compact" || config.Source != 1) {
			t.Errorf("got %+v", config)
		}
	}
	dry := createTopics(7, newTopic("dry", 4, 1, nil))
	dry.ValidateOnly = true
	if got := c.Do(dry).(*kmsg.CreateTopicsResponse).Topics[0]; got.ErrorCode != 0 || got.NumPartitions != 4 || got.TopicID == [16]byte{} {
		t.Errorf("validate only: %+v", got)
	}
	before := topicNames(b)
	if slices.Contains(before, "dry") {
		t.Error("validation created a topic")
	}
	id := topicID(b, "manual")
	b.Restart()
	if after := topicNames(b); !slices.Equal(before, after) {
		t.Errorf("topics %v, before the restart %v", after, before)
	}
	if topicID(b, "manual") != id {
		t.Error("topic id has changed")
	}
}

func deleteTopic(t *testing.T, b *brokertest.Broker, names ...string) {
	t.Helper()
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.SetVersion(4)
	req.TimeoutMillis, req.TopicNames = int32(brokertest.Limit.Milliseconds()), names
	for _, topic := range b.Dial().Do(req).(*kmsg.DeleteTopicsResponse).Topics {
		if topic.ErrorCode != 0 {
			t.Fatalf("delete %s: code %d", *topic.Topic, topic.ErrorCode)
		}
	}
}

// TestDeleteTopics: by name and by id; a topic of the same name has another id, no records, and higher leader epochs.
func TestDeleteTopics(t *testing.T) {
	b := brokertest.Start(t)
	long := strings.Repeat("n", 249)
	for round := range 3 {
		for _, topic := range []string{"t", long} {
			b.CreateTopic(topic, 2)
			if offset := mustProduce(t, b, topic, batch(t, nil, "x")); offset != 0 {
				t.Fatalf("round %d: first record has offset %d", round, offset)
			}
		}
		first, epoch := topicID(b, "t"), leaderEpoch(t, b, "t")
		deleteTopic(t, b, "t", long)
		if names := topicNames(b); len(names) > 0 {
			t.Fatalf("round %d: still there: %v", round, names)
		}
		b.CreateTopic("t", 1)
		if second := leaderEpoch(t, b, "t"); topicID(b, "t") == first || second <= epoch {
			t.Fatalf("round %d: id %x then %x, leader epoch %d then %d", round, first, topicID(b, "t"), epoch, second)
		}
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.SetVersion(6)
		req.TimeoutMillis = int32(brokertest.Limit.Milliseconds())
		byID, unknown, neither, both := kmsg.NewDeleteTopicsRequestTopic(), kmsg.NewDeleteTopicsRequestTopic(), kmsg.NewDeleteTopicsRequestTopic(), kmsg.NewDeleteTopicsRequestTopic()
		byID.TopicID, unknown.TopicID = topicID(b, "t"), first
		both.TopicID, both.Topic = first, kmsg.StringPtr("t")
		missing := kmsg.NewDeleteTopicsRequestTopic()
		missing.Topic = kmsg.StringPtr("missing")
		req.Topics = append(req.Topics, byID, unknown, neither, both, missing)
		var codes []int16
		for _, topic := range b.Dial().Do(req).(*kmsg.DeleteTopicsResponse).Topics {
			codes = append(codes, topic.ErrorCode)
		}
		want := []int16{0, kerr.UnknownTopicID.Code, kerr.InvalidRequest.Code, kerr.InvalidRequest.Code, kerr.UnknownTopicOrPartition.Code}
		if !slices.Equal(codes, want) {
			t.Fatalf("codes %v, want %v", codes, want)
		}
	}
	b.Restart()
	if names := topicNames(b); len(names) > 0 {
		t.Fatalf("after a restart: %v", names)
	}
}

// TestDeleteTopicsRepeated: a name or id that stands twice is refused and answered once, whether it exists or not, and so is a name with
// the id that it has; nothing of it is deleted.
func TestDeleteTopicsRepeated(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("t", 1)
	b.CreateTopic("u", 1)
	entry := func(name string, id [16]byte) kmsg.DeleteTopicsRequestTopic {
		e := kmsg.NewDeleteTopicsRequestTopic()
		if e.TopicID = id; name != "" {
			e.Topic = &name
		}
		return e
	}
	none, id := [16]byte{}, topicID(b, "t")
	for name, entries := range map[string][]kmsg.DeleteTopicsRequestTopic{
		"names":            {entry("t", none), entry("t", none)},
		"names of nothing": {entry("missing", none), entry("missing", none), entry("missing", none)},
		"ids":              {entry("", id), entry("", id)},
		"name and id":      {entry("t", none), entry("", id)},
		"id and name":      {entry("", id), entry("t", none)},
	} {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.SetVersion(6)
		req.TimeoutMillis, req.Topics = int32(brokertest.Limit.Milliseconds()), entries
		got := b.Dial().Do(req).(*kmsg.DeleteTopicsResponse).Topics
		if len(got) != 1 || got[0].ErrorCode != kerr.InvalidRequest.Code {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if names := topicNames(b); !slices.Equal(names, []string{"t", "u"}) {
		t.Errorf("left are %v", names)
	}
}

func leaderEpoch(t *testing.T, b *brokertest.Broker, topic string) int32 {
	t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.SetVersion(9)
	mt := kmsg.NewMetadataRequestTopic()
	mt.Topic = &topic
	req.Topics = append(req.Topics, mt)
	p := b.Dial().Do(req).(*kmsg.MetadataResponse).Topics[0].Partitions[0]
	if p.ErrorCode != 0 || p.Leader != 1 {
		t.Fatalf("partition %+v", p)
	}
	return p.LeaderEpoch
}

// TestDeletionDisabled: delete.topic.enable=false.
func TestDeletionDisabled(t *testing.T) {
	b := brokertest.Start(t, "delete.topic.enable=false")
	b.CreateTopic("t", 1)
	for version, want := range map[int16]int16{1: kerr.InvalidRequest.Code, 4: kerr.TopicDeletionDisabled.Code} {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.SetVersion(version)
		req.TimeoutMillis, req.TopicNames = 1000, []string{"t"}
		if got := b.Dial().Do(req).(*kmsg.DeleteTopicsResponse).Topics[0]; got.ErrorCode != want {
			t.Errorf("version %d: %+v", version, got)
		}
	}
}

// TestCreatePartitions: more partitions come; everything else is refused.
func TestCreatePartitions(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("t", 2)
	mustProduce(t, b, "t", batch(t, nil, "x"))
	more := func(topic string, count int32, assignment ...[]int32) (int16, string) {
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.SetVersion(3)
		req.TimeoutMillis = int32(brokertest.Limit.Milliseconds())
		ct := kmsg.NewCreatePartitionsRequestTopic()
		ct.Topic, ct.Count = topic, count
		for _, replicas := range assignment {
			a := kmsg.NewCreatePartitionsRequestTopicAssignment()
			a.Replicas = replicas
			ct.Assignment = append(ct.Assignment, a)
		}
		req.Topics = append(req.Topics, ct)
		got := b.Dial().Do(req).(*kmsg.CreatePartitionsResponse).Topics[0]
		if got.ErrorMessage == nil {
			return got.ErrorCode, ""
		}
		return got.ErrorCode, *got.ErrorMessage
	}
	for _, tc := range []struct {
		name       string
		topic      string
		count      int32
		assignment [][]int32
		want       int16
	}{
		{"unknown topic", "nope", 3, nil, kerr.UnknownTopicOrPartition.Code},
		{"same", "t", 2, nil, kerr.InvalidPartitions.Code},
		{"fewer", "t", 1, nil, kerr.InvalidPartitions.Code},
		{"negative", "t", -1, nil, kerr.InvalidPartitions.Code},
		{"absurd", "t", 1 << 30, nil, kerr.PolicyViolation.Code},
		{"assignments for fewer", "t", 4, [][]int32{{1}}, kerr.InvalidReplicaAssignment.Code},
		{"stranger", "t", 3, [][]int32{{9}}, kerr.InvalidReplicaAssignment.Code},
		{"placed by the controller", "t", 4, nil, 0},
		{"assigned", "t", 5, [][]int32{{1}}, 0},
	} {
		if code, message := more(tc.topic, tc.count, tc.assignment...); code != tc.want {
			t.Errorf("%s: code %d (%s), want %d", tc.name, code, message, tc.want)
		}
	}
	req := produce(9, "t", -1, batch(t, nil, "y"))
	req.Topics[0].Partitions[0].Partition = 4
	if p := b.Dial().Do(req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]; p.ErrorCode != 0 || p.BaseOffset != 0 {
		t.Errorf("new partition: %+v", p)
	}
	b.Restart()
	if end := endOffset(b, "t", 0); end != 1 {
		t.Errorf("partition 0 ends at %d after a restart", end)
	}
}

func listOffsets(version int16, topic string, timestamp int64) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	req.SetVersion(version)
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp = timestamp
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

func endOffset(b *brokertest.Broker, topic string, partition int32) int64 {
	req := listOffsets(5, topic, -1)
	req.Topics[0].Partitions[0].Partition = partition
	return b.Dial().Do(req).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].Offset
}

// TestListOffsets: by time and by the special timestamps, each from its version on.
func TestListOffsets(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("t", 1)
	now := time.Now().UnixMilli()
	p := b.Client(kgo.DefaultProduceTopic("t"))
	for _, age := range []int64{5000, 3000, 4000, 1000} {
		r := &kgo.Record{Value: []byte("x"), Timestamp: time.UnixMilli(now - age)}
		if err := p.ProduceSync(b.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	c := b.Dial()
	for _, tc := range []struct {
		timestamp, offset, found int64
		since                    int16
	}{
		{-1, 4, -1, 1}, {-2, 0, -1, 1}, {-3, 3, now - 1000, 7}, {-4, 0, -1, 8}, {-5, -1, -1, 9}, {-6, -1, -1, 11},
		{now - 5000, 0, now - 5000, 1}, {now - 4999, 1, now - 3000, 1}, {now - 2999, 3, now - 1000, 1}, {now, -1, -1, 1}, {0, 0, now - 5000, 1},
	} {
		for version := int16(1); version <= 11; version++ {
			got := c.Do(listOffsets(version, "t", tc.timestamp)).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
			if version < tc.since {
				if got.ErrorCode != kerr.UnsupportedVersion.Code {
					t.Errorf("timestamp %d, version %d: %+v", tc.timestamp, version, got)
				}
				continue
			}
			if got.ErrorCode != 0 || got.Offset != tc.offset || got.Timestamp != tc.found {
				t.Errorf("timestamp %d, version %d: %+v, want offset %d, timestamp %d", tc.timestamp, version, got, tc.offset, tc.found)
			}
		}
	}
	if got := c.Do(listOffsets(7, "t", -99)).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]; got.ErrorCode != kerr.UnsupportedVersion.Code {
		t.Errorf("unknown special timestamp: %+v", got)
	}
	twice := listOffsets(7, "t", -1)
	twice.Topics[0].Partitions = append(twice.Topics[0].Partitions, twice.Topics[0].Partitions[0])
	got := c.Do(twice).(*kmsg.ListOffsetsResponse).Topics[0].Partitions
	if len(got) != 1 || got[0].ErrorCode != kerr.InvalidRequest.Code || got[0].Offset != -1 {
		t.Errorf("named twice, to be answered once: %+v", got)
	}
}

// TestOffsetForLeaderEpoch: each start of a broker is a new leader epoch, and each epoch's end can be asked for.
func TestOffsetForLeaderEpoch(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("t", 1)
	epochs := []int32{leaderEpoch(t, b, "t")}
	mustProduce(t, b, "t", batch(t, nil, "a", "b"))
	b.Restart()
	epochs = append(epochs, leaderEpoch(t, b, "t"))
	mustProduce(t, b, "t", batch(t, nil, "c"))
	for version := int16(2); version <= 4; version++ {
		ask := func(current, epoch int32) kmsg.OffsetForLeaderEpochResponseTopicPartition {
			req := kmsg.NewPtrOffsetForLeaderEpochRequest()
			req.SetVersion(version)
			topic := kmsg.NewOffsetForLeaderEpochRequestTopic()
			topic.Topic = "t"
			p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
			p.CurrentLeaderEpoch, p.LeaderEpoch = current, epoch
			topic.Partitions = append(topic.Partitions, p)
			req.Topics = append(req.Topics, topic)
			return b.Dial().Do(req).(*kmsg.OffsetForLeaderEpochResponse).Topics[0].Partitions[0]
		}
		for _, tc := range []struct {
			current, epoch, found int32
			end                   int64
			code                  int16
		}{
			{-1, epochs[0], epochs[0], 2, 0}, {epochs[1], epochs[1], epochs[1], 3, 0}, {-1, epochs[1] + 5, -1, -1, 0},
			{epochs[0], epochs[0], -1, -1, kerr.FencedLeaderEpoch.Code}, {epochs[1] + 1, epochs[0], -1, -1, kerr.UnknownLeaderEpoch.Code},
		} {
			if got := ask(tc.current, tc.epoch); got.LeaderEpoch != tc.found || got.EndOffset != tc.end || got.ErrorCode != tc.code {
				t.Errorf("version %d, epoch %d as of %d: %+v, want %+v", version, tc.epoch, tc.current, got, tc)
			}
		}
	}
}
