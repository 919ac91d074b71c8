package log

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/tandembroker/tandem/protocol/record"
)

// window is what a reader sees of one segment, taken at one moment; bytes below size stay as they are until Log.mu.moved rises.
type window struct {
	seg    *segment
	file   *sharedFile // retained; nil = nothing to read
	size   int64       // of the segment
	last   int64       // its last offset
	upper  int64       // all its offsets are below
	moved  uint64
	epochs epochs
	index  indexes

	offset     int64
	limit      int64
	bytesMax   int64
	atLeastOne bool

	from     int64 // a batch at or before the one wanted, from the index
	fromLast int64 // the offset that it ends with, per index, where from > 0
	exact    place // the batch wanted, where recent knows it
	hasExact bool
	fast     bool  // the bytes that will be looked at were written or checked by this process
	verified spans // where not fast: a copy
}

// run is a run of batches that was found.
type run struct {
	from, to int64 // bytes
	begin    int64 // bytes from here on were looked at to find it,
	seen     int64 // up to here (locate)
	next     int64 // offset behind the last record
}

// window looks up where to begin to read at offset.
func (l *Log) window(offset, bytesMax, limit int64) (window, error) {
	var opened *sharedFile // keeps the file open until it is looked at again
	defer func() { _ = opened.release() }()
	for {
		l.mu.RLock()
		s, err := l.findLocked(offset, limit)
		if err != nil || s == nil || s.ready.Load() && s.file != nil {
			w := window{}
			if s != nil && err == nil {
				w = l.windowLocked(s, offset, bytesMax, limit)
			}
			l.mu.RUnlock()
			return w, err
		}
		l.mu.RUnlock()
		f, err := l.open(s)
		if err != nil && !errors.Is(err, errMoved) {
			return window{}, err
		}
		if f != nil {
			_ = opened.release()
			opened = f
		}
	}
}

// findLocked returns the segment to read from; nil = nothing below limit. One that is not ready is returned to be made ready.
func (l *Log) findLocked(offset, limit int64) (*segment, error) {
	switch {
	case l.mu.closed:
		return nil, ErrClosed
	case !l.mu.open:
		return nil, ErrNotRecovered
	case offset < min(l.mu.start, l.mu.end-1) || offset > l.mu.end: // the last batch is read below the log start too, where it is there
		return nil, fmt.Errorf("%w: %d, the log covers %d to %d", ErrOffsetOutOfRange, offset, l.mu.start, l.mu.end)
	}
	limit = min(limit, l.mu.end)
	for i := max(0, l.segmentAtLocked(offset)); offset < limit && i < len(l.mu.segments) && l.mu.segments[i].base < limit; i++ {
		s := l.mu.segments[i]
		switch {
		case !s.ready.Load() || s.size > 0 && s.lastOffset() >= offset: // compaction may leave one without records
			return s, nil
		case s.broken != nil:
			return nil, s.broken
		}
	}
	return nil, nil
}

func (l *Log) windowLocked(s *segment, offset, bytesMax, limit int64) window {
	w := window{seg: s, file: s.file.retain(), size: s.size, last: s.lastOffset(), moved: l.mu.moved, epochs: l.mu.epochs,
		index: s.index, offset: offset, limit: min(limit, l.mu.end), bytesMax: bytesMax}
	s.touch()
	w.upper, _ = l.upperLocked(s)
	w.from, w.fromLast = s.index.floor(offset)
	begin := w.from
	if s == l.lastLocked() {
		if w.exact, w.hasExact = l.mu.recent.find(offset); w.hasExact {
			begin = w.exact.pos
		}
	}
	w.fast = s.verified.covers(begin, min(s.size, begin+max(bytesMax, 1)))
	if !w.fast || bytesMax == math.MaxInt32 {
		w.verified = slices.Clone(s.verified)
	}
	return w
}

// wants says whether h belongs to what is looked at, before its bytes are: the batches ahead of offset, then those that fit. A
// first one that lies across the limit is looked at too: damage may have put its end there.
func (w *window) wants(f *run, h *header) bool {
	switch {
	case h.last < w.offset:
		return true
	case h.last >= w.limit:
		return f.to == f.from && h.base < w.limit
	case f.to == f.from:
		return h.length <= w.bytesMax || w.atLeastOne
	}
	return h.end()-f.from <= w.bytesMax
}

// take adds a batch that is wanted to the run; false = it is complete.
func (w *window) take(f *run, h *header) bool {
	if h.last < w.offset {
		return true
	}
	if h.last >= w.limit {
		return false
	}
	if f.to == f.from {
		f.from = h.pos
	}
	f.to, f.next = h.end(), h.last+1
	return f.to-f.from < w.bytesMax
}

