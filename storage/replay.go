package storage

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/journal"
	"github.com/tandembroker/tandem/storage/log"
	"github.com/tandembroker/tandem/storage/meta"
)

// replay is what checkpoint and journal say about one Raft group. It is made from record headers alone, before any segment
// is looked at: only what is in entries at the end exists, so a payload that was superseded is never written again.
type replay struct {
	id     GroupID
	cp     *meta.GroupCheckpoint // nil = not in meta.db
	exists bool                  // in meta.db, or created in the journal
	bornAt uint64                // its created record; 0 = it is in meta.db
	folder string
	dir    uint16
	start  int64

	entries []journal.Record // Data is ours; sequences and indexes rise
	vote    Vote
	voteAt  uint64 // 0 = as in meta.db
	first   uint64 // its first record in the journal
	cutAt   uint64 // its newest record that took entries away
	cutTo   uint64 // the highest index above the checkpoint that was taken away
	covered uint64 // record up to which the checkpoint makes its records superfluous
	hurt    error  // why the group cannot be trusted
	row     error  // the part of hurt that is about its row in meta.db

	void   *journal.Voided  // the newest truncate-to that was begun; nil = none
	level  int              // finalized format level; set before anything is asked for
	kept   uint64           // first sequence that is kept of the journal
	copies []journal.Record // carried, without their end yet
}

// newReplay begins with the checkpoint; kept is the first sequence that is kept of the journal.
func newReplay(id GroupID, cp *meta.GroupCheckpoint, kept uint64) *replay {
	r := &replay{id: id, cp: cp, kept: kept}
	if cp != nil {
		r.exists, r.folder, r.dir, r.start = true, cp.Folder, cp.LogDir, cp.LogStart
		r.vote = Vote{Term: cp.CurrentTerm, VotedTerm: cp.VotedTerm, Candidate: cp.Candidate}
	}
	return r
}

// snapshotIndex is the index up to which the checkpoint covers everything.
func (r *replay) snapshotIndex() uint64 {
	if r.cp == nil {
		return 0
	}
	return r.cp.SnapshotIndex
}

// add takes the next record of the group.
func (r *replay) add(rec *journal.Record) error {
	if r.first == 0 {
		r.first = rec.Sequence
	}
	if rec.Carried {
		r.copies = append(r.copies, *rec)
		return nil
	}
	if rec.Kind == journal.CarryEnd {
		return r.carried(rec)
	}
	r.copies = nil // of a copy that a crash cut short: the old records are there
	return r.apply(rec)
}

// apply takes a record, or a copy of one in its turn.
func (r *replay) apply(rec *journal.Record) error {
	switch rec.Kind {
	case journal.Created:
		if r.exists { // the checkpoint is newer than the record
			break
		}
		folder, dir, start, err := rec.Created()
		if err != nil {
			return err
		}
		if folder != "" && !validFolder(folder) {
			return fmt.Errorf("%w: folder %q", ErrCorrupt, folder)
		}
		*r = replay{id: r.id, kept: r.kept, exists: true, bornAt: rec.Sequence, folder: folder, dir: dir, start: start, first: rec.Sequence}
	case journal.Deleted:
		*r = replay{id: r.id, kept: r.kept, folder: r.folder, dir: r.dir}
	case journal.Entry:
		r.addEntry(rec)
	case journal.DeleteRange, journal.Dropped:
		r.noteCut(rec.Sequence)
		r.cut(rec.Index)
	case journal.Reset:
		r.noteCut(rec.Sequence)
		r.entries, r.void = r.entries[:0], nil
	case journal.VoidPayloads:
		v, err := rec.VoidPayloads()
		if err != nil {
			return err
		}
		r.void = v
	case journal.Vote:
		v, err := rec.Vote()
		if err != nil {
			return err
		}
		if v.Term > r.vote.Term || v.Term == r.vote.Term && v.VotedTerm > r.vote.VotedTerm {
			r.vote, r.voteAt = Vote{Term: v.Term, VotedTerm: v.VotedTerm, Candidate: v.Candidate}, rec.Sequence
		}
	default:
		if rec.Kind&journal.MaySkip == 0 {
			return fmt.Errorf("%w: kind %d", journal.ErrKind, rec.Kind)
		}
	}
	return nil
}

