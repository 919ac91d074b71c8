package archive

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

// story is a history of two partitions: cuts that are made and cuts that are not, archives that are settled soon, late and not at all.
type story struct {
	t       *testing.T
	fsys    *vfs.Mem
	a       *Archives
	p, q    *part
	try     func(func() error) error // one call
	settled func() error             // behind each call that has to be durable
}

func newStory(t *testing.T) *story {
	s := &story{t: t, fsys: newMem(t), p: newPart(orders), q: newPart(payments)}
	for range 10 {
		s.p.grow(t, 5, epochOf(1, 4), nil)
	}
	s.q.grow(t, 20, epochOf(0, 1), nil)
	s.q.grow(t, 20, epochOf(1, 2), func(b *record.Builder) { b.Codec = record.Gzip })
	o := options()
	o.SegmentBytes = 700
	s.a = open(t, s.fsys, o)
	s.try = func(call func() error) error { return call() }
	s.settled = func() error { return nil }
	return s
}

func (s *story) stage(p *part, cut entry.Cut) func() error {
	return func() error {
		return s.try(func() error {
			_, err := s.a.Stage(s.t.Context(), p.tail(cut))
			return err
		})
	}
}

func (s *story) seal(p *part) func() error {
	return func() error {
		if err := s.try(func() error { return s.a.Seal(p.id, p.cut) }); err != nil {
			return err
		}
		return s.settled()
	}
}

func cut(p *part, c entry.Cut) func() error {
	return func() error { p.truncate(c); return nil }
}

func (s *story) run() error {
	p, q := s.p, s.q
	for i, step := range []func() error{
		s.seal(p), // nothing is staged, there is no folder yet
		s.stage(p, entry.Cut{SiteEpoch: 2, Offset: 40}),
		s.stage(p, entry.Cut{SiteEpoch: 2, Offset: 35}), // what was staged was never cut
		cut(p, entry.Cut{SiteEpoch: 2, Offset: 35}),
		s.stage(p, entry.Cut{SiteEpoch: 2, Offset: 30}), // seals the one before, which is not the newest any more
		s.stage(q, entry.Cut{SiteEpoch: 2, Offset: 20}),
		cut(p, entry.Cut{SiteEpoch: 2, Offset: 30}),
		s.stage(p, entry.Cut{SiteEpoch: 2, Offset: 20}),
		s.seal(p), // the newest cut is of the same epoch, at another offset
		s.stage(p, entry.Cut{SiteEpoch: 2, Offset: 20}),
		cut(q, entry.Cut{SiteEpoch: 2, Offset: 20}),
		cut(p, entry.Cut{SiteEpoch: 2, Offset: 20}),
		s.seal(p),
		s.seal(p),
		func() error { p.grow(s.t, 9, epochOf(3, 1), nil); return nil },
		s.stage(p, entry.Cut{SiteEpoch: 4, Offset: 20}),
		s.seal(p), // compared again, and not divergent after all
		s.stage(p, entry.Cut{SiteEpoch: 6, Offset: 20}),
		cut(p, entry.Cut{SiteEpoch: 6, Offset: 20}), // same offset, another epoch
		s.seal(p),
	} {
		if err := step(); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil // q's is never settled
}

// restart opens a disk after a power loss and settles: exactly what the logs have cut is there, once. It is cut short itself, too.
func (s *story) restart(fsys *vfs.Mem, rng *rand.Rand, depth int) error {
	var failed error
	if depth > 0 {
		fsys.SetHook(func(c vfs.Call) vfs.Outcome {
			if c.Op&vfs.OpChanges != 0 && failed == nil && rng.IntN(3) == 0 {
				if err := s.restart(fsys.CrashClone(rng), rng, depth-1); err != nil {
					failed = fmt.Errorf("restart cut short before call %d on %s: %w", c.N, c.Name, err)
				}
			}
			return vfs.Outcome{}
		})
	}
	a, err := Open(fsys, dir, options())
	if err == nil {
		err = errors.Join(a.Seal(s.p.id, s.p.cut), a.Seal(s.q.id, s.q.cut))
	}
	fsys.SetHook(nil)
	if err != nil || failed != nil {
		return errors.Join(err, failed)
	}
	return check(a, s.p, s.q)
}

// A power loss before every call that changes the disk, with several states of it each: after a restart and a settling, each cut of the
// logs has its archive, whole, and no other records have one.
func TestPowerLossAtEveryCall(t *testing.T) {
	states, seeds := 0, uint64(4)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		s := newStory(t)
		rng := rand.New(rand.NewPCG(seed, 1))
		loss := &vfs.PowerLoss{Disk: s.fsys, States: 4, Rand: rng, Try: func(m *vfs.Mem) error { return s.restart(m, rng, 1) }}
		s.fsys.SetHook(loss.Hook)
		err := s.run()
		s.fsys.SetHook(nil)
		states += loss.Tried
		if err := errors.Join(err, loss.Err); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for range 10 {
			if err := s.restart(s.fsys.CrashClone(rng), rng, 1); err != nil {
				t.Fatalf("seed %d, at the end: %v", seed, err)
			}
		}
	}
	if states < 300 {
		t.Fatalf("only %d states", states)
	}
	t.Logf("%d states", states)
}

