package vfs

import (
	"io"
	"io/fs"
	"math"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
)

// memFile is an open file of a Mem. It stays usable when the file is removed.
type memFile struct {
	m        *Mem
	n        *node
	name     string
	writable bool
	closed   atomic.Bool
}

var _ File = (*memFile)(nil)

func (f *memFile) Name() string { return f.name }

func (f *memFile) before(op Op, what string) (Outcome, error) {
	out := f.m.hooks.before(op, f.name)
	if f.closed.Load() {
		return out, pathError(what, f.name, fs.ErrClosed)
	}
	return out, nil
}

// ReadAt returns io.EOF with fewer bytes than asked for, as os.File does.
func (f *memFile) ReadAt(b []byte, pos int64) (int, error) {
	out, err := f.before(OpRead, "read")
	if err != nil {
		return 0, err
	}
	if out.Err != nil {
		return 0, pathError("read", f.name, out.Err)
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if pos < 0 {
		return 0, pathError("read", f.name, syscall.EINVAL)
	}
	if pos >= int64(len(f.n.data)) {
		if len(b) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	n := copy(b, f.n.data[pos:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt keeps a copy of b for CrashClone.
func (f *memFile) WriteAt(b []byte, pos int64) (int, error) {
	out, err := f.before(OpWrite, "write")
	if err != nil {
		return 0, err
	}
	if !f.writable || pos < 0 {
		return 0, pathError("write", f.name, syscall.EBADF)
	}
	now := f.m.nowTime()
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	n, werr := len(b), out.Err
	if werr != nil {
		n = min(max(out.Short, 0), len(b))
	}
	if room := max(0, f.m.mu.capacity-f.m.mu.used) + max(0, int64(len(f.n.data))-pos); int64(n) > room {
		n, werr = int(room), syscall.ENOSPC
	}
	if n > 0 {
		f.n.writes = append(f.n.writes, write{pos: pos, data: slices.Clone(b[:n])})
		before := len(f.n.data)
		f.n.data = overlay(f.n.data, pos, b[:n])
		f.m.mu.used += int64(len(f.n.data) - before)
		f.n.modTime = now
	}
	if werr != nil {
		return n, pathError("write", f.name, werr)
	}
	return n, nil
}

// overlay writes b over data at pos, with zeros in a gap.
func overlay(data []byte, pos int64, b []byte) []byte {
	if end := pos + int64(len(b)); end > int64(len(data)) {
		data = resize(data, end)
	}
	copy(data[pos:], b)
	return data
}

// resize cuts data, or extends it by zeros.
func resize(data []byte, size int64) []byte {
	if size <= int64(len(data)) {
		return data[:size]
	}
	old := len(data)
	data = slices.Grow(data, int(size)-old)[:size]
	clear(data[old:])
	return data
}

// Sync makes content and size durable. A failed one durably does nothing, and no later one covers what it should have.
func (f *memFile) Sync() error {
	out, err := f.before(OpSync, "fdatasync")
	if err != nil {
		return err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if out.Err != nil {
		for i := range f.n.writes {
			f.n.writes[i].doomed = true
		}
		return pathError("fdatasync", f.name, out.Err)
	}
	var kept []write // doomed bytes that nothing has overwritten since
	for i := range f.n.writes {
		w := &f.n.writes[i]
		if w.doomed && w.data != nil {
			kept = append(kept, *w)
			continue
		}
		f.n.synced = w.apply(f.n.synced)
		kept = w.cover(kept)
	}
	f.n.writes = kept
	return nil
}

// cover returns what is left of earlier writes under w.
func (w *write) cover(earlier []write) []write {
	from, to := w.pos, w.pos+int64(len(w.data))
	if w.data == nil {
		to = math.MaxInt64
	}
	var left []write
	for _, e := range earlier {
		end := e.pos + int64(len(e.data))
		if head := min(end, from); e.pos < head {
			left = append(left, write{pos: e.pos, data: e.data[:head-e.pos], doomed: e.doomed})
		}
		if tail := max(e.pos, to); tail < end {
			left = append(left, write{pos: tail, data: e.data[tail-e.pos:], doomed: e.doomed})
		}
	}
	return left
}

func (w *write) apply(data []byte) []byte {
	if w.data == nil {
		return resize(data, w.pos)
	}
	return overlay(data, w.pos, w.data)
}

// Truncate cuts or extends the file; durable with the next Sync.
func (f *memFile) Truncate(size int64) error {
	out, err := f.before(OpTruncate, "truncate")
	if err != nil {
		return err
	}
	if out.Err != nil {
		return pathError("truncate", f.name, out.Err)
	}
	if !f.writable || size < 0 {
		return pathError("truncate", f.name, syscall.EINVAL)
	}
	now := f.m.nowTime()
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.m.truncateLocked(f.n, size, now)
	return nil
}

func (m *Mem) truncateLocked(n *node, size int64, now time.Time) {
	m.mu.used += size - int64(len(n.data))
	n.data = resize(n.data, size)
	n.writes = append(n.writes, write{pos: size})
	n.modTime = now
}

// Size is the length as programs see it.
func (f *memFile) Size() (int64, error) {
	if f.closed.Load() {
		return 0, pathError("stat", f.name, fs.ErrClosed)
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return int64(len(f.n.data)), nil
}

// Close makes nothing durable.
func (f *memFile) Close() error {
	out, err := f.before(OpClose, "close")
	if err != nil {
		return err
	}
	f.closed.Store(true)
	if out.Err != nil {
		return pathError("close", f.name, out.Err)
	}
	return nil
}
