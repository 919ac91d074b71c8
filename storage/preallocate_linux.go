package storage

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tandembroker/tandem/storage/vfs"
)

// allocate reserves size bytes for f. done is false where the file system cannot.
func allocate(f vfs.File, size int64) (done bool, err error) {
	conn, ok := f.(syscall.Conn)
	if !ok {
		return false, nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return false, err
	}
	if errControl := raw.Control(func(fd uintptr) { err = unix.Fallocate(int(fd), 0, 0, size) }); errControl != nil {
		return false, errControl
	}
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return false, nil
	}
	return err == nil, err
}
