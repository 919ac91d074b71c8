package wire

import (
	"context"
	"sync"
)

// Memory bounds the bytes of requests in flight in the whole process (hazard K2). There are two uses, each with a Memory of its
// own so that holders of the one never wait for the other's: frames, reserved by size (PeekFrame) before they are read; and
// decoded requests (DecodeMemory), reserved before they are decoded. Both are given back when the request is answered. Waiters are served in order of arrival,
// so that a large request is not passed by small ones for ever. Safe for concurrent use.
type Memory struct {
	bytesMax int64
	mu       struct {
		sync.Mutex
		used    int64
		waiters []*waiter // oldest first
	}
}

type waiter struct {
	n     int64
	ready chan struct{} // closed once n is reserved
}

// NewMemory returns a budget of bytesMax bytes, which must be positive.
func NewMemory(bytesMax int64) *Memory {
	if bytesMax <= 0 {
		panic("wire: memory budget must be positive")
	}
	return &Memory{bytesMax: bytesMax}
}

// Acquire waits until n bytes are free and reserves them; the caller owes a Release of the same n. More than the whole budget
// is treated as the whole budget, by Release too, so that every request that the frame limit lets through can be served alone.
// Error: ctx's, and then nothing is reserved.
func (m *Memory) Acquire(ctx context.Context, n int64) error {
	n = min(n, m.bytesMax)
	m.mu.Lock()
	if len(m.mu.waiters) == 0 && m.mu.used+n <= m.bytesMax {
		m.mu.used += n
		m.mu.Unlock()
		return nil
	}
	w := &waiter{n: n, ready: make(chan struct{})}
	m.mu.waiters = append(m.mu.waiters, w)
	m.mu.Unlock()

	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
		m.abandon(w)
		return ctx.Err()
	}
}

// abandon takes w out of the queue, or gives back what it was granted in the meantime.
func (m *Memory) abandon(w *waiter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, other := range m.mu.waiters {
		if other == w {
			m.mu.waiters = append(m.mu.waiters[:i], m.mu.waiters[i+1:]...)
			m.grantLocked() // w may have been what the others waited behind
			return
		}
	}
	m.mu.used -= w.n
	m.grantLocked()
}

// Release gives back n bytes that Acquire reserved. It panics when more comes back than was taken.
func (m *Memory) Release(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.used -= min(n, m.bytesMax)
	if m.mu.used < 0 {
		panic("wire: more memory released than acquired")
	}
	m.grantLocked()
}

// Used returns the bytes that are reserved now.
func (m *Memory) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.used
}

// grantLocked lets the oldest waiters in, as far as there is room.
func (m *Memory) grantLocked() {
	for len(m.mu.waiters) > 0 {
		w := m.mu.waiters[0]
		if m.mu.used+w.n > m.bytesMax {
			return
		}
		m.mu.used += w.n
		m.mu.waiters = m.mu.waiters[1:]
		close(w.ready)
	}
}
