package vfs

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// ReadSequentially tells the system that f, where it is one of its files, is about to be read from front to back. It is a hint: a
// failure costs nothing but time. The system then reads twice as far ahead. Asking it for ranges instead (FADV_WILLNEED) fills its
// cache with single pages where it would take large ones, which takes longer than reading them, and again whenever they are used.
func ReadSequentially(f File) {
	conn, ok := f.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Fadvise(int(fd), 0, 0, unix.FADV_SEQUENTIAL) })
	}
}
