package sites

import (
	"sync"
	"time"
)

// worker steps the links that are handed to it, one after the other, in rounds. The first thing behind a pause has its turn at once. Workers rest
// until the same moments, so that the system wakes the process once for all of them.
type worker struct {
	pace  pace                 // of run
	now   func() time.Duration // a monotonic clock
	done  chan struct{}        // closed by end
	mu    sync.Mutex
	cond  sync.Cond
	queue []*runner
	spare []*runner
	ended bool
}

func newWorker(now func() time.Duration) *worker {
	w := &worker{now: now, done: make(chan struct{})}
	w.cond.L = &w.mu
	return w
}

// add queues r; it never waits.
func (w *worker) add(r *runner) {
	w.mu.Lock()
	w.queue = append(w.queue, r)
	w.mu.Unlock()
	w.cond.Signal()
}

// run steps links until end is called.
func (w *worker) run() {
	rest := time.NewTimer(0)
	defer rest.Stop()
	for next := time.Duration(0); ; {
		w.mu.Lock()
		for len(w.queue) == 0 && !w.ended {
			w.cond.Wait()
		}
		if w.ended {
			w.mu.Unlock()
			return
		}
		if now := w.now(); now < next {
			w.mu.Unlock()
			interval := w.pace.interval()
			rest.Reset(interval - now%interval)
			select {
			case <-rest.C:
			case <-w.done:
			}
			w.mu.Lock()
		}
		w.pace.begin(w.now())
		batch := w.queue
		w.queue, w.spare = w.spare[:0], batch
		w.mu.Unlock()
		for i, r := range batch {
			r.turn()
			batch[i] = nil
		}
		next = w.pace.now + w.pace.interval()
	}
}

func (w *worker) end() {
	w.mu.Lock()
	w.ended = true
	close(w.done)
	w.mu.Unlock()
	w.cond.Signal()
}
