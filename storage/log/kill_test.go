package log

import (
	"math/rand/v2"
	"testing"

	"github.com/tandembroker/tandem/storage/vfs"
)

// The process is killed now and then: the next one finds in the page cache what was never synced. A power loss before any call
// behind that takes nothing that was acknowledged, and nothing that the later process vouches for.
func TestCrashBehindAKill(t *testing.T) {
	states, kills := 0, 0
	for seed := range uint64(shorter(*crashSeeds)) {
		w := newWorld(t, 1000+seed)
		rng := rand.New(rand.NewPCG(seed, 3))
		loss := &vfs.PowerLoss{Disk: w.fsys, States: 2, Rand: rng, Try: func(m *vfs.Mem) error { return w.crash(m, rng, 0) }}
		w.fsys.SetHook(loss.Hook)
		for i := range 80 {
			err := w.step()
			if err == nil && rng.IntN(8) == 0 {
				kills++
				err = w.kill()
			}
			if err != nil || loss.Err != nil {
				t.Fatalf("seed %d, step %d: %v %v", seed, i, err, loss.Err)
			}
		}
		w.fsys.SetHook(nil)
		states += loss.Tried
	}
	t.Logf("%d kills, %d crash states", kills, states)
}

// kill opens the folder again as a killed process left it.
func (w *world) kill() error {
	l, n, err := w.recover(w.fsys)
	if err != nil {
		return err
	}
	w.journal = w.journal[:n:n]
	for i := range w.journal {
		w.journal[i].acked = true // the next process serves it
	}
	for _, m := range w.all() {
		w.epoch = max(w.epoch, m.row.LeaderEpoch)
	}
	w.l = l
	if err := l.SetLogStart(min(w.start, l.LogEnd())); err != nil {
		return err
	}
	return check(l, w.all(), l.LogStart())
}
