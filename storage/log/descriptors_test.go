package log

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandembroker/tandem/storage/vfs"
)

// scarce is a file system that opens only so many files at a time.
type scarce struct {
	vfs.FS
	open, most, peak atomic.Int64
}

func (s *scarce) take() error {
	n := s.open.Add(1)
	if n > s.most.Load() {
		s.open.Add(-1)
		return &fs.PathError{Op: "open", Err: syscall.EMFILE}
	}
	s.peak.Store(max(s.peak.Load(), n))
	return nil
}

func (s *scarce) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if err := s.take(); err != nil {
		return nil, err
	}
	f, err := s.FS.OpenFile(name, flag, perm)
	if err != nil {
		s.open.Add(-1)
		return nil, err
	}
	return &scarceFile{File: f, fs: s}, nil
}

func (s *scarce) SyncDir(dir string) error {
	if err := s.take(); err != nil {
		return err
	}
	defer s.open.Add(-1)
	return s.FS.SyncDir(dir)
}

type scarceFile struct {
	vfs.File
	fs *scarce
}

func (f *scarceFile) Close() error {
	f.fs.open.Add(-1)
	return f.File.Close()
}

// scarceLogs makes logs of several segments each in a file system that opens few files.
func scarceLogs(t *testing.T, fsys vfs.FS, o Options, count int) (logs []*Log, truth [][]made) {
	t.Helper()
	if err := fsys.MkdirAll("data", 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range count {
		l, err := Create(fsys, path.Join("data", fmt.Sprintf("topic-%d", i)), testTopic, 0, o)
		if err != nil {
			t.Fatal(err)
		}
		logs, truth = append(logs, l), append(truth, fill(t, l, 150))
		if len(l.Segments()) < 5 {
			t.Fatal("too few segments")
		}
	}
	return logs, truth
}

// Where synced, idle segments are closed: far fewer files are open than there are segments, and all can be read and written.
func TestDescriptorsAreBounded(t *testing.T) {
	fsys := &scarce{FS: vfs.NewMem()}
	fsys.most.Store(1 << 20)
	o := testOptions()
	o.Descriptors = NewDescriptors(10)
	logs, truth := scarceLogs(t, fsys, o, 8)
	for _, l := range logs {
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	fsys.peak.Store(0)
	rng := rand.New(rand.NewPCG(1, 1))
	for range 400 {
		i := rng.IntN(len(logs))
		l := logs[i]
		if rng.IntN(4) == 0 {
			truth[i] = append(truth[i], fill(t, l, 1)...)
			if err := l.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		e, err := l.Read(rng.Int64N(l.LogEnd()), 100, l.LogEnd(), true)
		if err != nil {
			t.Fatal(err)
		}
		e.Release()
	}
	if open := o.Descriptors.Open(); open > 11 {
		t.Errorf("%d files are open", open)
	}
	for i, l := range logs {
		if err := check(l, truth[i], 0); err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := fsys.open.Load(); n != 0 {
		t.Errorf("%d files stay open", n)
	}
}

// Without a free descriptor a segment is begun, and all else goes on: idle files are closed, unsynced ones after a sync.
func TestNoDescriptorLeft(t *testing.T) {
	mem := vfs.NewMem()
	fsys := &scarce{FS: mem}
	fsys.most.Store(12)
	o := testOptions()
	o.Descriptors = NewDescriptors(1 << 20) // not bounded but by the file system
	logs, truth := scarceLogs(t, fsys, o, 30)
	var wg sync.WaitGroup
	for i, l := range logs {
		wg.Go(func() {
			if err := l.Flush(); err != nil {
				t.Error(err)
			}
		})
		if i%3 == 0 { // several at a time, but not more than there are descriptors for files in use
			wg.Wait()
		}
	}
	wg.Wait()
	for i, l := range logs {
		if err := check(l, truth[i], 0); err != nil {
			t.Error(err)
		}
		at := l.LogEnd() - 2
		if err := l.Truncate(at); err != nil {
			t.Error(err)
		}
		fill(t, l, 30)
	}
	for _, l := range logs {
		if err := errors.Join(l.Err(), l.Close()); err != nil {
			t.Error(err)
		}
	}
}

// All descriptors are in use, for a moment: who reads is told so, who writes waits for one.
func TestDescriptorsInUseAreWaitedFor(t *testing.T) {
	mem := vfs.NewMem()
	synctest.Test(t, func(t *testing.T) {
		fsys := &scarce{FS: mem}
		fsys.most.Store(4)
		o := testOptions()
		o.Descriptors = NewDescriptors(4)
		logs, truth := scarceLogs(t, fsys, o, 1)
		var held []vfs.File
		for {
			f, err := fsys.OpenFile("data/others", os.O_CREATE|os.O_RDWR, 0o644)
			if err != nil {
				if !errors.Is(err, syscall.EMFILE) {
					t.Fatal(err)
				}
				if !o.Descriptors.Reclaim() {
					break
				}
				continue
			}
			held = append(held, f)
		}
		if _, err := logs[0].Read(0, 100, logs[0].LogEnd(), true); !errors.Is(err, syscall.EMFILE) {
			t.Errorf("read: %v", err)
		}
		time.AfterFunc(300*time.Millisecond, func() {
			for _, f := range held {
				_ = f.Close()
			}
		})
		truth[0] = append(truth[0], fill(t, logs[0], 3)...)
		if err := check(logs[0], truth[0], 0); err != nil {
			t.Error(err)
		}
		if err := logs[0].Close(); err != nil {
			t.Error(err)
		}
	})
}

// Who needs a descriptor may hold any lock of a log that covers I/O, and others theirs: Reclaim waits for none of them.
func TestReclaimWaitsForNoLog(t *testing.T) {
	o := testOptions()
	o.Descriptors = NewDescriptors(1 << 20)
	logs, _ := scarceLogs(t, vfs.NewMem(), o, 3) // nothing is synced
	for _, l := range logs {
		l.cleaning.Lock()
		l.write.Lock()
		l.files.Lock()
	}
	logs[0].syncing.Lock() // it is the Sync that asks, or another one
	done := make(chan bool)
	go func() { done <- o.Descriptors.Reclaim() }()
	select {
	case closed := <-done:
		if !closed {
			t.Error("nothing was closed")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it waits")
	}
	logs[0].syncing.Unlock()
	for _, l := range logs {
		l.files.Unlock()
		l.write.Unlock()
		l.cleaning.Unlock()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// What a file that is closed had unsynced would be lost with the error of its sync.
func TestUnsyncedFilesStayOpen(t *testing.T) {
	mem := vfs.NewMem()
	o := testOptions()
	o.Descriptors = NewDescriptors(1)
	l := create(t, mem, o)
	fill(t, l, 150)
	if open, segments := o.Descriptors.Open(), len(l.Segments()); open != segments {
		t.Fatalf("%d files of %d unsynced segments are open", open, segments)
	}
	mem.SetHook((&vfs.Fault{Ops: vfs.OpSync, Err: syscall.EIO}).Hook)
	if err := l.Sync(); !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
}
