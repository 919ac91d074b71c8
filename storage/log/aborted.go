package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"
)

// AbortedTxn is a transaction that readers of committed data skip.
type AbortedTxn struct {
	ProducerID       int64
	FirstOffset      int64
	LastOffset       int64 // of the abort marker
	LastStableOffset int64 // when the marker was applied
}

// An entry of .txnindex: version i16 and the four fields. Source: Kafka's AbortedTxn.
const (
	abortedVersion  = 0
	abortedEntryLen = 2 + 4*8
)

func encodeAborted(txns []AbortedTxn) []byte {
	b := make([]byte, 0, len(txns)*abortedEntryLen)
	for _, t := range txns {
		b = binary.BigEndian.AppendUint16(b, abortedVersion)
		b = binary.BigEndian.AppendUint64(b, uint64(t.ProducerID))
		b = binary.BigEndian.AppendUint64(b, uint64(t.FirstOffset))
		b = binary.BigEndian.AppendUint64(b, uint64(t.LastOffset))
		b = binary.BigEndian.AppendUint64(b, uint64(t.LastStableOffset))
	}
	return b
}

// decodeAborted reads entries up to the offset end; those behind are of entries that will be applied again. base is the
// segment's. bad is the position of an entry that cannot be true, -1 = none.
func decodeAborted(b []byte, base, end int64) (txns []AbortedTxn, bad int64) {
	prev := base - 1
	for pos := 0; pos < len(b); pos += abortedEntryLen {
		if len(b)-pos < abortedEntryLen {
			return txns, int64(pos)
		}
		e := b[pos:]
		t := AbortedTxn{
			ProducerID:       int64(binary.BigEndian.Uint64(e[2:])),
			FirstOffset:      int64(binary.BigEndian.Uint64(e[10:])),
			LastOffset:       int64(binary.BigEndian.Uint64(e[18:])),
			LastStableOffset: int64(binary.BigEndian.Uint64(e[26:])),
		}
		if t.LastOffset >= end && binary.BigEndian.Uint16(e) == abortedVersion {
			return txns, -1
		}
		if binary.BigEndian.Uint16(e) != abortedVersion || t.ProducerID < 0 || t.FirstOffset < 0 || t.FirstOffset > t.LastOffset ||
			t.LastOffset <= prev || t.LastStableOffset < 0 {
			return txns, int64(pos)
		}
		prev = t.LastOffset
		txns = append(txns, t)
	}
	return txns, -1
}

// loadAborted reads the .txnindex files of the bases given, at Open. It knows the bytes below the checkpoint only.
func (l *Log) loadAborted(bases []int64) error {
	for _, base := range bases {
		i := sort.Search(len(l.mu.segments), func(i int) bool { return l.mu.segments[i].base >= base })
		if i == len(l.mu.segments) || l.mu.segments[i].base != base {
			continue
		}
		end := l.mu.end
		if i+1 < len(l.mu.segments) {
			end = min(end, l.mu.segments[i+1].base)
		}
		name := fileName(l.dir, base, suffixAborted)
		b, err := readSmall(l.fsys, name)
		if err != nil {
			return err
		}
		s := l.mu.segments[i]
		txns, bad := decodeAborted(b, base, end)
		if bad >= 0 && i+1 < len(l.mu.segments) { // not a torn end: readers would see aborted records
			return &CorruptError{File: name, Pos: bad, Reason: "no aborted transaction of this segment"}
		}
		if bad >= 0 {
			l.options().Logger.Warn("the end of the aborted-transaction index is not used", "file", name, "pos", bad)
		}
		s.aborted, s.abortedSaved = txns, len(txns)
		if len(txns)*abortedEntryLen != len(b) {
			s.abortedSaved = -1
		}
	}
	return nil
}

// AppendAborted adds a transaction whose abort marker has been applied. It is in memory until Flush; one that is there already
// (applied again after a restart) is not added twice. Errors: ErrOffsetOutOfRange where no segment has the marker.
func (l *Log) AppendAborted(t AbortedTxn) error {
	if err := l.writable(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.segmentAtLocked(t.LastOffset)
	if i < 0 || t.LastOffset >= l.mu.end {
		return fmt.Errorf("%w: abort marker at %d, the log covers %d to %d", ErrOffsetOutOfRange, t.LastOffset, l.mu.start, l.mu.end)
	}
	s := l.mu.segments[i]
	if n := len(s.aborted); n > 0 && s.aborted[n-1].LastOffset >= t.LastOffset {
		return nil
	}
	s.aborted = append(s.aborted, t)
	return nil
}

// AbortedIn returns the aborted transactions that a fetch of the offsets [from, to) needs, in the order of their markers.
// Source: Kafka's TransactionIndex.collectAbortedTxns.
func (l *Log) AbortedIn(from, to int64) []AbortedTxn {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var found []AbortedTxn
	for i := max(0, l.segmentAtLocked(from)); i < len(l.mu.segments); i++ {
		for _, t := range l.mu.segments[i].aborted {
			if t.LastOffset >= from && t.FirstOffset < to {
				found = append(found, t)
			}
			if t.LastStableOffset >= to {
				return found
			}
		}
	}
	return found
}

// AbortedOf is AbortedIn for the records of e from offset from on. ok is false where segments were replaced since e was read, by
// compaction: what it dropped from the index may still be in e, which is to be read again.
func (l *Log) AbortedOf(e *Extent, from int64) (txns []AbortedTxn, ok bool) {
	txns = l.AbortedIn(from, e.next)
	l.mu.RLock()
	defer l.mu.RUnlock()
	return txns, l.mu.moved == e.moved
}

// cutAbortedLocked drops what belongs to markers at or above offset.
func (s *segment) cutAbortedLocked(offset int64) {
	n := sort.Search(len(s.aborted), func(i int) bool { return s.aborted[i].LastOffset >= offset })
	if n == len(s.aborted) {
		return
	}
	s.aborted = slices.Clip(s.aborted[:n])
	s.abortedSaved = -1
}

// flushAborted writes what the segment's file does not have. Under Log.files.
func (l *Log) flushAborted(s *segment) error {
	err := l.writeAborted(s)
	if errors.Is(err, ErrNoSpace) {
		l.mu.Lock()
		s.abortedSaved = -1 // whatever is in it by now
		l.mu.Unlock()
	}
	return err
}

func (l *Log) writeAborted(s *segment) error {
	l.mu.Lock()
	txns, saved := s.aborted, s.abortedSaved
	if s.gone || saved == len(txns) {
		l.mu.Unlock()
		return nil
	}
	s.abortedSaved = len(txns)
	l.mu.Unlock()
	name := fileName(l.dir, s.base, suffixAborted)
	if saved < 0 {
		if len(txns) == 0 {
			return errors.Join(removeIfThere(l.fsys, name), l.fsys.SyncDir(l.dir))
		}
		return writeFile(l.fsys, name, encodeAborted(txns))
	}
	if err := appendSynced(l.fsys, name, encodeAborted(txns[saved:]), int64(saved)*abortedEntryLen); err != nil {
		return err
	}
	if saved == 0 {
		return l.fsys.SyncDir(l.dir)
	}
	return nil
}

// segmentAtLocked is the number of the segment that offset falls into; -1 = below all.
func (l *Log) segmentAtLocked(offset int64) int {
	return sort.Search(len(l.mu.segments), func(i int) bool { return l.mu.segments[i].base > offset }) - 1
}
