package raft

import (
	"fmt"
	"io"

	hraft "github.com/hashicorp/raft"

	"github.com/tandembroker/tandem/storage/entry"
)

// fsm passes committed commands to the machine and ends their proposals (hraft.BatchingFSM). All methods but Persist run on
// one goroutine.
type fsm struct {
	g      *Group
	header entry.Header // of commands that are not a proposal in flight
	failed bool         // a truncation could not be carried out: nothing behind it is applied
}

// ApplyBatch implements hraft.BatchingFSM.
func (m *fsm) ApplyBatch(logs []*hraft.Log) []any {
	for _, l := range logs {
		if l.Type == hraft.LogCommand {
			m.apply(l)
		}
	}
	if m.g.track != nil {
		m.g.changed()
	}
	return make([]any, len(logs)) // nobody reads them: proposals are answered by apply
}

// Apply implements hraft.FSM; the library calls ApplyBatch instead.
func (m *fsm) Apply(l *hraft.Log) any {
	m.apply(l)
	return nil
}

func (m *fsm) apply(l *hraft.Log) {
	g := m.g
	if m.failed {
		return // what is in flight ends with the Raft group
	}
	f := m.take(l.Index)
	h := &m.header
	if f != nil {
		h = f.header
	} else if err := h.Decode(l.Data); err != nil {
		// Entries are decoded when they are stored and again before a restart, so memory is broken or we are.
		g.host.options.OnFatal(fmt.Errorf("raft: %s: index %d: %w", g.sg, l.Index, err))
		return
	}
	result, err := m.tell(l.Index, h)
	if err != nil {
		m.failed = true
		g.fail(err)
		if f != nil {
			g.complete([]*Future{f}, fmt.Errorf("%w: %w", ErrOffline, err))
		}
		return
	}
	if g.track != nil {
		if err := g.track.apply(l.Index, h, g.sole.Load()); err != nil { // verify has been over it: as above
			g.host.options.OnFatal(fmt.Errorf("raft: %s: index %d: %w", g.sg, l.Index, err))
			return
		}
		switch h.Kind {
		case entry.EpochBase, entry.Promote, entry.Follow:
			g.review()
		}
	}
	if f == nil {
		return
	}
	f.complete(result, nil)
	g.mu.Lock()
	g.mu.inFlight--
	g.mu.Unlock()
}

// tell passes a command to the machine. A truncate-to is carried out first; a machine that cannot follow it ends the Raft group, as does
// a failure of storage.
func (m *fsm) tell(index uint64, h *entry.Header) (result any, err error) {
	g := m.g
	if h.Kind != entry.TruncateTo {
		return g.machine.Apply(index, h), nil
	}
	if err := g.sg.TruncateTo(index); err != nil {
		return nil, fmt.Errorf("raft: %s: truncation at index %d: %w", g.sg, index, err)
	}
	result = g.machine.Apply(index, h)
	if err, ok := result.(error); ok && err != nil {
		return nil, fmt.Errorf("raft: %s: state behind the truncation at index %d: %w", g.sg, index, err)
	}
	return result, nil
}

// take finds the proposal that was stored at index; nil = none in flight.
func (m *fsm) take(index uint64) *Future {
	g := m.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.stored.len() == 0 || g.mu.stored.peek().index != index {
		return nil
	}
	return g.mu.stored.pop()
}

// Snapshot implements hraft.FSM.
func (m *fsm) Snapshot() (hraft.FSMSnapshot, error) {
	if l := m.g.sg.Log(); l != nil {
		m.g.snaps.logStart = l.LogStart()
	}
	if late, ok := m.g.machine.(LateSnapshotter); ok {
		encode, err := late.SnapshotLater()
		return snapshot(encode), err
	}
	state, err := m.g.machine.Snapshot()
	return snapshot(func() ([]byte, error) { return state, nil }), err
}

// Restore implements hraft.FSM; called for a snapshot that a leader sent.
func (m *fsm) Restore(r io.ReadCloser) error {
	state, err := io.ReadAll(io.LimitReader(r, stateMax+1))
	if err != nil {
		return err
	}
	if len(state) > stateMax {
		return errState
	}
	return m.g.machine.Restore(state)
}

// snapshot encodes the captured state of a machine (hraft.FSMSnapshot).
type snapshot func() ([]byte, error)

// Persist implements hraft.FSMSnapshot.
func (s snapshot) Persist(sink hraft.SnapshotSink) error {
	state, err := s()
	if err != nil {
		return err
	}
	if _, err := sink.Write(state); err != nil {
		return err
	}
	return sink.Close()
}

// Release implements hraft.FSMSnapshot.
func (s snapshot) Release() {}
