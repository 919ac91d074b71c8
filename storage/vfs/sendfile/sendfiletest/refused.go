// Package sendfiletest has files for tests of what is sent from them.
package sendfiletest

import (
	"os"
	"syscall"
	"testing"

	"github.com/tandembroker/tandem/storage/vfs"
)

// Refused is f, of which the kernel sends with the first sent calls only, as where its file system has no sendfile. Reading goes on. f is one of
// vfs.OS. For one goroutine.
func Refused(t testing.TB, f vfs.File, sent int) vfs.File {
	t.Helper()
	dir, err := os.Open(t.TempDir()) // nothing is ever sent from a directory
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	return &refused{File: f, dir: dir, sent: sent}
}

type refused struct {
	vfs.File
	dir  *os.File
	sent int
}

// SyscallConn implements syscall.Conn.
func (r *refused) SyscallConn() (syscall.RawConn, error) {
	own, err := r.File.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil, err
	}
	other, err := r.dir.SyscallConn()
	return &changing{own, other, r}, err
}

// changing is the descriptor of the file, and then that of the directory.
type changing struct {
	syscall.RawConn
	dir syscall.RawConn
	of  *refused
}

// Control implements syscall.RawConn.
func (c *changing) Control(f func(fd uintptr)) error {
	if c.of.sent > 0 {
		c.of.sent--
		return c.RawConn.Control(f)
	}
	return c.dir.Control(f)
}
