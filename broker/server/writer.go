package server

import (
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/tandembroker/tandem/protocol/wire"
	"github.com/tandembroker/tandem/storage/vfs"
	"github.com/tandembroker/tandem/storage/vfs/sendfile"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	bufferedMax  = 64 << 10  // bytes of answers put together before they are written
	keptMax      = 64 << 10  // a larger output buffer is not kept for the next answer
	writeStepMax = 1 << 20   // bytes written under one deadline
	copyBytes    = 256 << 10 // of a file at a time, where sendfile is not to be had
	copyBelow    = 16 << 10  // a file range this small is read into the output buffer: one system call less than sendfile
)

// Writer sends answers to one client. Small pieces are put together; Flush sends what is left. The first error is final: a
// frame may have been sent in part. Not safe for concurrent use.
type Writer struct {
	conn  net.Conn
	files *sendfile.Socket // nil: this connection has no sendfile
	pool  *wire.Pool
	stall time.Duration // how long a client may leave writeStepMax bytes unread
	now   func() time.Time
	bufs  *sync.Pool // of *[]byte
	kept  *[]byte    // where buf came from and goes back to; nil while idle
	buf   []byte
	err   error
}

func newWriter(conn net.Conn, pool *wire.Pool, bufs *sync.Pool, stall time.Duration, now func() time.Time) *Writer {
	return &Writer{conn: conn, files: sendfile.New(conn), pool: pool, bufs: bufs, stall: stall, now: now}
}

func newBufferPool() *sync.Pool { return &sync.Pool{New: func() any { return new([]byte) }} }

// hold takes a buffer after idle.
func (w *Writer) hold() {
	if w.kept == nil {
		w.kept = w.bufs.Get().(*[]byte)
		w.buf = (*w.kept)[:0]
	}
}

// idle lets go of the buffer, which is empty after a Flush. Twice is safe.
func (w *Writer) idle() {
	if w.kept != nil && len(w.buf) == 0 {
		*w.kept = w.buf
		w.bufs.Put(w.kept)
		w.kept, w.buf = nil, nil
	}
}

// Response sends resp in the given version.
func (w *Writer) Response(correlationID int32, version int16, resp kmsg.Response) error {
	if w.err != nil {
		return w.err
	}
	w.hold()
	w.buf = wire.AppendResponse(w.buf, correlationID, version, resp)
	return w.bound()
}

// Bytes sends b, borrowed until return.
func (w *Writer) Bytes(b []byte) error {
	if w.err != nil {
		return w.err
	}
	if len(w.buf)+len(b) > bufferedMax && len(b) >= copyBelow {
		if err := w.flush(true); err != nil {
			return err
		}
		return w.write(b, false)
	}
	w.hold()
	w.buf = append(w.buf, b...)
	return w.bound()
}

// File sends n bytes of f from byte pos on. The bytes must be there: a shorter file is an error, since the frame has promised
// them.
func (w *Writer) File(f vfs.File, pos, n int64) error {
	if w.err != nil || n == 0 {
		return w.err
	}
	if n <= copyBelow {
		return w.inline(f, pos, int(n))
	}
	if err := w.flush(true); err != nil {
		return err
	}
	if w.files != nil {
		sent, err := w.sendFile(f, pos, n)
		if err != nil {
			return err
		}
		pos, n = pos+sent, n-sent
	}
	return w.copyFile(f, pos, n)
}

// inputWaits says whether the client has sent bytes that nobody has read; true where that cannot be seen.
func (w *Writer) inputWaits() bool { return w.files == nil || w.files.InputWaits() }

// Flush sends what is buffered.
func (w *Writer) Flush() error {
	if w.err != nil {
		return w.err
	}
	return w.flush(false)
}

// inline reads a small range behind what is buffered.
func (w *Writer) inline(f vfs.File, pos int64, n int) error {
	w.hold()
	start := len(w.buf)
	w.buf = append(w.buf, make([]byte, n)...) // the compiler extends in place
	if got, err := f.ReadAt(w.buf[start:], pos); got < n {
		return w.fail(fmt.Errorf("read %s at byte %d: %d of %d bytes: %w", f.Name(), pos, got, n, err))
	}
	return w.bound()
}

// sendFile moves a range from the file to the socket inside the kernel. sent is less than n when f is no file of the operating system, or of a
// file system that refuses that.
func (w *Writer) sendFile(f vfs.File, pos, n int64) (sent int64, err error) {
	defer w.files.Forget()
	for sent < n {
		if err := w.deadline(); err != nil {
			return sent, w.fail(err)
		}
		step, ok, err := w.files.Send(f, pos+sent, min(n-sent, writeStepMax))
		switch {
		case err != nil:
			return sent, w.fail(fmt.Errorf("send %s at byte %d: %w", f.Name(), pos+sent, err))
		case !ok:
			return sent, nil
		}
		sent += step
	}
	return sent, nil
}

func (w *Writer) copyFile(f vfs.File, pos, n int64) error {
	if n == 0 {
		return nil
	}
	b := w.pool.Get(int(min(n, copyBytes)))
	defer b.Release()
	for n > 0 {
		step := b.Bytes()[:min(n, copyBytes)]
		if got, err := f.ReadAt(step, pos); got < len(step) {
			return w.fail(fmt.Errorf("read %s at byte %d: %d of %d bytes: %w", f.Name(), pos, got, len(step), err))
		}
		if err := w.write(step, false); err != nil {
			return err
		}
		pos, n = pos+int64(len(step)), n-int64(len(step))
	}
	return nil
}

// bound keeps the output buffer small.
func (w *Writer) bound() error {
	if len(w.buf) < bufferedMax {
		return nil
	}
	return w.flush(false)
}

// flush writes the buffer; more says that bytes of the same frame follow at once.
func (w *Writer) flush(more bool) error {
	if len(w.buf) == 0 {
		return nil
	}
	err := w.write(w.buf, more)
	if w.buf = w.buf[:0]; cap(w.buf) > keptMax {
		w.buf = nil
	}
	return err
}

// write sends b in steps, each of which the client must take in time.
func (w *Writer) write(b []byte, more bool) error {
	for len(b) > 0 {
		step := b[:min(len(b), writeStepMax)]
		if err := w.deadline(); err != nil {
			return w.fail(err)
		}
		var n int
		var err error
		if more && w.files != nil {
			n, err = w.files.WriteMore(step)
		} else {
			n, err = w.conn.Write(step)
		}
		if err != nil {
			return w.fail(err)
		}
		b = b[n:]
	}
	return nil
}

func (w *Writer) deadline() error { return w.conn.SetWriteDeadline(w.now().Add(w.stall)) }

func (w *Writer) fail(err error) error {
	w.err = err
	return err
}
