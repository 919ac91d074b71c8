package log

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/tandembroker/tandem/storage/compact"
	"github.com/tandembroker/tandem/storage/vfs"
)

// A power loss before every call that changes the disk while segments are replaced leaves each of them old or new, never a mix;
// the next start and the next round go on from there.
func TestCleanCrashes(t *testing.T) {
	states := 0
	for seed := range uint64(shorter(max(3, *cleanSeeds/10))) {
		w := newCleanWorld(t, 1000+seed)
		for range 150 {
			w.step()
		}
		w.checkpoint()
		states += w.crashes()
	}
	t.Logf("%d crash states", states)
}

// crashed is a disk after a power loss, and what the checkpoint said then.
type crashed struct {
	fsys *vfs.Mem
	cp   Checkpoint
	step int // replacements that were done
}

func (w *cleanWorld) crashes() int {
	var states []crashed
	images := [][]modelBatch{contents(w.t, w.l)}
	w.fsys.SetHook(func(c vfs.Call) vfs.Outcome {
		if c.Op&vfs.OpChanges != 0 {
			w.mu.Lock() // a segment is replaced while the next one is rewritten
			defer w.mu.Unlock()
			for i := range 3 {
				var r *rand.Rand
				if i > 0 {
					r = w.rng
				}
				states = append(states, crashed{w.fsys.CrashClone(r), w.cp, len(images) - 1})
			}
		}
		return vfs.Outcome{}
	})
	o := w.options()
	o.Replace = func(r Replacement) error {
		err := w.replace(r)
		image := contents(w.t, w.l)
		w.mu.Lock()
		defer w.mu.Unlock()
		images = append(images, image)
		return err
	}
	_, err := w.l.Clean(context.Background(), o)
	w.fsys.SetHook(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	images = append(images, images[len(images)-1])
	for i, s := range states {
		l, err := Open(s.fsys, testDir, s.cp, w.opts)
		if err == nil {
			err = l.Recover(nil)
		}
		if err != nil {
			w.t.Fatalf("state %d: %v", i, err)
		}
		got := contents(w.t, l)
		if !reflect.DeepEqual(got, images[s.step]) && !reflect.DeepEqual(got, images[s.step+1]) {
			w.t.Fatalf("state %d, behind replacement %d: neither the old nor the new segments", i, s.step)
		}
		w.checkFolder(s.fsys)
		o.Map, o.Replace = &compact.Map{}, func(r Replacement) error { return l.Replace(r) }
		if _, err := l.Clean(context.Background(), o); err != nil {
			w.t.Fatalf("state %d: next round: %v", i, err)
		}
		if err := l.Close(); err != nil {
			w.t.Fatal(err)
		}
	}
	return len(states)
}

// checkFolder finds what no start may leave.
func (w *cleanWorld) checkFolder(fsys *vfs.Mem) {
	files, err := fsys.ReadDir(testDir)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range files {
		if _, suffix, ok := parseName(f.Name()); ok && !slices.Contains([]string{suffixLog, suffixIndex, suffixTime, suffixAborted, suffixSnapshot}, suffix) {
			w.t.Fatalf("%s was left", f.Name())
		}
	}
}

// Every call of a round fails once. Up to the replacement the log goes on as it was and the next round does it all; a failure in
// there is final, and the next start finds one or the other. Where nobody else waits for the disk, calls are made beside each other
// and their order is not the same in each run, so that of two that change places one may fail twice and the other not: a round
// beside others makes them one after the other, but for reading ahead and the syncs of one segment.
func TestCleanEveryCallFails(t *testing.T) {
	for _, busy := range []bool{false, true} {
		t.Run(fmt.Sprintf("busy=%v", busy), func(t *testing.T) { everyCallFails(t, busy) })
	}
}

func everyCallFails(t *testing.T, busy bool) {
	t.Helper()
	kinds := vfs.OpOpen | vfs.OpWrite | vfs.OpSync | vfs.OpTruncate | vfs.OpRemove | vfs.OpRename | vfs.OpSyncDir | vfs.OpReadDir | vfs.OpRead
	broken := errors.New("the disk is gone")
	for n := 0; ; n++ {
		w := newCleanWorld(t, 77)
		for range 120 {
			w.step()
		}
		w.checkpoint()
		o := w.options()
		o.Busy = func() bool { return busy }
		images := [][]modelBatch{contents(t, w.l)}
		o.Replace = func(r Replacement) error {
			err := w.replace(r)
			if err == nil {
				w.fsys.SetHook(nil) // reading is none of the calls
				images = append(images, contents(t, w.l))
			}
			return err
		}
		fault := &vfs.Fault{Ops: kinds, N: n, Err: broken, Short: n % 97}
		w.fsys.SetHook(fault.Hook)
		_, err := w.l.Clean(context.Background(), o)
		w.fsys.SetHook(nil)
		if fault.Hit() && err == nil && len(images) == 1 {
			t.Fatalf("call %d failed silently", n)
		}
		if fault.Hit() && err != nil && !errors.Is(err, broken) {
			t.Fatalf("call %d failed, the round says: %v", n, err)
		}
		if failed := w.l.Err(); failed != nil {
			w.l = openAt(t, w.fsys.CrashClone(w.rng), w.cp, w.opts)
		} else if err != nil {
			o.Replace = w.replace
			if _, err := w.l.Clean(context.Background(), o); err != nil {
				t.Fatalf("call %d failed, the next round: %v", n, err)
			}
			images = append(images, contents(t, w.l))
		}
		if got := contents(t, w.l); !slices.ContainsFunc(images, func(m []modelBatch) bool { return reflect.DeepEqual(m, got) }) &&
			w.l.Err() == nil && err == nil {
			t.Fatalf("call %d failed: the log is neither the old one nor the new one", n)
		}
		if !fault.Hit() {
			t.Logf("%d calls failed", n)
			return
		}
	}
}
