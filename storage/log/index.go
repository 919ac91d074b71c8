package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"sort"

	"github.com/tandembroker/tandem/storage/vfs"
)

// Sizes of index entries on disk, as in Kafka: relative offset i32, position i32; timestamp i64, relative offset i32.
const (
	offsetEntryLen = 8
	timeEntryLen   = 12
)

// offsetEntry says that the batch at pos ends with offset base + rel.
type offsetEntry struct{ rel, pos int32 }

// timeEntry says that ts is the largest timestamp of all batches up to the one that ends with offset base + rel, which has it.
type timeEntry struct {
	ts  int64
	rel int32
}

// indexes are the offset and the time index of one segment, and what is derived from its batches on the way. The rules are
// those of Kafka's LogSegment.append. A value is copied to be changed by one goroutine, then put in place.
type indexes struct {
	base    int64
	offsets []offsetEntry
	times   []timeEntry

	last       int64 // last offset; base-1 = empty
	lastEpoch  int32 // leader epoch of the last batch, -1 = none
	maxTs      int64 // largest timestamp, ms; -1 = none
	maxTsAt    int64 // last offset of the first batch that has it
	firstTs    int64 // max timestamp of the first batch; -1 = none (rolling by time counts from it)
	sinceEntry int64 // bytes since the last offset entry
}

func newIndexes(base int64) indexes {
	return indexes{base: base, last: base - 1, lastEpoch: -1, maxTs: -1, maxTsAt: base, firstTs: -1}
}

// add takes in the batch of h, which follows the one before.
func (x *indexes) add(h *header, interval int64) {
	if h.pos == 0 {
		x.firstTs = h.maxTs
	}
	if h.maxTs > x.maxTs {
		x.maxTs, x.maxTsAt = h.maxTs, h.last
	}
	if x.sinceEntry > interval && h.last-x.base <= math.MaxInt32 && h.pos <= math.MaxInt32 {
		x.offsets = append(x.offsets, offsetEntry{int32(h.last - x.base), int32(h.pos)})
		x.addTime()
		x.sinceEntry = 0
	}
	x.sinceEntry += h.length
	x.last, x.lastEpoch = h.last, h.epoch
}

// addTime appends the largest timestamp so far where the index does not have it.
func (x *indexes) addTime() {
	if x.maxTs > x.newestTime() && x.maxTsAt-x.base <= math.MaxInt32 {
		x.times = append(x.times, timeEntry{x.maxTs, int32(x.maxTsAt - x.base)})
	}
}

// full says that no further entry may be added, limit in bytes as in Kafka's segment.index.bytes.
func (x *indexes) full(limit int) bool {
	return len(x.offsets) >= limit/offsetEntryLen || len(x.times) >= limit/timeEntryLen-1
}

// floor is the position of a batch at or before the first one that ends at or above offset, and the offset that it ends with
// (base-1 and position 0 where there is no entry).
func (x *indexes) floor(offset int64) (pos, last int64) {
	i := sort.Search(len(x.offsets), func(i int) bool { return x.base+int64(x.offsets[i].rel) > offset })
	if i == 0 {
		return 0, x.base - 1
	}
	e := x.offsets[i-1]
	return int64(e.pos), x.base + int64(e.rel)
}

// below is the last entry at a position in (from, to] that ends below the offset limit.
func (x *indexes) below(from, to, limit int64) (pos, last int64, ok bool) {
	i := sort.Search(len(x.offsets), func(i int) bool {
		return int64(x.offsets[i].pos) > to || x.base+int64(x.offsets[i].rel) >= limit
	})
	if i == 0 || int64(x.offsets[i-1].pos) <= from {
		return 0, 0, false
	}
	e := x.offsets[i-1]
	return int64(e.pos), x.base + int64(e.rel), true
}

// floorTime is the last time entry at or below ts: all batches up to its offset have no timestamp above its own.
func (x *indexes) floorTime(ts int64) (e timeEntry, ok bool) {
	i := sort.Search(len(x.times), func(i int) bool { return x.times[i].ts > ts })
	if i == 0 {
		return e, false
	}
	return x.times[i-1], true
}

// cut drops what lies at or above position pos. What was derived from the batches is brought up to date by walk. The slices are
// clipped, so that what is appended next never shows in a copy.
func (x *indexes) cut(pos int64) {
	i := sort.Search(len(x.offsets), func(i int) bool { return int64(x.offsets[i].pos) >= pos })
	x.offsets = slices.Clip(x.offsets[:i])
	last := int32(-1)
	if i > 0 {
		last = x.offsets[i-1].rel
	}
	j := sort.Search(len(x.times), func(j int) bool { return x.times[j].rel > last })
	x.times = slices.Clip(x.times[:j])
}

// cutBehindTimes is called where a time entry does not follow the one before: either of the two is wrong. It drops both, and the
// offset entries behind the last good one, so that walk reads what lies there: a time entry that is gone may have had the
// largest timestamp, by which retention goes.
func (x *indexes) cutBehindTimes() {
	last := int32(-1)
	if n := len(x.times) - 1; n >= 0 {
		x.times = x.times[:n]
		if n > 0 {
			last = x.times[n-1].rel
		}
	}
	i := sort.Search(len(x.offsets), func(i int) bool { return x.offsets[i].rel > last })
	x.offsets = x.offsets[:i]
}

