package metrics

import (
	"io/fs"
	"sync/atomic"
	"syscall"

	"github.com/tandembroker/tandem/storage/vfs"
)

// Files is a file system that counts what is written to another one. Its files can be sent with sendfile when those of the
// other can.
type Files struct {
	vfs.FS
	syncs atomic.Int64
	bytes atomic.Int64
}

// CountFiles counts the syncs and the bytes written that go through the result to fsys.
func CountFiles(fsys vfs.FS) *Files { return &Files{FS: fsys} }

// Syncs is how many syncs of files and folders succeeded or failed so far.
func (f *Files) Syncs() int64 { return f.syncs.Load() }

// Bytes is how many bytes were written so far.
func (f *Files) Bytes() int64 { return f.bytes.Load() }

// OpenFile opens a file whose writes and syncs are counted.
func (f *Files) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	counted := countedFile{file, f}
	if conn, ok := file.(syscall.Conn); ok {
		return &countedConn{counted, conn}, nil
	}
	return &counted, nil
}

// SyncDir counts a sync.
func (f *Files) SyncDir(dir string) error {
	f.syncs.Add(1)
	return f.FS.SyncDir(dir)
}

type countedFile struct {
	vfs.File
	files *Files
}

func (c *countedFile) WriteAt(b []byte, pos int64) (int, error) {
	n, err := c.File.WriteAt(b, pos)
	c.files.bytes.Add(int64(n))
	return n, err
}

func (c *countedFile) Sync() error {
	c.files.syncs.Add(1)
	return c.File.Sync()
}

// countedConn is a countedFile of the operating system.
type countedConn struct {
	countedFile
	conn syscall.Conn
}

func (c *countedConn) SyscallConn() (syscall.RawConn, error) { return c.conn.SyscallConn() }
