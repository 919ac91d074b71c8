package group

import (
	"container/heap"
	"time"
)

// timers is what the groups of one shard wait for: a heap of deadlines, because there are as many as members. Guarded by the
// shard's lock.
type timers struct{ heap timerHeap }

// timer is one deadline. The zero value is stopped.
type timer struct {
	due   time.Time
	at    time.Time // its place in the heap; not after due
	index int       // in the heap, plus 1; 0 = stopped
	fire  func(now time.Time)
}

// set starts t or moves it. A deadline that is put off, as by each heartbeat, costs nothing: the heap is corrected when the
// earlier time comes.
func (ts *timers) set(t *timer, due time.Time) {
	t.due = due
	switch {
	case t.index == 0:
		t.at = due
		heap.Push(&ts.heap, t)
	case due.Before(t.at):
		t.at = due
		heap.Fix(&ts.heap, t.index-1)
	}
}

// stop makes sure that t does not fire.
func (ts *timers) stop(t *timer) {
	if t != nil && t.index != 0 {
		heap.Remove(&ts.heap, t.index-1)
	}
}

// next is when run has to be called at the latest; false = there is nothing to wait for.
func (ts *timers) next() (time.Time, bool) {
	if len(ts.heap) == 0 {
		return time.Time{}, false
	}
	return ts.heap[0].at, true
}

// run fires what is due at now, in the order of the deadlines.
func (ts *timers) run(now time.Time) {
	for len(ts.heap) > 0 && !ts.heap[0].at.After(now) {
		t := ts.heap[0]
		if t.due.After(t.at) { // put off meanwhile
			t.at = t.due
			heap.Fix(&ts.heap, 0)
			continue
		}
		heap.Pop(&ts.heap)
		t.fire(now)
	}
}

type timerHeap []*timer

// Len implements heap.Interface.
func (h timerHeap) Len() int { return len(h) }

// Less implements heap.Interface.
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }

// Swap implements heap.Interface.
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i+1, j+1
}

// Push implements heap.Interface.
func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	*h = append(*h, t)
	t.index = len(*h)
}

// Pop implements heap.Interface.
func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.index = 0
	return t
}