func (x *indexes) newestTime() int64 {
	if n := len(x.times); n > 0 {
		return x.times[n-1].ts
	}
	return -1
}

// walkChecks is what a walk compares the batches with.
type walkChecks struct {
	interval int64 // not a check: index.interval.bytes
	upper    int64 // all offsets are below
	epochs   epochs
}

// walk reads the batches from the last offset entry to end and takes them in, checked by their CRC and by c. It returns the range
// that it found good. An entry that does not fit its batch is an error as well: the caller begins again without entries.
func (x *indexes) walk(f vfs.File, end int64, c walkChecks) (span, error) {
	pos, entryLast := x.floor(math.MaxInt64)
	floor := x.base - 1
	if n := len(x.offsets); n > 1 {
		floor = x.base + int64(x.offsets[n-2].rel)
	}
	x.last, x.lastEpoch, x.sinceEntry = x.base-1, -1, 0
	x.maxTs, x.maxTsAt, x.firstTs = -1, x.base, -1
	if n := len(x.times); n > 0 {
		x.maxTs, x.maxTsAt = x.times[n-1].ts, x.base+int64(x.times[n-1].rel)
		if err := x.checkTime(f, x.times[n-1], end); err != nil {
			return span{}, err
		}
	}
	if pos > 0 {
		if err := x.readFirst(f, end); err != nil {
			return span{}, err
		}
	}
	s := newScanner(f, pos, end, floor)
	defer s.close()
	s.upper = c.upper
	var held *header // taken in once the next header fits behind it: offsets have no CRC, and a wrong one shows only there
	good := pos
	for {
		h, ok, err := s.next()
		if err == nil && held != nil {
			x.add(held, c.interval)
			good, held = held.end(), nil
		}
		if err == nil && ok {
			if err = c.epochs.check(f, &h); err == nil {
				err = h.checkCRC(f)
			}
		}
		if err == nil && ok && h.pos == pos && pos > 0 && h.last != entryLast {
			err = &CorruptError{File: f.Name(), Pos: pos, Reason: fmt.Sprintf("offset index says %d, found %d", entryLast, h.last)}
		}
		if err != nil || !ok {
			return span{pos, good}, err
		}
		held = &h
	}
}

// readFirst finds the timestamp that rolling by time counts from.
func (x *indexes) readFirst(f vfs.File, end int64) error {
	s := newScanner(f, 0, end, x.base-1)
	defer s.close()
	h, ok, err := s.next()
	if ok {
		x.firstTs = h.maxTs
	}
	return err
}

// checkTime compares a time entry with its batch, because time entries decide over retention and have no checksum.
func (x *indexes) checkTime(f vfs.File, e timeEntry, end int64) error {
	at := x.base + int64(e.rel)
	pos, _ := x.floor(at)
	s := newScanner(f, pos, end, x.base-1)
	defer s.close()
	for {
		h, ok, err := s.next()
		switch {
		case err != nil:
			return err
		case !ok || h.last > at || h.last == at && h.maxTs != e.ts:
			return &CorruptError{File: f.Name(), Pos: s.pos, Reason: fmt.Sprintf("time index says %d ms at offset %d", e.ts, at)}
		case h.last == at:
			return nil
		}
	}
}

func encodeOffsets(entries []offsetEntry) []byte {
	b := make([]byte, 0, len(entries)*offsetEntryLen)
	for _, e := range entries {
		b = binary.BigEndian.AppendUint32(b, uint32(e.rel))
		b = binary.BigEndian.AppendUint32(b, uint32(e.pos))
	}
	return b
}

// decodeOffsets returns the longest prefix that can be true: offsets and positions rise, positions below size.
func decodeOffsets(b []byte, size int64) []offsetEntry {
	entries := make([]offsetEntry, 0, len(b)/offsetEntryLen)
	prev := offsetEntry{0, 0} // as in Kafka, the first batch has no entry
	for ; len(b) >= offsetEntryLen; b = b[offsetEntryLen:] {
		e := offsetEntry{int32(binary.BigEndian.Uint32(b)), int32(binary.BigEndian.Uint32(b[4:]))}
		if e.rel <= prev.rel || e.pos <= prev.pos || int64(e.pos) >= size {
			break
		}
		entries = append(entries, e)
		prev = e
	}
	return entries
}

func encodeTimes(entries []timeEntry) []byte {
	b := make([]byte, 0, len(entries)*timeEntryLen)
	for _, e := range entries {
		b = binary.BigEndian.AppendUint64(b, uint64(e.ts))
		b = binary.BigEndian.AppendUint32(b, uint32(e.rel))
	}
	return b
}

// decodeTimes returns the longest prefix that can be true: timestamps and offsets rise.
func decodeTimes(b []byte) []timeEntry {
	entries := make([]timeEntry, 0, len(b)/timeEntryLen)
	prev := timeEntry{-1, -1}
	for ; len(b) >= timeEntryLen; b = b[timeEntryLen:] {
		e := timeEntry{int64(binary.BigEndian.Uint64(b)), int32(binary.BigEndian.Uint32(b[8:]))}
		if e.ts <= prev.ts || e.rel <= prev.rel {
			break
		}
		entries = append(entries, e)
		prev = e
	}
	return entries
}

