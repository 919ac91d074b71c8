package vfs

import (
	"errors"
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// WriteBack begins to write n bytes of f at pos to the disk, and waits until what lies more than ahead bytes in front of their end
// is written. It makes nothing durable, which takes Sync, and so does without the journal of the file system, in whose commits the
// syncs of others wait. done is false where the system cannot do that, or f is none of its files: nothing has happened then.
// Errors: I/O, as Sync's: what was written may be lost, and Sync does not tell of it again.
func WriteBack(f File, pos, n, ahead int64) (done bool, err error) {
	conn, ok := f.(syscall.Conn)
	if !ok {
		return false, nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return false, nil //nolint:nilerr // Sync says what is wrong
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = syncRange(int(fd), pos, n, unix.SYNC_FILE_RANGE_WRITE)
		if end := pos + n - ahead; failed == nil && end > 0 {
			failed = syncRange(int(fd), 0, end, unix.SYNC_FILE_RANGE_WAIT_BEFORE)
		}
	})
	switch {
	case err != nil:
		return false, nil //nolint:nilerr // as above
	case errors.Is(failed, unix.ENOSYS) || errors.Is(failed, unix.EPERM) || errors.Is(failed, unix.EINVAL):
		return false, nil
	case failed != nil:
		return false, &fs.PathError{Op: "sync_file_range", Path: f.Name(), Err: failed}
	}
	return true, nil
}

func syncRange(fd int, pos, n int64, flags int) error {
	for {
		if err := unix.SyncFileRange(fd, pos, n, flags); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
