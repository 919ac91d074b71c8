package handler_test

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/brokertest"
)

// alterIncrementally sends one resource; ops as in "key=v", "!key", "+key=v", "-key=v".
func alterIncrementally(c *brokertest.Conn, version int16, kind kmsg.ConfigResourceType, name string, ops ...string) (code int16, message string) {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.SetVersion(version)
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kind, name
	for _, op := range ops {
		e := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		if i := strings.IndexByte("=!+-", op[0]); i > 0 {
			e.Op, op = kmsg.IncrementalAlterConfigOp(i), op[1:]
		}
		key, value, ok := strings.Cut(op, "=")
		e.Name = key
		if ok {
			e.Value = &value
		}
		r.Configs = append(r.Configs, e)
	}
	req.Resources = append(req.Resources, r)
	resp := c.Do(req).(*kmsg.IncrementalAlterConfigsResponse).Resources[0]
	if resp.ErrorMessage != nil {
		message = *resp.ErrorMessage
	}
	return resp.ErrorCode, message
}

// TestAlterConfigsErrors: kinds of resources and what Kafka says to each, in all versions of both APIs.
func TestAlterConfigsErrors(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("t", 1)
	c := b.Dial()
	for version := range int16(2) {
		for i, x := range []struct {
			kind    kmsg.ConfigResourceType
			name    string
			op      string
			code    int16
			message string
		}{
			{kmsg.ConfigResourceTypeTopic, "t", "retention.ms=1000", 0, ""},
			{kmsg.ConfigResourceTypeTopic, "t", "nonsense=1", kerr.InvalidConfig.Code, "nonsense"},
			{kmsg.ConfigResourceTypeTopic, "t", "remote.storage.enable=true", kerr.InvalidConfig.Code, "remote.storage.enable"},
			{kmsg.ConfigResourceTypeTopic, "t", "preallocate=true", 0, ""},
			{kmsg.ConfigResourceTypeTopic, "missing", "retention.ms=1000", kerr.UnknownTopicOrPartition.Code, "does not exist"},
			{kmsg.ConfigResourceTypeTopic, "a/b", "retention.ms=1000", kerr.InvalidTopicException.Code, ""},
			{kmsg.ConfigResourceTypeBroker, "1", "log.retention.ms=1000", 0, ""},
			{kmsg.ConfigResourceTypeBroker, "", "log.retention.ms=1000", 0, ""},
			{kmsg.ConfigResourceTypeBroker, "2", "log.retention.ms=1000", kerr.InvalidRequest.Code, "Unexpected broker id, expected 1, but received 2"},
			{kmsg.ConfigResourceTypeBroker, "", "node.id=7", kerr.InvalidRequest.Code, "Cannot update these configs dynamically"},
			{kmsg.ConfigResourceTypeBroker, "1", "nonsense=7", kerr.InvalidConfig.Code, "nonsense"},
			{kmsg.ConfigResourceTypeBrokerLogger, "1", "kafka.server=DEBUG", kerr.InvalidConfig.Code, "Logger kafka.server does not exist!"},
			{kmsg.ConfigResourceTypeBrokerLogger, "1", "kafka.server=LOUD", kerr.InvalidConfig.Code, "not a supported log level"},
			{kmsg.ConfigResourceTypeBrokerLogger, "1", "+kafka.server=DEBUG", kerr.InvalidRequest.Code, "not allowed"},
			{kmsg.ConfigResourceTypeBrokerLogger, "5", "kafka.server=DEBUG", kerr.InvalidRequest.Code, "Unexpected broker id"},
			{kmsg.ConfigResourceTypeGroupConfig, "g", "consumer.session.timeout.ms=1", kerr.InvalidRequest.Code, "Unknown resource type 32"},
			{kmsg.ConfigResourceType(99), "g", "x=1", kerr.InvalidRequest.Code, "Unknown resource type 99"},
		} {
			if code, message := alterIncrementally(c, version, x.kind, x.name, x.op); code != x.code || !strings.Contains(message, x.message) {
				t.Errorf("version %d, case %d: code %d, %q", version, i, code, message)
			}
		}
	}
	for version := range int16(3) {
		req := kmsg.NewPtrAlterConfigsRequest()
		req.SetVersion(version)
		for _, kind := range []kmsg.ConfigResourceType{kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBrokerLogger} {
			r := kmsg.NewAlterConfigsRequestResource()
			r.ResourceType, r.ResourceName = kind, "t"
			e := kmsg.NewAlterConfigsRequestResourceConfig()
			e.Name, e.Value = "segment.ms", kmsg.StringPtr(fmt.Sprint(100+version))
			r.Configs = append(r.Configs, e)
			req.Resources = append(req.Resources, r)
		}
		resp := c.Do(req).(*kmsg.AlterConfigsResponse)
		if len(resp.Resources) != 2 || resp.Resources[0].ErrorCode != 0 || resp.Resources[1].ErrorCode != kerr.InvalidRequest.Code {
			t.Errorf("version %d: %+v", version, resp.Resources)
		}
		if got := topicOverrides(t, b, "t"); got != fmt.Sprintf("segment.ms=%d", 100+version) {
			t.Errorf("version %d: the topic has %s", version, got)
		}
	}
}

