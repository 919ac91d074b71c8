package server

import (
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/tandembroker/tandem/storage/vfs"
	"golang.org/x/sys/unix"
)

// socket is a plaintext TCP connection as the kernel sees it. Its closures are made once and talk through call, so that a
// large answer, which takes many calls, allocates no more than a small one. For one goroutine.
type socket struct {
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

// newFileSender returns nil for a connection that is not plain TCP.
func newFileSender(conn net.Conn) fileSender {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	s := &socket{raw: raw}
	s.withFile = func(in uintptr) {
		s.call.in = int(in)
		s.call.wait = s.raw.Write(s.sendfileOnce)
	}
	s.sendfileOnce = s.sendfile
	s.sendmsgOnce = s.sendmsg
	s.askInput = func(in uintptr) { s.call.n, s.call.err = unix.IoctlGetInt(int(in), unix.TIOCINQ) }
	return s
}

// send implements fileSender. The position is given with each call, so the file's own is never touched and many connections
// share one descriptor. It returns after the first call that moved something: the caller then renews the deadline.
func (s *socket) send(f vfs.File, pos, n int64) (sent int64, ok bool, err error) {
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
	return int64(s.call.moved), true, errors.Join(s.call.err, controlErr, s.call.wait)
}

// forget implements fileSender.
func (s *socket) forget() { s.file, s.src = nil, nil }

// sendfile moves something, or says that the socket takes nothing now.
func (s *socket) sendfile(out uintptr) (done bool) {
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

// writeMore implements fileSender.
func (s *socket) writeMore(b []byte) (n int, err error) {
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

func (s *socket) sendmsg(out uintptr) (done bool) {
	c := &s.call
	for {
		c.moved, c.err = unix.SendmsgN(int(out), c.bytes, nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
		if !errors.Is(c.err, unix.EINTR) {
			return !errors.Is(c.err, unix.EAGAIN)
		}
	}
}

// inputWaits implements fileSender.
func (s *socket) inputWaits() bool {
	err := s.raw.Control(s.askInput)
	return err != nil || s.call.err != nil || s.call.n > 0
}
