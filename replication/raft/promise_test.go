package raft

import (
	"bytes"
	"errors"
	"sync"
	"syscall"
	"testing"
	"time"

	hraft "github.com/hashicorp/raft"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

// The caller's buffer goes back to its pool, and to another request, as soon as it is released.
func TestPayloadIsReleasedOnlyOnceStored(t *testing.T) {
	for name, size := range map[string]int{"inline": 10, "by reference": 100_000} {
		t.Run(name, func(t *testing.T) {
			b := newDisk(t).start(t, Options{})
			g := b.openGroup(t, 1, &recorder{}, 0)
			h, payload := batch(t, 2, size)
			f := g.Propose(h, payload, func() {
				for i := range payload {
					payload[i] = 0xee
				}
			})
			if _, err := f.Wait(context20(t)); err != nil {
				t.Fatal(err)
			}
			stored, _, err := record.Next(readAt(t, g, 0))
			if err == nil {
				err = stored.CheckCRC()
			}
			if err != nil {
				t.Fatalf("stored after it was released: %v", err)
			}
		})
	}
}

// A follower takes the offsets that the leader gave, gaps included: they are never its own log end.
func TestFollowerKeepsTheLeadersOffsets(t *testing.T) {
	b := newDisk(t).start(t, Options{})
	g := b.openGroup(t, 1, &recorder{}, 0)
	mustCommit(t, g, 3)
	s := newLogStoreView(g)
	s.state = g.sg.State()
	term, _, _ := g.Serving()
	h, payload := batch(t, 2, 10)
	h.ValidatedTerm, h.AppendSequence = term, s.state.AppendSequence+1
	leader := s.state
	leader.NextOffset = 1000 // behind a gap, as a promotion leaves
	leader.Stamp(h, term)
	stamp(h, payload)
	sent, header := bytes.Clone(payload), h.Append(nil)
	err := s.StoreLogs([]*hraft.Log{{Index: g.sg.LastIndex() + 1, Term: term, Data: header, Extensions: payload}})
	if err != nil {
		t.Fatal(err)
	}
	if end := g.sg.Log().LogEnd(); end != 1002 {
		t.Fatalf("the log ends at %d", end)
	}
	if stored := readAt(t, g, 1000); !bytes.Equal(stored, sent) {
		t.Fatalf("%d bytes stored, the leader sent %d", len(stored), len(sent))
	}
}

// What could not be stored is not tried again, and nothing is stored behind it (R3): in the same call, before the library knows.
func TestGuardR3FailedStoreIsFinal(t *testing.T) {
	b := newDisk(t).start(t, Options{})
	g := b.openGroup(t, 1, &recorder{}, 0)
	s := newLogStoreView(g)
	s.state = g.sg.State()
	next := g.sg.LastIndex() + 1
	if err := s.StoreLogs([]*hraft.Log{{Index: next, Term: 9, Data: []byte("no header")}}); err == nil {
		t.Fatal("stored")
	}
	g.mu.Lock()
	failed := g.mu.failed
	g.mu.Unlock()
	if failed == nil {
		t.Fatal("the Raft group goes on")
	}
	<-g.stopped
	if g.sg.LastIndex() != next-1 || g.Offline() == nil {
		t.Fatalf("last index %d, offline: %v", g.sg.LastIndex(), g.Offline())
	}
}

// A truncation that failed may have happened or not: whoever went on would answer the next append from either.
func TestGuardR4FailedTruncationEndsTheRaftGroup(t *testing.T) {
	d := newMemDisk(t)
	b := d.start(t, Options{})
	g := b.openGroup(t, 1, &recorder{}, 0)
	for range 3 {
		mustCommit(t, g, 1)
	}
	s := newLogStoreView(g)
	s.state = g.sg.State()
	d.mem.SetHook((&vfs.Fault{Ops: vfs.OpTruncate, Err: syscall.EIO, Sticky: true}).Hook)
	last := g.sg.LastIndex()
	if err := s.DeleteRange(last, last); !errors.Is(err, syscall.EIO) {
		t.Fatalf("got %v", err)
	}
	g.mu.Lock()
	failed := g.mu.failed
	g.mu.Unlock()
	if failed == nil {
		t.Fatal("the Raft group goes on")
	}
	<-g.stopped
}

// The next entry is judged by what the log holds once its end is gone, not by what it held before.
func TestTruncationTakesTheAdmissionStateBack(t *testing.T) {
	b := newDisk(t).start(t, Options{})
	g := b.openGroup(t, 1, &recorder{}, 0)
	mustCommit(t, g, 1)
	s := newLogStoreView(g)
	before := g.sg.State()
	s.state = before
	mustCommit(t, g, 4)
	s.state = g.sg.State()
	last := g.sg.LastIndex()
	if err := s.DeleteRange(last, last); err != nil {
		t.Fatal(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.state != before || g.mu.state != before || g.sg.State() != before {
		t.Fatalf("the log store has %+v, the Raft group %+v, storage %+v, want %+v", s.state, g.mu.state, g.sg.State(), before)
	}
}

// slowMachine takes its time over the first entry that it is given, and notes a leadership that begins meanwhile.
type slowMachine struct {
	recorder
	once    sync.Once
	leading chan struct{}
	early   bool
}

func (m *slowMachine) Apply(index uint64, h *entry.Header) any {
	m.once.Do(func() {
		select {
		case <-m.leading:
			m.early = true
		case <-time.After(300 * time.Millisecond):
		}
	})
	return m.recorder.Apply(index, h)
}

func (m *slowMachine) Leading(term uint64, epoch int32) {
	close(m.leading)
	m.recorder.Leading(term, epoch)
}

// A leader serves when its machine has applied all that was committed before, or its high watermark would go back.
func TestLeaderServesOnlyBehindItsBarrier(t *testing.T) {
	d := newDisk(t)
	b := d.start(t, Options{})
	g := b.openGroup(t, 1, &recorder{}, 0)
	for range 5 {
		mustCommit(t, g, 1)
	}
	b.stop(t)
	m := &slowMachine{leading: make(chan struct{})}
	d.start(t, Options{}).openGroup(t, 1, m, 0)
	if n := m.count(entry.Data); n != 5 || m.early {
		t.Fatalf("serving with %d of 5 entries applied, before the first one: %v", n, m.early)
	}
}
