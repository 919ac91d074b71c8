package vfs

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// ReadAhead lets the system begin to read n bytes of f at pos into its cache, where f is one of its files. It does not wait, and
// is a hint: a failure costs nothing but time.
func ReadAhead(f File, pos, n int64) {
	conn, ok := f.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Fadvise(int(fd), pos, n, unix.FADV_WILLNEED) })
	}
}
