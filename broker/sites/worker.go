package sites

import (
	"sync"
	"time"
)

// turnInterval is how far the rounds of a busy worker are apart. What a link is told in between, the log's end as stored and as durable, an
// Append sent, an Ack, makes one turn, and the connections write what several links send together. The first thing behind a pause has its turn
// at once. Workers rest until the same moments, so that the system wakes the process once for all of them.
const turnInterval = time.Millisecond

// worker steps the links that are handed to it, one after the other.
type worker struct {
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
	for began := -turnInterval; ; {
		w.mu.Lock()
		for len(w.queue) == 0 && !w.ended {
			w.cond.Wait()
		}
		if w.ended {
			w.mu.Unlock()
			return
		}
		if now := w.now(); now-began < turnInterval {
			w.mu.Unlock()
			rest.Reset(turnInterval - now%turnInterval)
			select {
			case <-rest.C:
			case <-w.done:
			}
			w.mu.Lock()
		}
		began = w.now()
		batch := w.queue
		w.queue, w.spare = w.spare[:0], batch
		w.mu.Unlock()
		for i, r := range batch {
			r.turn()
			batch[i] = nil
		}
	}
}

func (w *worker) end() {
	w.mu.Lock()
	w.ended = true
	close(w.done)
	w.mu.Unlock()
	w.cond.Signal()
}