// topicOverrides is what a topic has of its own, by name.
func topicOverrides(t *testing.T, b *brokertest.Broker, topic string) string {
	t.Helper()
	rs, err := kadm.NewClient(b.Client()).DescribeTopicConfigs(b.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	var parts []string
	for _, c := range rs[0].Configs {
		if c.Source == kmsg.ConfigSourceDynamicTopicConfig {
			parts = append(parts, c.Key+"="+c.MaybeValue())
		}
	}
	return strings.Join(parts, " ")
}

// TestConfigsTakeEffect: what is altered counts for the next request, and after a restart.
func TestConfigsTakeEffect(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("t", 1)
	c := b.Dial()
	produce := func(value []byte) error {
		cl := b.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
		return cl.ProduceSync(b.Context(), &kgo.Record{Topic: "t", Value: value}).FirstErr()
	}
	set := func(kind kmsg.ConfigResourceType, name string, ops ...string) {
		t.Helper()
		if code, message := alterIncrementally(c, 1, kind, name, ops...); code != 0 {
			t.Fatalf("%v: code %d %s", ops, code, message)
		}
	}
	large := make([]byte, 5000)
	if err := produce(large); err != nil {
		t.Fatal(err)
	}
	set(kmsg.ConfigResourceTypeBroker, "", "message.max.bytes=1000")
	if err := produce(large); err == nil {
		t.Error("above the cluster's message.max.bytes, and taken")
	}
	set(kmsg.ConfigResourceTypeTopic, "t", "max.message.bytes=9000")
	if err := produce(large); err != nil {
		t.Error(err)
	}
	b.Restart()
	c = b.Dial()
	set(kmsg.ConfigResourceTypeTopic, "t", "!max.message.bytes")
	if err := produce(large); err == nil {
		t.Error("message.max.bytes of the cluster is lost in a restart")
	}
	set(kmsg.ConfigResourceTypeTopic, "t", "message.timestamp.type=LogAppendTime", "message.timestamp.before.max.ms=1000")
	if err := produce(nil); err != nil {
		t.Error(err)
	}
	set(kmsg.ConfigResourceTypeTopic, "t", "message.timestamp.type=CreateTime")
	cl := b.Client()
	if err := cl.ProduceSync(b.Context(), &kgo.Record{Topic: "t", Timestamp: time.Now().Add(-time.Hour)}).FirstErr(); err == nil {
		t.Error("a record from before message.timestamp.before.max.ms was taken")
	}
}

// TestConnectionLimitAtRunTime: max.connections.per.ip counts for connections from then on.
func TestConnectionLimitAtRunTime(t *testing.T) {
	b := brokertest.Start(t)
	c := b.Dial()
	if code, message := alterIncrementally(c, 1, kmsg.ConfigResourceTypeBroker, "1", "max.connections.per.ip=1"); code != 0 {
		t.Fatalf("code %d %s", code, message)
	}
	nc, err := net.Dial("tcp", b.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(brokertest.Limit)); err != nil {
		t.Fatal(err)
	}
	if n, err := nc.Read(make([]byte, 1)); err == nil {
		t.Errorf("a second connection is served: read %d bytes", n)
	}
	if code, _ := alterIncrementally(c, 1, kmsg.ConfigResourceTypeBroker, "1", "!max.connections.per.ip"); code != 0 {
		t.Fatalf("code %d", code)
	}
	b.Dial().Do(kmsg.NewPtrApiVersionsRequest())
}

// TestBrokerSideCompression: batches are stored in the topic's codec, whatever producers send, and read as they were.
func TestBrokerSideCompression(t *testing.T) {
	b := brokertest.Start(t)
	value := bytes.Repeat([]byte("compress me "), 2000)
	for want, config := range []string{"uncompressed", "gzip", "snappy", "lz4", "zstd"} {
		b.CreateTopic(config, 1, "compression.type="+config)
		for _, sent := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.ZstdCompression()} {
			cl := b.Client(kgo.ProducerBatchCompression(sent))
			if err := cl.ProduceSync(b.Context(), &kgo.Record{Topic: config, Value: value}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		fetched := fetchOnce(b, config, 0)
		for n := 0; len(fetched) > 0; n++ {
			size := int(fetched[8])<<24 | int(fetched[9])<<16 | int(fetched[10])<<8 | int(fetched[11])
			if codec := int(fetched[22] & 7); codec != want {
				t.Errorf("%s: batch %d has codec %d", config, n, codec)
			}
			fetched = fetched[12+size:]
		}
		cl := b.Client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{config: {0: kgo.NewOffset().AtStart()}}))
		for n := 0; n < 3; {
			fs := cl.PollFetches(b.Context())
			if err := fs.Err(); err != nil {
				t.Fatal(err)
			}
			fs.EachRecord(func(r *kgo.Record) {
				n++
				if !bytes.Equal(r.Value, value) {
					t.Errorf("%s: another value of %d bytes", config, len(r.Value))
				}
			})
		}
	}
}

// fetchOnce returns the record batches of a topic's partition 0 from offset on.
func fetchOnce(b *brokertest.Broker, topic string, offset int64) []byte {
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(11)
	req.MaxBytes, req.MaxWaitMillis, req.SessionEpoch = 1<<20, 10, -1
	ft := kmsg.NewFetchRequestTopic()
	ft.Topic = topic
	fp := kmsg.NewFetchRequestTopicPartition()
	fp.FetchOffset, fp.PartitionMaxBytes = offset, 1<<20
	ft.Partitions = append(ft.Partitions, fp)
	req.Topics = append(req.Topics, ft)
	return b.Dial().Do(req).(*kmsg.FetchResponse).Topics[0].Partitions[0].RecordBatches
}
