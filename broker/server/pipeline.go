package server

import (
	"sync"
	"time"
)

// pending is a request that was handled and whose answer is under way.
type pending struct {
	reply    Reply
	api      string
	arrived  time.Time
	reserved int64 // bytes of the frame budget that it holds
}

// pipeline is the queue of unanswered requests of one connection, oldest first. The reader puts in, the writer takes out.
type pipeline struct {
	countMax int
	bytesMax int64

	mu struct {
		sync.Mutex
		queue  []pending // not yet taken by the writer
		count  int       // taken or not, until the answer has been sent
		bytes  int64
		closed bool // nothing more comes
		failed bool // nothing more is sent
	}
	filled  sync.Cond // signals the writer: an entry, or closed
	emptied sync.Cond // signals the reader: count fell
}

func newPipeline(countMax int, bytesMax int64) *pipeline {
	q := &pipeline{countMax: countMax, bytesMax: bytesMax}
	q.filled.L, q.emptied.L = &q.mu, &q.mu
	return q
}

// waitRoom returns when one more request of n bytes may be started, false when the connection has failed.
func (q *pipeline) waitRoom(n int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.mu.failed && q.mu.count > 0 && (q.mu.count >= q.countMax || q.mu.bytes+n > q.bytesMax) {
		q.emptied.Wait()
	}
	return !q.mu.failed
}

// waitIdle returns when everything is answered and sent, false when the connection has failed.
func (q *pipeline) waitIdle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.mu.count > 0 {
		q.emptied.Wait()
	}
	return !q.mu.failed
}

// idle says whether everything is answered and sent.
func (q *pipeline) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mu.count == 0
}

func (q *pipeline) put(p pending) {
	q.mu.Lock()
	q.mu.queue = append(q.mu.queue, p)
	q.mu.count++
	q.mu.bytes += p.reserved
	q.mu.Unlock()
	q.filled.Signal()
}

// take waits for the next entry; ok is false at the end of a closed queue.
func (q *pipeline) take() (p pending, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.mu.queue) == 0 {
		if q.mu.closed {
			return pending{}, false
		}
		q.filled.Wait()
	}
	p = q.mu.queue[0]
	n := copy(q.mu.queue, q.mu.queue[1:])
	q.mu.queue[n] = pending{}
	q.mu.queue = q.mu.queue[:n]
	return p, true
}

// more says whether another entry waits behind the one that was taken.
func (q *pipeline) more() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.mu.queue) > 0
}

// answered counts p out.
func (q *pipeline) answered(p pending) {
	q.mu.Lock()
	q.mu.count--
	q.mu.bytes -= p.reserved
	q.mu.Unlock()
	q.emptied.Signal()
}

func (q *pipeline) fail() {
	q.mu.Lock()
	q.mu.failed = true
	q.mu.Unlock()
	q.emptied.Signal()
}

func (q *pipeline) hasFailed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mu.failed
}

func (q *pipeline) close() {
	q.mu.Lock()
	q.mu.closed = true
	q.mu.Unlock()
	q.filled.Signal()
}
