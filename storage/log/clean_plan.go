package log

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
)

// nameCleaned holds the first offset that compaction has not seen, in the format of Kafka's file of that name. It lies in the
// partition's folder, not beside it for all partitions as in Kafka, so that it goes with the folder and is written by one.
const nameCleaned = "cleaner-offset-checkpoint"

// bandBits is how many low bits of an offset are its place in a band (docs/formats.md section 1): compaction never joins segments
// across a band's end.
const bandBits = 42

// dirty also returns the segments up to d.Upper.
func (l *Log) dirty(b CleanBound) (d Dirty, segments []*segment, err error) {
	first, err := l.firstDirty()
	if err != nil {
		return d, nil, err
	}
	l.mu.RLock()
	all := l.mu.segments
	n := 0
	for ; n+1 < len(all) && all[n+1].base <= b.Below; n++ {
	}
	segments = all[:n:n]
	sizes := make([]int64, n)
	for i, s := range segments {
		sizes[i] = s.size
	}
	l.mu.RUnlock()
	d = Dirty{First: first, Upper: first, Oldest: -1}
	for i, s := range segments {
		upper := all[i+1].base
		if upper <= first {
			d.CleanBytes += sizes[i]
			continue
		}
		if b.LagMinMs > 0 || b.Ages {
			young, begins, err := l.age(s, b.LagMinMs)
			if err != nil {
				return d, nil, err
			}
			if young {
				segments = segments[:i]
				break
			}
			if begins > 0 && (d.Oldest < 0 || begins < d.Oldest) {
				d.Oldest = begins
			}
		}
		d.Upper = upper
		d.DirtyBytes += sizes[i]
	}
	return d, segments, nil
}

// age says whether s has a record younger than lag, in ms, and the timestamp that it begins with.
func (l *Log) age(s *segment, lag int64) (young bool, begins int64, err error) {
	if err := l.ensure(s); err != nil {
		return false, -1, err
	}
	newest, _ := l.ageOf(s)
	l.mu.RLock()
	defer l.mu.RUnlock()
	return lag > 0 && newest > l.options().Now().UnixMilli()-lag, s.index.firstTs, nil
}

// groupLen is how many of the segments become one: as many as fit into one of the configured size, by its indexes and the 31
// bits of their entries too, in one band. Source: Kafka's Cleaner.groupSegmentsBySize.
func (l *Log) groupLen(sources []source) int {
	o := l.options()
	first := &sources[0]
	size, index, times := first.size, first.indexBytes, first.timeIndexBytes
	for n := 1; n < len(sources); n++ {
		s := &sources[n]
		size, index, times = size+s.size, index+s.indexBytes, times+s.timeIndexBytes
		if size > o.SegmentBytes || index > int64(o.IndexBytesMax) || times > int64(o.IndexBytesMax) ||
			s.last-first.base > math.MaxInt32 || s.base>>bandBits != first.base>>bandBits {
			return n
		}
	}
	return len(sources)
}

// firstDirty is the first offset that compaction has not seen.
func (l *Log) firstDirty() (int64, error) {
	if err := l.writable(); err != nil {
		return 0, err
	}
	l.mu.RLock()
	cleaned, known := l.mu.cleaned, l.mu.cleanedKnown
	l.mu.RUnlock()
	if !known {
		var err error
		if cleaned, err = l.loadCleaned(); err != nil {
			return 0, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.mu.cleanedKnown {
		l.mu.cleaned, l.mu.cleanedKnown = cleaned, true
	}
	if l.mu.cleaned < l.mu.start || l.mu.cleaned > l.mu.end { // as Kafka, which begins anew
		return l.mu.start, nil
	}
	return l.mu.cleaned, nil
}

// loadCleaned reads nameCleaned; 0 where it is missing or of no use: compaction begins anew then.
func (l *Log) loadCleaned() (int64, error) {
	name := path.Join(l.dir, nameCleaned)
	b, err := readSmall(l.fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	lines := bytes.Fields(b) // "0", "1", topic, partition, offset
	if len(lines) == 5 && string(lines[0]) == "0" && string(lines[1]) == "1" {
		if offset, err := strconv.ParseInt(string(lines[4]), 10, 64); err == nil && offset >= 0 {
			return offset, nil
		}
	}
	l.options().Logger.Warn("compaction begins anew: its checkpoint does not decode", "file", name)
	return 0, nil
}

// saveCleaned stores end as the first offset that is not compacted. Errors: ErrNoSpace, ErrFailed.
func (l *Log) saveCleaned(end int64) error {
	l.files.Lock()
	defer l.files.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	if l.cutSinceCleaning() {
		return errCleaningCut
	}
	folder := path.Base(l.dir)
	topic, partition := folder, "0"
	if dash := strings.LastIndexByte(folder, '-'); dash >= 0 {
		topic, partition = folder[:dash], folder[dash+1:]
	}
	text := fmt.Appendf(nil, "0\n1\n%s %s %d\n", topic, partition, end)
	if err := writeFile(l.fsys, path.Join(l.dir, nameCleaned), text); err != nil {
		return l.failUnlessFull(fmt.Errorf("write %s: %w", nameCleaned, err))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.cleaned, l.mu.cleanedKnown = end, true
	return nil
}

// forgetCleaned removes what saveCleaned stored: the offsets begin anew. Under Log.files.
func (l *Log) forgetCleaned() error {
	l.mu.Lock()
	l.mu.cleaned, l.mu.cleanedKnown = 0, true
	l.mu.Unlock()
	return removeIfThere(l.fsys, path.Join(l.dir, nameCleaned))
}

// transactions tells which batches belong to aborted transactions, and which markers have nothing left that they are for, in a
// walk over the log. Source: Kafka's CleanedTransactionMetadata.
type transactions struct {
	coming    []AbortedTxn        // by first offset
	aborted   map[int64]*abortion // by producer id, between the first offset and the marker
	committed map[int64]bool      // producer ids with batches of a transaction that is not aborted, before its marker
}

type abortion struct {
	txn  AbortedTxn
	seen bool // a batch of it is still there
}

// newTransactions takes the aborted transactions whose markers the walk will meet.
func newTransactions(txns []AbortedTxn) *transactions {
	coming := slices.Clone(txns)
	slices.SortFunc(coming, func(a, b AbortedTxn) int {
		switch {
		case a.FirstOffset < b.FirstOffset:
			return -1
		case a.FirstOffset > b.FirstOffset:
			return 1
		}
		return 0
	})
	return &transactions{coming: coming, aborted: map[int64]*abortion{}, committed: map[int64]bool{}}
}
