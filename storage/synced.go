package storage

import (
	"sort"

	"github.com/tandembroker/tandem/storage/entry"
)

// Synced is the index up to which all entries are on this disk with their payloads: those of class cached get there by a later entry of
// class synced, a checkpoint, or Sync. It may lag behind. 0 = none above the snapshot, which is on disk in any case.
func (g *Group) Synced() uint64 {
	journal := g.store.journal.Synced()
	g.mu.RLock()
	defer g.mu.RUnlock()
	n := len(g.mu.entries)
	if g.mu.referred != 0 {
		n = min(n, int(max(g.mu.referred, g.mu.first)-g.mu.first))
	}
	if n > 0 && g.mu.entries[n-1].sequence > journal {
		n = sort.Search(n, func(i int) bool { return g.mu.entries[i].sequence > journal })
	}
	if n == 0 {
		return g.mu.snapshot.Index
	}
	return g.mu.first + uint64(n) - 1
}

// Sync makes all entries that were stored before the call durable, whatever their class. It costs nothing where they are.
// Errors: the Raft group or the store has failed.
func (g *Group) Sync() error {
	if err := g.store.Failed(); err != nil {
		return err
	}
	if err := g.Offline(); err != nil {
		return err
	}
	g.mu.RLock()
	last, referred := g.mu.last, g.mu.referred
	g.mu.RUnlock()
	if g.Synced() >= last {
		return nil
	}
	if referred != 0 {
		if err := g.log.Sync(); err != nil {
			return g.fail(err)
		}
		g.payloadsAre(last)
	}
	if _, err := g.store.journal.Append(nil, true).Wait(); err != nil {
		return g.store.fatal(err)
	}
	return nil
}

// payloadsAre notes that the payloads of all entries up to index last are synced.
func (g *Group) payloadsAre(last uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.mu.referred == 0 || g.mu.referred > last:
	case g.mu.last > last:
		g.mu.referred = last + 1 // at the earliest
	default:
		g.mu.referred = 0
	}
}

// Base is the index of the newest durable snapshot, and the admission state and lineage behind it; the lineage is kept at format level
// 2 only, and is the caller's.
func (g *Group) Base() (index uint64, state entry.State, lineage entry.Lineage) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.mu.snapshot.Index, g.mu.base.State, g.mu.base.lineage.Clone()
}
