package sites

import "sync"

// worker steps the links that are handed to it, one after the other.
type worker struct {
	mu    sync.Mutex
	cond  sync.Cond
	queue []*runner
	spare []*runner
	ended bool
}

func newWorker() *worker {
	w := &worker{}
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
	for {
		w.mu.Lock()
		for len(w.queue) == 0 && !w.ended {
			w.cond.Wait()
		}
		if w.ended {
			w.mu.Unlock()
			return
		}
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
	w.mu.Unlock()
	w.cond.Signal()
}
