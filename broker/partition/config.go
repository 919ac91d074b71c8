package partition

import (
	"encoding/binary"
	"hash/fnv"
	"log/slog"
	"math"
	"time"

	"github.com/tandembroker/tandem/broker/config"
	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage"
	"github.com/tandembroker/tandem/storage/archive"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
)

// Config is the topic's configuration.
type Config = config.Topic

// Options configures a Manager; the zero value is valid.
type Options struct {
	Logger *slog.Logger
	Now    func() time.Time
	// ProducerExpiration is producer.id.expiration.ms: a producer id that has not written for so long is forgotten; 0 = 24 h.
	ProducerExpiration time.Duration
	// RetentionInterval is log.retention.check.interval.ms; 0 = 5 min.
	RetentionInterval time.Duration
	// Cleaner is how compaction goes.
	Cleaner CleanerOptions
	// Topic tells configuration and leader-epoch floor of a partition that is found in the store; nil = the zero Spec.
	// Topic name, id and partition are filled in; another name in the answer is the partition's.
	Topic func(Spec) Spec
	// Archives takes the records that only this site has when it returns to the other; required where partitions are shipped.
	Archives *archive.Archives
	// HoldBytes is dr.retention.hold.bytes: so much of what is expired stays, in all partitions together, until the other site has it.
	HoldBytes int64
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.ProducerExpiration == 0 {
		o.ProducerExpiration = 24 * time.Hour
	}
	if o.RetentionInterval == 0 {
		o.RetentionInterval = 5 * time.Minute
	}
	if o.Topic == nil {
		o.Topic = func(s Spec) Spec { return s }
	}
	return o
}

// logOptions are the parts of c that the log needs.
func (o *Options) logOptions(id storage.GroupID, c *Config) log.Options {
	segmentMs := c.SegmentMs
	if c.Compact { // what is in the active segment is not compacted. Source: LogConfig.maxSegmentMs
		segmentMs = min(segmentMs, max(c.CompactionLagMaxMs, 1))
	}
	return log.Options{
		SegmentBytes: min(c.SegmentBytes, math.MaxInt32), SegmentMs: segmentMs - jitter(id, min(c.SegmentJitterMs, segmentMs-1)),
		IndexIntervalBytes: c.IndexInterval, IndexBytesMax: c.SegmentIndexBytes,
		Now: o.Now, Logger: o.Logger,
	}
}

// jitter spreads the rolls of segments by age: 0 to most ms, the same for all segments of a partition, where Kafka draws anew
// for each. Partitions that roll together are kept apart by either.
func jitter(id storage.GroupID, most int64) int64 {
	if most <= 0 {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write(id.Topic[:])
	_, _ = h.Write(binary.BigEndian.AppendUint32(nil, uint32(id.Partition)))
	return int64(h.Sum64() >> 1 % uint64(most+1))
}

// class is what an acknowledgement means on this topic.
func class(c *Config) entry.Class {
	if c.WriteCaching {
		return entry.Cached
	}
	return entry.Synced
}

// Limits are what ValidateProduce must hold a batch for this partition against.
func (p *Partition) Limits() record.Limits {
	c := p.config.Load()
	l := record.DefaultLimits(p.manager.options.Now().UnixMilli())
	l.BytesMax, l.BeforeMaxMs, l.AfterMaxMs = max(c.MessageBytesMax, 1), c.TimestampBeforeMaxMs, c.TimestampAfterMaxMs // 0 takes nothing, as in Kafka
	_, l.OpenCompressed = p.Compression()                                                                              // Kafka looks into what it packs anew
	l.LogAppendTime, l.KeysRequired, l.DecompressMax = c.LogAppendTime, c.Compact, int64(c.DecompressedBytesMax)
	return l
}

// Compression is how batches of this partition are to be stored; ok is false where they are kept as producers send them.
func (p *Partition) Compression() (want record.Compression, ok bool) {
	c := p.config.Load()
	switch c.CompressionType {
	case "uncompressed":
		return record.Compression{Codec: record.None}, true
	case "gzip":
		return record.Compression{Codec: record.Gzip, Level: c.GzipLevel}, true
	case "snappy":
		return record.Compression{Codec: record.Snappy}, true
	case "lz4":
		return record.Compression{Codec: record.LZ4, Level: c.LZ4Level}, true
	case "zstd":
		return record.Compression{Codec: record.Zstd, Level: c.ZstdLevel}, true
	}
	return record.Compression{}, false
}
