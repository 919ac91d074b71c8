package transport

import (
	"sync"
	"time"
)

// bucket limits bytes per second. A frame goes as soon as there is anything in it and may leave a debt, so that a large one is sent as
// well. Safe for concurrent use.
type bucket struct {
	now func() time.Time
	mu  struct {
		sync.Mutex
		rate   int64 // bytes per second; 0 = no limit
		tokens int64 // at most a tenth of a second's
		last   time.Time
	}
}

// set changes the rate; debts of the old one are forgiven.
func (b *bucket) set(rate int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.rate, b.mu.tokens, b.mu.last = max(rate, 0), max(rate/10, 1), b.now()
}

// take is 0 where n bytes may be sent now, else how long to wait before asking again.
func (b *bucket) take(n int) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := &b.mu
	if m.rate == 0 {
		return 0
	}
	now := b.now()
	// By seconds, not by nanoseconds times bytes, which would overflow after a long pause.
	earned := int64(now.Sub(m.last).Seconds() * float64(m.rate))
	if earned > 0 {
		m.tokens, m.last = min(m.tokens+earned, max(m.rate/10, 1)), now
	}
	if m.tokens <= 0 {
		return max(time.Duration(float64(1-m.tokens)/float64(m.rate)*float64(time.Second)), time.Millisecond)
	}
	m.tokens -= int64(n)
	return 0
}
