// Package sendfile moves ranges of files to TCP connections inside the kernel, where the platform can.
package sendfile

import (
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/tandembroker/tandem/storage/vfs"
	"golang.org/x/sys/unix"
)

// Socket is a plaintext TCP connection as the kernel sees it. Its closures are made once and talk through call, so that a
// large range, which takes many calls, allocates no more than a small one. For one goroutine; deadlines are the connection's.
type Socket struct {
	raw  syscall.RawConn
	file vfs.File // the one whose descriptor source is
	src  syscall.RawConn

	withFile     func(in uintptr)
	sendfileOnce func(out uintptr) bool
	sendmsgOnce  func(out uintptr) bool
	askInput     func(in uintptr)

	call struct {
		in    int
		pos   int64
		n     int
		bytes []byte
		moved int
		err   error // of the system call
		wait  error // of waiting until the socket takes more
	}
}

// New returns nil for a connection that is not plain TCP.
func New(conn net.Conn) *Socket {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	s := &Socket{raw: raw}
	s.withFile = func(in uintptr) {
		s.call.in = int(in)
		s.call.wait = s.raw.Write(s.sendfileOnce)
	}
	s.sendfileOnce = s.sendfile
	s.sendmsgOnce = s.sendmsg
	s.askInput = func(in uintptr) { s.call.n, s.call.err = unix.IoctlGetInt(int(in), unix.TIOCINQ) }
	return s
}

// Send moves up to n bytes of f from byte pos on and returns how many; ok is false, and nothing has moved, when f has no descriptor or the kernel
// does not do that with it: some file systems have no sendfile. The position is given with each call, so the file's own is never touched and many
// connections share one descriptor. It returns after the first call that moved something: the caller then renews the deadline.
// Errors: io.ErrUnexpectedEOF where the file ends at pos.
func (s *Socket) Send(f vfs.File, pos, n int64) (sent int64, ok bool, err error) {
	if s.file != f {
		file, ok := f.(syscall.Conn)
		if !ok {
			return 0, false, nil
		}
		if s.src, err = file.SyscallConn(); err != nil {
			return 0, true, err
		}
		s.file = f
	}
	s.call.pos, s.call.n, s.call.moved, s.call.err, s.call.wait = pos, int(n), 0, nil, nil
	controlErr := s.src.Control(s.withFile)
	if unsupported(s.call.err) {
		return 0, false, nil
	}
	return int64(max(s.call.moved, 0)), true, errors.Join(s.call.err, controlErr, s.call.wait)
}

// unsupported says that the system call refuses the file as such. Source: sendfile(2), which has callers fall back to read and write.
func unsupported(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP)
}

// Forget lets go of the file that was sent from last.
func (s *Socket) Forget() { s.file, s.src = nil, nil }

// sendfile moves something, or says that the socket takes nothing now.
func (s *Socket) sendfile(out uintptr) (done bool) {
	c := &s.call
	for {
		offset := c.pos
		c.moved, c.err = unix.Sendfile(int(out), c.in, &offset, c.n)
		switch {
		case errors.Is(c.err, unix.EINTR):
			continue
		case c.moved > 0:
			c.err = nil
		case errors.Is(c.err, unix.EAGAIN):
			return false // waits until the socket takes more, or for the deadline
		case c.err == nil:
			c.err = io.ErrUnexpectedEOF // the file is shorter than promised
		}
		c.moved = max(c.moved, 0)
		return true
	}
}

// WriteMore writes b and tells the kernel that more follows, so that both leave in one segment.
func (s *Socket) WriteMore(b []byte) (n int, err error) {
	defer func() { s.call.bytes = nil }() // borrowed
	for n < len(b) {
		s.call.bytes, s.call.err = b[n:], nil
		waitErr := s.raw.Write(s.sendmsgOnce)
		if err := errors.Join(waitErr, s.call.err); err != nil {
			return n, err
		}
		n += s.call.moved
	}
	return n, nil
}

func (s *Socket) sendmsg(out uintptr) (done bool) {
	c := &s.call
	for {
		c.moved, c.err = unix.SendmsgN(int(out), c.bytes, nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
		if !errors.Is(c.err, unix.EINTR) {
			return !errors.Is(c.err, unix.EAGAIN)
		}
	}
}

// InputWaits says whether there is something to read; true where that cannot be seen.
func (s *Socket) InputWaits() bool {
	err := s.raw.Control(s.askInput)
	return err != nil || s.call.err != nil || s.call.n > 0
}