// carriedError is why a Raft group was offline when its records were carried to the head of the journal.
type carriedError struct{ reason string }

func (e *carriedError) Error() string { return e.reason }
func (e *carriedError) Unwrap() error { return ErrCorrupt }

// carried begins again with the copies in front of their end, as if nothing had been in the journal before.
func (r *replay) carried(rec *journal.Record) error {
	end, err := rec.CarriedEnd()
	if err != nil {
		return err
	}
	r.copies = slices.DeleteFunc(r.copies, func(c journal.Record) bool { return !end.Counts(c.Sequence) })
	first := rec.Sequence
	if len(r.copies) > 0 {
		first = r.copies[0].Sequence
	}
	fresh := newReplay(r.id, r.cp, r.kept)
	fresh.exists = fresh.exists || r.row != nil
	for i := range r.copies {
		if err := fresh.apply(&r.copies[i]); err != nil {
			return err
		}
	}
	switch { // a reason that was carried has in it what the copies show
	case end.Hurt != "":
		fresh.hurt = &carriedError{end.Hurt}
	case !end.Whole(len(r.copies), r.kept):
		fresh.hurt = errors.Join(fresh.hurt, fmt.Errorf("%w: journal record %d ends %d copies, found were %d", ErrCorrupt, rec.Sequence,
			end.Count, len(r.copies)))
	}
	if r.row != nil {
		fresh.hurt = r.row
	}
	fresh.first, fresh.covered, fresh.row = first, rec.Sequence, r.row
	*r = *fresh
	return nil
}

// reason is what has to be carried of hurt with the group's records, which do not show it by themselves.
func (r *replay) reason() string {
	switch {
	case r.row != nil:
		return "its row in meta.db is damaged" // and stays so
	case r.hurt != nil:
		return r.hurt.Error()
	}
	return ""
}

// addEntry keeps an entry above the snapshot. What does not follow is kept as well: the first records of a truncated journal
// may belong to a suffix that a delete range takes away further on. finish judges what is left.
func (r *replay) addEntry(rec *journal.Record) {
	if rec.Index <= r.snapshotIndex() {
		r.cut(rec.Index) // what was above it is gone, whether or not the record that took it away is there
		return
	}
	if n := len(r.entries); n > 0 && rec.Index <= r.entries[n-1].Index {
		r.hurt = errors.Join(r.hurt, fmt.Errorf("%w: journal record %d stores index %d behind index %d",
			ErrCorrupt, rec.Sequence, rec.Index, r.entries[n-1].Index))
		return
	}
	r.entries = append(r.entries, *rec)
}

// noteCut notes that the record at sequence takes entries away.
func (r *replay) noteCut(sequence uint64) {
	r.cutAt = sequence
	if n := len(r.entries); n > 0 {
		r.cutTo = max(r.cutTo, r.entries[n-1].Index)
	}
}

// cut removes the entries from index from on.
func (r *replay) cut(from uint64) {
	n := len(r.entries)
	for n > 0 && r.entries[n-1].Index >= from {
		n--
	}
	clear(r.entries[n:])
	r.entries = r.entries[:n]
}

// finish checks that the surviving entries follow the checkpoint and each other.
func (r *replay) finish() {
	if r.hurt != nil {
		return // and stays so: what else its records show is not added to the reason with each start
	}
	index, term := r.snapshotIndex(), uint64(0)
	if r.cp != nil {
		term = r.cp.SnapshotTerm
	}
	for i := range r.entries {
		rec := &r.entries[i]
		switch {
		case rec.Index != index+1:
			r.hurt = errors.Join(r.hurt, fmt.Errorf("%w: journal record %d stores index %d, index %d is missing",
				ErrCorrupt, rec.Sequence, rec.Index, index+1))
			return
		case rec.Term < term:
			r.hurt = errors.Join(r.hurt, fmt.Errorf("%w: journal record %d stores term %d behind term %d",
				ErrCorrupt, rec.Sequence, rec.Term, term))
			return
		}
		index, term = rec.Index, rec.Term
	}
	if v := r.cutting(); v != nil && index <= v.To {
		r.hurt = errors.Join(r.hurt, fmt.Errorf("%w: entries end at index %d, the truncation at index %d was begun", ErrCorrupt, index, v.To+1))
	}
}

