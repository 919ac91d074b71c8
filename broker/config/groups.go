package config

import "time"

// Groups is how consumer groups and __consumer_offsets go.
type Groups struct {
	InitialDelay     time.Duration // group.initial.rebalance.delay.ms
	SessionMin       time.Duration // group.min.session.timeout.ms
	SessionMax       time.Duration // group.max.session.timeout.ms
	SizeMax          int           // group.max.size
	MetadataMax      int           // offset.metadata.max.bytes
	OffsetRetention  time.Duration // offsets.retention.minutes
	ExpiryInterval   time.Duration // offsets.retention.check.interval.ms
	CommitTimeout    time.Duration // offsets.commit.timeout.ms
	TopicPartitions  int32         // offsets.topic.num.partitions
	TopicReplication int16         // offsets.topic.replication.factor
	TopicSegment     int64         // offsets.topic.segment.bytes
}

func (l *loader) groups() Groups {
	g := Groups{
		InitialDelay:     milliseconds(l.integer("group.initial.rebalance.delay.ms")),
		SessionMin:       milliseconds(l.integer("group.min.session.timeout.ms")),
		SessionMax:       milliseconds(l.integer("group.max.session.timeout.ms")),
		SizeMax:          int(l.integer("group.max.size")),
		MetadataMax:      int(l.integer("offset.metadata.max.bytes")),
		OffsetRetention:  time.Duration(l.integer("offsets.retention.minutes")) * time.Minute,
		ExpiryInterval:   milliseconds(l.integer("offsets.retention.check.interval.ms")),
		CommitTimeout:    milliseconds(l.integer("offsets.commit.timeout.ms")),
		TopicPartitions:  int32(l.integer("offsets.topic.num.partitions")),
		TopicReplication: int16(l.integer("offsets.topic.replication.factor")),
		TopicSegment:     l.integer("offsets.topic.segment.bytes"),
	}
	if g.SessionMax < g.SessionMin {
		l.fail("group.max.session.timeout.ms", "must be at least group.min.session.timeout.ms, which is %d", g.SessionMin.Milliseconds())
	}
	return g
}
