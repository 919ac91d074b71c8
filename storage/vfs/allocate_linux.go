package vfs

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// Allocate has the file system set blocks aside for n bytes of f from pos on; keepSize leaves the size of the file as it is, and
// Truncate gives the blocks behind it back. done is false where the file system cannot, or f is no file of the operating system.
// Errors: ENOSPC and the like; nothing has changed then that matters.
func Allocate(f File, pos, n int64, keepSize bool) (done bool, err error) {
	conn, ok := f.(syscall.Conn)
	if !ok {
		return false, nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return false, err
	}
	mode := uint32(0)
	if keepSize {
		mode = unix.FALLOC_FL_KEEP_SIZE
	}
	if errControl := raw.Control(func(fd uintptr) { err = unix.Fallocate(int(fd), mode, pos, n) }); errControl != nil {
		return false, errControl
	}
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return false, nil
	}
	return err == nil, err
}
