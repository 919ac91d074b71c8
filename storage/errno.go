package storage

import (
	"errors"
	"syscall"
)

// isReadOnly says whether err is that of a file system mounted read-only.
func isReadOnly(err error) bool { return errors.Is(err, syscall.EROFS) }

// isIOError says whether err tells of a broken or vanished device, as opposed to a wrong name or missing rights.
func isIOError(err error) bool {
	return errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.ENODEV)
}
