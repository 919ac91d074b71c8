package main

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// setting is a key and a value that is set, nil = null.
type setting struct {
	key   string
	value *string
}

func set(key, value string) setting { return setting{key, &value} }

// Settings of topics. The good ones leave records where they are, and let them be read.
var (
	goodTopicSettings = []setting{
		set("cleanup.policy", "compact"), set("cleanup.policy", "delete"), set("cleanup.policy", "compact,delete"), set("cleanup.policy", "[delete]"),
		set("retention.ms", "-1"), set("retention.bytes", "1000000000"), set("segment.bytes", "1048576"), set("segment.ms", "3600000"),
		set("compression.type", "gzip"), set("compression.type", "producer"), set("compression.type", "uncompressed"), set("compression.type", "zstd"),
		set("compression.type", "lz4"), set("compression.type", "snappy"),
		set("max.message.bytes", "500"), set("max.message.bytes", "0"), set("min.insync.replicas", "1"), set("message.timestamp.type", "LogAppendTime"),
		set("message.timestamp.type", "CreateTime"), set("message.timestamp.before.max.ms", "3600000"), set("message.timestamp.after.max.ms", "9223372036854775807"),
		set("delete.retention.ms", "0"), set("index.interval.bytes", "100"), set("min.cleanable.dirty.ratio", "0.25"), set("preallocate", "true"),
		set("flush.messages", "7"), set("unclean.leader.election.enable", "true"), set("segment.jitter.ms", "5"), set("compression.gzip.level", "-1"),
		set("file.delete.delay.ms", "1000"), set("max.compaction.lag.ms", "100000"), set("min.compaction.lag.ms", "1"),
	}
	badTopicSettings = []setting{
		set("cleanup.policy", "nothing"), set("cleanup.policy", ""), set("retention.ms", "-2"), set("retention.ms", "soon"), set("retention.ms", "1.5"), set("segment.bytes", "1"),
		set("segment.bytes", "99999999999"), set("compression.type", "brotli"), set("max.message.bytes", "-1"), set("min.insync.replicas", "0"),
		set("message.timestamp.type", "Yesterday"), set("min.cleanable.dirty.ratio", "2"), set("no.such.key", "1"), set("preallocate", "perhaps"),
		set("min.insync.replicas", "2"), set("compression.gzip.level", "77"), set("index.interval.bytes", "-1"), {"retention.ms", nil}, set("", "x"),
		set("min.compaction.lag.ms", "200000000000000"), set("remote.storage.enable", "maybe"),
	}
	goodBrokerSettings = []setting{
		set("log.cleaner.backoff.ms", "20000"), set("message.max.bytes", "2000000"), set("log.retention.ms", "-1"), set("compression.type", "producer"),
		set("log.cleaner.threads", "2"), set("log.message.timestamp.type", "CreateTime"), set("log.index.interval.bytes", "8192"), set("min.insync.replicas", "1"),
		set("log.cleanup.policy", "delete"), set("log.roll.ms", "600000000"), set("log.segment.bytes", "100000000"), set("max.connections.per.ip", "100000"),
	}
	badBrokerSettings = []setting{
		set("message.max.bytes", "much"), set("log.cleaner.threads", "0"), set("log.retention.ms", "x"), set("compression.type", "brotli"), set("node.id", "3"),
		set("log.dirs", "/nowhere"), set("num.partitions", "4"), set("process.roles", "broker"), set("log.cleanup.policy", "burn"), {"log.cleaner.threads", nil},
	}
)

// topicConfigsFor picks some settings for a new topic.
func (g *generator) topicConfigsFor(good bool) []kmsg.CreateTopicsRequestTopicConfig {
	var out []kmsg.CreateTopicsRequestTopicConfig
	for range 1 + g.IntN(2) {
		s := pick(g, goodTopicSettings...)
		if !good && g.chance(60) {
			s = pick(g, badTopicSettings...)
		}
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		s = g.repack(s)
		c.Name, c.Value = s.key, s.value
		if len(out) > 0 && out[0].Name == c.Name {
			continue
		}
		out = append(out, c)
	}
	return out
}

func (g *generator) topicSetting() setting {
	s := pick(g, goodTopicSettings...)
	if g.chance(30) {
		s = pick(g, badTopicSettings...)
	}
	return g.repack(s)
}

// repack notes that a topic has a compression of its own, or leaves that out: Kafka packs records anew whose producer claims the time of
// append with other timestamps than they had, which no producer does.
func (g *generator) repack(s setting) setting {
	if s.key == "compression.type" {
		if g.stamped {
			return set("retention.ms", "-1")
		}
		g.repacked = true
	}
	return s
}

// change is one entry of an IncrementalAlterConfigs.
type change struct {
	op int8 // 0 set, 1 delete, 2 append, 3 subtract
	setting
}