// cutting is the truncation that a start has to finish, as the checkpoint lies below it; nil = none.
func (r *replay) cutting() *journal.Voided {
	if r.void == nil || r.void.To < r.snapshotIndex() {
		return nil
	}
	return r.void
}

// trusted is what of the segments is synced and true.
func (r *replay) trusted(epochs uint32) log.Checkpoint {
	v := r.cutting()
	if v == nil {
		sealed, replacing := r.sealed()
		return log.Checkpoint{LogStart: r.start, LogEnd: r.base().NextOffset, End: r.end(), Sealed: sealed, Replacing: replacing, EpochsCRC: epochs}
	}
	c := log.Checkpoint{LogStart: v.LogStart, LogEnd: v.Offset, End: log.Position{Segment: v.Segment, Pos: v.Pos}, EpochsCRC: v.Epochs,
		Sealed: make([]log.Sealed, len(v.Sealed))}
	for i, s := range v.Sealed {
		c.Sealed[i] = log.Sealed{Base: s.Base, Size: int64(s.Size)}
	}
	return c
}

// base is the admission state and the lineage behind the snapshot.
func (r *replay) base() basis {
	if r.cp == nil {
		return newBasis(r.level, r.start)
	}
	b := basis{r.cp.AdmissionState(), r.cp.Lineage()}
	if r.level >= entry.LevelSites {
		b.Raise()
	}
	return b
}

// end is where the bytes up to the snapshot end.
func (r *replay) end() log.Position {
	if r.cp == nil {
		return log.Position{Segment: r.start}
	}
	return log.Position{Segment: r.cp.EndSegment, Pos: r.cp.EndPosition}
}

// sealed are the segments below end that the checkpoint vouches for, nil where it does not list them, and what was about to be
// done to them.
func (r *replay) sealed() ([]log.Sealed, *log.Replacement) {
	if r.cp == nil || r.cp.Sealed == nil {
		return nil, nil
	}
	list := make([]log.Sealed, len(r.cp.Sealed))
	for i, s := range r.cp.Sealed {
		list[i] = log.Sealed{Base: s.Base, Size: int64(s.Size)}
	}
	if c := r.cp.Replacing; c != nil {
		return list, &log.Replacement{First: c.First, Last: c.Last, Size: int64(c.Size)}
	}
	return list, nil
}

// tail decodes the surviving entries: what the segments must hold behind the checkpoint, in payloads (with the number of the
// entry in of), and the admission state behind each entry. Versions and kinds that this binary does not know stop the start.
func (r *replay) tail() (payloads []log.Tail, of []int, states []entry.State, err error) {
	state := r.base().State
	states = make([]entry.State, len(r.entries))
	for i := range r.entries {
		rec := &r.entries[i]
		var h entry.Header
		if rec.LogType == TypeCommand {
			err := h.Decode(rec.Data)
			if err == nil {
				err = state.Advance(&h)
			}
			if err == nil && (h.PayloadLength != rec.PayloadLength || h.PayloadCRC != rec.PayloadCRC) {
				err = fmt.Errorf("%w: payload of %d bytes and CRC %08x, the record says %d and %08x", ErrCorrupt,
					h.PayloadLength, h.PayloadCRC, rec.PayloadLength, rec.PayloadCRC)
			}
			if err != nil {
				return nil, nil, nil, fmt.Errorf("journal record %d, index %d: %w", rec.Sequence, rec.Index, err)
			}
		}
		states[i] = state
		if rec.Placement == journal.None || r.cutting() != nil && rec.Index <= r.void.To {
			continue
		}
		payloads = append(payloads, log.Tail{
			Pos: log.Position{Segment: rec.Segment, Pos: rec.Pos}, Length: rec.PayloadLength, CRC: rec.PayloadCRC, Rows: h.Rows,
		})
		of = append(of, i)
	}
	return payloads, of, states, nil
}
