package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ack is an acknowledgement.
type ack struct {
	number int
	at     time.Time
}

// history is what clients know of one partition. One producer numbers records from 0 and never sends a number twice.
type history struct {
	partition int32
	mu        struct {
		sync.Mutex
		offsets map[int64]int // offset -> number, by whoever told it: an acknowledgement, a consumer, an archive
		acked   map[int64]ack // by offset
		pending map[int64]ack // those of acked that no settled check has found yet
		taken   map[int64]int // what the group has got, by offset
		last    time.Time     // of the newest acknowledgement
		gap     time.Duration // longest time between two acknowledgements since watch
		watched time.Time
		errs    []error
	}
	sent int // by the producer's goroutine; read after it ended
}

func newHistory(partition int32) *history {
	h := &history{partition: partition}
	h.mu.offsets, h.mu.acked, h.mu.pending, h.mu.taken = map[int64]int{}, map[int64]ack{}, map[int64]ack{}, map[int64]int{}
	return h
}

func key(partition int32, number int) string { return fmt.Sprintf("%d-%d", partition, number) }

// number reads what key wrote.
func (h *history) number(k []byte) (int, error) {
	partition, number, ok := strings.Cut(string(k), "-")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || partition != strconv.Itoa(int(h.partition)) {
		return 0, fmt.Errorf("partition %d: a record with the foreign key %.40q", h.partition, k)
	}
	return n, nil
}

// denotesLocked notes what is at an offset. An offset that held something else is a fault that is kept.
func (h *history) denotesLocked(offset int64, number int, by string) {
	if before, ok := h.mu.offsets[offset]; ok && before != number {
		h.mu.errs = append(h.mu.errs, fmt.Errorf("partition %d: offset %d is number %d by %s, and was number %d", h.partition, offset, number, by, before))
	}
	h.mu.offsets[offset] = number
}

func (h *history) acknowledged(number int, offset int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	h.denotesLocked(offset, number, "an acknowledgement")
	a := ack{number, now}
	h.mu.acked[offset], h.mu.pending[offset] = a, a
	if !h.mu.watched.IsZero() {
		h.mu.gap = max(h.mu.gap, now.Sub(later(h.mu.last, h.mu.watched)))
	}
	h.mu.last = now
}

func (h *history) took(offset int64, k []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	number, err := h.number(k)
	if err != nil {
		h.mu.errs = append(h.mu.errs, err)
		return
	}
	h.denotesLocked(offset, number, "a group")
	h.mu.taken[offset] = number
}

func (h *history) fault(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.errs = append(h.mu.errs, err)
}

// watch begins to measure the pause.
func (h *history) watch() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.gap, h.mu.watched = 0, time.Now()
}

// resumed says whether something was acknowledged since watch began and at least quiet ago, and the longest pause.
func (h *history) resumed(since time.Time) (bool, time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.last.After(since), h.mu.gap
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
