package log

import (
	"context"
	"errors"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tandembroker/tandem/storage/vfs"
)

// readyFS tells when a second segment is ready to replace others.
type readyFS struct {
	vfs.FS
	mu    sync.Mutex
	ready int
	two   chan struct{}
}

func (f *readyFS) Rename(from, to string) error {
	err := f.FS.Rename(from, to)
	if err == nil && strings.HasSuffix(to, suffixLog+suffixSwap) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.ready++; f.ready == 2 {
			close(f.two)
		}
	}
	return err
}

// A segment is made durable while the one in front of it replaces others, but replaces its own only behind it, and not at all where
// that has failed.
func TestCleanReplacesInOrder(t *testing.T) {
	refused := errors.New("refused")
	for _, fail := range []bool{false, true} {
		w, o := compacted(t, 200)
		fsys := &readyFS{FS: w.l.fsys, two: make(chan struct{})}
		w.l.fsys = fsys
		var calls, under atomic.Int64
		last := int64(-1)
		o.Replace = func(r Replacement) error {
			if under.Add(1) != 1 {
				t.Error("two replace others at a time")
			}
			defer under.Add(-1)
			if r.First <= last {
				t.Errorf("the segment of %d behind that of %d", r.First, last)
			}
			last = r.First
			if calls.Add(1) == 1 {
				select {
				case <-fsys.two:
				case <-time.After(10 * time.Second):
					t.Error("the next segment waits to be made durable")
				}
				if fail {
					return refused
				}
			}
			return w.replace(r)
		}
		done, err := w.l.Clean(context.Background(), o)
		if !fail {
			if err != nil || done.Replaced < 3 || int(calls.Load()) != done.Replaced {
				t.Errorf("%+v, %v after %d calls", done, err, calls.Load())
			}
			continue
		}
		if !errors.Is(err, refused) || calls.Load() != 1 || done.Replaced != 0 {
			t.Errorf("%+v, %v after %d calls", done, err, calls.Load())
		}
		files, err := fsys.ReadDir(testDir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if ext := path.Ext(f.Name()); ext == suffixSwap || ext == suffixCleaned {
				t.Errorf("%s is left", f.Name())
			}
		}
	}
}
