package log

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/tandembroker/tandem/storage/vfs"
)

// onDisk is what a file takes on the disk, and its size.
func onDisk(t *testing.T, name string) (blocks, size int64) {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Blocks * 512, info.Size()
}

// TestReserve: a segment that grows has blocks in reserve, which change neither its size nor what is read, and which it gives
// back once it gets no more.
func TestReserve(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "topic-0")
	probe, err := vfs.OS{}.OpenFile(filepath.Join(filepath.Dir(dir), "probe"), os.O_CREATE|os.O_RDWR, filePerm)
	if err != nil {
		t.Fatal(err)
	}
	can, err := vfs.Allocate(probe, 0, 1<<20, true)
	if err := probe.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil || !can {
		t.Skipf("this file system reserves nothing: %v", err)
	}
	o := testOptions()
	o.SegmentBytes, o.IndexBytesMax = 3*reserveFrom, 1<<20
	l, err := Create(vfs.OS{}, dir, testTopic, 0, o)
	if err != nil {
		t.Fatal(err)
	}
	first := fileName(dir, 0, suffixLog)
	next, appended := int64(0), int64(0)
	add := func() {
		bytes, rows := payload(makeBatch(t, batchSpec{base: next, count: 1, valueLen: 1 << 20, ts: 1000}))
		if _, err := l.Append(bytes, rows); err != nil {
			t.Fatal(err)
		}
		next, appended = next+1, appended+int64(len(bytes))
	}
	for appended < reserveFrom+1<<20 {
		add()
	}
	if blocks, size := onDisk(t, first); size != appended || blocks < size+reserveFrom {
		t.Errorf("%d bytes appended: size %d, %d on disk", appended, size, blocks)
	}
	for appended < o.SegmentBytes+1<<20 {
		add()
	}
	if err := l.Sync(); err != nil { // delayed allocation
		t.Fatal(err)
	}
	if blocks, size := onDisk(t, first); blocks > size+1<<20 {
		t.Errorf("sealed: %d bytes, %d on disk", size, blocks)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
