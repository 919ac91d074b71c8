package log

import (
	"errors"
	"fmt"
	"io"

	"github.com/tandembroker/tandem/storage/vfs"
)

// Extent is a run of whole batches in one segment file, ready to be sent. It keeps the file open, deleted or not, until
// Release. The zero Extent is empty. It must not be copied once used; methods are for one goroutine.
type Extent struct {
	file   *sharedFile
	seg    *segment
	pos, n int64
	next   int64
	moved  uint64 // Log.mu.moved when it was made
}

// Len is the number of bytes; 0 = nothing to read.
func (e *Extent) Len() int64 { return e.n }

// Next is the offset behind the last record in the extent; the offset asked for where it is empty.
func (e *Extent) Next() int64 { return e.next }

// File is where the bytes are: n bytes of f from pos on. On the real file system f implements syscall.Conn, for a sendfile
// with an explicit offset. f is valid until Release and must not be closed.
func (e *Extent) File() (f vfs.File, pos, n int64) {
	if e.file == nil {
		return nil, 0, 0
	}
	return e.file.File, e.pos, e.n
}

// ReadAt reads from the extent's bytes, pos counted from its beginning. Errors: io.EOF at the end; io.ErrUnexpectedEOF where the
// log was truncated below it meanwhile.
func (e *Extent) ReadAt(b []byte, pos int64) (int, error) {
	if pos < 0 || pos >= e.n {
		return 0, io.EOF
	}
	want := b[:min(int64(len(b)), e.n-pos)]
	n, err := e.file.ReadAt(want, e.pos+pos)
	switch {
	case n < len(want) && (err == nil || errors.Is(err, io.EOF)):
		return n, io.ErrUnexpectedEOF
	case n < len(want):
		return n, err
	case n < len(b):
		return n, io.EOF
	}
	return n, nil
}

// ReadAll returns a copy of the bytes, for those who cannot sendfile.
func (e *Extent) ReadAll() ([]byte, error) {
	b := make([]byte, e.n)
	if err := e.ReadInto(b); err != nil {
		return nil, err
	}
	return b, nil
}

// ReadInto copies the first bytes to b, as many as it holds; more than the extent has are an error.
func (e *Extent) ReadInto(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if n, err := e.ReadAt(b, 0); n < len(b) {
		return fmt.Errorf("log: read %d bytes of %s at byte %d: %w", len(b), e.file.Name(), e.pos, err)
	}
	return nil
}

// Release gives the file back. A second call does nothing.
func (e *Extent) Release() {
	if e.file == nil {
		return
	}
	e.seg.extents.Add(-1)
	_ = e.file.release() // opened for reading by us; a close error loses nothing
	e.file, e.seg, e.n = nil, nil, 0
}

// Read finds the whole batches from the one that holds offset on, up to bytesMax bytes, none of which has a record at or above
// limit (the high watermark or the last stable offset). With atLeastOne the first batch comes even when it is larger than
// bytesMax. An offset in a gap finds the batch behind it. The extent ends where its segment does. Bytes that this process has
// not written are checked first. Errors: ErrOffsetOutOfRange outside [LogStart, LogEnd], ErrCorrupt, I/O.
func (l *Log) Read(offset, bytesMax, limit int64, atLeastOne bool) (Extent, error) {
	for {
		e, err := l.read(offset, max(bytesMax, 0), limit, atLeastOne)
		if !errors.Is(err, errMoved) { // each retry follows a truncation or a deletion that happened meanwhile
			return e, err
		}
	}
}

func (l *Log) read(offset, bytesMax, limit int64, atLeastOne bool) (Extent, error) {
	w, err := l.window(offset, bytesMax, limit)
	if err != nil || w.file == nil {
		return Extent{next: offset}, err
	}
	defer func() { _ = w.file.release() }()
	w.atLeastOne = atLeastOne
	if w.fast {
		f, err := w.locate()
		if err == nil {
			if e, state := l.hand(&w, f); state != handUnchecked {
				return e, state.err()
			}
		} else if !errors.Is(err, ErrCorrupt) {
			return Extent{}, l.unlessMoved(w.moved, err)
		}
	}
	f := run{begin: w.from}
	err = l.walk(&w, func(h *header) bool { return w.wants(&f, h) }, func(h *header) bool { return w.take(&f, h) })
	if err != nil && f.to == f.from {
		return Extent{}, err
	}
	e, state := l.hand(&w, f)
	if state == handUnchecked { // cannot be: walk has just checked it
		return Extent{}, fmt.Errorf("log: segment %d: bytes %d to %d are not checked", w.seg.base, f.from, f.to)
	}
	return e, state.err()
}

// unlessMoved replaces err by errMoved when the log was truncated since: what was read may be bytes of another time.
func (l *Log) unlessMoved(moved uint64, err error) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.mu.moved != moved {
		return errMoved
	}
	return err
}

type handState int

const (
	handed handState = iota
	handUnchecked
	handMoved
)

func (s handState) err() error {
	if s == handMoved {
		return errMoved
	}
	return nil
}

// hand makes the extent, unless the log was truncated meanwhile or bytes of it were never checked.
func (l *Log) hand(w *window, f run) (Extent, handState) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	s := w.seg
	switch {
	case l.mu.moved != w.moved:
		return Extent{}, handMoved
	case !s.verified.covers(f.begin, max(f.to, f.seen)):
		return Extent{}, handUnchecked
	case f.to == f.from:
		return Extent{next: w.offset}, handed
	}
	s.extents.Add(1)
	for {
		old := s.extentEnd.Load()
		if old >= f.to || s.extentEnd.CompareAndSwap(old, f.to) {
			break
		}
	}
	return Extent{file: w.file.retain(), seg: s, pos: f.from, n: f.to - f.from, next: f.next, moved: w.moved}, handed
}
