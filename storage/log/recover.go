package log

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"os"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

// Tail is the payload of one entry above the checkpoint, as the journal recorded it.
type Tail struct {
	Pos    Position
	Length uint32
	CRC    uint32 // of the payload, CRC32C
	Rows   []entry.Row
	Inline func() ([]byte, error) // returns the payload; nil = it is in the segment
}

func (t *Tail) end() Position { return Position{t.Pos.Segment, t.Pos.Pos + int64(t.Length)} }

// recovery lives from Open to Recover.
type recovery struct {
	l       *Log
	cp      Checkpoint
	endSize int64           // of the file of cp.End
	beyond  map[int64]int64 // segments above cp.End: base to file size
	caches  map[int64]bool  // bases that have index files
	intact  map[Position]Tail
}

func (r *recovery) lowestBeyond() int64 {
	low := int64(math.MaxInt64)
	for base := range r.beyond {
		low = min(low, base)
	}
	return low
}

// follow checks that t may come behind at (the end of the trusted bytes or of the entry before).
func follow(at Position, t *Tail) error {
	if t.Length == 0 || len(t.Rows) == 0 || t.Pos.Pos < 0 || t.end().Pos > posMax {
		return fmt.Errorf("%w: payload of %d bytes and %d rows at %s", ErrCorrupt, t.Length, len(t.Rows), t.Pos)
	}
	last := t.Rows[len(t.Rows)-1]
	if uint64(last.Pos)+uint64(last.Length) != uint64(t.Length) || t.Rows[0].BaseOffset < t.Pos.Segment {
		return fmt.Errorf("%w: rows of the payload at %s cover %d of %d bytes from offset %d", ErrCorrupt, t.Pos,
			uint64(last.Pos)+uint64(last.Length), t.Length, t.Rows[0].BaseOffset)
	}
	if t.Pos == at || t.Pos.Pos == 0 && t.Pos.Segment > at.Segment {
		return nil
	}
	return fmt.Errorf("%w: payload at %s does not follow %s", ErrCorrupt, t.Pos, at)
}

// begin is where the trusted bytes end: the checkpoint's end, or lower where the tail begins there. What is in the tail is never
// believed unseen, because a suffix may have been replaced after the checkpoint.
func (r *recovery) begin(tail []Tail) Position {
	if len(tail) > 0 && tail[0].Pos.Before(r.cp.End) {
		return tail[0].Pos
	}
	return r.cp.End
}

// Verify says how many leading entries of the tail have their payload: in the segment with the right CRC, or inline. It
// changes nothing. tail is ordered as in the log. Errors: ErrCorrupt where the tail contradicts itself, I/O.
func (l *Log) Verify(tail []Tail) (intact int, err error) {
	l.write.Lock()
	defer l.write.Unlock()
	if l.recovery == nil {
		return 0, fmt.Errorf("log: verify %s: not between Open and Recover", l.dir)
	}
	return l.recovery.verify(tail)
}

func (r *recovery) verify(tail []Tail) (int, error) {
	var open vfs.File
	var base int64
	defer func() {
		if open != nil {
			_ = open.Close()
		}
	}()
	at := r.begin(tail)
	for i := range tail {
		t := &tail[i]
		if err := follow(at, t); err != nil {
			return i, err
		}
		at = t.end()
		if t.Inline != nil || r.known(t) {
			continue
		}
		if open == nil || base != t.Pos.Segment {
			if open != nil {
				_ = open.Close()
				open = nil
			}
			f, err := r.l.fsys.OpenFile(fileName(r.l.dir, t.Pos.Segment, suffixLog), os.O_RDONLY, 0)
			if errors.Is(err, fs.ErrNotExist) {
				return i, nil
			}
			if err != nil {
				return i, err
			}
			open, base = f, t.Pos.Segment
		}
		sum, err := checksum(open, t.Pos.Pos, int64(t.Length))
		if errors.Is(err, ErrCorrupt) { // the file is too short
			return i, nil
		}
		if err != nil {
			return i, err
		}
		if sum != t.CRC {
			return i, nil
		}
		r.intact[t.Pos] = Tail{Length: t.Length, CRC: t.CRC}
	}
	return len(tail), nil
}

