package log

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/entry"
)

const headerMin = record.HeaderLen

func baseOffsetOf(batch []byte) int64 { return int64(binary.BigEndian.Uint64(batch)) }

// Append writes the payload, one batch for each row, behind the last one and returns where it begins. It is readable on
// return, durable after the next Sync. It begins a new segment by Kafka's rules first where one is due. payload and rows are
// borrowed until return. Errors: ErrInvalid (nothing written), ErrFailed, ErrClosed, ErrNotRecovered.
func (l *Log) Append(payload []byte, rows []entry.Row) (Position, error) {
	l.write.Lock()
	defer l.write.Unlock()
	if err := l.writable(); err != nil {
		return Position{}, err
	}
	if err := checkRows(payload, rows, l.LogEnd()); err != nil {
		return Position{}, err
	}
	s, err := l.segmentFor(int64(len(payload)), rows)
	if err != nil {
		return Position{}, err
	}
	at := Position{s.base, s.size} // only changed under write, which we hold
	file, err := l.acquireToWrite(s)
	if err != nil {
		return Position{}, l.fail(fmt.Errorf("append to segment %d: %w", s.base, err))
	}
	defer func() { _ = file.release() }() // not before the segment is dirty: it stays open then
	slot := l.options().DiskWatch.Begin()
	l.reserve(s, file.File, int64(len(payload)))
	_, err = file.WriteAt(payload, at.Pos)
	l.options().DiskWatch.End(slot)
	if err != nil {
		return Position{}, l.fail(fmt.Errorf("append %d bytes to %s at byte %d: %w", len(payload), file.Name(), at.Pos, err))
	}
	o := l.options()
	o.Counters.Bytes.Add(int64(len(payload)))
	o.Counters.Appends.Add(1)
	now := o.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.publishLocked(s, at.Pos, rows)
	s.modTime = now
	l.dirtyLocked(s)
	return at, nil
}

// publishLocked makes batches that were written at pos readable.
func (l *Log) publishLocked(s *segment, pos int64, rows []entry.Row) {
	interval := int64(l.options().IndexIntervalBytes)
	from := pos
	for i := range rows {
		r := &rows[i]
		h := header{pos: pos, length: int64(r.Length), base: r.BaseOffset, last: r.LastOffset, maxTs: r.MaxTimestamp, epoch: r.LeaderEpoch}
		s.index.add(&h, interval)
		if l.mu.epochs.assign(r.LeaderEpoch, r.BaseOffset) {
			l.mu.epochsSaved = false
		}
		l.mu.recent.add(place{last: h.last, pos: h.pos, end: h.end()})
		pos = h.end()
	}
	s.size = pos
	s.verified = s.verified.add(from, pos)
	l.mu.end = s.index.last + 1
}

func (l *Log) dirtyLocked(s *segment) {
	if !s.dirty {
		s.dirty = true
		l.mu.unsynced = append(l.mu.unsynced, s)
	}
}

// segmentFor returns the segment that takes the payload, a new one where a roll is due.
// Source: Kafka's LogSegment.shouldRoll; size 0 never rolls except for offsets that do not fit, or are of the next band.
func (l *Log) segmentFor(length int64, rows []entry.Row) (*segment, error) {
	o := l.options()
	first, last := rows[0].BaseOffset, rows[len(rows)-1].LastOffset
	maxTs := int64(-1)
	for i := range rows {
		maxTs = max(maxTs, rows[i].MaxTimestamp)
	}
	l.mu.RLock()
	s, seal := l.lastLocked(), l.mu.seal
	l.mu.RUnlock()
	x := &s.index // only changed under write
	roll := last-s.base > math.MaxInt32 || first>>bandBits != s.base>>bandBits
	if s.size > 0 {
		waited := maxTs - x.firstTs
		if x.firstTs < 0 {
			waited = o.Now().UnixMilli() - s.created.UnixMilli()
		}
		roll = roll || seal || s.size > o.SegmentBytes-length || waited > o.SegmentMs || x.full(o.IndexBytesMax)
	}
	if !roll || first == s.base {
		return s, nil
	}
	return l.roll(first)
}

// roll begins a new segment at base. Its name is synced by the next Sync, which also covers the old one.
func (l *Log) roll(base int64) (*segment, error) {
	s, err := l.newFile(base)
	if err != nil {
		return nil, l.fail(fmt.Errorf("begin segment %d: %w", base, err))
	}
	l.options().Counters.Rolls.Add(1)
	l.unreserve(l.become(s))
	l.options().Descriptors.add(l, s)
	return s, nil
}

// become makes s the segment that is appended to, and returns the one before.
func (l *Log) become(s *segment) (before *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before = l.lastLocked()
	before.index.addTime()
	l.mu.segments = append(l.mu.segments[:len(l.mu.segments):len(l.mu.segments)], s)
	l.mu.recent.reset()
	l.mu.seal = false
	l.mu.dirDirty = true
	return before
}
