package log

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/tandembroker/tandem/storage/vfs"
)

var crashSeeds = flag.Int("crash.seeds", 8, "runs of the crash tests")

// A power loss before every single call that changes the disk, with several states of it each: nothing that was acknowledged
// is lost, nothing else appears, and recovery itself may be cut short by another one.
func TestCrashAtEveryCall(t *testing.T) {
	states := 0
	for seed := range uint64(shorter(*crashSeeds)) {
		w := newWorld(t, seed)
		rng := rand.New(rand.NewPCG(seed, 2))
		loss := &vfs.PowerLoss{Disk: w.fsys, States: 3, Rand: rng, Try: func(m *vfs.Mem) error { return w.crash(m, rng, 1) }}
		w.fsys.SetHook(loss.Hook)
		for i := range 60 {
			if err := w.step(); err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, i, err)
			}
			if loss.Err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, i, loss.Err)
			}
		}
		w.fsys.SetHook(nil)
		states += loss.Tried
	}
	t.Logf("%d crash states", states)
}

// crash recovers one state of the disk and compares; with depth, recovery is interrupted too.
func (w *world) crash(fsys *vfs.Mem, rng *rand.Rand, depth int) error {
	var failed error
	if depth > 0 && rng.IntN(4) == 0 {
		fsys.SetHook(func(c vfs.Call) vfs.Outcome {
			if c.Op&vfs.OpChanges != 0 && failed == nil {
				if err := w.crash(fsys.CrashClone(rng), rng, depth-1); err != nil {
					failed = fmt.Errorf("recovery interrupted before call %d on %s: %w", c.N, c.Name, err)
				}
			}
			return vfs.Outcome{}
		})
	}
	l, n, err := w.recover(fsys)
	fsys.SetHook(nil)
	if err != nil || failed != nil {
		return fmt.Errorf("recover: %v %w", failed, err)
	}
	list := append([]made(nil), w.trusted...)
	for i := range n {
		list = append(list, w.journal[i].list...)
	}
	if err := check(l, list, l.LogStart()); err != nil {
		return err
	}
	return w.checkEpochs(l, list)
}

func (w *world) checkEpochs(l *Log, list []made) error {
	for _, m := range list {
		// Below the start that was applied before the crash epochs may be gone: the caller's log applies it again.
		if at := m.row.LastOffset; at >= max(l.LogStart(), w.start) && l.EpochAt(at) != m.row.LeaderEpoch {
			return fmt.Errorf("epoch at %d is %d, want %d", at, l.EpochAt(at), m.row.LeaderEpoch)
		}
	}
	return nil
}

// Every call fails once: the log either reports it and stops, or goes on whole; a restart finds all that was acknowledged.
func TestEveryCallFails(t *testing.T) {
	kinds := vfs.OpOpen | vfs.OpWrite | vfs.OpSync | vfs.OpTruncate | vfs.OpRemove | vfs.OpRename | vfs.OpSyncDir | vfs.OpReadDir | vfs.OpRead
	for n := 0; ; n++ {
		w := newWorld(t, 77)
		fault := &vfs.Fault{Ops: kinds, N: n, Err: syscall.ENOSPC, Short: n % 97}
		w.fsys.SetHook(fault.Hook)
		var err error
		for i := 0; i < 60 && err == nil; i++ {
			err = w.step()
		}
		w.fsys.SetHook(nil)
		if err == nil && fault.Hit() {
			err = check(w.l, w.all(), w.l.LogStart())
			if err != nil {
				t.Fatalf("call %d failed silently: %v", n, err)
			}
		}
		if err := w.crash(w.fsys.CrashClone(w.rng), w.rng, 0); err != nil {
			t.Fatalf("call %d failed, restart: %v", n, err)
		}
		if !fault.Hit() {
			t.Logf("%d calls failed", n)
			return
		}
	}
}

// After a failed write or sync nothing is written any more, and the reason stays.
func TestFailureIsFinal(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpWrite, vfs.OpSync} {
		fsys := vfs.NewMem()
		l := create(t, fsys, testOptions())
		list := fill(t, l, 3)
		fsys.SetHook((&vfs.Fault{Ops: op, Err: syscall.EIO}).Hook)
		b, rows := payload(makeBatch(t, batchSpec{base: l.LogEnd(), count: 1, valueLen: 10}))
		_, err := l.Append(b, rows)
		if err == nil {
			err = l.Sync()
		}
		if !isExpected(err) || err == nil {
			t.Fatalf("op %d: %v", op, err)
		}
		if _, err := l.Append(b, rows); err == nil || !isExpected(err) {
			t.Fatalf("append after a failure: %v", err)
		}
		if err := l.Sync(); err == nil || !isExpected(err) {
			t.Fatalf("sync after a failure: %v", err)
		}
		if got, err := readAll(l, 0, 1<<20, list[2].row.LastOffset+1); err != nil || len(got) != len(joined(list)) {
			t.Fatalf("reads go on: %d bytes, %v", len(got), err)
		}
	}
}

// An inline payload is believed only when it is the one that the entry names.
func TestRecoverRefusesAnotherPayload(t *testing.T) {
	fsys := vfs.NewMem()
	l := create(t, fsys, testOptions())
	cp := Checkpoint{End: l.EndPosition()}
	j := journaled{list: []made{makeBatch(t, batchSpec{count: 2, valueLen: 30})}, inline: true}
	old := journaled{list: []made{makeBatch(t, batchSpec{count: 2, valueLen: 30, ts: 5})}, inline: true}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := Open(fsys, testDir, cp, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	tail := j.tail()
	tail.Inline = old.tail().Inline
	if err := l.Recover([]Tail{tail}); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("a superseded payload: %v", err)
	}
	if l, err = Open(fsys, testDir, cp, testOptions()); err != nil {
		t.Fatal(err)
	}
	if err := l.Recover([]Tail{j.tail()}); err != nil {
		t.Fatal(err)
	}
	if err := check(l, j.list, 0); err != nil {
		t.Fatal(err)
	}
}
