package storage

import (
	"errors"
	"fmt"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/journal"
	"github.com/tandembroker/tandem/storage/log"
)

// TruncateTo carries out the truncate-to at index, which is committed: records at or above its offset go, committed as they are. It is
// a barrier: no payload is stored behind the entry before this has returned. Carried out already, or below the snapshot: nothing
// happens.
//
// First all that stays is synced; then a record of the journal, synced as well, says where the bytes are to end and that no payload of
// an earlier entry is wanted any more; then the segments are cut. A start finishes what was begun (replay.trusted). From the record on
// the checkpoint in meta.db is wrong about the segments, until a snapshot at or above index is durable: one is due, and none below it is
// taken. Errors: the Raft group or the store has failed.
func (g *Group) TruncateTo(index uint64) error {
	g.write.Lock()
	defer g.write.Unlock()
	if err := g.usable(); err != nil {
		return err
	}
	g.save.Lock()
	defer g.save.Unlock()
	offset, due, err := g.truncation(index)
	if err != nil || !due {
		return err
	}
	switch err := g.store.flush(g.log); {
	case errors.Is(err, log.ErrNoSpace): // what lies beside the segments is made again where it is not as the record says
		if err := g.log.Sync(); err != nil {
			return g.fail(err)
		}
	case err != nil:
		return g.fail(err)
	}
	var journalErr error
	var end log.Position
	err = g.log.Cut(offset, func(c log.Cutting) error {
		end = c.End
		_, journalErr = g.append(g.voidPayloads(index, &c))
		return journalErr
	})
	if journalErr != nil {
		return journalErr
	}
	if err != nil {
		return g.fail(err)
	}
	g.write.cachedDirty = false
	g.noteCut(index, end)
	g.store.fireDue()
	return nil
}

// truncation decodes the truncate-to at index. due is false where it is behind us.
func (g *Group) truncation(index uint64) (offset int64, due bool, err error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if index <= g.mu.snapshot.Index || index < g.mu.first || index-g.mu.first < uint64(len(g.mu.entries)) && g.mu.entries[index-g.mu.first].cut {
		return 0, false, nil
	}
	if index-g.mu.first >= uint64(len(g.mu.entries)) || g.log == nil {
		return 0, false, fmt.Errorf("%w: %s: no truncation at index %d", ErrGap, g, index)
	}
	var h entry.Header
	if err := h.Decode(g.mu.entries[index-g.mu.first].data); err != nil {
		return 0, false, fmt.Errorf("%s: index %d: %w", g, index, err)
	}
	c, err := entry.ParseTruncation(h.Body)
	if h.Kind != entry.TruncateTo || err != nil {
		return 0, false, fmt.Errorf("%w: %s: the entry at index %d is no truncation: kind %d, %w", ErrCorrupt, g, index, h.Kind, err)
	}
	return c.Offset, true, nil
}

func (g *Group) voidPayloads(index uint64, c *log.Cutting) journal.Record {
	g.mu.RLock()
	from := g.mu.snapshot.Index + 1
	g.mu.RUnlock()
	v := journal.Voided{From: from, To: index - 1, Offset: c.Offset, LogStart: c.LogStart, Segment: c.End.Segment, Pos: c.End.Pos, Epochs: c.EpochsCRC}
	for _, s := range c.Sealed {
		v.Sealed = append(v.Sealed, journal.VoidedSegment{Base: s.Base, Size: uint32(s.Size)})
	}
	return journal.VoidPayloadsRecord(g.id, &v)
}

// noteCut forgets where the payloads of the entries up to index were: the bytes end at end. g.write and g.save are held, or nobody knows
// of g yet.
func (g *Group) noteCut(index uint64, end log.Position) {
	g.save.cut = index
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := g.mu.first; i <= index; i++ {
		e := &g.mu.entries[i-g.mu.first]
		e.place, e.placeLength, e.cut = log.Position{}, 0, false
	}
	e := &g.mu.entries[index-g.mu.first]
	e.place, e.cut = end, true
	g.mu.pending = 0
	if g.mu.uncut <= index {
		g.mu.uncut = 0
	}
	if g.mu.referred <= index {
		g.mu.referred = 0
	}
}

// adoptCut notes what recovery found of truncations: one that was carried out, and one that nobody knows yet to be committed.
func (g *Group) adoptCut(p *replay) error {
	if p.level < entry.LevelSites {
		return nil
	}
	for i := len(p.entries) - 1; i >= 0 && g.mu.uncut == 0; i-- {
		if rec := &p.entries[i]; rec.LogType == TypeCommand && entry.KindOf(rec.Data) == entry.TruncateTo {
			g.mu.uncut = rec.Index
		}
	}
	v := p.cutting()
	if v == nil {
		return nil
	}
	index := v.To + 1
	offset, _, err := g.truncation(index)
	if err != nil {
		return err
	}
	if offset != v.Offset {
		return fmt.Errorf("%w: the journal has a truncation to %d at index %d, the entry there says %d", ErrCorrupt, v.Offset, index, offset)
	}
	g.noteCut(index, log.Position{Segment: v.Segment, Pos: v.Pos})
	return nil
}

// Uncut is the index of the truncate-to that is stored and not carried out; 0 = none.
func (g *Group) Uncut() uint64 {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.mu.uncut
}

// Truncated is the newest truncate-to that was carried out and has no durable snapshot above it: its index, and the offset that the log
// was cut at. Entries below speak of records that are gone. ok is false where there is none.
func (g *Group) Truncated() (index uint64, offset int64, ok bool) {
	g.save.Lock()
	cut := g.save.cut
	g.save.Unlock()
	g.mu.RLock()
	defer g.mu.RUnlock()
	if cut <= g.mu.snapshot.Index || cut < g.mu.first {
		return 0, 0, false
	}
	var h entry.Header
	if err := h.Decode(g.mu.entries[cut-g.mu.first].data); err != nil {
		return 0, 0, false // it was decoded when it was carried out
	}
	c, err := entry.ParseTruncation(h.Body)
	return cut, c.Offset, err == nil
}
