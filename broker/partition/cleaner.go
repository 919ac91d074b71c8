package partition

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/tandembroker/tandem/storage/compact"
	"github.com/tandembroker/tandem/storage/log"
)

// CleanerOptions is how compaction goes on a broker; the zero value is Kafka's defaults. Source: Kafka's CleanerConfig.
type CleanerOptions struct {
	Disabled       bool          // log.cleaner.enable=false
	Threads        int           // log.cleaner.threads; 0 = 1
	DedupeBytes    int64         // log.cleaner.dedupe.buffer.size: the maps of all threads; 0 = 128 MiB
	LoadFactor     float64       // log.cleaner.io.buffer.load.factor; 0 = 0.9
	BufferBytes    int           // log.cleaner.io.buffer.size: of all threads; 0 = 512 KiB
	BytesPerSecond float64       // log.cleaner.io.max.bytes.per.second: read and written by all threads; 0 = no limit
	Backoff        time.Duration // log.cleaner.backoff.ms: rest when there is nothing to do; 0 = 15 s
	ReserveBytes   int64         // what compaction leaves free on the disk
}

// cleanerThreadsMax bounds log.cleaner.threads.
const cleanerThreadsMax = 64

func (o CleanerOptions) withDefaults() CleanerOptions {
	o.Threads = min(max(o.Threads, 1), cleanerThreadsMax)
	if o.DedupeBytes <= 0 {
		o.DedupeBytes = 128 << 20
	}
	if o.LoadFactor <= 0 {
		o.LoadFactor = 0.9
	}
	if o.BufferBytes <= 0 {
		o.BufferBytes = 512 << 10
	}
	if o.Backoff <= 0 {
		o.Backoff = 15 * time.Second
	}
	o.ReserveBytes = max(o.ReserveBytes, 0)
	if o.BytesPerSecond <= 0 {
		o.BytesPerSecond = math.MaxFloat64
	}
	return o
}

// CleanerStats counts what compaction has done since the start.
type CleanerStats struct {
	Rounds, Failures         int64
	BytesRead, BytesWritten  int64
	RecordsRead, RecordsKept int64
}

