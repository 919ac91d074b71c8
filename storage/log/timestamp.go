package log

import (
	"errors"
	"math"
	"slices"

	"github.com/tandembroker/tandem/protocol/record"
)

// errStop ends a walk over the records of a batch.
var errStop = errors.New("log: found")

// OffsetForTimestamp finds the first record with a timestamp at or above ts, in ms, that lies below limit; its own timestamp and
// leader epoch come with it. A batch is opened only where its header cannot tell. A batch whose records cannot be read counts as
// a whole: the reader begins at its first record. Errors: ErrCorrupt, I/O. Source: Kafka's LogSegment.findOffsetByTimestamp.
func (l *Log) OffsetForTimestamp(ts, limit int64) (offset, timestamp int64, epoch int32, found bool, err error) {
	return l.search(limit, func(s *segment) int64 {
		if s.index.maxTs < ts {
			return -1
		}
		if e, ok := s.index.floorTime(ts); ok && e.ts < ts {
			return s.base + int64(e.rel) + 1 // all up to there is older
		}
		return s.base
	}, func(h *header, b record.Batch, from int64) (int64, int64, bool) {
		return firstRecord(h, b, from, ts)
	}, ts)
}

// MaxTimestamp finds the first record that has the largest timestamp of the log, when it lies below limit.
// Source: Kafka's ListOffsets with timestamp -3.
func (l *Log) MaxTimestamp(limit int64) (offset, timestamp int64, epoch int32, found bool, err error) {
	l.mu.RLock()
	segments := l.mu.segments
	l.mu.RUnlock()
	top := int64(-1)
	for _, s := range segments {
		if err := l.ensure(s); err != nil && !errors.Is(err, errMoved) {
			return 0, 0, 0, false, err
		}
		l.mu.RLock()
		if s.ready.Load() {
			top = max(top, s.index.maxTs)
		}
		l.mu.RUnlock()
	}
	if top < 0 {
		return -1, -1, -1, false, nil
	}
	return l.OffsetForTimestamp(top, limit)
}

// firstRecord finds the first record of the batch at or above offset from with a timestamp at or above ts. b nil = the header
// tells all.
func firstRecord(h *header, b record.Batch, from, ts int64) (offset, timestamp int64, found bool) {
	if b == nil {
		return max(h.base, from), h.maxTs, true
	}
	err := b.Each(0, func(r record.Record) error {
		if r.Timestamp >= ts && r.Offset >= from {
			offset, timestamp, found = r.Offset, r.Timestamp, true
			return errStop
		}
		return nil
	})
	if err != nil && !found {
		return max(h.base, from), h.maxTs, true
	}
	return offset, timestamp, found
}

// search walks the segments that begin may name an offset in (-1 = none), up to the first record that match finds.
func (l *Log) search(limit int64, begin func(*segment) int64, match func(h *header, b record.Batch, from int64) (int64, int64, bool),
	ts int64) (offset, timestamp int64, epoch int32, found bool, err error) {
	next := l.LogStart()
	for {
		w, from, err := l.searchWindow(next, limit, begin)
		if err != nil || w.file == nil {
			return -1, -1, -1, false, err
		}
		var unread error
		err = l.walk(&w, func(h *header) bool { return h.base < w.limit }, func(h *header) bool {
			if h.last < from || h.maxTs < ts {
				return true
			}
			var b record.Batch
			if h.last > h.base && h.attribute&attrLogAppendTime == 0 {
				if b, unread = h.readBatch(w.file); unread != nil {
					return false
				}
			}
			offset, timestamp, found = match(h, b, from)
			epoch = h.epoch
			return !found
		})
		_ = w.file.release()
		switch {
		case errors.Is(err, errMoved):
			found = false
			continue
		case unread != nil:
			return -1, -1, -1, false, l.unlessMoved(w.moved, unread)
		case err != nil && !found:
			return -1, -1, -1, false, err
		case found && offset < w.limit:
			return offset, timestamp, epoch, true, nil
		case found:
			return -1, -1, -1, false, nil
		}
		next = w.upper
	}
}

const attrLogAppendTime = 0x08

// searchWindow finds the first segment with offsets at or above next that begin accepts, and the offset to begin at.
func (l *Log) searchWindow(next, limit int64, begin func(*segment) int64) (window, int64, error) {
	for {
		l.mu.RLock()
		from := max(next, l.mu.start)
		if from > l.mu.end {
			l.mu.RUnlock()
			return window{}, 0, nil
		}
		s, err := l.findLocked(from, limit)
		if err != nil || s == nil {
			l.mu.RUnlock()
			return window{}, 0, err
		}
		if !s.ready.Load() {
			l.mu.RUnlock()
			if err := l.ensure(s); err != nil && !errors.Is(err, errMoved) {
				return window{}, 0, err
			}
			continue
		}
		if at := begin(s); at >= 0 {
			w := l.windowLocked(s, max(at, from), math.MaxInt32, limit)
			w.verified = slices.Clone(s.verified)
			l.mu.RUnlock()
			return w, max(at, from), nil
		}
		if s.broken != nil {
			err = s.broken
		}
		next, _ = l.upperLocked(s)
		l.mu.RUnlock()
		if err != nil {
			return window{}, 0, err
		}
	}
}
