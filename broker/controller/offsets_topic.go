package controller

import (
	"cmp"
	"strconv"
)

// offsetsTopic is Kafka's name of the topic that holds consumer groups and their offsets.
const offsetsTopic = "__consumer_offsets"

// OffsetsTopic is how __consumer_offsets is created. A zero field is Kafka's default.
type OffsetsTopic struct {
	Partitions        int32 // offsets.topic.num.partitions
	ReplicationFactor int16 // offsets.topic.replication.factor; as many as there are brokers where these are fewer
	SegmentBytes      int64 // offsets.topic.segment.bytes
}

func (o OffsetsTopic) withDefaults() OffsetsTopic {
	o.Partitions = cmp.Or(o.Partitions, 50)
	o.ReplicationFactor = cmp.Or(o.ReplicationFactor, 3)
	o.SegmentBytes = cmp.Or(o.SegmentBytes, 100<<20)
	return o
}

// onDemand is a topic that is created because a request needs it. Source: DefaultAutoTopicCreationManager.creatableTopic,
// GroupCoordinatorService.groupMetadataTopicConfigs.
func (c *Controller) onDemand(name string) NewTopic {
	if name != offsetsTopic {
		return NewTopic{Name: name, Partitions: -1, ReplicationFactor: -1}
	}
	o := c.opts.OffsetsTopic
	value := func(s string) *string { return &s }
	return NewTopic{
		Name: name, Partitions: o.Partitions, ReplicationFactor: min(o.ReplicationFactor, int16(len(c.Image().Brokers()))),
		Configs: []NewConfig{
			{Name: "cleanup.policy", Value: value("compact")},
			{Name: "compression.type", Value: value("producer")},
			{Name: "segment.bytes", Value: value(strconv.FormatInt(o.SegmentBytes, 10))},
		},
	}
}
