package log

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"sort"

	"github.com/tandembroker/tandem/storage/vfs"
)

// Sealed is a segment that nothing is appended to any more. Gaps between offsets are legal, so nothing in the segments
// themselves tells that one between them is gone, or that one ends too early at a batch: the checkpoint lists them.
type Sealed struct {
	Base int64
	Size int64 // bytes
}

// Sealed lists the segments below the one of end, as they were written: damage found since does not make one shorter. Stored
// with a Checkpoint of that end, after Flush.
func (l *Log) Sealed(end Position) []Sealed {
	l.mu.RLock()
	defer l.mu.RUnlock()
	list := make([]Sealed, 0, len(l.mu.segments))
	for _, s := range l.mu.segments {
		if s.base >= end.Segment {
			break
		}
		list = append(list, Sealed{s.base, s.written()})
	}
	return list
}

// written is the size of s without regard to damage.
func (s *segment) written() int64 {
	if s.broken != nil {
		return s.intact
	}
	return s.size
}

// setBroken ends s in front of damage.
func (s *segment) setBroken(err error, end int64) {
	s.intact = s.written()
	s.broken, s.size = err, end
}

// checkSealed compares the segments with the checkpoint's list. Missing is allowed to what retention may have unlinked.
func (r *recovery) checkSealed() error {
	if r.cp.Sealed == nil {
		return nil
	}
	list := r.cp.Sealed
	if r.cp.Replacing != nil {
		list = r.cp.Replacing.apply(list)
	}
	for i, want := range list {
		upper := r.cp.End.Segment
		if i+1 < len(list) {
			upper = list[i+1].Base
		}
		if upper <= r.cp.LogStart {
			continue
		}
		if err := r.checkOne(want, upper); err != nil {
			return err
		}
	}
	for _, s := range r.l.mu.segments {
		_, listed := slices.BinarySearchFunc(list, s.base, func(w Sealed, base int64) int { return cmp.Compare(w.Base, base) })
		if len(list) > 0 && s.base > list[0].Base && s.base < r.cp.End.Segment && !listed {
			return &CorruptError{File: fileName(r.l.dir, s.base, suffixLog), Reason: "no checkpoint knows this segment"}
		}
	}
	return nil
}

func (r *recovery) checkOne(want Sealed, upper int64) error {
	name := fileName(r.l.dir, want.Base, suffixLog)
	i := r.l.segmentAtLocked(want.Base)
	if i < 0 || r.l.mu.segments[i].base != want.Base {
		return &CorruptError{File: name, Reason: fmt.Sprintf("the segment of the offsets %d to %d is missing, %d bytes were synced",
			want.Base, upper-1, want.Size)}
	}
	s, replaced := r.l.mu.segments[i], r.cp.Replacing != nil && r.cp.Replacing.First == want.Base
	switch {
	case replaced && s.size != want.Size: // perhaps the one that was to be replaced
		return &CorruptError{File: name, Pos: s.size, Reason: fmt.Sprintf("the segment was replaced by one of %d bytes", want.Size)}
	case s.size < want.Size:
		return &CorruptError{File: name, Pos: s.size, Reason: fmt.Sprintf("the file ends here, %d bytes were synced", want.Size)}
	case s.size > want.Size:
		r.l.options().Logger.Warn("a segment is longer than when it was complete: the rest is not used", "file", name,
			"bytes", s.size, "expected", want.Size)
		s.size = want.Size
	}
	return nil
}

// Replacement says that the sealed segments with the base offsets First to Last become one of Size bytes and base offset First,
// as Kafka's cleaner makes it. Its four files lie beside them, complete and synced, under their names with suffixSwap.
type Replacement struct {
	First, Last, Size int64
}

// apply gives the list of sealed segments behind the replacement.
func (r *Replacement) apply(list []Sealed) []Sealed {
	var after []Sealed
	for _, s := range list {
		switch {
		case s.Base == r.First:
			after = append(after, Sealed{r.First, r.Size})
		case s.Base < r.First || s.Base > r.Last:
			after = append(after, s)
		}
	}
	return after
}

// Of says why r cannot be done to the sealed segments of list; nil = it can.
func (r *Replacement) Of(list []Sealed) error {
	has := func(base int64) bool {
		i := sort.Search(len(list), func(i int) bool { return list[i].Base >= base })
		return i < len(list) && list[i].Base == base
	}
	if r.First > r.Last || r.Size < 0 || r.Size > posMax || !has(r.First) || !has(r.Last) {
		return fmt.Errorf("%w: segments %d to %d become one of %d bytes", ErrInvalid, r.First, r.Last, r.Size)
	}
	return nil
}

// ErrReplacing: nobody knows whether a replacement is registered: its files must stay for a start that finds it so.
var ErrReplacing = errors.New("log: perhaps to be replaced at the next start")

// swapped are the files of a segment.
var swapped = [...]string{suffixAborted, suffixTime, suffixIndex, suffixLog}

