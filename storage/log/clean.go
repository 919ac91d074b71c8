package log

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/tandembroker/tandem/storage/compact"
)

// ErrSpace: there is too little free space for a compacted copy of the segments. Nothing was changed.
var ErrSpace = errors.New("log: too little free space to compact")

// CleanBound says how far compaction may go.
type CleanBound struct {
	// Below bounds it to segments that lie below as a whole: below the high watermark, the last stable offset, and what a restart
	// or a Raft log entry needs as it is. The last segment is never touched.
	Below int64
	// LagMinMs is min.compaction.lag.ms: a segment with a younger record, and all behind it, stay; 0 = none.
	LagMinMs int64
	// Ages asks for Dirty.Oldest, which opens the segments.
	Ages bool
}

// Dirty is what compaction would find.
type Dirty struct {
	First, Upper int64 // offsets that were not compacted yet; First = Upper: there are none
	CleanBytes   int64 // of the segments below First
	DirtyBytes   int64 // of those from First on, up to Upper
	Oldest       int64 // ms: the smallest timestamp that a dirty segment begins with; -1 = none, or not asked for
}

// Ratio is the share of dirty bytes, 0 to 1. Source: Kafka's LogToClean.
func (d *Dirty) Ratio() float64 {
	if d.DirtyBytes == 0 {
		return 0
	}
	return float64(d.DirtyBytes) / float64(d.CleanBytes+d.DirtyBytes)
}

// Dirty says what there is to compact. Errors: ErrCorrupt, I/O, ErrClosed.
// Source: Kafka's LogCleanerManager.cleanableOffsets.
func (l *Log) Dirty(b CleanBound) (Dirty, error) {
	d, _, err := l.dirty(b)
	return d, err
}

// CleanBuffers is how many I/O buffers a round has: two that are read into in turn, and two that are written from. While the map is
// filled there are two of keys in the place of the latter.
const CleanBuffers = readBlocks + 2

// blockFactor is how much larger the I/O buffers are while nobody else waits for the disk. Each change of hands between goroutines
// takes tens of microseconds where it wakes a processor, which is as long as 128 KiB take to read. What that takes in memory is
// taken from the map's, of which it is no more than 1/mapShare; else they stay small. One more of the large ones is for reading the
// beginning of the next segment ahead.
const (
	blockFactor = 8
	mapShare    = 16
)

// CleanOptions is what a round of compaction goes by.
type CleanOptions struct {
	Bound CleanBound
	// Map is scratch, MapBytes what it may take, MapLoad how full it may become (log.cleaner.io.buffer.load.factor; 0 = 0.9).
	Map      *compact.Map
	MapBytes int64
	MapLoad  float64
	// DeleteRetentionMs is delete.retention.ms: how long tombstones and transaction markers stay once nothing is left that they
	// are for.
	DeleteRetentionMs int64
	// BufferBytes is the size of each of the CleanBuffers I/O buffers; 0 = 128 KiB. A larger batch makes them larger. While nobody is
	// Busy they are 8 times as large; MapBytes pays for that.
	BufferBytes int
	// ReserveBytes is what must stay free on the disk.
	ReserveBytes int64
	// Throttle is called with the bytes that were read or written and may wait; nil = no limit. Its error ends the round.
	Throttle func(ctx context.Context, bytes int64) error
	// Busy says whether others wait for the disk, so that it is left to them between small writes; nil = nobody does. Safe for
	// concurrent use.
	Busy func() bool
	// Replace puts a finished segment in place: Group.ReplaceSegments. It is called by another goroutine, one call at a time.
	Replace func(Replacement) error
}

// Cleaned is what a round did.
type Cleaned struct {
	First, End               int64 // the offsets that were taken in; below End the log is compacted
	Keys                     int
	BytesRead, BytesWritten  int64
	RecordsRead, RecordsKept int64
	NoKey                    int64 // records without a key, which were dropped
	Unreadable               int64 // batches that could not be opened, which were kept
	Segments, Replaced       int   // segments before; how many of them were replaced
}