func (r *recovery) known(t *Tail) bool {
	k, ok := r.intact[t.Pos]
	return ok && k.Length == t.Length && k.CRC == t.CRC
}

// Recover makes the segments hold exactly what lies below the checkpoint, then the tail: payloads by reference must be there
// (Verify), inline ones are written at their places, everything behind is cut off, and all of it is synced. Then the log is
// open. A crash in the middle, or a failure, leaves what another Open and Recover with the same arguments puts right.
// Errors: ErrCorrupt, I/O; the log stays closed to reads and writes.
func (l *Log) Recover(tail []Tail) error {
	l.write.Lock()
	defer l.write.Unlock()
	l.files.Lock()
	defer l.files.Unlock()
	r := l.recovery
	if r == nil {
		return fmt.Errorf("log: recover %s: not between Open and Recover", l.dir)
	}
	l.recovery = nil
	if err := r.run(tail); err != nil {
		return fmt.Errorf("log: recover %s: %w", l.dir, err)
	}
	l.mu.Lock()
	l.mu.open = true
	segments := l.mu.segments
	l.mu.Unlock()
	for _, s := range segments {
		if s.ready.Load() { // nothing was counted, nor closed, until now
			l.options().Descriptors.add(l, s)
		}
	}
	return nil
}

func (r *recovery) run(tail []Tail) error {
	l := r.l
	n, err := r.verify(tail)
	if err != nil {
		return err
	}
	if n < len(tail) {
		return &CorruptError{File: fileName(l.dir, tail[n].Pos.Segment, suffixLog), Pos: tail[n].Pos.Pos, Reason: "the payload is not there"}
	}
	if err := r.openEnd(tail); err != nil {
		return err
	}
	for i := range tail {
		if err := r.place(&tail[i]); err != nil {
			return err
		}
	}
	if len(l.mu.segments) == 0 {
		s, err := l.newFile(max(l.mu.end, l.mu.start))
		if err == nil {
			err = l.removeCaches(s.base)
		}
		if err != nil {
			return err
		}
		delete(r.beyond, s.base)
		l.mu.segments = append(l.mu.segments, s)
		l.mu.end, l.mu.dirDirty = s.base, true
	}
	return r.cutRest()
}

// openEnd makes the last trusted segment ready, without what the tail replaces.
func (r *recovery) openEnd(tail []Tail) error {
	l := r.l
	begin := r.begin(tail)
	for n := len(l.mu.segments); n > 0 && l.mu.segments[n-1].base > begin.Segment; n-- {
		s := l.mu.segments[n-1]
		r.beyond[s.base] = s.size
		l.mu.segments = l.mu.segments[:n-1]
	}
	if begin != r.cp.End {
		l.mu.end = tail[0].Rows[0].BaseOffset
		l.mu.epochsSaved = !l.mu.epochs.truncateEnd(l.mu.end) && l.mu.epochsSaved
	}
	n := len(l.mu.segments)
	if n == 0 {
		return nil
	}
	s := l.mu.segments[n-1]
	if s.base == begin.Segment {
		s.size = begin.Pos
	}
	s.cutAbortedLocked(l.mu.end)
	if err := l.ensure(s); err != nil {
		return err
	}
	return s.broken
}

// place puts one payload of the tail where it belongs.
func (r *recovery) place(t *Tail) error {
	l := r.l
	s, err := r.segmentOf(t)
	if err != nil {
		return err
	}
	if t.Inline != nil {
		payload, err := t.Inline()
		if err != nil {
			return fmt.Errorf("read inline payload for %s: %w", t.Pos, err)
		}
		if len(payload) != int(t.Length) || crc32.Checksum(payload, entry.Castagnoli) != t.CRC {
			return fmt.Errorf("%w: the inline payload for %s is another one: %d bytes, expected %d", ErrCorrupt, t.Pos, len(payload), t.Length)
		}
		if err := checkRows(payload, t.Rows, l.mu.end); err != nil {
			return fmt.Errorf("%w: inline payload for %s: %w", ErrCorrupt, t.Pos, err)
		}
		if _, err := s.file.WriteAt(payload, t.Pos.Pos); err != nil {
			return err
		}
		l.options().Counters.Bytes.Add(int64(len(payload)))
	} else if t.Rows[0].BaseOffset < l.mu.end {
		return fmt.Errorf("%w: payload at %s begins at offset %d, the log ends at %d", ErrCorrupt, t.Pos, t.Rows[0].BaseOffset, l.mu.end)
	}
	l.dirtyLocked(s) // by reference too: it may never have been synced
	l.publishLocked(s, t.Pos.Pos, t.Rows)
	return nil
}

