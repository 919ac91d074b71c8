package partition

import (
	"context"
	"sync"
	"time"
)

// throttle spreads I/O over time. Safe for concurrent use.
type throttle struct {
	perSecond float64
	now       func() time.Time
	mu        struct {
		sync.Mutex
		free time.Time // when what was let through so far is paid for
	}
}

// wait returns when n more bytes may pass, or ctx's error.
func (t *throttle) wait(ctx context.Context, n int64) error {
	cost := time.Duration(min(float64(n)/t.perSecond*float64(time.Second), float64(time.Hour)))
	t.mu.Lock()
	now := t.now()
	if t.mu.free.Before(now) {
		t.mu.free = now
	}
	t.mu.free = t.mu.free.Add(cost)
	ahead := t.mu.free.Sub(now)
	t.mu.Unlock()
	if ahead < time.Millisecond {
		return ctx.Err()
	}
	return pause(ctx, ahead)
}

// pause waits for d, or returns ctx's error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// foregroundMemory is how long after an append the disk is left to those who may append again.
const foregroundMemory = 20 * time.Millisecond

// foreground tells whether somebody appends to the journal, and so waits for the disk. Safe for concurrent use.
type foreground struct {
	count func() uint64 // of records in the journal
	now   func() time.Time
	mu    struct {
		sync.Mutex
		seen uint64
		at   time.Time // when seen rose
	}
}

func newForeground(count func() uint64, now func() time.Time) *foreground {
	f := &foreground{count: count, now: now}
	f.mu.seen = count()
	return f
}

func (f *foreground) busy() bool {
	n, now := f.count(), f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if n != f.mu.seen {
		f.mu.seen, f.mu.at = n, now
	}
	return now.Sub(f.mu.at) < foregroundMemory
}

// pauseMax bounds one rest.
const pauseMax = 250 * time.Millisecond

// creditMax is how far a round that was faster than it must be may rest ahead, and how much it has to make up for after one that was slower.
const creditMax = time.Second

// pacer is the pace of one round: the rate that is configured, and rests while others append. What it rests from is time as the
// clock tells it: where the disk is slow or busy it rests longer. For one goroutine.
type pacer struct {
	rate   *throttle
	others *foreground
	temper *temper
	dirty  float64 // of the log when the round began, 0 to 1
	now    func() time.Time
	last   time.Time     // when the last wait returned
	credit time.Duration // by which the round is ahead of the slowest pace
}

// wait returns when compaction may go on, or ctx's error.
func (p *pacer) wait(ctx context.Context, n int64) error {
	err := p.rate.wait(ctx, n)
	if err == nil && p.others.busy() {
		if rest := p.rest(p.now().Sub(p.last), n); rest > 0 {
			err = pause(ctx, rest)
		}
	}
	p.last = p.now()
	return err
}

// rest is how long to rest from n bytes that took worked.
func (p *pacer) rest(worked time.Duration, n int64) time.Duration {
	earned := time.Duration(float64(n) / p.temper.floor(p.dirty) * float64(time.Second))
	p.credit = min(max(p.credit+earned-worked, -creditMax), creditMax)
	rest := min(p.temper.rest(worked), max(p.credit, 0))
	p.credit -= rest
	return rest
}
