package handler_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/brokertest"
)

// TestMetadata: who is asked for in every version, and creation on demand.
func TestMetadata(t *testing.T) {
	b := brokertest.Start(t, "broker.rack=r1")
	b.CreateTopic("t", 2)
	c := b.Dial()
	ask := func(version int16, edit func(*kmsg.MetadataRequest)) *kmsg.MetadataResponse {
		req := kmsg.NewPtrMetadataRequest()
		req.SetVersion(version)
		req.AllowAutoTopicCreation = false
		edit(req)
		return c.Do(req).(*kmsg.MetadataResponse)
	}
	name := func(s string) func(*kmsg.MetadataRequest) {
		return func(r *kmsg.MetadataRequest) {
			mt := kmsg.NewMetadataRequestTopic()
			mt.Topic = &s
			r.Topics = append(r.Topics, mt)
		}
	}
	for version := int16(0); version <= 13; version++ {
		empty := func(r *kmsg.MetadataRequest) { r.Topics = []kmsg.MetadataRequestTopic{} }
		if got := ask(version, empty); (len(got.Topics) == 1) != (version == 0) {
			t.Errorf("version %d, empty list: %+v", version, got.Topics)
		}
		if version > 0 {
			if got := ask(version, func(*kmsg.MetadataRequest) {}); len(got.Topics) != 1 {
				t.Errorf("version %d, null: %+v", version, got.Topics)
			}
		}
		got := ask(version, name("t"))
		if len(got.Brokers) != 1 || got.Brokers[0].NodeID != 1 || len(got.Topics) != 1 || len(got.Topics[0].Partitions) != 2 {
			t.Fatalf("version %d: %+v", version, got)
		}
		if version >= 1 && (got.ControllerID != 1 || got.Brokers[0].Rack == nil || *got.Brokers[0].Rack != "r1") {
			t.Errorf("version %d: %+v", version, got)
		}
		if (got.Topics[0].TopicID != [16]byte{}) != (version >= 10) {
			t.Errorf("version %d: topic id %x", version, got.Topics[0].TopicID)
		}
	}
	id := topicID(b, "t")
	byID := func(id [16]byte) func(*kmsg.MetadataRequest) {
		return func(r *kmsg.MetadataRequest) {
			mt := kmsg.NewMetadataRequestTopic()
			mt.TopicID = id
			r.Topics = append(r.Topics, mt)
		}
	}
	if got := ask(12, byID(id)).Topics[0]; got.ErrorCode != 0 || *got.Topic != "t" {
		t.Errorf("by id: %+v", got)
	}
	if got := ask(12, byID([16]byte{9})).Topics[0]; got.ErrorCode != kerr.UnknownTopicID.Code || got.Topic != nil {
		t.Errorf("by unknown id: %+v", got)
	}
	if got := ask(10, byID(id)); got.Topics[0].ErrorCode != kerr.InvalidRequest.Code || got.Topics[0].TopicID != id || len(got.Brokers) > 0 || got.ControllerID != -1 {
		t.Errorf("by id in version 10: %+v", got)
	}
	if got := ask(9, name("bad/name")).Topics[0]; got.ErrorCode != kerr.InvalidTopicException.Code {
		t.Errorf("bad name: %+v", got)
	}
	if got := ask(9, name("missing")).Topics[0]; got.ErrorCode != kerr.UnknownTopicOrPartition.Code {
		t.Errorf("missing: %+v", got)
	}
	create := func(r *kmsg.MetadataRequest) { name("on-demand")(r); r.AllowAutoTopicCreation = true }
	await(t, "topic on demand", func() bool {
		got := ask(9, create).Topics[0]
		return got.ErrorCode == 0 && got.Partitions[0].ErrorCode == 0 && got.Partitions[0].LeaderEpoch >= 0
	})
	await(t, "topic on demand, asked for as before version 4", func() bool {
		got := ask(3, name("on-old-demand")).Topics[0]
		return got.ErrorCode == 0 && got.Partitions[0].ErrorCode == 0
	})
	if slices.Contains(topicNames(b), "missing") {
		t.Error("a topic was created although the request did not allow it")
	}
}

// TestNoAutoCreation: auto.create.topics.enable=false.
func TestNoAutoCreation(t *testing.T) {
	b := brokertest.Start(t, "auto.create.topics.enable=false")
	c := b.Client(kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(1))
	if err := c.ProduceSync(b.Context(), &kgo.Record{Topic: "x"}).FirstErr(); err == nil {
		t.Error("produced to a topic that does not exist")
	}
	if names := topicNames(b); len(names) > 0 {
		t.Errorf("topics %v", names)
	}
}

