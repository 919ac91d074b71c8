package metrics

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/tandembroker/tandem/storage/vfs"
)

func TestCountFiles(t *testing.T) {
	files := CountFiles(vfs.OS{})
	dir := t.TempDir()
	file, err := files.OpenFile(filepath.Join(dir, "x"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte("hello"), 3); err != nil {
		t.Fatal(err)
	}
	if err := file.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := files.SyncDir(dir); err != nil {
		t.Fatal(err)
	}
	if files.Bytes() != 5 || files.Syncs() != 2 {
		t.Errorf("%d bytes, %d syncs", files.Bytes(), files.Syncs())
	}
	if _, ok := file.(syscall.Conn); !ok {
		t.Error("a counted file of the operating system cannot be sent with sendfile")
	}
	if err := file.Close(); err != nil {
		t.Error(err)
	}
	memory, err := CountFiles(vfs.NewMem()).OpenFile("y", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := memory.(syscall.Conn); ok {
		t.Error("a file in memory claims to have a descriptor")
	}
}
