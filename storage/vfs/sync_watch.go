package vfs

import (
	"sync/atomic"
	"time"
)

// SyncWatch knows since when syncs have been waiting for the disk: one that hangs shows no other sign. Safe for concurrent use.
type SyncWatch struct {
	now   func() time.Time
	next  atomic.Uint32
	slots [syncSlots]atomic.Int64 // when a sync began, ns; 0 = free
}

// syncSlots bounds the syncs that are watched; what more there is waits with the others.
const syncSlots = 64

// NewSyncWatch takes the clock.
func NewSyncWatch(now func() time.Time) *SyncWatch { return &SyncWatch{now: now} }

// Begin is called before a sync; the result is for End. A nil SyncWatch watches nothing.
func (w *SyncWatch) Begin() (slot int) {
	if w == nil {
		return -1
	}
	at := w.now().UnixNano()
	for range 8 {
		i := int(w.next.Add(1) % syncSlots)
		if w.slots[i].CompareAndSwap(0, at) {
			return i
		}
	}
	return -1
}

// End is called behind the sync.
func (w *SyncWatch) End(slot int) {
	if slot >= 0 {
		w.slots[slot].Store(0)
	}
}

// Oldest is how long the sync that has waited longest has been waiting; 0 = none is under way.
func (w *SyncWatch) Oldest() time.Duration {
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
