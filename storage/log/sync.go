package log

import (
	"errors"
	"fmt"
	"path"
)

// saveIndexBytes is how much a segment that is still appended to must have grown for Flush to write its index: what a restart
// after a crash has to walk at most, and enough that the two fdatasyncs do not count.
const saveIndexBytes = 4 << 20

// Sync makes all that was appended before the call durable, in every segment it went to, with the names of new ones. It runs
// beside Append and costs nothing where nothing is dirty. Concurrent calls share: one that waited is often covered.
// Errors: ErrFailed, final.
func (l *Log) Sync() error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	return l.syncHeld(true)
}

// trySync is Sync without the folder (that takes a descriptor, and who asks has none), unless a Sync is under way: it may be what
// asks. Whoever syncs next gets the error.
func (l *Log) trySync() {
	if l.syncing.TryLock() {
		defer l.syncing.Unlock()
		_ = l.syncHeld(false)
	}
}

func (l *Log) syncHeld(names bool) error {
	l.mu.Lock()
	if err := l.mu.err; err != nil {
		l.mu.Unlock()
		return err
	}
	if l.mu.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	dir := l.mu.dirDirty && names
	l.mu.dirDirty = l.mu.dirDirty && !names
	var few [4]*sharedFile
	dirty := few[:0]
	for _, s := range l.mu.unsynced {
		s.dirty = false
		if !s.gone {
			dirty = append(dirty, s.file.retain())
		}
	}
	clear(l.mu.unsynced)
	l.mu.unsynced = l.mu.unsynced[:0]
	l.mu.Unlock()

	var err error
	for _, f := range dirty {
		if err == nil {
			l.options().Counters.Syncs.Add(1)
			slot := l.options().DiskWatch.Begin()
			err = f.Sync()
			l.options().DiskWatch.End(slot)
		}
		_ = f.release()
	}
	if err == nil && dir {
		l.options().Counters.DirSyncs.Add(1)
		err = l.fsys.SyncDir(l.dir)
	}
	if err != nil {
		return l.fail(fmt.Errorf("sync: %w", err))
	}
	return nil
}

// Flush is Sync, and then writes what a checkpoint needs beside the segments: leader epochs, aborted transactions, and the
// indexes of segments that are complete or have grown. A Checkpoint may be stored once it has returned nil.
// Errors: ErrNoSpace, to be tried again; else ErrFailed, final.
func (l *Log) Flush() error { return l.flush(saveIndexBytes) }

func (l *Log) flush(indexBytes int64) error {
	if err := l.writable(); err != nil {
		return err
	}
	l.files.Lock()
	defer l.files.Unlock()
	if err := l.Sync(); err != nil {
		return err
	}
	if err := l.flushEpochs(); err != nil {
		return l.failUnlessFull(fmt.Errorf("write %s: %w", nameEpochs, err))
	}
	l.mu.RLock()
	segments := l.mu.segments
	last := segments[len(segments)-1]
	l.mu.RUnlock()
	for _, s := range segments {
		if err := l.flushAborted(s); err != nil {
			return l.failUnlessFull(fmt.Errorf("write aborted transactions of segment %d: %w", s.base, err))
		}
		if err := l.flushIndex(s, s == last, indexBytes); err != nil {
			return l.failUnlessFull(fmt.Errorf("write index of segment %d: %w", s.base, err))
		}
	}
	return l.Sync() // for new names
}

func (l *Log) flushIndex(s *segment, active bool, indexBytes int64) error {
	if !s.ready.Load() {
		return nil
	}
	l.mu.RLock()
	x, size, gone, broken := s.index, s.size, s.gone, s.broken
	l.mu.RUnlock()
	saved := s.saved
	whole := saved.offsets == len(x.offsets) && saved.times == len(x.times) && !saved.stale
	if gone || broken != nil || whole || active && size-saved.size < indexBytes && !saved.stale {
		return nil //nolint:nilerr // a broken segment is reported by those who read it; its index is rebuilt
	}
	fresh := saved.stale || saved.offsets+saved.times == 0
	saved, err := saveIndexes(l.fsys, l.dir, &x, saved, size)
	s.saved = saved
	if err == nil && fresh {
		l.mu.Lock()
		l.mu.dirDirty = true // the names of index files: durable with the next Sync
		l.mu.Unlock()
	}
	return err
}

func (l *Log) flushEpochs() error {
	l.mu.Lock()
	saved, text := l.mu.epochsSaved, []byte(nil)
	if !saved {
		text = l.mu.epochs.encode()
		l.mu.epochsSaved = true
	}
	l.mu.Unlock()
	if saved {
		return nil
	}
	err := writeFile(l.fsys, path.Join(l.dir, nameEpochs), text)
	if errors.Is(err, ErrNoSpace) {
		l.mu.Lock()
		l.mu.epochsSaved = false
		l.mu.Unlock()
	}
	return err
}
