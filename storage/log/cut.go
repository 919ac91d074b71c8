package log

import (
	"fmt"
)

// Cutting is what a Cut is about to leave: a Checkpoint of the log as it will be.
type Cutting struct {
	Offset    int64 // the log end offset
	LogStart  int64
	End       Position // where the bytes of the records below Offset end
	Sealed    []Sealed // the segments below the one of End
	EpochsCRC uint32   // of the leader epochs from LogStart to Offset
}

// Cut makes the log end at offset: batches that end at or above it go, committed or not. record is called before anything changes, and
// while nothing else can: it makes durable what is about to be done, so that a start after a crash in here finishes it, by a
// Checkpoint that says the same. Whatever lies below offset must be synced (Flush). A log that begins above offset is empty then, and
// begins and ends at offset. Readers as in Truncate. Durable with the next Sync, or that start.
// Errors: record's (nothing happened), ErrOffsetOutOfRange above the log end (nothing happened), I/O of the places to cut at (nothing
// happened), ErrFailed.
func (l *Log) Cut(offset int64, record func(Cutting) error) error {
	l.write.Lock()
	defer l.write.Unlock()
	l.files.Lock()
	defer l.files.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	l.mu.RLock()
	segments, start, end, i := l.mu.segments, l.mu.start, l.mu.end, l.segmentAtLocked(offset)
	l.mu.RUnlock()
	if offset > end {
		return fmt.Errorf("%w: cut at %d, the log ends at %d", ErrOffsetOutOfRange, offset, end)
	}
	c := Cutting{Offset: offset, LogStart: min(start, offset), End: Position{Segment: offset}, EpochsCRC: l.EpochsCRC(min(start, offset), offset)}
	var x indexes
	if i >= 0 {
		var pos int64
		var err error
		x, pos, err = l.indexesUpTo(segments[i], offset)
		for err == nil && pos == 0 && i > 0 { // an emptied segment goes: the next offset may lie below its base
			i--
			x, pos, err = l.indexesUpTo(segments[i], offset)
		}
		if err != nil {
			return err
		}
		c.End = Position{segments[i].base, pos}
		c.Sealed = l.Sealed(c.End)
	}
	l.cutCleaning()
	if err := l.beginCleaningAnew(offset); err != nil {
		return l.fail(err)
	}
	if err := record(c); err != nil {
		return err
	}
	if err := l.cutTo(i, x, c); err != nil {
		return l.fail(fmt.Errorf("cut at offset %d: %w", offset, err))
	}
	return nil
}

// cutTo does what c says; segment i becomes the last one, -1 = none stays.
func (l *Log) cutTo(i int, x indexes, c Cutting) error {
	if i < 0 {
		if err := l.reset(c.Offset); err != nil {
			return err
		}
		l.mu.RLock()
		fresh := l.lastLocked()
		l.mu.RUnlock()
		l.options().Descriptors.add(l, fresh)
		return nil
	}
	l.mu.RLock()
	s := l.mu.segments[i]
	l.mu.RUnlock()
	file, err := l.acquireToWrite(s)
	if err != nil {
		return err
	}
	defer func() { _ = file.release() }()
	l.mu.Lock()
	l.mu.start = c.LogStart
	l.mu.Unlock()
	err = l.truncateTo(i, x, c.End.Pos)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.end = c.Offset // there may be a gap in front of it
	return err
}

// beginCleaningAnew forgets how far compaction has come where that is above offset: other records will be there. It is durable before
// any of them is. Under Log.files.
func (l *Log) beginCleaningAnew(offset int64) error {
	l.mu.RLock()
	cleaned, known := l.mu.cleaned, l.mu.cleanedKnown
	l.mu.RUnlock()
	if !known {
		var err error
		if cleaned, err = l.loadCleaned(); err != nil {
			return err
		}
	}
	if cleaned <= offset {
		return nil
	}
	if err := l.forgetCleaned(); err != nil {
		return err
	}
	return l.fsys.SyncDir(l.dir)
}

// Forget removes what machines have derived from records at or above offset: the producer snapshots, and the aborted transactions
// whose markers are there. Behind a Cut, and behind a start after one, where commands were applied again whose records are gone.
// Errors: ErrFailed.
func (l *Log) Forget(offset int64) error {
	l.files.Lock()
	defer l.files.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	if _, err := l.removeSnapshots(func(o int64) bool { return o > offset }); err != nil {
		return l.fail(fmt.Errorf("remove producer snapshots above %d: %w", offset, err))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := max(0, l.segmentAtLocked(offset)); i < len(l.mu.segments); i++ {
		l.mu.segments[i].cutAbortedLocked(offset)
	}
	return nil
}