// Clean does one round of compaction by Kafka's rules: of each key the last record stays, with its offset, in its batch; records
// behind those that fit into the map stay for another round. Segments are rewritten beside the old ones, which stay in place, and
// readable, until the new one is durable; a crash leaves either. The first offset that is left for the next round is stored in
// cleaner-offset-checkpoint. One round at a time; it ends early, with what it has replaced in place, when ctx ends, the log is
// closed, or cut (Cut): what it has read may be no more then. Errors: ctx's, ErrClosed, ErrSpace, ErrCorrupt (nothing of the damaged
// segment was changed), I/O, one that only says that the log was cut; only a failure while segments are replaced is ErrFailed.
func (l *Log) Clean(ctx context.Context, o CleanOptions) (Cleaned, error) {
	l.cleaning.Lock()
	defer l.cleaning.Unlock()
	caller := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l.mu.Lock()
	l.mu.endCleaning = cancel // else a throttle would hold up who stops it
	l.mu.Unlock()
	defer l.cleaningEnded()
	c := cleaner{l: l, ctx: ctx, o: &o, now: l.options().Now().UnixMilli()}
	if o.BufferBytes <= 0 {
		o.BufferBytes = 128 << 10
	}
	if o.MapLoad <= 0 {
		o.MapLoad = 0.9
	}
	c.blockBytes, c.step = o.BufferBytes, o.BufferBytes
	if more := (CleanBuffers*(blockFactor-1) + blockFactor) * int64(o.BufferBytes); more <= o.MapBytes/mapShare {
		c.blockBytes, o.MapBytes = blockFactor*o.BufferBytes, o.MapBytes-more
		c.ahead = make([]byte, c.blockBytes)
	}
	l.mu.RLock()
	if l.mu.noCleaning {
		cancel()
	}
	l.mu.RUnlock()
	err := c.round()
	switch {
	case err == nil || caller.Err() != nil:
	case l.cutSinceCleaning():
		err = fmt.Errorf("compact %s: %w", l.dir, errCleaningCut) // what it has met is no damage
	case ctx.Err() != nil:
		err = ErrClosed // StopCleaning
	default:
		err = fmt.Errorf("compact %s: %w", l.dir, err)
	}
	return c.done, err
}

// errCleaningCut: the log was cut under a round.
var errCleaningCut = fmt.Errorf("%w: the log was cut since the round began", ErrInvalid)

// cutCleaning ends the Clean under way, which may have read what is about to go, and has no later step of it change anything: by what
// is cut off it would drop records that are the last ones of their keys then, or put back what was cut. It does not wait, because
// who cuts may hold what CleanOptions.Replace takes. Under Log.files.
func (l *Log) cutCleaning() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.endCleaning != nil {
		l.mu.cleaningCut = true
		l.mu.endCleaning()
	}
}

// cutSinceCleaning says that the Clean under way must not change anything any more. Who is about to holds Log.files.
func (l *Log) cutSinceCleaning() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.mu.cleaningCut
}

func (l *Log) cleaningEnded() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.endCleaning, l.mu.cleaningCut = nil, false
}

// cleaner is one round.
type cleaner struct {
	l   *Log
	ctx context.Context //nolint:containedctx // lives no longer than the call that it came with
	o   *CleanOptions
	now int64 // ms

	blockBytes int    // of an I/O buffer while nobody waits for the disk
	ahead      []byte // scratch of readAhead; nil = there is no memory for it
	step       int    // how much is read, written or put at a time now, bytes: blockBytes or CleanOptions.BufferBytes

	dirty    Dirty
	sources  []source
	keepLast int64 // last offset of the batch that is never emptied; -1 = none
	txns     *transactions
	odd      oddBatches
	keys     compact.Hashed
	found    []int64 // last offsets of the keys of the batch in hand, of which next comes next; empty = not looked up together
	next     int
	stay     []uint64 // scratch of pick
	batches  batchReader
	out      rewriter
	done     Cleaned

	finishing []*finishing // segments, in the order of the log

	hidden bool // a batch that was kept unread may hold older records of any key
}

