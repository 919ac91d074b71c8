package broker

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tandembroker/tandem/storage/vfs"
)

// hangingFS is a file system whose syncs of files with part in their path hang from hang on, until release.
type hangingFS struct {
	vfs.OS
	part string
	mu   sync.Mutex
	gate chan struct{} // nil = open
	hung chan struct{} // gets one from each sync that hangs
}

func (h *hangingFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := h.OS.OpenFile(name, flag, perm)
	if err != nil || !strings.Contains(name, h.part) {
		return f, err
	}
	return hangingFile{f, h}, nil
}

// hang has syncs wait for release.
func (h *hangingFS) hang() (release func()) {
	gate := make(chan struct{})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gate = gate
	return sync.OnceFunc(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.gate = nil
		close(gate)
	})
}

type hangingFile struct {
	vfs.File
	fs *hangingFS
}

func (f hangingFile) Sync() error {
	f.fs.mu.Lock()
	gate := f.fs.gate
	f.fs.mu.Unlock()
	if gate != nil {
		select {
		case f.fs.hung <- struct{}{}:
		default:
		}
		<-gate
	}
	return f.File.Sync()
}

// TestStopWithADiskThatHangs: an offset commit whose sync does not return holds up the stop of the coordinator, and the process is
// told to end, with the name of what did not stop.
func TestStopWithADiskThatHangs(t *testing.T) {
	cfg := settings(t, filepath.Join(t.TempDir(), "data"), "journal.inline.max.bytes=0", "offsets.topic.num.partitions=1",
		"offsets.commit.timeout.ms=50")
	disk := &hangingFS{part: "__consumer_offsets", hung: make(chan struct{}, 1)}
	fatal := make(chan error, 1)
	o := options(t)
	o.OnFatal = func(err error) { fatal <- err }
	b := create(cfg, o, disk)
	if err := b.open(); err != nil {
		t.Fatal(err)
	}
	b.stopLimits = stopLimits{patience: time.Second, hung: 100 * time.Millisecond, most: testLimit, look: 10 * time.Millisecond}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Broker: b, stop: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- b.Run(ctx) }() // ended by stop, awaited in close
	t.Cleanup(func() { _ = r.close() })
	r.await(t)
	r.produce(t, "words", 0, 1)
	client := r.client(t, kgo.RetryTimeout(time.Millisecond))
	defer client.Close()
	commit := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), testLimit)
		defer cancel()
		var offsets kadm.Offsets
		offsets.AddOffset("words", 0, 1, -1)
		return kadm.NewClient(client).CommitAllOffsets(ctx, "g", offsets)
	}
	for late := time.Now().Add(testLimit); commit() != nil; { // until __consumer_offsets is there
		if time.Now().After(late) {
			t.Fatal(commit())
		}
	}
	release := disk.hang()
	t.Cleanup(release) // before close
	if err := commit(); err == nil {
		t.Fatal("committed while the disk hangs")
	}
	<-disk.hung
	r.stop()
	select {
	case err := <-fatal:
		if !strings.Contains(err.Error(), "the coordinator of consumer groups did not stop in") {
			t.Errorf("what did not stop: %v", err)
		}
	case err := <-r.ended:
		t.Fatalf("stopped while the disk hangs: %v", err)
	case <-time.After(testLimit):
		t.Fatal("a stop without end, of which nobody hears")
	}
	release()
	if err := r.close(); err != nil {
		t.Errorf("not stopped cleanly when the disk went on: %v", err)
	}
}

func TestStopLimits(t *testing.T) {
	l := stopLimits{patience: 28, hung: 8, most: 600}
	for _, c := range []struct {
		took, sync time.Duration
		over       bool
	}{
		{27, 27, false}, // in time
		{28, 7, false},  // the disk goes on
		{28, 8, true},
		{599, 0, false},
		{600, 0, true}, // whatever it is
	} {
		if over := l.over(c.took, c.sync); over != c.over {
			t.Errorf("%d taken, a sync for %d: over is %v", c.took, c.sync, over)
		}
	}
	if l := defaultStopLimits; drainTimeout+closeTimeout > l.patience || l.hung >= l.patience || l.patience >= 30*time.Second || l.most <= l.patience {
		t.Errorf("%+v", l)
	}
}

// TestSlowStopIsLeftToEnd: nobody is told to end where a stop ends in time.
func TestSlowStopIsLeftToEnd(t *testing.T) {
	o := options(t)
	o.OnFatal = func(err error) { t.Errorf("given up: %v", err) }
	b := create(settings(t, t.TempDir()), o, vfs.OS{})
	b.stopLimits = stopLimits{patience: time.Nanosecond, hung: time.Hour, most: time.Hour, look: time.Nanosecond}
	stop, ended := b.watchStop()
	stop.at("something")
	ended()
	if err := errors.Join(b.close(false), b.close(false)); err != nil {
		t.Error(err)
	}
}
