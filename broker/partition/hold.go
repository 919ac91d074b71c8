package partition

import "slices"

// Retention and compaction of a partition that is shipped wait for the other site: what it lacks stays, up to a limit.

// OnShipped has fn asked up to where the other site is known to have a partition (acked; known is false where it is not), and whether the
// partition is shipped at all; it must not wait. Before, nothing is known of any.
func (m *Manager) OnShipped(fn func(*Partition) (acked int64, known, ships bool)) {
	m.shipped.Store(&fn)
}

// HeldBytes is how much of what is expired stays because the other site is not known to have it, as of the last look.
func (m *Manager) HeldBytes() int64 { return m.held.Load() }

// acknowledged is up to where the other site surely has the partition; ships is false where none has to.
func (p *Partition) acknowledged() (offset int64, ships bool) {
	if !p.paired() {
		return 0, false
	}
	fn := p.manager.shipped.Load()
	if fn == nil {
		return p.logStart.Load(), true
	}
	offset, known, ships := (*fn)(p)
	if !known {
		offset = p.logStart.Load() // unknown is not all
	}
	return offset, ships
}

// hold is where the log may start, of which all below start is expired: in front of what the other site lacks, at a segment's beginning,
// unless that is more than may be held.
func (p *Partition) hold(start int64) int64 {
	acked, ships := p.acknowledged()
	if !ships || start <= acked {
		p.holding(0)
		return start
	}
	budget := p.manager.options.HoldBytes - (p.manager.held.Load() - p.held.Load())
	at, bytes := start, int64(0)
	for _, s := range slices.Backward(p.log.Segments()) {
		if s.Base >= start {
			continue
		}
		if at <= acked || bytes+s.Size > budget {
			break
		}
		at, bytes = s.Base, bytes+s.Size
	}
	p.holding(bytes)
	if at > acked && at > p.logStart.Load() {
		p.manager.options.Logger.Error("retention passes what the other site does not have: dr.retention.hold.bytes is held already",
			"topic", p.Topic(), "partition", p.id.Partition, "acknowledged", acked, "logStart", at, "hold", p.manager.options.HoldBytes)
	}
	return at
}

// holding notes how much of what is expired stays.
func (p *Partition) holding(bytes int64) { p.manager.held.Add(bytes - p.held.Swap(bytes)) }
