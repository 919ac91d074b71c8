package server

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// readable waits for a plaintext TCP connection.
type readable struct {
	raw   syscall.RawConn
	ready func(fd uintptr) bool
	idle  func()
	asked bool
	one   [1]byte
}

// newInputWaiter returns nil for a connection that is not plain TCP.
func newInputWaiter(nc net.Conn) inputWaiter {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	r := &readable{raw: raw}
	r.ready = r.look
	return r
}

// waitInput implements inputWaiter.
func (r *readable) waitInput(idle func()) error {
	r.asked, r.idle = false, idle
	return r.raw.Read(r.ready)
}

// look is called at first, and again when something has come: then there is no need to ask.
func (r *readable) look(fd uintptr) bool {
	if r.asked {
		return true
	}
	r.asked = true
	for {
		_, _, err := unix.Recvfrom(int(fd), r.one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			r.idle()
			return false
		}
		return true // bytes, the end, or an error: the read will say which
	}
}
