package partition

import (
	"math"
	"testing"

	"github.com/tandembroker/tandem/storage"
)

// TestSegmentAge: how old a segment gets, with jitter and on compacted topics.
func TestSegmentAge(t *testing.T) {
	o := Options{}.withDefaults()
	age := func(id int32, edit func(*Config)) int64 {
		c := topicConfig()
		c.SegmentMs, c.SegmentJitterMs, c.CompactionLagMaxMs, c.Compact = 10_000, 0, math.MaxInt64, false
		edit(&c)
		return o.logOptions(storage.GroupID{Topic: topicID, Partition: id}, &c).SegmentMs
	}
	if got := age(0, func(*Config) {}); got != 10_000 {
		t.Errorf("plain: %d", got)
	}
	lag := func(c *Config) { c.CompactionLagMaxMs = 500 }
	if got := age(0, lag); got != 10_000 {
		t.Errorf("max.compaction.lag.ms without compaction: %d", got)
	}
	if got := age(0, func(c *Config) { lag(c); c.Compact = true }); got != 500 {
		t.Errorf("max.compaction.lag.ms: %d", got)
	}
	different := map[int64]bool{}
	for id := range int32(100) {
		got := age(id, func(c *Config) { c.SegmentJitterMs = 4_000 })
		if got < 6_000 || got > 10_000 || got != age(id, func(c *Config) { c.SegmentJitterMs = 4_000 }) {
			t.Fatalf("partition %d: %d", id, got)
		}
		different[got] = true
	}
	if len(different) < 50 {
		t.Errorf("100 partitions roll at %d different ages", len(different))
	}
	if got := age(3, func(c *Config) { c.SegmentJitterMs = 1 << 40 }); got < 1 || got > 10_000 {
		t.Errorf("jitter above the age: %d", got)
	}
}