// cleaner compacts the partitions of a Manager.
type cleaner struct {
	m      *Manager
	opts   CleanerOptions
	rate   *throttle
	others *foreground
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// cleanerShared outlives a change of options. Its lock is a leaf.
type cleanerShared struct {
	sync.Mutex
	busy  map[*Partition]bool
	later map[*Partition]time.Time // not before; the zero time = never again in this process
	stats CleanerStats
}

// SetCleaner replaces the options of compaction. What is under way ends first; it goes on from the segments it has replaced.
func (m *Manager) SetCleaner(o CleanerOptions) {
	m.cleanerMu.Lock()
	defer m.cleanerMu.Unlock()
	o = o.withDefaults()
	if m.cleaner != nil && m.cleaner.opts == o || m.cleanerClosed {
		return
	}
	m.stopCleanerLocked()
	if o.Disabled {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &cleaner{m: m, opts: o, cancel: cancel, rate: &throttle{perSecond: o.BytesPerSecond, now: m.options.Now},
		others: newForeground(func() uint64 { return m.host.Store().Journal().Stats().Records }, m.options.Now)}
	for range o.Threads {
		c.wg.Go(func() { c.run(ctx) }) // stopped and awaited in stopCleanerLocked
	}
	m.cleaner = c
}

func (m *Manager) stopCleanerLocked() {
	if m.cleaner != nil {
		m.cleaner.cancel()
		m.cleaner.wg.Wait()
		m.cleaner = nil
	}
}

// closeCleaner ends compaction for good.
func (m *Manager) closeCleaner() {
	m.cleanerMu.Lock()
	defer m.cleanerMu.Unlock()
	m.stopCleanerLocked()
	m.cleanerClosed = true
}

// CleanerStats says what compaction has done since the start.
func (m *Manager) CleanerStats() CleanerStats {
	m.cleaning.Lock()
	defer m.cleaning.Unlock()
	return m.cleaning.stats
}

// idleKept is how many times in a row there must be nothing to do until a thread lets go of its map.
const idleKept = 4

// run compacts the filthiest partition until there is none, then rests.
func (c *cleaner) run(ctx context.Context) {
	var keys compact.Map
	defer keys.Release()
	for idle := 0; ; idle++ {
		for c.once(ctx, &keys) {
			if ctx.Err() != nil {
				return
			}
			idle = 0
		}
		if idle == idleKept {
			keys.Release()
		}
		rest := time.NewTimer(c.opts.Backoff)
		select {
		case <-ctx.Done():
			rest.Stop()
			return
		case <-rest.C:
		}
	}
}

// once does one round; false = there is nothing to do.
func (c *cleaner) once(ctx context.Context, keys *compact.Map) bool {
	p, ratio := c.take(ctx)
	if p == nil {
		return false
	}
	threads := c.opts.Threads
	pace := &pacer{rate: c.rate, others: c.others, temper: c.m.temper, dirty: ratio, now: c.m.options.Now,
		last: c.m.options.Now()}
	c.m.temper.begin()
	done, err := p.clean(ctx, log.CleanOptions{
		Map: keys, MapBytes: c.opts.DedupeBytes / int64(threads), MapLoad: c.opts.LoadFactor,
		BufferBytes: max(c.opts.BufferBytes/threads/log.CleanBuffers, 4<<10), ReserveBytes: c.opts.ReserveBytes, Throttle: pace.wait, Busy: c.others.busy,
	})
	c.m.temper.end()
	c.release(ctx, p, &done, err)
	return true
}

// retryAfter is how long a partition is left alone after a failure that may pass.
const retryAfter = 5 * time.Minute

// release notes what became of the round.
func (c *cleaner) release(ctx context.Context, p *Partition, done *log.Cleaned, err error) {
	c.m.cleaning.Lock()
	defer c.m.cleaning.Unlock()
	delete(c.m.cleaning.busy, p)
	c.noteLocked(ctx, p, done, err)
}

func (c *cleaner) noteLocked(ctx context.Context, p *Partition, done *log.Cleaned, err error) {
	m, logger := c.m, c.m.options.Logger.With("topic", p.Topic(), "partition", p.id.Partition)
	s := &m.cleaning.stats
	s.BytesRead, s.BytesWritten = s.BytesRead+done.BytesRead, s.BytesWritten+done.BytesWritten
	s.RecordsRead, s.RecordsKept = s.RecordsRead+done.RecordsRead, s.RecordsKept+done.RecordsKept
	switch {
	case err == nil:
		s.Rounds++
		delete(m.cleaning.later, p)
		logger.Info("compacted", "from", done.First, "to", done.End, "keys", done.Keys, "recordsRead", done.RecordsRead,
			"recordsKept", done.RecordsKept, "bytesRead", done.BytesRead, "bytesWritten", done.BytesWritten,
			"segments", done.Segments, "replaced", done.Replaced)
		if done.Unreadable > 0 || done.NoKey > 0 {
			logger.Warn("compaction met what it cannot compact", "batchesKept", done.Unreadable, "recordsWithoutKeyDropped", done.NoKey)
		}
	case ctx.Err() != nil || p.closed.Load() || errors.Is(err, log.ErrClosed):
	case errors.Is(err, log.ErrCorrupt):
		s.Failures++
		m.cleaning.later[p] = time.Time{}
		logger.Error("partition is not compacted any more", "err", err)
	default:
		s.Failures++
		m.cleaning.later[p] = m.options.Now().Add(retryAfter)
		logger.Warn("compaction failed", "err", err, "retryAfter", retryAfter)
	}
}

// take reserves the partition with the largest dirty ratio of those that are due, which it returns too; nil = none is.
// Source: Kafka's LogCleanerManager.grabFilthiestCompactedLog.
func (c *cleaner) take(ctx context.Context) (best *Partition, ratio float64) {
	m := c.m
	for _, p := range m.All() {
		if ctx.Err() != nil {
			return nil, 0
		}
		if !p.config.Load().Compact || !p.Ready() && !p.Follows() || !m.mayClean(p) {
			continue
		}
		r, due, err := p.dirtyRatio()
		if err != nil {
			m.cleaning.Lock()
			c.noteLocked(ctx, p, &log.Cleaned{}, err)
			m.cleaning.Unlock()
			continue
		}
		if due && (best == nil || r > ratio) {
			best, ratio = p, r
		}
	}
	if best == nil {
		return nil, 0
	}
	m.cleaning.Lock()
	defer m.cleaning.Unlock()
	if m.cleaning.busy[best] { // another thread was faster: there may be others
		return nil, 0
	}
	m.cleaning.busy[best] = true
	return best, ratio
}

func (m *Manager) mayClean(p *Partition) bool {
	m.cleaning.Lock()
	defer m.cleaning.Unlock()
	at, waits := m.cleaning.later[p]
	if waits && !at.IsZero() && !m.options.Now().Before(at) {
		delete(m.cleaning.later, p)
		waits = false
	}
	return !waits && !m.cleaning.busy[p]
}

// forgetCleaner drops what is kept of a partition that is deleted.
func (m *Manager) forgetCleaner(p *Partition) {
	m.cleaning.Lock()
	defer m.cleaning.Unlock()
	delete(m.cleaning.later, p)
}

// cleanBound says how far compaction may go now: only over what is committed and decided, and what no restart reads as it was.
func (p *Partition) cleanBound(c *Config) log.CleanBound {
	_, hw, lso, _ := p.Offsets()
	// A log that follows holds nothing that the active does not have, so it is compacted by itself: what it loses is superseded there too.
	if acked, ships := p.acknowledged(); ships && !p.Follows() { // a tombstone that goes before it is shipped would leave its key at the other site
		hw = min(hw, acked)
	}
	return log.CleanBound{Below: min(hw, lso, p.group.Storage().CompactBelow()), LagMinMs: max(c.CompactionLagMinMs, 0),
		Ages: c.CompactionLagMaxMs < math.MaxInt64}
}

// dirtyRatio is how much of the partition is not compacted, and whether it is to be: by min.cleanable.dirty.ratio, or because a
// record is older than max.compaction.lag.ms.
func (p *Partition) dirtyRatio() (ratio float64, due bool, err error) {
	c := p.config.Load()
	d, err := p.log.Dirty(p.cleanBound(c))
	if err != nil {
		return 0, false, err
	}
	ratio = d.Ratio()
	late := d.Oldest >= 0 && d.DirtyBytes > 0 && d.Oldest < p.manager.options.Now().UnixMilli()-c.CompactionLagMaxMs
	return ratio, late || ratio > c.MinCleanableDirtyRatio, nil
}

// clean does one round of compaction.
func (p *Partition) clean(ctx context.Context, o log.CleanOptions) (log.Cleaned, error) {
	c := p.config.Load()
	o.Bound, o.DeleteRetentionMs, o.Replace = p.cleanBound(c), c.DeleteRetentionMs, p.group.Storage().ReplaceSegments
	return p.log.Clean(ctx, o)
}
