package log

import (
	"fmt"
)

// Truncate removes all batches that end at or above offset, and moves the log end offset behind what remains. Only what was not
// committed may go. Durable with the next Sync. See the package comment for what extents in flight see.
// Errors: ErrOffsetOutOfRange below the log start, ErrFailed.
func (l *Log) Truncate(offset int64) error {
	l.write.Lock()
	defer l.write.Unlock()
	l.files.Lock()
	defer l.files.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	l.mu.RLock()
	segments, start, end, i := l.mu.segments, l.mu.start, l.mu.end, max(0, l.segmentAtLocked(offset))
	l.mu.RUnlock()
	switch {
	case offset >= end:
		return nil
	case offset < start:
		return fmt.Errorf("%w: truncate to %d, the log begins at %d", ErrOffsetOutOfRange, offset, start)
	}
	x, pos, err := l.indexesUpTo(segments[i], offset)
	for err == nil && pos == 0 && i > 0 { // an emptied segment goes: the next offset may lie below its base
		i--
		x, pos, err = l.indexesUpTo(segments[i], offset)
	}
	if err != nil {
		return err
	}
	file, err := l.acquireToWrite(segments[i])
	if err != nil {
		return err
	}
	defer func() { _ = file.release() }()
	if err := l.truncateTo(i, x, pos); err != nil {
		return l.fail(fmt.Errorf("truncate to offset %d: %w", offset, err))
	}
	return nil
}

// indexesUpTo finds where the first batch begins that ends at or above offset, and the indexes of what lies before.
func (l *Log) indexesUpTo(s *segment, offset int64) (x indexes, pos int64, err error) {
	file, err := l.acquireToWrite(s)
	if err != nil {
		return x, 0, err
	}
	defer func() { _ = file.release() }()
	x = s.index // only changed under write
	if s.broken != nil || x.last < offset {
		return x, s.size, s.broken
	}
	from, _ := x.floor(offset)
	sc := newScanner(file, from, s.size, s.base-1)
	defer sc.close()
	pos = from
	for {
		h, ok, err := sc.next()
		if err != nil {
			return x, 0, err
		}
		if !ok || h.last >= offset {
			break
		}
		pos = h.end()
	}
	x.cut(pos)
	l.mu.RLock()
	c, _ := l.checksLocked(s)
	l.mu.RUnlock()
	_, err = x.walk(file, pos, c)
	return x, pos, err
}

// truncateTo makes segment i the last one, pos bytes long.
func (l *Log) truncateTo(i int, x indexes, pos int64) error {
	l.mu.Lock()
	s := l.mu.segments[i]
	dropped := l.mu.segments[i+1:]
	l.mu.segments = l.mu.segments[: i+1 : i+1]
	for _, d := range dropped {
		d.dropLocked()
	}
	l.mu.end = max(l.mu.start, x.last+1)
	staleIndex := s.saved.stale || s.saved.offsets > len(x.offsets) || s.saved.times > len(x.times)
	s.index, s.size = x, pos
	s.verified = s.verified.cut(pos)
	s.cutAbortedLocked(l.mu.end)
	if l.mu.epochs.truncateEnd(l.mu.end) {
		l.mu.epochsSaved = false
	}
	l.mu.recent.reset()
	l.mu.moved++
	inFlight := s.extents.Load() > 0 && s.extentEnd.Load() > pos
	if s.extents.Load() == 0 {
		s.extentEnd.Store(0)
	}
	l.mu.seal = inFlight && pos > 0
	l.mu.dirDirty = l.mu.dirDirty || len(dropped) > 0 || staleIndex
	l.dirtyLocked(s)
	l.mu.Unlock()

	for _, d := range dropped {
		if err := l.removeSegment(d.base); err != nil {
			return err
		}
	}
	if staleIndex {
		if err := l.removeIndexes(s.base); err != nil {
			return err
		}
		s.saved = savedIndex{}
	}
	if _, err := l.removeSnapshots(func(o int64) bool { return o > l.LogEnd() }); err != nil {
		return err
	}
	s.reserved, s.reserving = 0, false
	if inFlight && pos == 0 {
		return l.replaceFile(s)
	}
	if err := s.file.Truncate(pos); err != nil {
		return err
	}
	// Once more: a Sync in between saw neither the new size nor the unlinks.
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.dirDirty = l.mu.dirDirty || len(dropped) > 0 || staleIndex
	l.dirtyLocked(s)
	return nil
}

// replaceFile gives an emptied segment a new file, because the old one is still being read.
func (l *Log) replaceFile(s *segment) error {
	name := fileName(l.dir, s.base, suffixLog)
	if err := l.fsys.Remove(name); err != nil {
		return err
	}
	fresh, err := l.newFile(s.base)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = s.file.release()
	s.file = fresh.file
	s.extentEnd.Store(0)
	l.mu.dirDirty = true
	return nil
}

// Reset removes all records and begins again at offset start, with no leader epochs: what InstallSnapshot needs. Durable on return.
// Errors: ErrFailed.
func (l *Log) Reset(start int64) error {
	l.write.Lock()
	defer l.write.Unlock()
	l.files.Lock()
	defer l.files.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	l.cutCleaning()
	if err := l.reset(start); err != nil {
		return l.fail(fmt.Errorf("reset to offset %d: %w", start, err))
	}
	l.mu.RLock()
	fresh := l.lastLocked()
	l.mu.RUnlock()
	l.options().Descriptors.add(l, fresh)
	if err := l.Sync(); err != nil {
		return err
	}
	if err := l.flushEpochs(); err != nil {
		return l.fail(fmt.Errorf("write %s: %w", nameEpochs, err))
	}
	return nil
}

func (l *Log) reset(start int64) error {
	l.mu.RLock()
	old := l.mu.segments
	l.mu.RUnlock()
	for _, s := range old {
		if err := l.removeSegment(s.base); err != nil {
			return err
		}
	}
	if _, err := l.removeSnapshots(func(int64) bool { return true }); err != nil {
		return err
	}
	if err := l.forgetCleaned(); err != nil {
		return err
	}
	fresh, err := l.newFile(start)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range old {
		s.dropLocked()
	}
	l.mu.segments = []*segment{fresh}
	l.mu.start, l.mu.end = start, start
	l.mu.epochs, l.mu.epochsSaved = nil, false
	l.mu.recent.reset()
	l.mu.seal = false
	l.mu.moved++
	l.mu.dirDirty = true
	l.dirtyLocked(fresh)
	return nil
}
