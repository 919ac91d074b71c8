package server

import (
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/tandembroker/tandem/storage/vfs"
	"golang.org/x/sys/unix"
)

// socket is a plaintext TCP connection as the kernel sees it.
type socket struct{ raw syscall.RawConn }

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
	return &socket{raw}
}

// send implements fileSender. The position is given with each call, so the file's own is never touched and many connections
// share one descriptor. It returns after the first call that moved something: the caller then renews the deadline.
func (s *socket) send(f vfs.File, pos, n int64) (sent int64, ok bool, err error) {
	file, ok := f.(syscall.Conn)
	if !ok {
		return 0, false, nil
	}
	source, err := file.SyscallConn()
	if err != nil {
		return 0, true, err
	}
	var sendErr error
	controlErr := source.Control(func(in uintptr) {
		sendErr = s.raw.Write(func(out uintptr) bool {
			offset := pos
			moved, callErr := unix.Sendfile(int(out), int(in), &offset, int(n))
			for errors.Is(callErr, unix.EINTR) {
				moved, callErr = unix.Sendfile(int(out), int(in), &offset, int(n))
			}
			switch {
			case moved > 0:
				sent = int64(moved)
				return true
			case errors.Is(callErr, unix.EAGAIN):
				return false // waits until the socket takes more, or for the deadline
			case callErr != nil:
				err = callErr
				return true
			default:
				err = io.ErrUnexpectedEOF // the file is shorter than promised
				return true
			}
		})
	})
	return sent, true, errors.Join(err, controlErr, sendErr)
}

// writeMore implements fileSender.
func (s *socket) writeMore(b []byte) (n int, err error) {
	for n < len(b) {
		var callErr error
		var moved int
		waitErr := s.raw.Write(func(out uintptr) bool {
			const flags = unix.MSG_MORE | unix.MSG_NOSIGNAL
			moved, callErr = unix.SendmsgN(int(out), b[n:], nil, nil, flags)
			for errors.Is(callErr, unix.EINTR) {
				moved, callErr = unix.SendmsgN(int(out), b[n:], nil, nil, flags)
			}
			return !errors.Is(callErr, unix.EAGAIN)
		})
		if err := errors.Join(waitErr, callErr); err != nil {
			return n, err
		}
		n += moved
	}
	return n, nil
}
