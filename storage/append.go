package storage

import (
	"fmt"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/journal"
	"github.com/tandembroker/tandem/storage/log"
)

// scratch is reused from one append of a Group to the next.
type scratch struct {
	records []journal.Record
	places  []log.Position
	header  entry.Header
}

// Append stores entries, which must follow the last one without a gap, as one batch of the journal; state is the admission
// state behind the last of them. It returns when all are as durable as their class asks for: an entry of class synced, or one
// without an entry header, is on disk, and so is all before it in this Raft group; one of class cached is with the operating
// system. Payloads are borrowed until return, Data is the Group's from then on.
//
// An error means that nothing may be believed about entries: they may or may not be there after a restart. Errors: ErrGap,
// ErrTerm, ErrCorrupt and those of package entry for an entry that contradicts itself (nothing happened); else the Raft group or
// the whole store has failed.
func (g *Group) Append(entries []Entry, state entry.State) error {
	if len(entries) == 0 {
		return nil
	}
	g.write.Lock()
	defer g.write.Unlock()
	if err := g.usable(); err != nil {
		return err
	}
	synced, uncut, err := g.check(entries)
	if err != nil {
		return err
	}
	if synced && g.write.cachedDirty {
		// Before the record, not beside it: recovery takes a synced record as the proof that all earlier payloads are there.
		if err := g.log.Sync(); err != nil {
			return g.fail(err)
		}
		g.write.cachedDirty = false
	}
	journalBytes, referredBytes, err := g.writePayloads(entries, synced)
	if err != nil {
		return g.fail(err)
	}
	first, err := g.journal(synced, synced && referredBytes > 0)
	clear(g.write.records) // let go of borrowed buffers
	if err != nil {
		return err
	}
	if referredBytes > 0 && !synced {
		g.write.cachedDirty = true
	}
	g.publish(entries, first, state, synced)
	if uncut != 0 {
		g.mu.Lock()
		g.mu.uncut = uncut
		g.mu.Unlock()
	}
	g.store.written(journalBytes, referredBytes, synced)
	return nil
}

// check refuses what does not follow, before anything is written, and says whether any entry is of class synced, and which one is a
// truncate-to.
func (g *Group) check(entries []Entry) (synced bool, uncut uint64, err error) {
	g.mu.RLock()
	index, term, before := g.mu.last, g.mu.snapshot.Term, g.mu.uncut
	if n := len(g.mu.entries); n > 0 {
		term = g.mu.entries[n-1].term
	}
	g.mu.RUnlock()
	for i := range entries {
		e := &entries[i]
		if e.Index != index+1 {
			return false, 0, fmt.Errorf("%w: %s: index %d behind %d", ErrGap, g, e.Index, index)
		}
		if e.Term < term {
			return false, 0, fmt.Errorf("%w: %s: index %d of term %d behind term %d", ErrTerm, g, e.Index, e.Term, term)
		}
		index, term = e.Index, e.Term
		command, err := g.checkEntry(e)
		if err != nil {
			return false, 0, fmt.Errorf("%s: index %d: %w", g, e.Index, err)
		}
		if len(e.Payload) > 0 && max(before, uncut) != 0 { // its bytes would stand behind those that are to go
			return false, 0, fmt.Errorf("%w: %s: a payload at index %d, the truncation at index %d is not carried out", ErrCut, g, e.Index, max(before, uncut))
		}
		if command && g.write.header.Kind == entry.TruncateTo {
			uncut = e.Index
		}
		synced = synced || !command || g.write.header.Class == entry.Synced
	}
	return synced, uncut, nil
}

// checkEntry decodes the header of a command into scratch.header and compares it with the payload.
func (g *Group) checkEntry(e *Entry) (command bool, err error) {
	length := 0
	if command = e.Type == TypeCommand; command {
		if err := g.write.header.Decode(e.Data); err != nil {
			return true, err
		}
		length = int(g.write.header.PayloadLength)
	}
	switch {
	case length != len(e.Payload):
		return command, fmt.Errorf("%w: payload of %d bytes, its header says %d", ErrCorrupt, len(e.Payload), length)
	case length > 0 && g.log == nil:
		return command, fmt.Errorf("%w: a payload in a Raft group without segments", ErrCorrupt)
	}
	return command, nil
}

