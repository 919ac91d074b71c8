package storage

import (
	"fmt"

	"github.com/tandembroker/tandem/storage/entry"
)

// StateAt is the admission state behind the entry at index, which must be the snapshot's or above it: what Append and
// TruncateSuffix need when a suffix goes. Errors: ErrCompacted, ErrGap.
func (g *Group) StateAt(index uint64) (entry.State, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	state := g.mu.base
	switch {
	case index < g.mu.snapshot.Index:
		return state, fmt.Errorf("%w: %s: state at %d, snapshot at %d", ErrCompacted, g, index, g.mu.snapshot.Index)
	case index > g.mu.last:
		return state, fmt.Errorf("%w: %s: state at %d, last entry %d", ErrGap, g, index, g.mu.last)
	}
	var h entry.Header
	for i := g.mu.snapshot.Index + 1; i <= index; i++ {
		e := &g.mu.entries[i-g.mu.first]
		if e.kind != TypeCommand {
			continue
		}
		if err := h.Decode(e.data); err != nil {
			return state, fmt.Errorf("%s: index %d: %w", g, i, err)
		}
		if err := state.Advance(&h); err != nil {
			return state, fmt.Errorf("%s: index %d: %w", g, i, err)
		}
	}
	return state, nil
}
