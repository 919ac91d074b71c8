package storage

// CompactBelow bounds compaction: segments that lie below this offset as a whole may be replaced (ReplaceSegments). No restart
// reads them but by their place in the newest checkpoint, and no Raft log entry at hand has its payload in them.
func (g *Group) CompactBelow() int64 {
	g.save.Lock()
	defer g.save.Unlock()
	if g.save.sealed == nil {
		return 0 // the checkpoint is of a version that did not list the segments; the next one is not
	}
	below := g.save.end.Segment
	g.mu.RLock()
	defer g.mu.RUnlock()
	for i := range g.mu.entries {
		if e := &g.mu.entries[i]; e.placeLength > 0 {
			return min(below, e.place.Segment)
		}
	}
	return below
}
