package storage

import (
	"errors"
	"os"

	"github.com/tandembroker/tandem/storage/vfs"
)

// preallocate makes a file of size bytes whose blocks are reserved.
func preallocate(fsys vfs.FS, name string, size int64) error {
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	done, err := vfs.Allocate(f, 0, size, false)
	if err == nil && !done {
		err = fill(f, size)
	}
	return errors.Join(err, f.Close())
}

// fill writes size bytes that are not zero, so that no file system stores them as a hole.
func fill(f vfs.File, size int64) error {
	b := make([]byte, 256<<10)
	for i := range b {
		b[i] = byte(i*7 + 1)
	}
	for at := int64(0); at < size; at += int64(len(b)) {
		if _, err := f.WriteAt(b[:min(int64(len(b)), size-at)], at); err != nil {
			return err
		}
	}
	return nil
}
