package raft

import (
	"context"
	"sync"

	"github.com/tandembroker/tandem/storage/entry"
)

// Observer hears of its proposal, each call once, on the goroutine that found out: it must not block and must not propose.
// ProposalStored comes when the leader's own disk has it (by its durability class); ProposalDone when it is applied (nil), or
// will not be acknowledged. ProposalDone may come without ProposalStored.
type Observer interface {
	ProposalStored()
	ProposalDone(err error)
}

// Future is a proposal on its way. Safe for concurrent use.
type Future struct {
	header   *entry.Header
	payload  []byte
	release  func()
	observer Observer
	data     []byte // the encoded header; its address names the proposal in the library's hands
	index    uint64 // once stored

	done   chan struct{}
	result any // of Machine.Apply; valid once done is closed
	err    error

	mu struct {
		sync.Mutex
		isStored bool
		stored   chan struct{} // made when somebody asks
	}
}

// Done is closed when the proposal was applied or has failed.
func (f *Future) Done() <-chan struct{} { return f.done }

// Err is why the proposal failed, nil if it was applied. Valid once Done is closed.
func (f *Future) Err() error { return f.err }

// Stored is closed when this broker has stored the entry, or the proposal has failed. It may be undone by a failover.
func (f *Future) Stored() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.stored == nil {
		f.mu.stored = make(chan struct{})
		if f.mu.isStored {
			close(f.mu.stored)
		}
	}
	return f.mu.stored
}

// Wait waits for the outcome: what Machine.Apply returned, or why the command was not acknowledged (ErrNotLeader, ErrVoid,
// ErrClosed, a failure of storage). ctx ends the waiting, not the proposal.
func (f *Future) Wait(ctx context.Context) (any, error) {
	select {
	case <-f.done:
		return f.result, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// noteStored wakes who waits for Stored; tell says whether the observer hears of it too.
func (f *Future) noteStored(tell bool) {
	f.mu.Lock()
	was := f.mu.isStored
	f.mu.isStored = true
	if !was && f.mu.stored != nil {
		close(f.mu.stored)
	}
	f.mu.Unlock()
	if tell && f.observer != nil {
		f.observer.ProposalStored()
	}
}

// letGo gives the payload back, once.
func (f *Future) letGo() {
	f.payload = nil
	if release := f.release; release != nil {
		f.release = nil
		release()
	}
}

// complete ends f. The caller has taken it out of the Group's queues, so that nobody else completes it.
func (f *Future) complete(result any, err error) {
	f.letGo()
	f.result, f.err = result, err
	if f.observer != nil {
		f.observer.ProposalDone(err)
	}
	close(f.done)
	f.noteStored(false)
}

// queue is a first-in first-out list that reuses its memory.
type queue struct {
	items []*Future
	head  int
}

func (q *queue) len() int       { return len(q.items) - q.head }
func (q *queue) peek() *Future  { return q.items[q.head] }
func (q *queue) push(f *Future) { q.items = append(q.items, f) }

func (q *queue) pop() *Future {
	f := q.items[q.head]
	q.items[q.head] = nil
	q.head++
	switch {
	case q.head == len(q.items):
		q.items, q.head = q.items[:0], 0
	case q.head >= 64 && q.head*2 >= len(q.items):
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	return f
}

// position of the proposal whose encoded header is data, counted from the head; -1 = not there.
func (q *queue) position(data []byte) int {
	for i, f := range q.items[q.head:] {
		if &f.data[0] == &data[0] {
			return i
		}
	}
	return -1
}
