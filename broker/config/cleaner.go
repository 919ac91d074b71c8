package config

import "time"

// Cleaner is how compaction goes, all partitions together.
type Cleaner struct {
	Enabled        bool    // log.cleaner.enable, and log.cleaner.threads is not 0
	Threads        int     // log.cleaner.threads
	DedupeBytes    int64   // log.cleaner.dedupe.buffer.size
	LoadFactor     float64 // log.cleaner.io.buffer.load.factor
	BufferBytes    int     // log.cleaner.io.buffer.size
	BytesPerSecond float64 // log.cleaner.io.max.bytes.per.second
	Backoff        time.Duration
}

// dedupeBytesMin is what Kafka asks for each thread.
const dedupeBytesMin = 1 << 20

func (l *loader) cleaner() Cleaner {
	c := Cleaner{
		Enabled:        l.boolean("log.cleaner.enable"),
		Threads:        int(l.integer("log.cleaner.threads")),
		DedupeBytes:    l.integer("log.cleaner.dedupe.buffer.size"),
		LoadFactor:     mustFloat(l.text("log.cleaner.io.buffer.load.factor")),
		BufferBytes:    int(l.integer("log.cleaner.io.buffer.size")),
		BytesPerSecond: mustFloat(l.text("log.cleaner.io.max.bytes.per.second")),
		Backoff:        milliseconds(l.integer("log.cleaner.backoff.ms")),
	}
	c.Enabled = c.Enabled && c.Threads > 0
	if c.Enabled && c.DedupeBytes/int64(c.Threads) < dedupeBytesMin {
		l.fail("log.cleaner.dedupe.buffer.size", "must be at least %d bytes for each of the %d of log.cleaner.threads", dedupeBytesMin, c.Threads)
	}
	return c
}