// writePayloads puts all payloads into the segment, unsynced, and fills scratch.records.
func (g *Group) writePayloads(entries []Entry, synced bool) (journalBytes, referredBytes int64, err error) {
	w := &g.write
	w.records, w.places = w.records[:0], w.places[:0]
	class := entry.Cached
	if synced {
		class = entry.Synced // of the whole batch: one sync makes all of it durable
	}
	for i := range entries {
		e := &entries[i]
		rec := journal.Record{
			Kind: journal.Entry, Class: class, LogType: e.Type, Group: g.id, Index: e.Index, Term: e.Term, Data: e.Data,
		}
		var place log.Position
		if len(e.Payload) > 0 {
			if err := w.header.Decode(e.Data); err != nil {
				return 0, 0, err // cannot be: checkEntry has decoded it
			}
			if place, err = g.log.Append(e.Payload, w.header.Rows); err != nil {
				return 0, 0, err
			}
			rec.Segment, rec.Pos = place.Segment, place.Pos
			rec.PayloadLength, rec.PayloadCRC = w.header.PayloadLength, w.header.PayloadCRC
			if len(e.Payload) <= g.store.opts.InlineMax {
				rec.Placement, rec.Inline = journal.Inline, e.Payload
				journalBytes += int64(len(e.Payload))
			} else {
				rec.Placement = journal.ByReference
				referredBytes += int64(len(e.Payload))
			}
		}
		journalBytes += int64(journal.EntryOverhead + len(e.Data))
		w.records = append(w.records, rec)
		w.places = append(w.places, place)
	}
	return journalBytes, referredBytes, nil
}

// journal appends scratch.records and waits until they are written, and synced if asked, together with the segment.
func (g *Group) journal(sync, syncLog bool) (first uint64, err error) {
	g.begin()
	var logErr error
	if syncLog {
		ticket := g.store.journal.Append(g.write.records, sync)
		logErr = g.log.Sync() // in parallel with the journal's owner
		first, err = ticket.Wait()
	} else {
		first, err = g.store.journal.Do(g.write.records, sync)
	}
	if err != nil {
		return 0, g.store.fatal(err)
	}
	if logErr != nil {
		err = g.fail(logErr)
		g.store.abandon(g, g.write.records, first)
		return 0, err
	}
	if syncLog {
		g.payloadsSynced(g.write.records, first)
	}
	return first, nil
}

// begin makes the checkpointer keep all records from here on, until publish.
func (g *Group) begin() {
	g.mu.Lock()
	g.mu.pending = g.store.journal.NextSequence()
	g.mu.Unlock()
}

func (g *Group) payloadsSynced(records []journal.Record, first uint64) {
	for i := range records {
		if records[i].Placement == journal.ByReference {
			g.store.journal.PayloadSynced(first + uint64(i))
		}
	}
}

// publish makes the stored entries visible; synced = they are on disk, with all before them.
func (g *Group) publish(entries []Entry, first uint64, state entry.State, synced bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if synced {
		g.mu.referred = 0
	}
	if len(g.mu.entries) == 0 {
		g.mu.first = entries[0].Index
	}
	for i := range entries {
		e := &entries[i]
		g.mu.entries = append(g.mu.entries, stored{
			term: e.Term, sequence: first + uint64(i), data: e.Data, place: g.write.places[i],
			placeLength: uint32(len(e.Payload)), kind: e.Type,
		})
		if !synced && g.mu.referred == 0 && len(e.Payload) > g.store.opts.InlineMax {
			g.mu.referred = e.Index
		}
	}
	g.mu.last = entries[len(entries)-1].Index
	g.mu.state = state
	g.mu.pending = 0
}

// fail notes that a write or sync of g's segments failed: all Raft groups of that log dir go offline, and where it is the
// only one, the store fails.
func (g *Group) fail(err error) error {
	return g.store.folderFailed(g.dir, fmt.Errorf("storage: %s: %w", g, err))
}