// source is a segment as it was when the round began. Sealed segments do not change; they go, when retention takes them.
type source struct {
	seg               *segment
	file              *sharedFile // while it is read
	base, upper, last int64       // all offsets are below upper; last = base-1 when empty
	size, indexBytes  int64
	timeIndexBytes    int64
	next              *source // of the log; nil = it is the last one
}

// stopped says why the round must end, or nil.
func (c *cleaner) stopped() error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	return c.l.writable()
}

// moved accounts for bytes that were read or written.
func (c *cleaner) moved(counter *int64, bytes int64) error {
	*counter += bytes
	if err := c.stopped(); err != nil || c.o.Throttle == nil {
		return err
	}
	return c.o.Throttle(c.ctx, bytes)
}

func (c *cleaner) busy() bool { return c.o.Busy != nil && c.o.Busy() }

// stepNow is what step is to be. It may be called by the goroutine that reads ahead.
func (c *cleaner) stepNow() int {
	if c.busy() {
		return c.o.BufferBytes
	}
	return c.blockBytes
}

// read accounts for a block that was read.
func (c *cleaner) read(bytes int64) error {
	c.step = c.stepNow()
	return c.moved(&c.done.BytesRead, bytes)
}

func (c *cleaner) round() error {
	if err := c.stopped(); err != nil {
		return err
	}
	d, segments, err := c.l.dirty(c.o.Bound)
	if err != nil || d.DirtyBytes == 0 {
		c.done.First, c.done.End = d.First, d.First
		return err
	}
	c.dirty, c.done.First, c.done.End = d, d.First, d.First
	if err := c.list(segments); err != nil {
		return err
	}
	end, err := c.fillMap()
	if err != nil {
		return err
	}
	c.keepLast = -1
	n := 0
	for ; n < len(c.sources) && c.sources[n].base < end; n++ {
		if s := &c.sources[n]; end == d.Upper && s.size > 0 {
			c.keepLast = s.last
		}
	}
	sources := c.sources[:n]
	c.done.Segments = n
	c.txns = newTransactions(c.l.AbortedIn(sources[0].base, sources[n-1].upper))
	if err := c.rewriteAll(sources); err != nil {
		return err
	}
	c.done.End = end
	return c.l.saveCleaned(end)
}

// rewriteAll returns when nothing of it is under way any more.
func (c *cleaner) rewriteAll(sources []source) error {
	for len(sources) > 0 {
		n := c.l.groupLen(sources)
		if err := c.rewrite(sources[:n]); err != nil {
			return errors.Join(err, c.finishAll())
		}
		sources = sources[n:]
	}
	return c.finishAll()
}

// list notes what the segments are, each opened once. Errors: ErrCorrupt for a damaged one: what is behind the damage would be lost.
func (c *cleaner) list(segments []*segment) error {
	for _, s := range segments {
		file, err := c.l.acquire(s)
		if err != nil {
			return err
		}
		_ = file.release() // thousands of segments are more than a process may have open
		c.l.mu.RLock()
		gone, broken := s.gone, s.broken
		if !gone && broken == nil {
			upper, _ := c.l.upperLocked(s)
			c.sources = append(c.sources, source{seg: s, base: s.base, upper: upper, last: s.lastOffset(),
				size: s.size, indexBytes: int64(len(s.index.offsets)) * offsetEntryLen, timeIndexBytes: int64(len(s.index.times)) * timeEntryLen})
		}
		c.l.mu.RUnlock()
		if gone || broken != nil {
			return cmp.Or(broken, errMoved)
		}
	}
	for i := range c.sources[1:] {
		c.sources[i].next = &c.sources[i+1]
	}
	return nil
}

// reading calls fn while the file of s is open. Errors: fn's, errMoved when retention took s, I/O.
func (c *cleaner) reading(s *source, fn func() error) (err error) {
	if s.file, err = c.l.acquire(s.seg); err != nil {
		return err
	}
	defer func() {
		_ = s.file.release()
		s.file = nil
	}()
	return fn()
}

// horizon is when what only says that something is gone may go.
func (c *cleaner) horizon() int64 {
	if c.o.DeleteRetentionMs > math.MaxInt64-c.now {
		return math.MaxInt64
	}
	return c.now + c.o.DeleteRetentionMs
}
