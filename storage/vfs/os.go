package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// OS is the operating system's file system. Its files implement syscall.Conn, so that a server can sendfile from them.
type OS struct{}

var (
	_ FS           = OS{}
	_ File         = (*osFile)(nil)
	_ syscall.Conn = (*osFile)(nil)
)

// OpenFile opens name as os.OpenFile does.
func (OS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &osFile{f}, nil
}

// MkdirAll makes dir and its missing parents.
func (OS) MkdirAll(dir string, perm fs.FileMode) error { return os.MkdirAll(dir, perm) }

// Remove unlinks a file or an empty folder.
func (OS) Remove(name string) error { return os.Remove(name) }

// RemoveAll removes name and all below it; a missing name is no error.
func (OS) RemoveAll(name string) error { return os.RemoveAll(name) }

// Rename replaces to by from, atomically.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// ReadDir lists dir, sorted by name.
func (OS) ReadDir(dir string) ([]fs.DirEntry, error) { return os.ReadDir(dir) }

// Stat describes name, following links.
func (OS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

// SyncDir makes creates, renames and removes in dir durable.
func (OS) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}

// Free is what an unprivileged process may still write, in bytes.
func (OS) Free(dir string) (uint64, error) {
	st, err := statfs(dir)
	return uint64(st.Bavail) * uint64(st.Bsize), err
}

// Total is the size of the file system, in bytes.
func (OS) Total(dir string) (uint64, error) {
	st, err := statfs(dir)
	return uint64(st.Blocks) * uint64(st.Bsize), err
}

func statfs(dir string) (st unix.Statfs_t, err error) {
	for {
		if err = unix.Statfs(dir, &st); err == nil {
			return st, nil
		}
		if err != unix.EINTR {
			return unix.Statfs_t{}, &fs.PathError{Op: "statfs", Path: dir, Err: err}
		}
	}
}

// ErrLocked is returned by Lock when another holder has the lock.
var ErrLocked = errors.New("vfs: locked by another process")

// Lock takes flock(2) on name, creating it. It fails at once with ErrLocked when the lock is held, by this process too.
// Closing the result releases it; so does the end of the process, however it ends.
func (OS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EINTR {
			break
		}
	}
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if err == unix.EWOULDBLOCK {
		return nil, fmt.Errorf("%w: %s", ErrLocked, name)
	}
	return nil, &fs.PathError{Op: "flock", Path: name, Err: err}
}

// osFile adds Size and a Sync that is fdatasync to *os.File.
type osFile struct{ f *os.File }

func (o *osFile) ReadAt(b []byte, pos int64) (int, error)  { return o.f.ReadAt(b, pos) }
func (o *osFile) WriteAt(b []byte, pos int64) (int, error) { return o.f.WriteAt(b, pos) }
func (o *osFile) Close() error                             { return o.f.Close() }
func (o *osFile) Truncate(size int64) error                { return o.f.Truncate(size) }
func (o *osFile) Name() string                             { return o.f.Name() }
func (o *osFile) SyscallConn() (syscall.RawConn, error)    { return o.f.SyscallConn() }
func (o *osFile) Sync() error                              { return datasync(o.f) }

// Size asks the operating system; it moves no file position.
func (o *osFile) Size() (int64, error) {
	info, err := o.f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