// TruncateSuffix removes the entries from index from on; state is the admission state behind what remains. The journal's
// record of it is durable before any byte of a segment changes. Errors: ErrCompacted at or below the snapshot.
func (g *Group) TruncateSuffix(from uint64, state entry.State) error {
	g.write.Lock()
	defer g.write.Unlock()
	if err := g.usable(); err != nil {
		return err
	}
	g.save.Lock() // no snapshot may take in what goes
	defer g.save.Unlock()
	g.mu.RLock()
	last, snapshot := g.mu.last, g.mu.snapshot.Index
	g.mu.RUnlock()
	if from <= snapshot {
		return fmt.Errorf("%w: %s: truncate from %d, snapshot at %d", ErrCompacted, g, from, snapshot)
	}
	if from > last {
		return nil
	}
	offset, bytes, err := g.firstOffset(from)
	if err != nil {
		return err
	}
	seq, err := g.append(journal.DeleteRangeRecord(g.id, from, last))
	if err != nil {
		return err
	}
	g.mu.Lock()
	g.mu.cutAt, g.mu.cutTo = seq, max(g.mu.cutTo, last)
	keep := from - g.mu.first
	clear(g.mu.entries[keep:])
	g.mu.entries = g.mu.entries[:keep]
	g.mu.last, g.mu.state, g.mu.pending = from-1, state, 0
	if g.mu.referred >= from {
		g.mu.referred = 0
	}
	if g.mu.uncut >= from {
		g.mu.uncut = 0
	}
	g.mu.Unlock()
	if bytes {
		if err := g.log.Truncate(offset); err != nil {
			return g.fail(err)
		}
	}
	return nil
}

// firstOffset is the base offset of the first payload at or above index from.
func (g *Group) firstOffset(from uint64) (offset int64, found bool, err error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for i := range g.mu.entries[from-g.mu.first:] {
		e := &g.mu.entries[from-g.mu.first+uint64(i)]
		if e.placeLength == 0 {
			continue
		}
		var h entry.Header
		if err := h.Decode(e.data); err != nil {
			return 0, false, fmt.Errorf("%s: index %d: %w", g, from+uint64(i), err)
		}
		return h.Rows[0].BaseOffset, true, nil
	}
	return 0, false, nil
}

// append stores one record that is not an entry, synced, and returns its sequence. The caller ends what begin began.
func (g *Group) append(rec journal.Record) (uint64, error) {
	g.begin()
	g.write.records = append(g.write.records[:0], rec)
	seq, err := g.store.journal.Append(g.write.records, true).Wait()
	if err != nil {
		return 0, g.store.fatal(err)
	}
	g.store.written(journal.HeaderLen, 0, true)
	return seq, nil
}

// TruncatePrefix lets go of the entries up to and with index through, in memory. Errors: ErrGap above the durable snapshot.
func (g *Group) TruncatePrefix(through uint64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if through > g.mu.snapshot.Index {
		return fmt.Errorf("%w: %s: drop up to %d, snapshot at %d", ErrGap, g, through, g.mu.snapshot.Index)
	}
	if len(g.mu.entries) == 0 || through < g.mu.first {
		return nil
	}
	n := min(through-g.mu.first+1, uint64(len(g.mu.entries)))
	clear(g.mu.entries[:n])
	g.mu.entries = g.mu.entries[n:]
	g.mu.first += n
	if len(g.mu.entries) == 0 {
		g.mu.entries, g.mu.first = nil, g.mu.last+1
	}
	return nil
}

// SetVote makes v durable before it returns. Errors: ErrTerm for a lower term, or for a second vote in one term.
func (g *Group) SetVote(v Vote) error {
	g.write.Lock()
	defer g.write.Unlock()
	if err := g.usable(); err != nil {
		return err
	}
	old := g.Vote()
	if v == old {
		return nil
	}
	if v.Term < old.Term || v.VotedTerm < old.VotedTerm || v.VotedTerm > v.Term ||
		v.VotedTerm == old.VotedTerm && old.Candidate != "" && v.Candidate != old.Candidate {
		return fmt.Errorf("%w: %s: vote %+v behind %+v", ErrTerm, g, v, old)
	}
	seq, err := g.append(journal.VoteRecord(g.id, v.Term, v.VotedTerm, v.Candidate))
	if err != nil {
		return err
	}
	g.mu.Lock()
	g.mu.vote, g.mu.voteAt, g.mu.pending = v, seq, 0
	g.mu.Unlock()
	return nil
}
