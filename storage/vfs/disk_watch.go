package vfs

import (
	"sync/atomic"
	"time"
)

// DiskWatch knows since when writes and syncs have been waiting for the disk: one that hangs shows no other sign. Safe for concurrent use.
type DiskWatch struct {
	now   func() time.Time
	next  atomic.Uint32
	slots [diskSlots]atomic.Int64 // when a call began, ns; 0 = free
}

// diskSlots bounds the calls that are watched; what more there is waits with the others.
const diskSlots = 64

// NewDiskWatch takes the clock.
func NewDiskWatch(now func() time.Time) *DiskWatch { return &DiskWatch{now: now} }

// Begin is called before a write or sync; the result is for End. A nil DiskWatch watches nothing.
func (w *DiskWatch) Begin() (slot int) {
	if w == nil {
		return -1
	}
	at := w.now().UnixNano()
	for range 8 {
		i := int(w.next.Add(1) % diskSlots)
		if w.slots[i].CompareAndSwap(0, at) {
			return i
		}
	}
	return -1
}

// End is called behind it.
func (w *DiskWatch) End(slot int) {
	if slot >= 0 {
		w.slots[slot].Store(0)
	}
}

// Oldest is how long the call that has waited longest has been waiting; 0 = none is under way.
func (w *DiskWatch) Oldest() time.Duration {
	oldest := int64(0)
	for i := range w.slots {
		if at := w.slots[i].Load(); at != 0 && (oldest == 0 || at < oldest) {
			oldest = at
		}
	}
	if oldest == 0 {
		return 0
	}
	return max(w.now().Sub(time.Unix(0, oldest)), 1)
}
