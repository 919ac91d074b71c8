package config

import (
	"errors"
	"math"
	"strings"
	"testing"
)

func TestParseTopic(t *testing.T) {
	c := mustLoad(t, "log.retention.hours=2\nwrite.caching=true", nil, nil)
	topic, err := c.ParseTopic(map[string]string{
		"segment.bytes": " 1048576 ", "cleanup.policy": "compact, delete", "message.timestamp.type": "LogAppendTime",
		"max.compaction.lag.ms": "9223372036854775807",
	})
	if err != nil {
		t.Fatal(err)
	}
	if topic.SegmentBytes != 1<<20 || !topic.Compact || !topic.Delete || !topic.LogAppendTime || topic.RetentionMs != 7200000 ||
		!topic.WriteCaching || topic.CompactionLagMaxMs != math.MaxInt64 {
		t.Errorf("%+v", topic)
	}
	topic, err = c.ParseTopic(map[string]string{"write.caching": "false", "cleanup.policy": "", "internal.segment.bytes": "4096", "segment.bytes": "2097152"})
	if err != nil || topic.WriteCaching || topic.Delete || topic.Compact || topic.SegmentBytes != 4096 {
		t.Errorf("%+v %v", topic, err)
	}
}

func TestParseTopicRefuses(t *testing.T) {
	c := mustLoad(t, "", nil, nil)
	for key, bad := range map[string]struct{ value, want string }{
		"retention.msec":                        {"5", `did you mean "retention.ms"?`},
		"message.format.version":                {"3.0", "removed in Apache Kafka 4"},
		"segment.bytes":                         {"14", "from 1048576"},
		"retention.ms":                          {"-2", "from -1"},
		"cleanup.policy":                        {"shred", "compact, delete"},
		"remote.storage.enable":                 {"true", "tiered storage"},
		"min.insync.replicas":                   {"0", "from 1"},
		"leader.replication.throttled.replicas": {"none", "partition:broker"},
		"min.compaction.lag.ms":                 {"9223372036854775807", "max.compaction.lag.ms"},
	} {
		overrides := map[string]string{key: bad.value}
		if key == "min.compaction.lag.ms" {
			overrides["max.compaction.lag.ms"] = "5"
		}
		_, err := c.ParseTopic(overrides)
		var topicErr *TopicError
		if !errors.As(err, &topicErr) || topicErr.Key != key || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s=%s: got %v, want it to say %q", key, bad.value, err, bad.want)
		}
	}
}

func described(t *testing.T, all []Described, name string) Described {
	t.Helper()
	for _, d := range all {
		if d.Key.Name == name {
			return d
		}
	}
	t.Fatalf("%s is not described", name)
	return Described{}
}

func TestDescribeTopic(t *testing.T) {
	c := mustLoad(t, "log.retention.hours=2", nil, nil)
	d := described(t, c.DescribeTopic(nil), "retention.ms")
	if *d.Value != "7200000" || d.Source != Default || d.Effective != StaticBroker || len(d.Synonyms) != 0 || d.Key.Type != Long || d.ReadOnly {
		t.Errorf("%+v", d)
	}
	d = described(t, c.DescribeTopic(map[string]string{"retention.ms": "9"}), "retention.ms")
	if *d.Value != "9" || d.Source != DynamicTopic || d.Effective != DynamicTopic || len(d.Synonyms) != 1 || d.Synonyms[0].Name != "retention.ms" {
		t.Errorf("%+v", d)
	}
	c = mustLoad(t, "log.retention.ms=2", nil, nil)
	d = described(t, c.DescribeTopic(map[string]string{"retention.ms": "9"}), "retention.ms")
	if len(d.Synonyms) != 3 || d.Synonyms[1].Name != "log.retention.ms" || *d.Synonyms[1].Value != "2" || d.Synonyms[1].Source != StaticBroker {
		t.Errorf("%+v", d)
	}
	d = described(t, c.DescribeTopic(nil), "segment.bytes")
	if *d.Value != "1073741824" || d.Source != Default {
		t.Errorf("%+v", d)
	}
	for _, d := range c.DescribeTopic(nil) {
		if d.Key.Internal {
			t.Errorf("%s is internal", d.Key.Name)
		}
	}
}

func TestDescribeBroker(t *testing.T) {
	c := mustLoad(t, "message.max.bytes=2000000\nlog.retention.minutes=3", nil, nil)
	all := c.DescribeBroker()
	d := described(t, all, "message.max.bytes")
	if *d.Value != "2000000" || d.Source != StaticBroker || d.ReadOnly || *d.Synonyms[1].Value != "1048588" {
		t.Errorf("%+v", d)
	}
	d = described(t, all, "log.retention.ms")
	if d.Value != nil || len(d.Synonyms) != 0 || d.Source != Default {
		t.Errorf("%+v", d)
	}
	d = described(t, all, "log.retention.minutes")
	if *d.Value != "3" || len(d.Synonyms) != 2 || *d.Synonyms[0].Value != "3" || d.Synonyms[1].Name != "log.retention.hours" {
		t.Errorf("%+v", d)
	}
	if d := described(t, all, "node.id"); !d.ReadOnly || *d.Value != "1" || d.Source != Default {
		t.Errorf("%+v", d)
	}
	for _, d := range all {
		if d.Key.Name == "zookeeper.connect" {
			t.Error("a removed key is described")
		}
	}
}
