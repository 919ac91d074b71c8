package log

import (
	"errors"
	"math"

	"github.com/tandembroker/tandem/protocol/record"
)

// errStop ends a walk over the records of a batch.
var errStop = errors.New("log: found")

// OffsetForTimestamp finds the first record with a timestamp at or above ts, in ms, that lies below limit; its own timestamp and
// leader epoch come with it. A batch is opened only where its header cannot tell. A batch whose records cannot be read counts as
// a whole: the reader begins at its first record. Errors: ErrCorrupt, I/O. Source: Kafka's LogSegment.findOffsetByTimestamp.
func (l *Log) OffsetForTimestamp(ts, limit int64) (offset, timestamp int64, epoch int32, found bool, err error) {
	next := l.LogStart()
	for {
		w, err := l.timeWindow(next, ts, limit)
		if errors.Is(err, errMoved) {
			continue
		}
		if err != nil || w.file == nil {
			return -1, -1, -1, false, err
		}
		r, err := l.firstIn(&w, ts)
		_ = w.file.release()
		switch {
		case errors.Is(err, errMoved): // the segment's index was wrong, or the log was truncated
		case err != nil:
			return -1, -1, -1, false, err
		case r.found && r.offset < w.limit:
			return r.offset, r.timestamp, r.epoch, true, nil
		case r.found:
			return -1, -1, -1, false, nil
		default:
			next = w.upper
		}
	}
}

// stamped is a record that a search found.
type stamped struct {
	offset, timestamp int64
	epoch             int32
	found             bool
}

// firstIn walks the window's segment to the first record at or above the window's offset with a timestamp at or above ts.
func (l *Log) firstIn(w *window, ts int64) (r stamped, err error) {
	var unread error
	err = l.walk(w, func(h *header) bool { return h.base < w.limit }, func(h *header) bool {
		if h.last < w.offset || h.maxTs < ts || h.records == 0 { // emptied by another broker's compaction
			return true
		}
		whole := int64(h.records) == h.last-h.base+1 // compaction has taken nothing
		var b record.Batch
		if !whole || h.last > h.base && h.attribute&attrLogAppendTime == 0 {
			if b, unread = h.readBatch(w.file); unread != nil {
				return false
			}
		}
		r.offset, r.timestamp, r.found = firstRecord(h, b, w.offset, ts)
		r.epoch = h.epoch
		return !r.found
	})
	switch {
	case unread != nil:
		return r, l.unlessMoved(w.moved, unread)
	case errors.Is(err, ErrCorrupt) && r.found:
		return r, nil // what is wrong lies behind
	}
	return r, err
}

const attrLogAppendTime = 0x08

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
	err := b.Each(0, func(r record.Record) error { // which knows of log append time
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

// timeWindow finds the first segment with offsets at or above next that may hold ts, and where to begin in it.
// Errors: errMoved to be asked again.
func (l *Log) timeWindow(next, ts, limit int64) (window, error) {
	for {
		w, err := l.window(max(next, l.LogStart()), math.MaxInt32, limit)
		switch {
		case errors.Is(err, ErrOffsetOutOfRange) && next > l.LogEnd():
			return window{}, nil
		case errors.Is(err, ErrOffsetOutOfRange): // the log start moved meanwhile
			continue
		case err != nil || w.file == nil:
			return window{}, err
		}
		if w.index.maxTs >= ts {
			err := l.skipOlder(&w, ts)
			if err != nil {
				_ = w.file.release()
			}
			return w, err
		}
		_ = w.file.release()
		if broken := l.brokenBehind(&w); broken != nil {
			return window{}, broken // what is behind the damage may have it
		}
		next = w.upper
	}
}

// skipOlder moves the window's offset behind the records that the time index says are older than ts. The entry is compared with
// its batch first: it has no checksum.
func (l *Log) skipOlder(w *window, ts int64) error {
	e, ok := w.index.floorTime(ts - 1)
	if !ok {
		return nil
	}
	if err := w.index.checkTime(w.file, e, w.size); err != nil {
		if err = l.unlessMoved(w.moved, err); !errors.Is(err, ErrCorrupt) {
			return err
		}
		if err := l.reindex(w.seg); err != nil {
			return err
		}
		return errMoved
	}
	w.offset = max(w.offset, w.seg.base+int64(e.rel)+1)
	w.from, w.fromLast = w.index.floor(w.offset)
	return nil
}

func (l *Log) brokenBehind(w *window) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return w.seg.broken
}