// finish renames the files of the replacement and unlinks those of the segments in olds that it replaces. It can be repeated at
// any point, and is durable on return. A power loss may take any of it back: where the rename is lost, the .swap is there.
func (r *Replacement) finish(fsys vfs.FS, dir string, olds []int64) error {
	name := fileName(dir, r.First, suffixLog)
	info, err := fsys.Stat(name + suffixSwap)
	switch {
	case err == nil && info.Size() != r.Size:
		return &CorruptError{File: name + suffixSwap, Pos: info.Size(), Reason: fmt.Sprintf("%d bytes were synced", r.Size)}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	for _, suffix := range swapped { // the others too where the .log has its name: renames reorder at power loss
		name := fileName(dir, r.First, suffix)
		if err := fsys.Rename(name+suffixSwap, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	// Durable before anything else goes: unlinks reorder at power loss.
	if err := fsys.SyncDir(dir); err != nil {
		return err
	}
	unlinked := false
	for _, base := range olds {
		if base <= r.First || base > r.Last {
			continue
		}
		unlinked = true
		for _, suffix := range swapped {
			if err := removeIfThere(fsys, fileName(dir, base, suffix)); err != nil {
				return err
			}
		}
	}
	if !unlinked { // a sync of nothing has the disk flush its cache all the same
		return nil
	}
	return fsys.SyncDir(dir)
}

// settleSwaps finishes the replacement that the checkpoint names and removes the files of all others.
func (r *recovery) settleSwaps() error {
	files, err := r.l.fsys.ReadDir(r.l.dir)
	if err != nil {
		return err
	}
	var bases []int64
	changed := false
	for _, e := range files {
		base, suffix, ok := parseName(e.Name())
		if !ok {
			continue
		}
		if len(bases) == 0 || bases[len(bases)-1] != base {
			bases = append(bases, base)
		}
		registered := r.cp.Replacing != nil && base == r.cp.Replacing.First
		if ext := path.Ext(suffix); ext == suffixCleaned || ext == suffixSwap && !registered {
			if err := r.l.fsys.Remove(path.Join(r.l.dir, e.Name())); err != nil {
				return err
			}
			changed = true
		}
	}
	if r.cp.Replacing == nil {
		r.l.mu.dirDirty = changed // synced by Recover
		return nil
	}
	return r.cp.Replacing.finish(r.l.fsys, r.l.dir, bases)
}

// Replace puts the files of r in place of the segments they replace, durably; readers of the old ones keep them. The caller
// has made r durable as Checkpoint.Replacing before (Group.ReplaceSegments does both), so that a start after a crash in here
// finishes it. Errors: ErrInvalid (nothing happened), ErrFailed.
//
// Appends go on: files excludes all that cut or delete segments, and a roll only adds one behind them.
func (l *Log) Replace(r Replacement) error {
	l.files.Lock()
	defer l.files.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	if l.cutSinceCleaning() {
		return errCleaningCut
	}
	fresh, olds, err := l.substitute(&r)
	if err != nil {
		return err
	}
	// Held since before it could be found: nobody opens the segment while its name may still be the old one's.
	defer fresh.loading.Unlock()
	if err := r.finish(l.fsys, l.dir, olds); err != nil {
		return l.fail(fmt.Errorf("replace segments %d to %d: %w", r.First, r.Last, err))
	}
	return nil
}

// substitute makes the new segment visible, with its loading lock held, and returns the bases of the old ones.
func (l *Log) substitute(r *Replacement) (fresh *segment, olds []int64, err error) {
	fresh = newSegment(r.First)
	fresh.size = r.Size
	if fresh.aborted, err = l.readAborted(fileName(l.dir, r.First, suffixAborted)+suffixSwap, r.First); err != nil {
		return nil, nil, err
	}
	fresh.abortedSaved = len(fresh.aborted)
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Sealed, len(l.mu.segments)-1) // never the last one
	for i := range all {
		all[i] = Sealed{l.mu.segments[i].base, 0}
	}
	if err := r.Of(all); err != nil {
		return nil, nil, err
	}
	i, k := l.segmentAtLocked(r.First), l.segmentAtLocked(r.Last)
	for _, s := range l.mu.segments[i : k+1] {
		olds = append(olds, s.base)
		if s.modTime.After(fresh.modTime) {
			fresh.modTime = s.modTime
		}
		s.dropLocked()
	}
	fresh.loading.Lock()
	l.mu.moved++ // who has looked at the old ones looks again
	l.mu.segments = slices.Concat(l.mu.segments[:i], []*segment{fresh}, l.mu.segments[k+1:])
	return fresh, olds, nil
}

// readAborted reads a whole .txnindex file of a segment with that base. Errors: ErrInvalid, for damage and I/O too: nothing was
// replaced yet.
func (l *Log) readAborted(name string, base int64) ([]AbortedTxn, error) {
	b, err := readSmall(l.fsys, name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	txns, bad := decodeAborted(b, base, math.MaxInt64)
	if bad >= 0 {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, &CorruptError{File: name, Pos: bad, Reason: "no aborted transaction of this segment"})
	}
	return txns, nil
}

// SwapFile makes an empty file of the replacement for the segment of that base, under its name while it is being written
// (suffixCleaned). ext is .log, .index, .timeindex or .txnindex; all four must be made, empty or not.
func (l *Log) SwapFile(base int64, ext string) (vfs.File, error) {
	return l.fsys.OpenFile(fileName(l.dir, base, ext)+suffixCleaned, os.O_CREATE|os.O_TRUNC|os.O_RDWR, filePerm)
}

// SwapReady gives the files made by SwapFile, which the caller has synced and closed, the names that Replace expects, durably.
func (l *Log) SwapReady(base int64) error {
	for _, ext := range swapped {
		name := fileName(l.dir, base, ext)
		if err := l.fsys.Rename(name+suffixCleaned, name+suffixSwap); err != nil {
			return err
		}
	}
	return l.fsys.SyncDir(l.dir)
}
