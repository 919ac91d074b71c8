package partition

import (
	"math"
	"math/bits"
	"sync"
	"time"
)

// How compaction shares the disk and the processor with appends (docs/adr/0012).
const (
	// shareMin to shareMax is how long compaction rests for each moment of work while others append, shareFirst before anything is
	// known of them.
	shareMin, shareFirst, shareMax = 1.0, 6.0, 10.0
	// An append that takes too long makes rests longer by shareUp. Each other one makes them shorter, so that both are in balance
	// where one in a hundred takes too long.
	shareUp = 1.1
	// slowFactor is what of its 99th percentile without compaction an append may take beside it: what clients see in addition
	// leaves the rest up to twice as much. slowLeast is what nobody misses in addition.
	slowFactor = 1.5
	slowLeast  = 250 * time.Microsecond
	// While others append, compaction stops for quietFor in each quietEvery, to learn what they take without it: of what begins
	// quietSettle after, when nothing of it is on its way to the disk any more.
	quietEvery, quietFor, quietSettle = 2 * time.Second, 120 * time.Millisecond, 20 * time.Millisecond
	// aloneLeast is how many appends must have been seen without compaction, before the percentile says something. Of the last
	// aloneMost or so it is formed.
	aloneLeast, aloneMost = 100, 4096
	// floorLeast is what compaction reads and writes in a second whatever appends take, bytes, and floorAhead how much more than
	// what they give it to do: else it fell behind, the disk would fill up, and each round would be a larger one.
	floorLeast, floorAhead = 8 << 20, 1.25
	// rateMemory is over what time the rate of appends is formed.
	rateMemory = 10 * time.Second
)

var shareDown = math.Pow(shareUp, -1.0/99)

// temper tells compaction how long to rest, by what appends take while it works and while it does not. Safe for concurrent use.
type temper struct {
	now func() time.Time
	mu  struct {
		sync.Mutex
		rounds      int       // under way
		from, until time.Time // appends in between are without compaction; until is zero while no round is under way
		next        time.Time // when it stops again to learn
		alone       latencies
		slow        time.Duration // what takes longer takes too long; 0 = not known
		share       float64

		bytes   float64 // appended to compacted topics, of which those of rateMemory ago count 1/e
		bytesAt time.Time
	}
}

func newTemper(now func() time.Time) *temper {
	t := &temper{now: now}
	t.mu.share = shareFirst
	return t
}

// appended notes an append that was proposed at begin and is committed now; compacted is its size in bytes where its topic is
// compacted, else 0.
func (t *temper) appended(begin time.Time, compacted int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if compacted > 0 {
		t.fadeLocked(now)
		t.mu.bytes += float64(compacted)
	}
	took := now.Sub(begin)
	switch {
	case !begin.Before(t.mu.from) && (t.mu.until.IsZero() || !now.After(t.mu.until)):
		if t.mu.alone.add(took); t.mu.alone.count >= aloneLeast && t.mu.alone.count%64 == 0 {
			p99 := t.mu.alone.quantile(0.99)
			t.mu.slow = max(time.Duration(slowFactor*float64(p99)), p99+slowLeast)
		}
	case t.mu.rounds == 0 || t.mu.slow == 0:
	case took > t.mu.slow:
		t.mu.share = min(t.mu.share*shareUp, shareMax)
	default:
		t.mu.share = max(t.mu.share*shareDown, shareMin)
	}
}

func (t *temper) fadeLocked(now time.Time) {
	if passed := now.Sub(t.mu.bytesAt); passed > 0 {
		t.mu.bytes *= math.Exp(-passed.Seconds() / rateMemory.Seconds())
		t.mu.bytesAt = now
	}
}

// begin is called when a round begins, end when it has ended.
func (t *temper) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.rounds++; t.mu.rounds == 1 {
		t.mu.until = t.now()
		t.mu.next = t.mu.until.Add(quietEvery)
	}
}

func (t *temper) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.rounds--; t.mu.rounds == 0 {
		t.mu.from, t.mu.until = t.now().Add(quietSettle), time.Time{}
	}
}

// rest is how long to rest from work that took worked.
func (t *temper) rest(worked time.Duration) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if !now.Before(t.mu.next) {
		t.mu.from, t.mu.until, t.mu.next = now.Add(quietSettle), now.Add(quietFor), now.Add(quietEvery)
	}
	if left := t.mu.until.Sub(now); left > 0 {
		return left
	}
	return min(time.Duration(t.mu.share*float64(worked)), pauseMax)
}

// floor is how many bytes a second a round must read and write, in which dirty, 0 to 1, of the log was not compacted yet: such a
// round reads that part twice and the rest once, and writes no more than all of it.
func (t *temper) floor(dirty float64) float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fadeLocked(t.now())
	work := 1 + 2/max(dirty, 0.01)
	return max(floorLeast, floorAhead*work*t.mu.bytes/rateMemory.Seconds())
}

// latencyBuckets are 8 for each power of two of nanoseconds, which tells a value to 12 %.
const latencyBuckets = 64 * 8

// latencies counts the last durations, older ones with less weight. The zero latencies are empty.
type latencies struct {
	count   int
	buckets [latencyBuckets]int32
}

func (l *latencies) add(d time.Duration) {
	if l.count >= aloneMost {
		l.count = 0
		for i := range l.buckets {
			l.buckets[i] /= 2
			l.count += int(l.buckets[i])
		}
	}
	l.count++
	l.buckets[latencyBucket(d)]++
}

// latencyBucket numbers durations by the place of their first bit and the three behind it.
func latencyBucket(d time.Duration) int {
	n := uint64(max(d, 8))
	place := bits.Len64(n) - 1
	return place*8 + int(n>>(place-3)&7)
}

// quantile is the upper end of the bucket that has the share q of the durations up to it; 0 where there are none.
func (l *latencies) quantile(q float64) time.Duration {
	need := int(math.Ceil(q * float64(l.count)))
	for i := range l.buckets {
		if need -= int(l.buckets[i]); need <= 0 && l.count > 0 {
			place, low := i/8, i%8
			return time.Duration(uint64(8+low+1) << (place - 3))
		}
	}
	return 0
}