// loadIndexes reads the index files of the segment in f and walks what they miss up to size. saved says how many entries of
// each are on disk as they are in memory. A damaged batch ends the walk: its error comes with the indexes up to there; good is
// the range whose CRCs were checked.
//
// sealed: the segment is not the last one, its time index ends with the largest timestamp.
//
// The largest timestamp that the files know must be found in the batches, unless the files reach behind size: they are rebuilt
// otherwise.
func loadIndexes(fsys vfs.FS, dir string, base int64, f vfs.File, size int64, sealed bool, c walkChecks) (
	x indexes, saved savedIndex, good span, err error) {
	x = newIndexes(base)
	rawOffsets, err1 := readSmall(fsys, fileName(dir, base, suffixIndex))
	rawTimes, err2 := readSmall(fsys, fileName(dir, base, suffixTime))
	if bad := errors.Join(err1, err2); bad == nil {
		x.offsets, x.times = decodeOffsets(rawOffsets, size), decodeTimes(rawTimes)
		if len(x.times)*timeEntryLen < len(rawTimes) {
			x.cutBehindTimes()
		}
		newest, whole := x.newestTime(), len(x.offsets) == len(rawOffsets)/offsetEntryLen
		x.cut(size)
		if good, err = x.walk(f, size, c); err == nil && (newest <= x.maxTs || !whole) {
			if sealed {
				x.addTime()
			}
			return x, matchSaved(&x, rawOffsets, rawTimes), good, nil
		}
	} else if !errors.Is(bad, fs.ErrNotExist) && !errors.Is(bad, ErrCorrupt) {
		return x, saved, good, bad
	}
	x = newIndexes(base)
	good, err = x.walk(f, size, c)
	if sealed && err == nil {
		x.addTime()
	}
	return x, savedIndex{stale: len(rawOffsets)+len(rawTimes) > 0}, good, err
}

// savedIndex says what the index files on disk hold.
type savedIndex struct {
	offsets, times int
	size           int64 // of the segment when they were written
	stale          bool  // they hold entries that are not ours: to be replaced
}

// matchSaved compares what was read with what memory holds.
func matchSaved(x *indexes, rawOffsets, rawTimes []byte) savedIndex {
	offsets, times := len(rawOffsets)/offsetEntryLen, len(rawTimes)/timeEntryLen
	same := offsets <= len(x.offsets) && times <= len(x.times) &&
		string(rawOffsets) == string(encodeOffsets(x.offsets[:offsets])) &&
		string(rawTimes) == string(encodeTimes(x.times[:times]))
	if !same {
		return savedIndex{stale: true}
	}
	s := savedIndex{offsets: offsets, times: times}
	if offsets > 0 {
		s.size = int64(x.offsets[offsets-1].pos)
	}
	return s
}

// saveIndexes appends to the index files what they do not have yet, the time index first, each synced. Stale files are
// removed first, and that made durable, so that old entries are never mixed with new ones; they are stale behind ErrNoSpace.
func saveIndexes(fsys vfs.FS, dir string, x *indexes, saved savedIndex, size int64) (savedIndex, error) {
	now, err := writeIndexes(fsys, dir, x, saved, size)
	now.stale = now.stale || errors.Is(err, ErrNoSpace)
	return now, err
}

func writeIndexes(fsys vfs.FS, dir string, x *indexes, saved savedIndex, size int64) (savedIndex, error) {
	offsets, times := fileName(dir, x.base, suffixIndex), fileName(dir, x.base, suffixTime)
	if saved.stale {
		if err := errors.Join(removeIfThere(fsys, offsets), removeIfThere(fsys, times), fsys.SyncDir(dir)); err != nil {
			return saved, err
		}
		saved = savedIndex{}
	}
	if len(x.offsets)+len(x.times) == 0 {
		return savedIndex{size: size}, nil
	}
	if err := appendSynced(fsys, times, encodeTimes(x.times[saved.times:]), int64(saved.times)*timeEntryLen); err != nil {
		return saved, err
	}
	if err := appendSynced(fsys, offsets, encodeOffsets(x.offsets[saved.offsets:]), int64(saved.offsets)*offsetEntryLen); err != nil {
		return saved, err
	}
	return savedIndex{offsets: len(x.offsets), times: len(x.times), size: size}, nil
}

// appendSynced writes b from byte pos on, durably. Errors: ErrNoSpace where a part of it may be there, which is written again.
func appendSynced(fsys vfs.FS, name string, b []byte, pos int64) error {
	f, err := fsys.OpenFile(name, os.O_CREATE|os.O_RDWR, filePerm)
	if err == nil && len(b) > 0 {
		_, err = f.WriteAt(b, pos)
	}
	if isFull(err) { // a failed sync of what was there before would be another matter
		err = fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	if f == nil {
		return err
	}
	if err == nil && len(b) > 0 {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
