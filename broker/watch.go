package broker

import (
	"iter"
	"sync"
	"time"

	"github.com/tandembroker/tandem/broker/group"
	"github.com/tandembroker/tandem/broker/metrics"
	"github.com/tandembroker/tandem/broker/partition"
)

// watch connects the metrics that are read when a scrape comes.
func (b *Broker) watch() {
	journal := b.store.Journal()
	count := func(name, help, what string, read func() float64) {
		label := ""
		if what != "" {
			label = "what"
		}
		b.metrics.Watch(metrics.Counter, name, help, label, what, read)
	}
	gauge := func(name, help string, read func() float64) { b.metrics.Watch(metrics.Gauge, name, help, "", "", read) }

	if b.pair != nil {
		gauge("tandem_dr_retention_held_bytes", "Bytes that are expired and stay until the other site has them.", func() float64 { return float64(b.partitions.HeldBytes()) })
		count("tandem_dr_bounded_held_total", "Batches that have waited for the other site, by dr.mode=bounded.", "", func() float64 {
			held, _ := b.handler.Bounded()
			return float64(held)
		})
		count("tandem_dr_bounded_refused_total", "Batches that were refused because the other site was too far behind.", "", func() float64 {
			_, refused := b.handler.Bounded()
			return float64(refused)
		})
	}
	const syncs = "Syncs of files and folders, by what they made durable."
	count("tandem_fsync_total", syncs, "journal", func() float64 { s := journal.Stats(); return float64(s.Syncs + s.DirSyncs) })
	count("tandem_fsync_total", syncs, "segments", func() float64 { return float64(b.files.Syncs()) })
	count("tandem_journal_bytes_total", "Bytes written to the journal.", "", func() float64 { return float64(journal.Stats().Bytes) })
	count("tandem_journal_records_total", "Records written to the journal.", "", func() float64 { return float64(journal.Stats().Records) })
	count("tandem_journal_batches_total", "Batches of records written to the journal at once.", "", func() float64 { return float64(journal.Stats().Batches) })
	count("tandem_segment_bytes_total", "Bytes written to segments, their indexes and the other files of partitions.", "", func() float64 { return float64(b.files.Bytes()) })

	cleaned := func() partition.CleanerStats { return b.partitions.CleanerStats() }
	const compaction = "Bytes that compaction has read and written."
	count("tandem_compaction_bytes_total", compaction, "read", func() float64 { return float64(cleaned().BytesRead) })
	count("tandem_compaction_bytes_total", compaction, "written", func() float64 { return float64(cleaned().BytesWritten) })
	const rounds = "Rounds of compaction, by what became of them."
	count("tandem_compaction_rounds_total", rounds, "done", func() float64 { return float64(cleaned().Rounds) })
	count("tandem_compaction_rounds_total", rounds, "failed", func() float64 { return float64(cleaned().Failures) })

	b.watchGroups(count)

	gauge("tandem_journal_bytes", "Size of the journal, which bounds what a restart reads.", func() float64 { return float64(journal.Size()) })
	gauge("tandem_sync_waiting_seconds", "How long the oldest write or sync under way has been waiting for the disk.",
		func() float64 { return b.store.DiskWaiting().Seconds() })
	count("tandem_slow_syncs_total", "Writes and syncs that took longer than 5 s.", "", func() float64 { return float64(b.store.SlowCalls()) })
	gauge("tandem_connections", "Open connections of clients.", func() float64 { return float64(b.server.Connections()) })
	gauge("tandem_request_bytes", "Bytes of requests in work.", func() float64 { frames, _ := b.server.MemoryUsed(); return float64(frames) })
	gauge("tandem_decode_bytes", "Memory reserved for requests being decoded.", func() float64 { _, decoded := b.server.MemoryUsed(); return float64(decoded) })
	gauge("tandem_writable", "1 while there is room for new records.", func() float64 {
		if b.store.Writable() != nil {
			return 0
		}
		return 1
	})
	b.metrics.WatchPartitions(b.listPartitions)
	b.watchPair()
}

// watchGroups connects the metrics of consumer groups.
func (b *Broker) watchGroups(count func(name, help, what string, read func() float64)) {
	counts := &groupCounts{read: b.groups.Counts, now: b.opts.Now}
	for _, state := range group.States() {
		b.metrics.Watch(metrics.Gauge, "tandem_groups", "Consumer groups that this broker coordinates, by state.", "state", state,
			func() float64 { return float64(counts.get().Groups[state]) })
	}
	b.metrics.Watch(metrics.Gauge, "tandem_committed_offsets", "Committed offsets that have not expired.", "", "",
		func() float64 { return float64(counts.get().Offsets) })
	b.metrics.Watch(metrics.Gauge, "tandem_offsets_loading", "Partitions of __consumer_offsets that are being read.", "", "",
		func() float64 { return float64(counts.get().Loading) })
	count("tandem_offset_commits_total", "Offsets committed.", "", func() float64 { return float64(counts.get().Commits) })
	count("tandem_offsets_expired_total", "Committed offsets that have expired.", "", func() float64 { return float64(counts.get().Expired) })
	count("tandem_offsets_append_failures_total", "Appends to __consumer_offsets that failed.", "",
		func() float64 { return float64(counts.get().Failed) })
	count("tandem_offsets_load_seconds_total", "Time spent reading __consumer_offsets.", "", func() float64 { return counts.get().LoadSeconds })
}

// countsAge is how old the figures of groups may be: each figure of a scrape is asked for by itself, and to count goes through all
// groups.
const countsAge = 100 * time.Millisecond

// groupCounts are the figures of groups, counted once for each scrape. Safe for concurrent use.
type groupCounts struct {
	read func() group.Counts
	now  func() time.Time
	mu   struct {
		sync.Mutex
		last group.Counts
		at   time.Time // zero = never
	}
}

func (c *groupCounts) get() group.Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	if age := c.now().Sub(c.mu.at); c.mu.at.IsZero() || age < 0 || age > countsAge {
		c.mu.last = c.read()
		c.mu.at = c.now() // to count may have taken long
	}
	return c.mu.last
}

func (b *Broker) listPartitions() iter.Seq[metrics.Partition] {
	return func(yield func(metrics.Partition) bool) {
		for _, p := range b.partitions.All() {
			out := metrics.Partition{Topic: p.Topic(), ID: p.ID(), Ready: p.Ready(), LeaderEpoch: -1}
			if p.Offline() == nil {
				out.LogStart, out.HighWatermark, out.LastStable, out.LogEnd = p.Offsets()
				out.Bytes, out.LeaderEpoch = p.Size(), p.Epoch()
			}
			if !yield(out) {
				return
			}
		}
	}
}