// What Stage and Seal have said is durable when they return: nobody has to settle again for it.
func TestDurableOnReturn(t *testing.T) {
	fsys, p := newMem(t), newPart(orders)
	p.grow(t, 5, epochOf(1, 1), nil)
	p.grow(t, 5, epochOf(1, 1), nil)
	a := open(t, fsys, options())
	if _, err := a.Stage(t.Context(), p.tail(entry.Cut{SiteEpoch: 2, Offset: 5})); err != nil {
		t.Fatal(err)
	}
	lost := open(t, fsys.CrashClone(nil), options())
	if list, err := lost.Staged(); err != nil || len(list) != 1 || list[0] != p.id {
		t.Fatalf("staged behind a power loss: %v, %v", list, err)
	}
	p.truncate(entry.Cut{SiteEpoch: 2, Offset: 5})
	if err := lost.Seal(p.id, p.cut); err != nil {
		t.Fatal(err)
	}
	if err := check(lost, p); err != nil {
		t.Fatal(err)
	}
	if err := a.Seal(p.id, p.cut); err != nil {
		t.Fatal(err)
	}
	if err := check(open(t, fsys.CrashClone(nil), options()), p); err != nil {
		t.Fatalf("sealed behind a power loss: %v", err)
	}
	if _, err := a.Stage(t.Context(), p.tail(entry.Cut{SiteEpoch: 4, Offset: 0})); err != nil {
		t.Fatal(err)
	}
	if err := a.Seal(p.id, p.cut); err != nil {
		t.Fatal(err)
	}
	if err := check(open(t, fsys.CrashClone(nil), options()), p); err != nil {
		t.Fatalf("removed behind a power loss: %v", err)
	}
	if err := a.Remove(identify(p.id, p.cut).String()); err != nil {
		t.Fatal(err)
	}
	p.lost = nil
	if err := check(open(t, fsys.CrashClone(nil), options()), p); err != nil {
		t.Fatalf("removed by the operator behind a power loss: %v", err)
	}
}