// TestDescribe: configs, cluster and log dirs as tools ask for them.
func TestDescribe(t *testing.T) {
	b := brokertest.Start(t, "log.retention.hours=7")
	b.CreateTopic("t", 2, "cleanup.policy=compact")
	a := kadm.NewClient(b.Client())
	ctx := b.Context()
	topics, err := a.DescribeTopicConfigs(ctx, "t")
	if err != nil {
		t.Fatal(err)
	}
	configs := map[string]kadm.Config{}
	for _, c := range topics[0].Configs {
		configs[c.Key] = c
	}
	if c := configs["cleanup.policy"]; c.MaybeValue() != "compact" || c.Source != kmsg.ConfigSourceDynamicTopicConfig {
		t.Errorf("cleanup.policy: %+v", c)
	}
	if c := configs["retention.ms"]; c.MaybeValue() != "25200000" || c.Source != kmsg.ConfigSourceDefaultConfig || len(c.Synonyms) != 0 { // as Apache Kafka 4.4.0
		t.Errorf("retention.ms: %+v", c)
	}
	if c := configs["segment.bytes"]; c.MaybeValue() != "1073741824" || c.Source != kmsg.ConfigSourceDefaultConfig {
		t.Errorf("segment.bytes: %+v", c)
	}
	brokers, err := a.DescribeBrokerConfigs(ctx, 1)
	if err != nil || len(brokers[0].Configs) < 50 {
		t.Errorf("%d broker configs, %v", len(brokers[0].Configs), err)
	}
	meta, err := a.BrokerMetadata(ctx)
	if err != nil || meta.Cluster == "" || len(meta.Brokers) != 1 {
		t.Errorf("cluster %+v, %v", meta, err)
	}
	dirs, err := a.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	partitions := 0
	dirs.Each(func(d kadm.DescribedLogDir) { partitions += len(d.Topics.Sorted()) })
	if partitions != 2 {
		t.Errorf("%d partitions in log dirs: %+v", partitions, dirs)
	}
}

// TestDescribeConfigs: which resources there are, in every version.
func TestDescribeConfigs(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("t", 1)
	c := b.Dial()
	for version := int16(1); version <= 4; version++ {
		ask := func(kind kmsg.ConfigResourceType, name string, names ...string) kmsg.DescribeConfigsResponseResource {
			req := kmsg.NewPtrDescribeConfigsRequest()
			req.SetVersion(version)
			req.IncludeDocumentation, req.IncludeSynonyms = true, true
			r := kmsg.NewDescribeConfigsRequestResource()
			r.ResourceType, r.ResourceName, r.ConfigNames = kind, name, names
			req.Resources = append(req.Resources, r)
			return c.Do(req).(*kmsg.DescribeConfigsResponse).Resources[0]
		}
		got := ask(kmsg.ConfigResourceTypeTopic, "t", "retention.ms", "nonsense")
		if got.ErrorCode != 0 || len(got.Configs) != 1 || got.Configs[0].Name != "retention.ms" {
			t.Fatalf("version %d: %+v", version, got)
		}
		if version >= 3 && (got.Configs[0].ConfigType != kmsg.ConfigTypeLong || got.Configs[0].Documentation == nil) {
			t.Errorf("version %d: %+v", version, got.Configs[0])
		}
		for _, tc := range []struct {
			kind kmsg.ConfigResourceType
			name string
			want int16
		}{
			{kmsg.ConfigResourceTypeTopic, "missing", kerr.UnknownTopicOrPartition.Code},
			{kmsg.ConfigResourceTypeTopic, "bad/name", kerr.InvalidTopicException.Code},
			{kmsg.ConfigResourceTypeBroker, "1", 0}, {kmsg.ConfigResourceTypeBroker, "", 0},
			{kmsg.ConfigResourceTypeBroker, "2", kerr.InvalidRequest.Code}, {kmsg.ConfigResourceTypeBroker, "x", kerr.InvalidRequest.Code},
			{99, "x", kerr.InvalidRequest.Code},
			{kmsg.ConfigResourceTypeBrokerLogger, "1", 0}, {kmsg.ConfigResourceTypeBrokerLogger, "", kerr.InvalidRequest.Code},
			{kmsg.ConfigResourceTypeBrokerLogger, "2", kerr.InvalidRequest.Code},
			{kmsg.ConfigResourceTypeGroupConfig, "g", kerr.InvalidRequest.Code}, {kmsg.ConfigResourceTypeClientMetrics, "m", kerr.InvalidRequest.Code},
		} {
			if got := ask(tc.kind, tc.name); got.ErrorCode != tc.want || got.ResourceName != tc.name {
				t.Errorf("version %d, %v %q: code %d, want %d", version, tc.kind, tc.name, got.ErrorCode, tc.want)
			}
		}
	}
}