// segmentOf returns the segment that t lies in, which is the last one or becomes it.
func (r *recovery) segmentOf(t *Tail) (*segment, error) {
	l := r.l
	if n := len(l.mu.segments); n > 0 && l.mu.segments[n-1].base == t.Pos.Segment {
		return l.mu.segments[n-1], nil
	}
	name := fileName(l.dir, t.Pos.Segment, suffixLog)
	f, err := l.fsys.OpenFile(name, os.O_CREATE|os.O_RDWR, filePerm)
	if err != nil {
		return nil, err
	}
	// The index files may be of another time: all rows are at hand, and aborted transactions will be applied again.
	if err := l.removeCaches(t.Pos.Segment); err != nil {
		_ = f.Close()
		return nil, err
	}
	delete(r.beyond, t.Pos.Segment)
	s := newSegment(t.Pos.Segment)
	s.file, s.created = share(f), l.options().Now()
	s.modTime = s.created
	s.ready.Store(true)
	if n := len(l.mu.segments); n > 0 {
		if err := l.cutFile(l.mu.segments[n-1]); err != nil {
			_ = s.file.release()
			return nil, err
		}
		l.mu.segments[n-1].index.addTime()
	}
	l.mu.segments = append(l.mu.segments, s)
	l.mu.recent.reset()
	l.mu.dirDirty = true
	return s, nil
}

// cutFile removes the bytes of the file behind what the segment holds.
func (l *Log) cutFile(s *segment) error {
	size, err := s.file.Size()
	if err != nil || size == s.size {
		return err
	}
	l.dirtyLocked(s)
	return s.file.Truncate(s.size)
}

func (l *Log) removeIndexes(base int64) error {
	return errors.Join(removeIfThere(l.fsys, fileName(l.dir, base, suffixIndex)), removeIfThere(l.fsys, fileName(l.dir, base, suffixTime)))
}

// removeCaches unlinks all that lies beside a segment's .log.
func (l *Log) removeCaches(base int64) error {
	return errors.Join(l.removeIndexes(base), removeIfThere(l.fsys, fileName(l.dir, base, suffixAborted)))
}

// removeSegment unlinks a segment's files, the .log last: an index without a log would be taken for damage by Kafka's tools.
func (l *Log) removeSegment(base int64) error {
	return errors.Join(l.removeCaches(base), removeIfThere(l.fsys, fileName(l.dir, base, suffixLog)))
}

// cutRest removes what lies behind the last entry, and makes the whole durable.
func (r *recovery) cutRest() error {
	l := r.l
	last := l.lastLocked()
	if err := l.cutFile(last); err != nil {
		return err
	}
	for _, s := range l.mu.segments {
		if s.ready.Load() && s.saved.stale {
			if err := l.removeIndexes(s.base); err != nil {
				return err
			}
			s.saved = savedIndex{}
			l.mu.dirDirty = true
		}
	}
	for base := range r.beyond {
		if err := l.removeSegment(base); err != nil {
			return err
		}
		l.mu.dirDirty = true
	}
	for base := range r.caches {
		if i := l.segmentAtLocked(base); i >= 0 && l.mu.segments[i].base == base {
			continue
		}
		// Unlinks reorder at power loss. Left here they would be taken for those of a later segment, or of a lost one.
		if err := l.removeCaches(base); err != nil {
			return err
		}
		l.mu.dirDirty = true
	}
	if err := r.cutSnapshots(); err != nil {
		return err
	}
	return l.Sync()
}

// cutSnapshots removes producer snapshots of a future that did not happen.
func (r *recovery) cutSnapshots() error {
	removed, err := r.l.removeSnapshots(func(offset int64) bool { return offset > r.l.mu.end })
	r.l.mu.dirDirty = r.l.mu.dirDirty || removed
	return err
}
