package vfs

import (
	"fmt"
	"math/rand/v2"
	"sync"
)

// Op is a kind of call, for fault injection; kinds combine by or.
type Op uint32

const (
	OpOpen Op = 1 << iota
	OpRead
	OpWrite
	OpSync
	OpTruncate
	OpClose
	OpMkdir
	OpRemove
	OpRename
	OpReadDir
	OpStat
	OpSyncDir
	OpFree

	OpAny     = OpFree<<1 - 1
	OpChanges = OpOpen | OpWrite | OpSync | OpTruncate | OpMkdir | OpRemove | OpRename | OpSyncDir // what a power loss can fall between
)

// Call describes a call that is about to run.
type Call struct {
	Op   Op
	Name string
	N    int // how many calls came before it since SetHook
}

// Outcome is what a hook makes of a call. The zero Outcome lets it run.
type Outcome struct {
	Err   error
	Short int // a failing write first writes this many bytes
}

// faults runs the hook in front of each call.
type faults struct {
	mu struct {
		sync.Mutex
		hook  func(Call) Outcome
		count int
	}
}

func (h *faults) before(op Op, name string) Outcome {
	h.mu.Lock()
	hook := h.mu.hook
	n := h.mu.count
	if hook != nil {
		h.mu.count++
	}
	h.mu.Unlock()
	if hook == nil {
		return Outcome{}
	}
	return hook(Call{Op: op, Name: name, N: n})
}

// SetHook has hook decide over every call from now on; nil removes it. The hook runs before the call takes effect, with no
// lock held: it may call CrashClone. It is called from whatever goroutine makes the call.
func (m *Mem) SetHook(hook func(Call) Outcome) {
	m.hooks.mu.Lock()
	defer m.hooks.mu.Unlock()
	m.hooks.mu.hook, m.hooks.mu.count = hook, 0
}

// Fault is a hook that fails one call.
type Fault struct {
	Ops    Op    // kinds that count and fail
	N      int   // calls of these kinds that go well before one fails
	Err    error // what it returns
	Short  int   // bytes that a failing write still writes
	Sticky bool  // all later ones of these kinds fail too

	mu struct {
		sync.Mutex
		seen int
	}
}

// Hook is to be passed to SetHook.
func (f *Fault) Hook(c Call) Outcome {
	if c.Op&f.Ops == 0 {
		return Outcome{}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.mu.seen
	f.mu.seen++
	if n == f.N || f.Sticky && n > f.N {
		return Outcome{Err: f.Err, Short: f.Short}
	}
	return Outcome{}
}

// Hit says whether the fault has struck; false at the end of a test means that N was past its last call.
func (f *Fault) Hit() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.seen > f.N
}

// PowerLoss is a hook that tries what a power loss would leave before each call that changes the disk. Such calls must come one at a
// time.
type PowerLoss struct {
	Disk   *Mem
	States int              // that are tried before each call; the first one has only what was synced
	Rand   *rand.Rand       // draws what else the others have
	Try    func(*Mem) error // what a start makes of a state

	Tried int
	Err   error // the first one of Try, with the call; nothing is tried behind it
}

// Hook is for SetHook. All calls go well.
func (p *PowerLoss) Hook(c Call) Outcome {
	if c.Op&OpChanges == 0 {
		return Outcome{}
	}
	for i := 0; i < p.States && p.Err == nil; i++ {
		r := p.Rand
		if i == 0 {
			r = nil
		}
		p.Tried++
		if err := p.Try(p.Disk.CrashClone(r)); err != nil {
			p.Err = fmt.Errorf("before call %d (%d on %s), state %d: %w", c.N, c.Op, c.Name, i, err)
		}
	}
	return Outcome{}
}
