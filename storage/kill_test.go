package storage

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/tandembroker/tandem/storage/vfs"
)

// TestKilledAndThenPowerLoss kills the process before its n-th call that changes the disk, for every n: what it wrote and did not
// sync is still there for the next process, which builds on it, checkpoints, and loses power. All that the second process found
// must outlive that.
func TestKilledAndThenPowerLoss(t *testing.T) {
	dir := scratchDir(t)
	runs := uint64(2)
	if testing.Short() {
		runs = 1
	}
	for run := range runs {
		for n := 0; ; n++ {
			if testing.Short() {
				n += 5
			}
			f := &vfs.Fault{Ops: vfs.OpChanges, N: n, Err: syscall.EIO, Sticky: true}
			d := &driver{rng: rand.New(rand.NewPCG(run, 7)), dir: dir}
			d.mu.rng, d.mu.off = rand.New(rand.NewPCG(run, 8)), true
			_ = runUntilError(d, &world{mem: vfs.NewMem()}, f)
			d.mem.SetHook(nil)
			if !f.Hit() {
				t.Logf("run %d: killed at each of %d calls", run, n)
				break
			}
			for checkpoints := range 3 {
				if err := d.goOnKilled(checkpoints, rand.New(rand.NewPCG(run, uint64(n)))); err != nil {
					t.Fatalf("run %d, killed before call %d, %d checkpoints behind it: %v", run, n, checkpoints, err)
				}
			}
		}
	}
}

// goOnKilled goes on with the disk as the killed process left it, and loses power behind some checkpoints. It works on the same disk each
// time: a start that was itself killed.
func (d *driver) goOnKilled(checkpoints int, rng *rand.Rand) error {
	w := &world{mem: d.mem, model: d.model()}
	w.meta, _ = os.ReadFile(filepath.Join(d.dir, metaFile))
	s, err := w.start(d.dir)
	if err != nil {
		return err
	}
	if err := w.model.check(s); err != nil {
		return err
	}
	m := w.model.settle(s)
	d.mu.model = m
	for range checkpoints {
		err := s.Checkpoint(context.Background(), func(_ context.Context, g *Group) error {
			gm := d.model().groups[g.ID()]
			if last := uint64(len(gm.entries)); last > gm.snapshot {
				d.change(g.ID(), func(m *groupModel) { m.snapshot = last })
				return g.SaveSnapshot(gm.snapshotOf(gm.entries, last))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	lost := []*world{capture(d.mem, d.dir, s, d.model(), nil, ""), capture(d.mem, d.dir, s, d.model(), rng, "")}
	d.mem.SetHook((&vfs.Fault{Ops: vfs.OpChanges, Err: syscall.EIO, Sticky: true}).Hook) // killed as well
	s.Close(false)
	d.mem.SetHook(nil)
	meta, err := os.ReadFile(filepath.Join(d.dir, metaFile))
	if err != nil {
		return err
	}
	for _, l := range lost {
		s, err := l.start(d.dir)
		if err != nil {
			return err
		}
		err = l.model.check(s)
		s.Close(false)
		if err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(d.dir, metaFile), meta, 0o600)
}
