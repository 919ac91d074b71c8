package log

import (
	"fmt"
	"time"
)

// SegmentInfo describes a segment.
type SegmentInfo struct {
	Base         int64
	Size         int64     // bytes
	MaxTimestamp int64     // ms; -1 = none, or not looked at yet
	ModTime      time.Time // of the last append
	Last         int64     // offset of the last record, Base-1 = empty; -1 = not looked at yet
}

// Segments lists the segments, oldest first.
func (l *Log) Segments() []SegmentInfo {
	l.mu.RLock()
	defer l.mu.RUnlock()
	list := make([]SegmentInfo, 0, len(l.mu.segments))
	for _, s := range l.mu.segments {
		info := SegmentInfo{Base: s.base, Size: s.size, MaxTimestamp: -1, ModTime: s.modTime, Last: -1}
		if s.ready.Load() {
			info.MaxTimestamp, info.Last = s.index.maxTs, s.index.last
		}
		list = append(list, info)
	}
	return list
}

// Size is the bytes of all segments, index files not counted, as Kafka's Log.Size.
func (l *Log) Size() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var size int64
	for _, s := range l.mu.segments {
		size += s.size
	}
	return size
}

// BytesFrom is how many bytes the batches at or above offset have, or up to an index interval more (index.interval.bytes).
func (l *Log) BytesFrom(offset int64) int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var size int64
	i := max(0, l.segmentAtLocked(offset))
	for k, s := range l.mu.segments[i:] {
		size += s.size
		if k == 0 && offset > s.base && s.ready.Load() {
			from, _ := s.index.floor(offset)
			size -= min(from, s.size)
		}
	}
	return size
}

// SetLogStart moves the log start offset up; a lower one changes nothing. It is in memory: the caller's own log has it durably.
// Errors: ErrOffsetOutOfRange above the log end.
func (l *Log) SetLogStart(offset int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.mu.closed:
		return ErrClosed
	case offset > l.mu.end:
		return fmt.Errorf("%w: log start %d above the log end %d", ErrOffsetOutOfRange, offset, l.mu.end)
	case offset <= l.mu.start:
		return nil
	}
	l.mu.start = offset
	if l.mu.epochs.truncateStart(offset) {
		l.mu.epochsSaved = false
	}
	return nil
}

// DeleteBelow removes whole segments whose records all lie below offset and below the log start, and says how many. The last
// segment goes only when all of it does, after a new one has begun. The caller bounds offset by what the first entry that its
// Raft log retains needs: recovery writes or checks payloads above the checkpoint where they were. Each unlink is durable before the
// next, from the oldest on, so that a power loss never leaves a hole. Errors: ErrFailed.
func (l *Log) DeleteBelow(offset int64) (int, error) {
	l.write.Lock()
	defer l.write.Unlock()
	l.files.Lock()
	defer l.files.Unlock()
	if err := l.writable(); err != nil {
		return 0, err
	}
	l.mu.RLock()
	offset = min(offset, l.mu.start)
	last, end := l.lastLocked(), l.mu.end
	l.mu.RUnlock()
	if offset >= end && last.size > 0 {
		if _, err := l.roll(end); err != nil {
			return 0, err
		}
	}
	count := 0
	for {
		l.mu.Lock()
		if len(l.mu.segments) < 2 || l.mu.segments[1].base > offset {
			l.mu.Unlock()
			return count, nil
		}
		s := l.mu.segments[0]
		l.mu.segments = l.mu.segments[1:]
		s.dropLocked()
		younger := l.mu.dirDirty // names of younger segments that a power loss could take while the unlink stays
		l.mu.Unlock()
		if younger {
			if err := l.Sync(); err != nil {
				return count, err
			}
		}
		err := l.removeSegment(s.base)
		if err == nil {
			l.options().Counters.DirSyncs.Add(1)
			err = l.fsys.SyncDir(l.dir)
		}
		if err != nil {
			return count, l.fail(fmt.Errorf("delete segment %d: %w", s.base, err))
		}
		count++
	}
}

// Expired says where retention would move the log start: behind the oldest segments whose newest record is older than
// retentionMs, or without which the log still has retentionBytes; -1 = no limit. Only whole segments below limit count; the last
// one only when it has records and all of it goes. now is in ms. ok is false when nothing is due.
// Source: Kafka's UnifiedLog.deleteOldSegments.
func (l *Log) Expired(now, retentionMs, retentionBytes, limit int64) (start int64, ok bool) {
	l.mu.RLock()
	if l.mu.closed || !l.mu.open {
		l.mu.RUnlock()
		return 0, false
	}
	segments, end, start := l.mu.segments, l.mu.end, l.mu.start
	l.mu.RUnlock()
	var size int64
	for _, s := range l.Segments() {
		size += s.Size
	}
	excess := size - retentionBytes
	begin := start
	for i, s := range segments {
		upper := end
		if i+1 < len(segments) {
			upper = segments[i+1].base
		}
		if retentionMs >= 0 {
			_ = l.ensure(s) // a segment that cannot be read goes by the time of its last append
		}
		ts, bytes := l.ageOf(s)
		late := retentionMs >= 0 && now-ts > retentionMs
		much := retentionBytes >= 0 && excess >= bytes
		if upper > limit || !(late || much) || i+1 == len(segments) && bytes == 0 {
			break
		}
		excess -= bytes
		start = upper
	}
	return start, start > begin
}

// ageOf is the largest timestamp of s in ms, and its size. Without one it is the time of the last append, as in Kafka.
func (l *Log) ageOf(s *segment) (ts, bytes int64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if s.ready.Load() && s.broken == nil && s.index.maxTs >= 0 {
		return s.index.maxTs, s.size
	}
	return s.modTime.UnixMilli(), s.size
}