// TestDescribeConfigsIsBounded: a request of some hundred kilobytes does not get an answer of gigabytes.
func TestDescribeConfigsIsBounded(t *testing.T) {
	b := brokertest.Start(t)
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.SetVersion(4)
	req.IncludeDocumentation, req.IncludeSynonyms = true, true
	for range 10_000 {
		r := kmsg.NewDescribeConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeBroker, "1"
		req.Resources = append(req.Resources, r)
	}
	c := b.Dial()
	c.Send(c.Frame(req))
	body := c.Receive()
	if len(body) > 64<<20 {
		t.Errorf("%d bytes", len(body))
	}
	resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
	resp.SetVersion(4)
	if err := resp.ReadFrom(body[5:]); err != nil {
		t.Fatal(err)
	}
	last := len(resp.Resources) - 1
	if resp.Resources[0].ErrorCode != 0 || last != 9_999 || resp.Resources[last].ErrorCode != kerr.PolicyViolation.Code {
		t.Errorf("%d answers, first code %d, last code %d", last+1, resp.Resources[0].ErrorCode, resp.Resources[last].ErrorCode)
	}
}

// TestDescribeDynamic: what AlterConfigs has set for brokers, with its sources, as both broker resources show it.
func TestDescribeDynamic(t *testing.T) {
	b := brokertest.Start(t, "message.max.bytes=4000")
	c := b.Dial()
	for _, name := range []string{"", "1"} {
		value := "message.max.bytes=500" + name
		if code, message := alterIncrementally(c, 1, kmsg.ConfigResourceTypeBroker, name, value); code != 0 {
			t.Fatal(code, message)
		}
	}
	for name, want := range map[string]string{
		"":  "500 source 3, 500/3",
		"1": "5001 source 2, 5001/2 500/3 4000/4 1048588/5",
	} {
		req := kmsg.NewPtrDescribeConfigsRequest()
		req.SetVersion(4)
		req.IncludeSynonyms = true
		r := kmsg.NewDescribeConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeBroker, name
		if name != "" {
			r.ConfigNames = []string{"message.max.bytes"}
		}
		req.Resources = append(req.Resources, r)
		configs := c.Do(req).(*kmsg.DescribeConfigsResponse).Resources[0].Configs
		if len(configs) != 1 {
			t.Fatalf("broker %q: %+v", name, configs)
		}
		got := fmt.Sprintf("%s source %d,", *configs[0].Value, configs[0].Source)
		for _, s := range configs[0].ConfigSynonyms {
			got += fmt.Sprintf(" %s/%d", *s.Value, s.Source)
		}
		if got != want || configs[0].ReadOnly {
			t.Errorf("broker %q: %s, want %s; read-only %v", name, got, want, configs[0].ReadOnly)
		}
	}
}

// TestDescribeClusterAndLogDirs: every version, and the kind of endpoint that a broker is not.
func TestDescribeClusterAndLogDirs(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("t", 1)
	mustProduce(t, b, "t", batch(t, nil, "x"))
	c := b.Dial()
	for version := int16(0); version <= 2; version++ {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.SetVersion(version)
		req.IncludeFencedBrokers = true
		got := c.Do(req).(*kmsg.DescribeClusterResponse)
		if got.ErrorCode != 0 || got.ControllerID != 1 || len(got.Brokers) != 1 || got.Brokers[0].IsFenced || got.ClusterID == "" {
			t.Errorf("version %d: %+v", version, got)
		}
	}
	for kind, want := range map[int8]int16{2: kerr.MismatchedEndpointType.Code, 7: kerr.UnsupportedEndpointType.Code} {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.SetVersion(1)
		req.EndpointType = kind
		if got := c.Do(req).(*kmsg.DescribeClusterResponse); got.ErrorCode != want {
			t.Errorf("endpoint type %d: %+v", kind, got)
		}
	}
	for version := int16(1); version <= 4; version++ {
		req := kmsg.NewPtrDescribeLogDirsRequest()
		req.SetVersion(version)
		got := c.Do(req).(*kmsg.DescribeLogDirsResponse)
		if len(got.Dirs) != 1 || len(got.Dirs[0].Topics) != 1 || got.Dirs[0].Topics[0].Partitions[0].Size == 0 {
			t.Errorf("version %d: %+v", version, got)
		}
		if version == 4 && (got.Dirs[0].TotalBytes <= 0 || got.Dirs[0].UsableBytes <= 0) {
			t.Errorf("space: %+v", got.Dirs[0])
		}
		other := kmsg.NewDescribeLogDirsRequestTopic()
		other.Topic, other.Partitions = "t", []int32{5}
		req.Topics = append(req.Topics, other)
		if got := c.Do(req).(*kmsg.DescribeLogDirsResponse); len(got.Dirs[0].Topics) != 0 {
			t.Errorf("version %d: partition 5: %+v", version, got)
		}
	}
}
