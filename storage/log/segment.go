package log

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandembroker/tandem/storage/vfs"
)

// posMax is how large a segment may grow: index entries and Kafka's tools hold positions in 31 bits.
const posMax = math.MaxInt32

// sharedFile is an open segment file with a count of its users. The last one closes it, so that an unlinked segment can still
// be read by those who hold it.
type sharedFile struct {
	vfs.File
	refs atomic.Int64
}

func share(f vfs.File) *sharedFile {
	s := &sharedFile{File: f}
	s.refs.Store(1)
	return s
}

// retain is called under Log.mu by who finds the file in a live segment, which holds a reference itself.
func (s *sharedFile) retain() *sharedFile {
	s.refs.Add(1)
	return s
}

func (s *sharedFile) release() error {
	if s == nil || s.refs.Add(-1) > 0 {
		return nil
	}
	return s.Close()
}

// segment is one .log file. Fields without a note are guarded by Log.mu.
type segment struct {
	base    int64 // immutable
	ready   atomic.Bool
	loading sync.Mutex // held while the segment is made ready

	size         int64     // bytes that may be read
	modTime      time.Time // of the last append
	created      time.Time // here, or opened; as Kafka, which rolls by it where batches have no timestamp
	dirty        bool      // bytes or size not synced
	gone         bool      // deleted: whoever holds it looks again
	aborted      []AbortedTxn
	abortedSaved int // of aborted, how many the file has; -1 = the file is to be replaced

	// From here on only once ready.
	file       *sharedFile // nil = closed for the time being (Descriptors)
	index      indexes
	saved      savedIndex // under Log.files
	verified   spans      // bytes that this process wrote or checked
	broken     error      // damage behind size; never in the last segment
	intact     int64      // where broken is set: size without the damage
	reindexErr error      // set once the index was built anew, or could not be: it is not tried again

	used atomic.Bool // since Descriptors looked last

	// Of the last segment, under Log.write.
	reserved  int64 // reserve has looked this far
	reserving bool  // blocks behind size are reserved

	// Extents in flight. Counted under Log.mu for reading, evaluated under it for writing; released without it.
	extents   atomic.Int64
	extentEnd atomic.Int64 // upper bound of where they end
}

func newSegment(base int64) *segment {
	return &segment{base: base, index: newIndexes(base)}
}

// lastOffset is the offset of the last record, base-1 when empty. The segment must be ready.
func (s *segment) lastOffset() int64 { return s.index.last }

// ensure opens the segment and loads its indexes, once. Errors: errMoved when it was deleted meanwhile, I/O. Damage is not an
// error here: the part before it can be read, the rest fails when it is asked for.
func (l *Log) ensure(s *segment) error {
	if s.ready.Load() {
		return nil
	}
	s.loading.Lock()
	defer s.loading.Unlock()
	if s.ready.Load() {
		return nil
	}
	l.mu.RLock()
	size, gone := s.size, s.gone
	c, sealed := l.checksLocked(s)
	counted := l.mu.open // Recover counts all that it has opened
	l.mu.RUnlock()
	if gone {
		return errMoved
	}
	name := fileName(l.dir, s.base, suffixLog)
	f, err := l.fsys.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return l.openFailed(s, name, err)
	}
	x, saved, good, err := loadIndexes(l.fsys, l.dir, s.base, f, size, sealed, c)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		_ = f.Close()
		return err
	}
	if !l.settle(s, f, x, saved, good, err) {
		_ = f.Close()
		return errMoved
	}
	if counted {
		held := s.file.retain()
		l.options().Descriptors.add(l, s)
		_ = held.release()
	}
	return nil
}

// settle makes s ready with what was read of it; damage is in err. false = it is gone.
func (l *Log) settle(s *segment, f vfs.File, x indexes, saved savedIndex, good span, err error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.gone {
		return false
	}
	s.file, s.index, s.saved = share(f), x, saved
	s.verified = s.verified.add(good.from, good.to)
	if err != nil {
		l.options().Logger.Error("segment is damaged", "file", f.Name(), "err", err)
		s.setBroken(err, good.to)
	}
	s.created = l.options().Now()
	s.touch()
	s.ready.Store(true)
	return true
}

// upperLocked is the offset that all of s lies below, and whether s is complete. s must not be gone.
func (l *Log) upperLocked(s *segment) (upper int64, sealed bool) {
	if next := l.segmentAtLocked(s.base) + 1; next < len(l.mu.segments) {
		return l.mu.segments[next].base, true
	}
	return l.mu.end, false
}

// checksLocked is what is known of the batches of s from elsewhere, and whether s is complete.
func (l *Log) checksLocked(s *segment) (c walkChecks, sealed bool) {
	c = walkChecks{interval: int64(l.options().IndexIntervalBytes), upper: l.mu.end, epochs: l.mu.epochs}
	if !s.gone {
		c.upper, sealed = l.upperLocked(s)
	}
	return c, sealed
}

func (l *Log) openFailed(s *segment, name string, err error) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if s.gone {
		return errMoved
	}
	if errors.Is(err, fs.ErrNotExist) {
		return &CorruptError{File: name, Reason: "the segment is missing"}
	}
	return err
}

// dropLocked takes the segment out of use; extents keep its file.
func (s *segment) dropLocked() {
	s.gone = true
	if s.ready.Load() && s.file != nil {
		_ = s.file.release() // read-only from here on: a close error loses nothing
	}
}

// recent remembers where the newest batches lie, so that a read near the end needs no scan.
type recent struct {
	ring []place // oldest first from next on, once full
	next int
}

// recentMax bounds recent; 24 bytes each.
const recentMax = 256

// place is where a batch lies in the last segment.
type place struct{ last, pos, end int64 }

func (r *recent) add(p place) {
	if len(r.ring) < recentMax {
		r.ring = append(r.ring, p)
		return
	}
	r.ring[r.next] = p
	r.next = (r.next + 1) % recentMax
}

func (r *recent) reset() { r.ring, r.next = r.ring[:0], 0 }

func (r *recent) at(i int) place { return r.ring[(r.next+i)%len(r.ring)] }

// find returns the first batch that ends at or above offset, when it is known to be the first.
func (r *recent) find(offset int64) (p place, ok bool) {
	lo, hi := 0, len(r.ring)
	for lo < hi {
		if mid := (lo + hi) / 2; r.at(mid).last < offset {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(r.ring) || lo == 0 && r.at(0).pos > 0 { // an older batch may be the one
		return p, false
	}
	return r.at(lo), true
}