// locate finds the run in bytes that need no check: most of the time by the indexes alone. Errors: ErrCorrupt where an index
// entry does not fit; the caller walks then.
func (w *window) locate() (run, error) {
	f := run{begin: w.from}
	s := newScanner(w.file, w.from, w.size, w.seg.base-1)
	defer s.close()
	first, err := w.first(s, &f)
	if err != nil || !w.wants(&f, &first) || first.length == 0 {
		return f, err
	}
	if !w.take(&f, &first) {
		return f, nil
	}
	target := first.pos + w.bytesMax
	if w.size <= target && w.last < w.limit {
		f.to, f.next = w.size, w.last+1
		return f, nil
	}
	s.pos, s.floor = first.end(), first.last
	jump, jumpLast, jumped := w.index.below(first.pos, target, w.limit)
	if jumped {
		s.pos = jump
	}
	for {
		h, ok, err := s.next()
		if err != nil || !ok {
			return f, err
		}
		f.seen = h.pos + record.HeaderLen
		if jumped {
			if jumped = false; h.last != jumpLast {
				return f, s.corrupt("offset index says %d, found %d", jumpLast, h.last)
			}
			f.to, f.next = h.pos, h.base
		}
		if !w.wants(&f, &h) || !w.take(&f, &h) {
			return f, nil
		}
	}
}

// first finds the batch that holds offset, or the first one behind it. A zero length means that there is none.
func (w *window) first(s *scanner, f *run) (header, error) {
	if w.hasExact {
		f.begin = w.exact.pos
		return header{pos: w.exact.pos, base: w.exact.last, length: w.exact.end - w.exact.pos, last: w.exact.last}, nil
	}
	for {
		h, ok, err := s.next()
		f.seen = max(f.seen, h.pos+record.HeaderLen)
		switch {
		case err != nil:
			return header{}, err
		case ok && h.pos == w.from && w.from > 0 && h.last != w.fromLast:
			return header{}, s.corrupt("offset index says %d, found %d", w.fromLast, h.last)
		case !ok:
			return header{}, nil
		case h.last >= w.offset:
			return h, nil
		}
	}
}

// walk hands the batches from w.from on to take, in order, until want or take says no. Before a batch is handed over, its CRC
// (unless this process wrote or checked it), its epoch and its place among the offsets around it have been checked: the header
// behind it must fit too, because offset and epoch have no CRC. What was checked is remembered.
// Errors: ErrCorrupt at the first batch that is wrong, errMoved.
func (l *Log) walk(w *window, want, take func(h *header) bool) error {
	err := l.walkOnce(w, want, take)
	if !errors.Is(err, errIndex) {
		return err
	}
	if err := l.reindex(w.seg); err != nil {
		return err
	}
	return errMoved // the window holds the old index
}

var errIndex = errors.New("log: index entry does not fit")

func (l *Log) walkOnce(w *window, want, take func(h *header) bool) error {
	s := newScanner(w.file, w.from, w.size, w.seg.base-1)
	defer s.close()
	s.upper = w.upper
	good := w.from
	var held *header
	var failed error
	for {
		h, ok, err := s.next()
		if err != nil {
			failed = err
			break
		}
		if held != nil {
			good = held.end()
			if !take(held) {
				break
			}
			held = nil
		}
		if !ok {
			break
		}
		if !want(&h) {
			_, _, failed = s.next() // what was not wanted must be believable too
			break
		}
		if h.pos == w.from && w.from > 0 && h.last != w.fromLast {
			failed = errIndex
			break
		}
		if failed = w.checkBatch(&h); failed != nil {
			break
		}
		held = &h
	}
	if errors.Is(failed, ErrCorrupt) && s.pos == w.from && w.from > 0 {
		failed = errIndex // at the very place that the index named
	}
	return l.remember(w, good, failed)
}

// checkBatch checks the bytes of one batch.
func (w *window) checkBatch(h *header) error {
	if err := w.epochs.check(w.file, h); err != nil {
		return err
	}
	if w.verified.covers(h.pos, h.end()) {
		return nil
	}
	return h.checkCRC(w.file)
}

// remember notes what a walk has checked, unless the log was truncated meanwhile.
func (l *Log) remember(w *window, good int64, failed error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.moved != w.moved {
		return errMoved
	}
	w.seg.verified = w.seg.verified.add(w.from, good)
	return failed
}

// reindex builds the indexes of s anew from its batches, after an entry was found wrong.
func (l *Log) reindex(s *segment) error {
	l.write.Lock() // nothing is appended meanwhile
	defer l.write.Unlock()
	l.files.Lock()
	defer l.files.Unlock()
	file, err := l.acquire(s)
	if err != nil {
		return err
	}
	defer func() { _ = file.release() }()
	l.mu.RLock()
	gone, size, failed := s.gone || l.mu.closed, s.size, s.reindexErr
	c, sealed := l.checksLocked(s)
	l.mu.RUnlock()
	if gone || failed != nil {
		return cmp.Or(failed, errMoved)
	}
	l.options().Logger.Warn("index is rebuilt: an entry does not fit its batch", "file", file.Name())
	x := newIndexes(s.base)
	good, err := x.walk(file, size, c)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.reindexErr = err; err == nil {
		s.reindexErr = &CorruptError{File: file.Name(), Reason: "the index does not fit although it was built anew"}
	} else if !sealed {
		return err
	}
	if sealed {
		x.addTime()
	}
	if err != nil {
		s.setBroken(err, good.to)
	}
	s.index, s.saved = x, savedIndex{stale: true}
	s.verified = s.verified.add(good.from, good.to)
	return nil
}
