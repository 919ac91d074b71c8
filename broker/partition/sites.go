package partition

import (
	"errors"
	"fmt"
	"math"

	"github.com/tandembroker/tandem/storage/entry"
)

// A partition that two sites hold is written by one of them at a time (docs/formats.md section 3, roles). What clients see of that is
// here: the gap that a promotion leaves in the offsets, positions that come from the other site's branch, and reads of a log that follows.

// state is the admission state behind what was applied; ok is false where there are no sites (format level 1).
func (p *Partition) state() (entry.State, bool) {
	if p.group == nil {
		return entry.State{}, false
	}
	return p.group.State()
}

// role says whose appends the log takes.
func (p *Partition) role() entry.Role {
	st, _ := p.state()
	return st.Role
}

// Fenced says that the log takes nothing more, because the other site is to take over.
func (p *Partition) Fenced() bool {
	st, ok := p.state()
	return ok && st.FenceTarget != entry.NoFence
}

// nextWrite is the offset of the next record that is produced here. It is above the log end offset behind a promotion, until the first append.
func (p *Partition) nextWrite() int64 {
	end := p.log.LogEnd()
	if st, ok := p.state(); ok {
		return max(end, st.Base)
	}
	return end
}

// bandOf is the site epoch whose unplanned promotion began the offsets that offset is one of.
func bandOf(offset int64) int64 { return offset >> entry.OffsetBandBits }

// writeBand is the band of the next record; 0 where there are no sites.
func (p *Partition) writeBand() int64 {
	if _, ok := p.state(); !ok {
		return 0
	}
	return bandOf(p.nextWrite())
}

// Follows says whether this replica holds what the other site ships, and nothing else: it has been compared with that site's log, and
// may be read (KIP-392).
func (p *Partition) Follows() bool {
	if p.usable() != nil {
		return false
	}
	st, _ := p.state()
	return st.Role == entry.Following && st.Shared != entry.UnknownOffset
}

// astray says that offset is above all that this replica has of the log that it follows. The leader sends nobody here who is so far (KIP-392): the
// client knows of no other leader yet, and what it has read here was cut off. Out of range it would begin anew somewhere, or stop.
func (p *Partition) astray(offset int64) bool {
	return p.role() == entry.Following && offset > p.log.LogEnd()
}

// checkRead is checkEpoch for a read, which a replica that follows may answer too. It does not hear of the active's elections, only of
// their records: a client that knows a later epoch of the site that is followed reads the same log. Source: Kafka
// Partition.localLogWithEpochOrThrow.
func (p *Partition) checkRead(requested int32, follower bool) (current int32, err error) {
	current, err = p.checkEpoch(requested)
	if !follower || !errors.Is(err, ErrNotLeader) || !p.Follows() {
		return current, err
	}
	st, _ := p.state()
	current = max(st.LastEpoch, 0)
	switch {
	case requested == none:
	case requested < st.LastEpoch:
		return current, fmt.Errorf("%w: %d, the log has %d", ErrFencedEpoch, requested, st.LastEpoch)
	case entry.SiteEpochOf(requested) > st.SiteEpoch:
		return current, fmt.Errorf("%w: %d, the log follows site epoch %d", ErrUnknownEpoch, requested, st.SiteEpoch)
	}
	return current, nil
}

// strange says that the log never had records of a site epoch below its own: those were the other site's, and ended there.
func strange(lineage *entry.Lineage, siteEpoch, own uint32) bool {
	for i := range lineage.Spans {
		if s := &lineage.Spans[i]; s.SiteEpoch == siteEpoch {
			return siteEpoch < own && s.End < 0 && s.Base < 0
		}
	}
	return siteEpoch < own
}

// strangeEnd is epochEnd for an epoch of a branch that this log is not on: its readers go back to what both sites had.
func (p *Partition) strangeEnd(epoch int32) (found int32, end int64, ok bool) {
	st, sites := p.state()
	if !sites || entry.SiteEpochOf(epoch) >= st.SiteEpoch {
		return none, none, false
	}
	v := p.group.Sites()
	if !strange(&v.Lineage, entry.SiteEpochOf(epoch), st.SiteEpoch) {
		return none, none, false
	}
	back := v.Lineage.Resume(math.MaxInt64, entry.SiteEpochOf(epoch), st.SiteEpoch, entry.UnknownOffset)
	if _, end = p.gap(&v.Lineage, back); end > back {
		return epoch, end, true // there is nothing that its readers do not have
	}
	if found = p.log.EpochAt(back - 1); found == none || found > epoch {
		found = epoch
	}
	return found, back, true
}

// gap finds the offsets from to below to, with offset among them, that no record will ever have since a promotion left them out. Behind the
// last record they end where this site will write. to is offset where it is in no gap.
func (p *Partition) gap(lineage *entry.Lineage, offset int64) (from, to int64) {
	if end := p.log.LogEnd(); offset >= end {
		return end, max(offset, p.nextWrite())
	}
	from = lineage.LogStart // behind the last record below offset
	for i := range lineage.Spans {
		switch s := &lineage.Spans[i]; {
		case s.End < 0:
		case offset < from:
			return offset, offset
		case offset < s.Start:
			return from, s.Start
		default:
			from = s.End
		}
	}
	return offset, offset
}

// Resume is where a group goes on here that has committed offset, behind a record of leaderEpoch (-1 = it does not say); the epoch to
// tell with it, -1 = none. An offset in the gap of a promotion is its end, or the log end offset while nothing was written there: clients
// that do not compare epochs take one beyond for lost, and read everything again. One of a branch that this log is not on is
// what both sites had: nothing that is here is passed over.
func (p *Partition) Resume(offset int64, leaderEpoch int32) (int64, int32) {
	st, ok := p.state()
	if !ok || offset < 0 || p.usable() != nil {
		return offset, leaderEpoch
	}
	v := p.group.Sites()
	from := entry.SiteEpochOf(leaderEpoch)
	if leaderEpoch < 0 { // the least that it can be
		from = uint32(bandOf(offset))
	}
	if strange(&v.Lineage, from, st.SiteEpoch) && from > 0 {
		back := v.Lineage.Resume(offset, from, st.SiteEpoch, entry.UnknownOffset)
		if _, to := p.gap(&v.Lineage, back); back < offset && offset >= to { // else nothing lies between
			return back, none
		}
	}
	// As clients are told the end by ListOffsets: sarama begins anew where its position is above it, also while the first append behind the gap
	// is being committed.
	if _, hw, _, _ := p.Offsets(); offset >= hw {
		if offset <= st.Base {
			return hw, leaderEpoch
		}
		return offset, leaderEpoch
	}
	if from, to := p.gap(&v.Lineage, offset); from < offset {
		return to, leaderEpoch
	}
	return offset, leaderEpoch
}
