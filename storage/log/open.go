package log

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/tandembroker/tandem/storage/vfs"
)

// Open reads what is there and believes what lies below cp, without scanning it. The log can be read and written once Recover
// has returned. Log start is cp's, or where the oldest segment begins when retention has removed more since.
// Errors: ErrCorrupt where files that cp vouches for are missing or too short.
func Open(fsys vfs.FS, dir string, cp Checkpoint, o Options) (*Log, error) {
	l := newLog(fsys, dir, o)
	if err := l.load(cp); err != nil {
		return nil, fmt.Errorf("log: open %s: %w", dir, err)
	}
	return l, nil
}

func (l *Log) load(cp Checkpoint) error {
	r := &recovery{l: l, cp: cp, beyond: map[int64]int64{}, caches: map[int64]bool{}, intact: map[Position]Tail{}}
	if err := r.settleSwaps(); err != nil {
		return err
	}
	aborted, err := l.list(r)
	if err != nil {
		return err
	}
	if err := r.checkTrusted(); err != nil {
		return err
	}
	if err := r.checkSealed(); err != nil {
		return err
	}
	l.mu.start, l.mu.end = cp.LogStart, cp.LogEnd
	if n := len(l.mu.segments); n > 0 && l.mu.segments[0].base > cp.LogStart {
		l.options().Logger.Info("log start moved since the checkpoint", "dir", l.dir, "from", cp.LogStart, "to", l.mu.segments[0].base)
		l.mu.start = l.mu.segments[0].base
	} else if n == 0 {
		l.mu.start = max(cp.LogStart, min(cp.LogEnd, r.lowestBeyond()))
	}
	l.recovery = r
	if err := l.loadMetadata(); err != nil {
		return err
	}
	if err := l.loadEpochs(); err != nil {
		return err
	}
	return l.loadAborted(aborted)
}

// list sorts the folder's files: segments that cp vouches for, and those beyond. It returns the bases of .txnindex files.
// Errors: ErrCorrupt where an index lies between segments without its own.
func (l *Log) list(r *recovery) (aborted []int64, err error) {
	files, err := l.fsys.ReadDir(l.dir)
	if err != nil {
		return nil, err
	}
	var indexed []int64
	for _, e := range files { // sorted, and names have 20 digits: segments come in order
		if strings.HasSuffix(e.Name(), suffixTemp) {
			if err := l.fsys.Remove(path.Join(l.dir, e.Name())); err != nil {
				return nil, err
			}
			continue
		}
		base, suffix, ok := parseName(e.Name())
		switch {
		case !ok:
		case suffix == suffixSnapshot && base <= r.cp.LogEnd:
			l.stored = base
		case suffix == suffixIndex:
			indexed = append(indexed, base)
			r.caches[base] = true
		case suffix == suffixTime:
			r.caches[base] = true
		case suffix == suffixAborted:
			aborted = append(aborted, base)
			r.caches[base] = true
		case suffix == suffixLog:
			info, err := e.Info()
			if err != nil {
				return nil, err
			}
			if base > r.cp.End.Segment {
				r.beyond[base] = info.Size()
				continue
			}
			s := newSegment(base)
			s.size, s.modTime = info.Size(), info.ModTime()
			if base == r.cp.End.Segment {
				r.endSize = s.size
				s.size = r.cp.End.Pos
			}
			if info.Size() > posMax {
				return nil, &CorruptError{File: path.Join(l.dir, e.Name()), Pos: posMax, Reason: "the segment is too large"}
			}
			l.mu.segments = append(l.mu.segments, s)
		}
	}
	for _, base := range indexed {
		if i := l.segmentAtLocked(base); i >= 0 && base <= r.cp.End.Segment && l.mu.segments[i].base != base {
			return nil, &CorruptError{File: fileName(l.dir, base, suffixLog), Reason: "the segment is missing, its index is there"}
		}
	}
	return aborted, nil
}

// checkTrusted compares the files with the checkpoint. The segment of its end may be missing only where the log was empty, or
// where retention took it, which unlinks from the oldest on: none is left below, and a younger one exists.
func (r *recovery) checkTrusted() error {
	segments := r.l.mu.segments
	end := r.cp.End
	name := fileName(r.l.dir, end.Segment, suffixLog)
	n := len(segments)
	switch {
	case n > 0 && segments[n-1].base == end.Segment:
		if r.endSize < end.Pos {
			return &CorruptError{File: name, Pos: r.endSize, Reason: fmt.Sprintf("the file ends here, %d bytes were synced", end.Pos)}
		}
	case r.cp.LogStart == r.cp.LogEnd && end.Pos == 0, n == 0 && len(r.beyond) > 0:
	default:
		return &CorruptError{File: name, Reason: fmt.Sprintf("the segment is missing, %d bytes were synced", end.Pos)}
	}
	return nil
}

func (l *Log) loadMetadata() error {
	b, err := readSmall(l.fsys, path.Join(l.dir, nameMetadata))
	if errors.Is(err, fs.ErrNotExist) {
		l.options().Logger.Warn("partition.metadata is missing", "dir", l.dir)
		return nil
	}
	if err != nil {
		return err
	}
	if l.topicID, err = decodeMetadata(b); err != nil {
		return &CorruptError{File: path.Join(l.dir, nameMetadata), Reason: err.Error()}
	}
	return nil
}

// loadEpochs reads the leader epochs below the checkpoint, from the batches where the file cannot be used.
func (l *Log) loadEpochs() error {
	name := path.Join(l.dir, nameEpochs)
	b, err := readSmall(l.fsys, name)
	if err == nil {
		var e epochs
		cp := &l.recovery.cp
		if e, err = decodeEpochs(b); err == nil && cp.EpochsCRC != 0 && slices.Clone(e).checksum(cp.LogStart, cp.LogEnd) != cp.EpochsCRC {
			// Damaged, or written behind a move of the log start that no checkpoint has yet: the batches tell in both cases.
			err = fmt.Errorf("%w: its checksum is not that of the checkpoint", ErrCorrupt)
		}
		if err == nil {
			changed := e.truncateEnd(l.mu.end)
			changed = e.truncateStart(l.mu.start) || changed
			l.mu.epochs, l.mu.epochsSaved = e, !changed
			return nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrCorrupt) {
		return err
	}
	if l.recovery.cp.End.Pos > 0 || len(l.mu.segments) > 1 {
		l.options().Logger.Warn("leader epochs are rebuilt from the segments", "file", name, "err", err)
	}
	return l.rebuildEpochs()
}

// rebuildEpochs reads all batch headers below the checkpoint.
func (l *Log) rebuildEpochs() error {
	l.mu.epochs, l.mu.epochsSaved = nil, false
	for _, s := range l.mu.segments {
		if err := l.rebuildEpochsOf(s); err != nil {
			return err
		}
	}
	l.mu.epochs.truncateStart(l.mu.start)
	return nil
}

func (l *Log) rebuildEpochsOf(s *segment) error {
	if s.size == 0 {
		return nil
	}
	f, err := l.fsys.OpenFile(fileName(l.dir, s.base, suffixLog), 0, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	sc := newScanner(f, 0, s.size, s.base-1)
	defer sc.close()
	for {
		h, ok, err := sc.next()
		if err != nil || !ok {
			return err
		}
		l.mu.epochs.assign(h.epoch, h.base)
	}
}
