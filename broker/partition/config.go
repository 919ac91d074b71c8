package partition

import (
	"log/slog"
	"math"
	"time"

	"github.com/tandembroker/tandem/broker/config"
	"github.com/tandembroker/tandem/protocol/record"
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
	// Topic tells configuration and leader-epoch floor of a partition that is found in the store; nil = the zero Spec.
	// Topic name, id and partition are filled in.
	Topic func(Spec) Spec
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
func (o *Options) logOptions(c *Config) log.Options {
	return log.Options{
		SegmentBytes: min(c.SegmentBytes, math.MaxInt32), SegmentMs: c.SegmentMs,
		IndexIntervalBytes: c.IndexInterval, IndexBytesMax: c.SegmentIndexBytes,
		Now: o.Now, Logger: o.Logger,
	}
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
	l.BytesMax, l.BeforeMaxMs, l.AfterMaxMs = c.MessageBytesMax, c.TimestampBeforeMaxMs, c.TimestampAfterMaxMs // 0 means 0, as in Kafka
	l.LogAppendTime, l.KeysRequired, l.DecompressMax = c.LogAppendTime, c.Compact, int64(c.DecompressedBytesMax)
	return l
}