// A power loss while one is removed leaves all of it or nothing that counts, whoever settles then.
func TestPowerLossAtEveryRemoval(t *testing.T) {
	for _, staged := range []bool{false, true} {
		fsys, p := newMem(t), newPart(orders)
		p.grow(t, 5, epochOf(1, 1), nil)
		a := open(t, fsys, options())
		c := entry.Cut{SiteEpoch: 2, Offset: 0}
		whole := newPart(orders)
		whole.batches = p.batches
		whole.truncate(c)
		remove := func() error { return a.Seal(p.id, noCut) }
		if staged {
			if _, err := a.Stage(t.Context(), p.tail(c)); err != nil {
				t.Fatal(err)
			}
		} else {
			described := sealed(t, a, p, c)
			remove = func() error { return a.Remove(described.ID) }
		}
		rng := rand.New(rand.NewPCG(5, 5))
		states := 0
		fsys.SetHook(func(call vfs.Call) vfs.Outcome {
			for range 20 {
				if call.Op&vfs.OpChanges == 0 {
					break
				}
				states++
				lost := open(t, fsys.CrashClone(rng), options())
				if err := lost.Seal(p.id, c); err != nil {
					t.Error(err)
				}
				if gone := check(lost); gone != nil {
					if err := check(lost, whole); err != nil {
						t.Errorf("before call %d on %s: neither gone (%v) nor whole: %v", call.N, call.Name, gone, err)
					}
				}
			}
			return vfs.Outcome{}
		})
		if err := remove(); err != nil || states < 60 {
			t.Error(err, states)
		}
		fsys.SetHook(nil)
	}
}

// Another process of this broker was killed between a rename and its sync: whoever is told that all is settled can rely on it.
func TestSealIsDurableForAnEarlierProcess(t *testing.T) {
	fsys, p := newMem(t), newPart(orders)
	p.grow(t, 5, epochOf(1, 1), nil)
	a := open(t, fsys, options())
	if _, err := a.Stage(t.Context(), p.tail(entry.Cut{SiteEpoch: 2, Offset: 0})); err != nil {
		t.Fatal(err)
	}
	p.truncate(entry.Cut{SiteEpoch: 2, Offset: 0})
	fault := &vfs.Fault{Ops: vfs.OpSyncDir, Err: syscall.EIO}
	fsys.SetHook(fault.Hook)
	if err := a.Seal(p.id, p.cut); !errors.Is(err, syscall.EIO) {
		t.Fatalf("a failed sync: %v", err)
	}
	fsys.SetHook(nil)
	for name, again := range map[string]*Archives{"this process": a, "the next": open(t, fsys, options())} {
		if err := again.Seal(p.id, p.cut); err != nil {
			t.Fatal(err)
		}
		if err := check(open(t, fsys.CrashClone(nil), options()), p); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

// Every call fails once: whoever is told so asks again, and in the end nothing is lost, doubled or left over. A power loss behind the
// failure changes nothing in that.
func TestEveryCallFails(t *testing.T) {
	restarts := 3
	if testing.Short() {
		restarts = 1
	}
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
		for n := 0; ; n++ {
			s := newStory(t)
			rng := rand.New(rand.NewPCG(uint64(n), 3))
			fault := &vfs.Fault{Ops: vfs.OpAny &^ vfs.OpClose, N: n, Err: errno, Short: n % 97}
			s.fsys.SetHook(fault.Hook)
			s.try = func(call func() error) error {
				err := call()
				if err == nil {
					return nil
				}
				if !errors.Is(err, errno) {
					return fmt.Errorf("call %d: the cause is lost: %w", n, err)
				}
				for range restarts {
					if err := s.restart(s.fsys.CrashClone(rng), rng, 1); err != nil {
						return fmt.Errorf("call %d failed, then a power loss: %w", n, err)
					}
				}
				return call()
			}
			if err := s.run(); err != nil {
				t.Fatalf("%v at call %d: %v", errno, n, err)
			}
			s.fsys.SetHook(nil)
			if err := s.a.Seal(s.q.id, s.q.cut); err != nil {
				t.Fatal(err)
			}
			if err := s.restart(s.fsys.CrashClone(nil), rng, 0); err != nil {
				t.Fatalf("%v at call %d: %v", errno, n, err)
			}
			if !fault.Hit() {
				t.Logf("%d calls failed", n)
				break
			}
		}
	}
}