// incremental adds an IncrementalAlterConfigs of one resource.
func (g *generator) incremental(kind kmsg.ConfigResourceType, name string, changes ...change) {
	validate, twice := g.chance(25), g.chance(5)
	request(g, controlConn, 44, func(_ *side, r *kmsg.IncrementalAlterConfigsRequest, _ int16) {
		r.ValidateOnly = validate
		x := kmsg.NewIncrementalAlterConfigsRequestResource()
		x.ResourceType, x.ResourceName = kind, name
		for _, c := range changes {
			e := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
			e.Name, e.Value, e.Op = c.key, c.value, kmsg.IncrementalAlterConfigOp(c.op)
			x.Configs = append(x.Configs, e)
		}
		r.Resources = append(r.Resources, x)
		if twice {
			r.Resources = append(r.Resources, x)
		}
	}, nil)
}

// topicConfigs changes settings of a topic one by one.
func (g *generator) topicConfigs() {
	var changes []change
	for range 1 + g.IntN(2) {
		c := change{pick[int8](g, 0, 0, 0, 1, 2, 3), g.topicSetting()}
		if c.op > 1 && g.chance(70) {
			c.setting = pick(g, set("cleanup.policy", "compact"), set("cleanup.policy", "delete"), set("leader.replication.throttled.replicas", "0:1"))
		}
		if c.op == 1 {
			c.value = nil
		}
		if g.chance(2) {
			c.op = 9
		}
		changes = append(changes, c)
	}
	g.incremental(kmsg.ConfigResourceTypeTopic, g.topic(), changes...)
	if g.chance(60) {
		g.describeConfigs()
	}
}

// brokerConfigChange changes a setting of the broker.
func (g *generator) brokerConfigChange() {
	g.brokerConfigs = true
	s := pick(g, goodBrokerSettings...)
	if g.chance(40) {
		s = pick(g, badBrokerSettings...)
	}
	op := pick[int8](g, 0, 0, 0, 1)
	if op == 1 {
		s.value = nil
	}
	g.incremental(kmsg.ConfigResourceTypeBroker, pick(g, "1", "1", "", "7", "x"), change{op, s})
}

// alterConfigs sets all settings of a topic or broker at once.
func (g *generator) alterConfigs() {
	kind, name := kmsg.ConfigResourceTypeTopic, g.topic()
	var settings []setting
	for range g.IntN(3) {
		settings = append(settings, g.topicSetting())
	}
	if g.chance(15) {
		kind, name = pick(g, kmsg.ConfigResourceTypeBroker, kmsg.ConfigResourceType(0), kmsg.ConfigResourceType(99)), pick(g, "1", "", "x")
		g.brokerConfigs = true
		settings = []setting{pick(g, goodBrokerSettings...)}
	}
	validate := g.chance(25)
	request(g, controlConn, 33, func(_ *side, r *kmsg.AlterConfigsRequest, _ int16) {
		r.ValidateOnly = validate
		x := kmsg.NewAlterConfigsRequestResource()
		x.ResourceType, x.ResourceName = kind, name
		for _, s := range settings {
			e := kmsg.NewAlterConfigsRequestResourceConfig()
			e.Name, e.Value = s.key, s.value
			x.Configs = append(x.Configs, e)
		}
		r.Resources = append(r.Resources, x)
	}, nil)
}

// describedBrokerKeys are settings that both brokers have, with the values that both are started with.
var describedBrokerKeys = []string{"log.cleaner.backoff.ms", "message.max.bytes", "log.retention.ms", "log.cleaner.threads", "min.insync.replicas",
	"compression.type", "log.cleanup.policy", "log.segment.bytes", "node.id", "auto.create.topics.enable", "num.partitions", "default.replication.factor",
	"no.such.key", "log.message.timestamp.type", "log.index.interval.bytes", "offsets.topic.num.partitions", "log.roll.ms", "max.connections.per.ip"}

// describeConfigs asks for settings of topics and brokers.
func (g *generator) describeConfigs() {
	synonyms, documented := g.chance(50), g.chance(20)
	kind, name := kmsg.ConfigResourceTypeTopic, g.topic()
	var keys []string
	switch {
	case g.chance(40):
		kind, name = kmsg.ConfigResourceTypeBroker, pick(g, "1", "1", "1", "", "7", "x")
		for range 1 + g.IntN(4) {
			keys = append(keys, pick(g, describedBrokerKeys...))
		}
	case g.chance(5):
		kind = pick(g, kmsg.ConfigResourceType(0), kmsg.ConfigResourceType(99))
	case g.chance(60):
		keys = []string{}
		for range g.IntN(4) {
			keys = append(keys, g.topicSetting().key)
		}
	}
	request(g, controlConn, 32, func(_ *side, r *kmsg.DescribeConfigsRequest, _ int16) {
		r.IncludeSynonyms, r.IncludeDocumentation = synonyms, documented
		x := kmsg.NewDescribeConfigsRequestResource()
		x.ResourceType, x.ResourceName, x.ConfigNames = kind, name, keys
		r.Resources = append(r.Resources, x)
	}, nil)
}
