// Package vfs is the seam between Tandem and the file system: the real one (OS), and one in memory (Mem) that loses power and
// fails calls. Everything except tidwall/wal and bbolt, which call the operating system themselves, goes through it.
package vfs

import (
	"io"
	"io/fs"
)

// FS is the part of a file system that Tandem needs. Paths are slash-separated and cleaned by the callee.
// Errors wrap fs.ErrNotExist, fs.ErrExist, syscall.ENOSPC and the like, to be tested with errors.Is.
type FS interface {
	// OpenFile takes the flags of os.OpenFile. A created file survives power loss only once its folder is synced.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	MkdirAll(dir string, perm fs.FileMode) error
	Remove(name string) error
	RemoveAll(name string) error
	Rename(from, to string) error
	// ReadDir lists the names in dir, sorted.
	ReadDir(dir string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	SyncDir(dir string) error
	// Free is the number of bytes an unprivileged writer may still use on the file system of dir.
	Free(dir string) (uint64, error)
	// Total is the size of the file system of dir, in bytes.
	Total(dir string) (uint64, error)
	// Lock takes an exclusive advisory lock on the file name, creating it; it fails at once when another process holds it.
	Lock(name string) (io.Closer, error)
}

// File is an open file. ReadAt and WriteAt are safe for concurrent use.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes content and size durable (fdatasync).
	Sync() error
	Truncate(size int64) error
	Size() (int64, error)
	Name() string
}
