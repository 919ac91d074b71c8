package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Topic is the typed configuration of one topic: its overrides over the broker's defaults. Sizes are in bytes.
type Topic struct {
	SegmentBytes      int64 // internal.segment.bytes goes before segment.bytes
	SegmentMs         int64
	SegmentJitterMs   int64
	SegmentIndexBytes int
	IndexInterval     int // bytes of records between two index entries

	RetentionMs    int64 // -1 = no limit
	RetentionBytes int64 // -1 = no limit
	FileDelete     time.Duration
	Delete         bool // cleanup.policy has delete
	Compact        bool // cleanup.policy has compact

	MessageBytesMax      int // of a batch as it is stored
	DecompressedBytesMax int
	LogAppendTime        bool
	TimestampBeforeMaxMs int64
	TimestampAfterMaxMs  int64

	CompressionType                string // producer, uncompressed, gzip, snappy, lz4, zstd
	GzipLevel, LZ4Level, ZstdLevel int
	MinInsyncReplicas              int
	WriteCaching                   bool
	DeleteRetentionMs              int64
	CompactionLagMinMs             int64
	CompactionLagMaxMs             int64
	MinCleanableDirtyRatio         float64

	DRBounded  bool  // dr.mode is bounded
	DRLagMaxMs int64 // dr.max.lag.ms
}

// TopicError is a topic override that is not accepted. Kafka answers INVALID_CONFIG with its text.
type TopicError struct {
	Key, Value string
	Problem    string // what would be accepted
}

// Error names the key, the value and what would be accepted.
func (e *TopicError) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("%s: %s", e.Key, e.Problem)
	}
	return fmt.Sprintf("%s=%s: %s", e.Key, e.Value, e.Problem)
}

// ParseTopic checks the overrides of a topic and lays them over the broker's defaults. Errors: *TopicError.
func (c *Config) ParseTopic(overrides map[string]string) (Topic, error) {
	names := make([]string, 0, len(overrides))
	for name := range overrides {
		names = append(names, name)
	}
	slices.Sort(names) // the first error is always the same one
	values := map[string]string{}
	for _, name := range topicTable.names {
		if text, null, _ := topicDefault(topicTable.byName[name], c.values); !null {
			values[name] = text
		}
	}
	for _, name := range names {
		text := strings.TrimSpace(overrides[name])
		if err := checkOverride(name, text); err != nil {
			return Topic{}, err
		}
		values[name] = text
	}
	t := newTopic(values)
	if key, problem := t.conflict(); key != "" {
		return Topic{}, &TopicError{Key: key, Value: values[key], Problem: problem}
	}
	return t, nil
}

func checkOverride(name, text string) error {
	k, ok := LookupTopic(name)
	if !ok {
		problem := "unknown topic config name"
		if slices.Contains(removedTopicKeys, name) {
			problem += " (it was removed in Apache Kafka 4)"
		} else if near := nearest(name, topicTable.names); near != "" {
			problem += fmt.Sprintf("; did you mean %q?", near)
		}
		return &TopicError{Key: name, Problem: problem}
	}
	if err := k.Check(text); err != nil {
		return &TopicError{Key: name, Value: text, Problem: err.Error()}
	}
	switch name {
	case "remote.storage.enable":
		if strings.EqualFold(text, "true") {
			return &TopicError{Key: name, Value: text, Problem: "tiered storage is not available; accepted: false"}
		}
	case "leader.replication.throttled.replicas", "follower.replication.throttled.replicas":
		return checkThrottled(name, text)
	}
	return nil
}

// checkThrottled accepts an empty value, *, or partition:broker pairs. Source: Kafka ThrottledReplicaListValidator.
func checkThrottled(name, text string) error {
	if text == "*" {
		return nil
	}
	for _, pair := range SplitList(text) {
		partition, broker, _ := strings.Cut(pair, ":")
		_, err1 := strconv.ParseUint(partition, 10, 31)
		_, err2 := strconv.ParseUint(broker, 10, 31)
		if err1 != nil || err2 != nil {
			return &TopicError{Key: name, Value: text, Problem: "must be a list of partition:broker, or *"}
		}
	}
	return nil
}

// newTopic reads values that were checked one by one.
func newTopic(values map[string]string) Topic {
	integer := func(name string) int64 { return mustInt(values[name]) }
	boolean := func(name string) bool { return strings.EqualFold(values[name], "true") }
	policies := SplitList(values["cleanup.policy"])
	t := Topic{
		SegmentBytes:           integer("segment.bytes"),
		SegmentMs:              integer("segment.ms"),
		SegmentJitterMs:        integer("segment.jitter.ms"),
		SegmentIndexBytes:      int(integer("segment.index.bytes")),
		IndexInterval:          int(integer("index.interval.bytes")),
		RetentionMs:            integer("retention.ms"),
		RetentionBytes:         integer("retention.bytes"),
		FileDelete:             milliseconds(integer("file.delete.delay.ms")),
		Delete:                 slices.Contains(policies, "delete"),
		Compact:                slices.Contains(policies, "compact"),
		MessageBytesMax:        int(integer("max.message.bytes")),
		DecompressedBytesMax:   int(integer("max.decompressed.message.bytes")),
		LogAppendTime:          values["message.timestamp.type"] == "LogAppendTime",
		TimestampBeforeMaxMs:   integer("message.timestamp.before.max.ms"),
		TimestampAfterMaxMs:    integer("message.timestamp.after.max.ms"),
		CompressionType:        values["compression.type"],
		GzipLevel:              int(integer("compression.gzip.level")),
		LZ4Level:               int(integer("compression.lz4.level")),
		ZstdLevel:              int(integer("compression.zstd.level")),
		MinInsyncReplicas:      int(integer("min.insync.replicas")),
		WriteCaching:           boolean("write.caching"),
		DeleteRetentionMs:      integer("delete.retention.ms"),
		CompactionLagMinMs:     integer("min.compaction.lag.ms"),
		CompactionLagMaxMs:     integer("max.compaction.lag.ms"),
		MinCleanableDirtyRatio: mustFloat(values["min.cleanable.dirty.ratio"]),
		DRBounded:              values["dr.mode"] == "bounded",
		DRLagMaxMs:             integer("dr.max.lag.ms"),
	}
	if text, ok := values["internal.segment.bytes"]; ok {
		t.SegmentBytes = mustInt(text)
	}
	return t
}

// conflict finds a pair of values that do not go together, and says what would be accepted for the key it returns.
// Source: Kafka LogConfig.validateValues.
func (t *Topic) conflict() (key, problem string) {
	switch {
	case t.CompactionLagMinMs > t.CompactionLagMaxMs:
		return "min.compaction.lag.ms", fmt.Sprintf("must be at most max.compaction.lag.ms (%d)", t.CompactionLagMaxMs)
	case t.SegmentBytes < 1:
		return "internal.segment.bytes", "must be a whole number of at least 1"
	}
	return "", ""
}
