package entry

import (
	"encoding/binary"
	"fmt"
)

// LevelSites is the format level that brings the kinds of two sites. Below it a log that holds one of them is refused.
const LevelSites = 2

// Role says whose appends a log takes (docs/formats.md section 7). It is written in the log, so it holds wherever the log is led.
type Role uint8

const (
	Single    Role = 0 // no site was ever named: produces, as in a broker without a second site
	Promoted  Role = 1 // the newest of promote and follow is a promote: produces of that site epoch
	Following Role = 2 // it is a follow: what a link ships, and nothing else
)

// UnknownOffset stands for an offset shared with the other site that is not known (yet).
const UnknownOffset = int64(-1)

// Cut names the newest truncate-to of a log; Offset -1 = none. An archive of cut records counts once the log holds its cut.
type Cut struct {
	SiteEpoch uint32
	Offset    int64
}

// Sites is the part of State that two sites need. The zero value is that of a log that has heard of no site.
type Sites struct {
	Level  uint8 // format level; below LevelSites nothing of this is in use
	Role   Role
	Base   int64 // of the promote in force: the first offset of its site epoch; 0 = none
	Shared int64 // Following: as far as this log had been compared with the active's; -1 = not compared under this epoch
	Cut    Cut
}

// NewSitesState is the state of an empty log of a partition that two sites hold.
func NewSitesState(start int64) State {
	s := NewState(start)
	s.Level, s.Shared, s.Cut.Offset = LevelSites, UnknownOffset, UnknownOffset
	return s
}

// Raise makes s that of format level 2, of a log that has heard of no site yet; one that is there already stays as it is.
func (s *State) Raise() {
	if s.Level < LevelSites {
		s.Sites = Sites{Level: LevelSites, Shared: UnknownOffset, Cut: Cut{Offset: UnknownOffset}}
	}
}

// LineageOfOne is the lineage of a log of state s that was written before there were sites, all of it by this one in one site epoch. The
// first leader epoch that it may have stands for the one that it has, of which nothing tells once retention has been there.
func (s *State) LineageOfOne(logStart int64) Lineage {
	l := Lineage{LogStart: logStart}
	if s.LastEpoch >= 0 {
		e := l.span(SiteEpochOf(s.LastEpoch))
		e.FirstEpoch, e.Start, e.End = int32(s.EpochBase), 0, s.NextOffset
	}
	return l
}

// NextWrite is the offset of the next record that is produced here. Links compare with NextOffset: a base is only promised.
func (s *State) NextWrite() int64 { return max(s.NextOffset, s.Base) }

// BandEnd is the first offset that records of siteEpoch may not have.
func BandEnd(siteEpoch uint32) int64 { return (int64(siteEpoch) + 1) << OffsetBandBits }

// BandStart is where an unplanned promotion to siteEpoch begins.
func BandStart(siteEpoch uint32) int64 { return int64(siteEpoch) << OffsetBandBits }

// SiteEpochOf is the site epoch in a leader epoch; 0 for -1, the epoch of an empty log.
func SiteEpochOf(leaderEpoch int32) uint32 { return uint32(max(leaderEpoch, 0)) >> LeaderEpochBits }

// Linked says that the entry is data of the other site: it comes with its offsets and epochs, which stay.
func (h *Header) Linked() bool { return h.Kind == Data && len(h.Rows) > 0 && h.Rows[0].BaseOffset >= 0 }

// admitSites decides what Admit does not: the kinds of two sites, and whose data the log takes.
func (s *State) admitSites(h *Header) VoidReason {
	switch h.Kind {
	case Promote:
		return s.admitPromote(h)
	case Follow:
		return s.admitFollow(h)
	}
	if h.SiteEpoch > s.SiteEpoch {
		return VoidSiteEpoch // the log has not reached that epoch; Admit refuses those that it has left
	}
	switch h.Kind {
	case Data:
		if h.Linked() {
			return s.admitLinked(h)
		}
		if s.Role == Following {
			return VoidRole
		}
	case EpochBase:
		if s.Role == Following {
			return VoidRole
		}
	case Fence:
		f, err := ParseFencing(h.Body)
		if err != nil || s.Role == Following || !s.HasEpochBase || f.Target <= s.SiteEpoch {
			return VoidRole
		}
		if s.FenceTarget != NoFence {
			return VoidFenced
		}
	case Unfence:
		target, err := ParseUnfence(h.Body)
		if err != nil || s.FenceTarget != target {
			return VoidRole
		}
	case TruncateTo:
		c, err := ParseTruncation(h.Body)
		switch {
		case err != nil || s.Role != Following || s.Shared != UnknownOffset || c.Offset > s.NextOffset || c.LeaderEpoch > s.LastEpoch:
			return VoidRole
		case SiteEpochOf(s.LastEpoch) >= s.SiteEpoch && s.LastEpoch >= 0:
			return VoidSiteEpoch // the tail came from the very site that is followed: it cannot be divergent
		}
	}
	return Admitted
}

func (s *State) admitPromote(h *Header) VoidReason {
	p, err := ParsePromotion(h.Body)
	switch {
	case err != nil || p.SiteEpoch != h.SiteEpoch || p.SiteEpoch <= s.SiteEpoch:
		return VoidSiteEpoch
	case p.Base < s.NextOffset || p.Base >= BandEnd(p.SiteEpoch):
		return VoidBand
	}
	return Admitted
}

func (s *State) admitFollow(h *Header) VoidReason {
	f, err := ParseFollowed(h.Body)
	fresh := s.Role == Single && !s.HasEpochBase // a log that begins as a standby's
	switch {
	case err != nil || f.SiteEpoch != h.SiteEpoch:
		return VoidSiteEpoch
	case f.SiteEpoch == s.SiteEpoch && s.Role != Following && !fresh:
		return VoidRole // the log writes under that epoch itself
	case f.Shared > s.NextOffset:
		return VoidLink
	}
	return Admitted
}

// admitLinked decides about data that a link shipped. Gaps in the offsets are legal, going back is not.
func (s *State) admitLinked(h *Header) VoidReason {
	if s.Role != Following || s.Shared == UnknownOffset {
		return VoidRole
	}
	next, epoch := s.NextOffset, s.LastEpoch
	for i := range h.Rows {
		r := &h.Rows[i]
		origin := SiteEpochOf(r.LeaderEpoch)
		switch {
		case r.BaseOffset < next || r.LeaderEpoch < epoch || r.LastOffset != r.BaseOffset+int64(r.LastOffsetDelta):
			return VoidLink
		case origin > s.SiteEpoch:
			return VoidSiteEpoch
		case r.LastOffset >= BandEnd(origin):
			return VoidBand
		}
		next, epoch = r.LastOffset+1, r.LeaderEpoch
	}
	return Admitted
}

// advanceSites moves s past a stored entry of a kind of two sites. Errors: ErrCorrupt.
func (s *State) advanceSites(h *Header) error {
	switch h.Kind {
	case Promote:
		p, err := ParsePromotion(h.Body)
		if err != nil {
			return err
		}
		if p.SiteEpoch <= s.SiteEpoch || p.Base < s.NextOffset {
			return fmt.Errorf("%w: promote to site epoch %d at offset %d, behind %d at %d", ErrCorrupt, p.SiteEpoch, p.Base, s.SiteEpoch, s.NextOffset)
		}
		// Without an epoch base nothing can be produced: the leader writes one behind each promote.
		s.SiteEpoch, s.Role, s.Base, s.FenceTarget, s.HasEpochBase = p.SiteEpoch, Promoted, p.Base, NoFence, false
		s.Shared = UnknownOffset
	case Follow:
		f, err := ParseFollowed(h.Body)
		if err != nil {
			return err
		}
		if f.SiteEpoch < s.SiteEpoch {
			return fmt.Errorf("%w: follow of site epoch %d behind %d", ErrCorrupt, f.SiteEpoch, s.SiteEpoch)
		}
		// An own base that was promised and not used is void: the active decides where records go on.
		s.SiteEpoch, s.Role, s.Base, s.FenceTarget, s.HasEpochBase = f.SiteEpoch, Following, 0, NoFence, false
		s.Shared = f.Shared
	case Fence:
		f, err := ParseFencing(h.Body)
		if err != nil {
			return err
		}
		s.FenceTarget = f.Target
	case Unfence:
		if _, err := ParseUnfence(h.Body); err != nil {
			return err
		}
		s.FenceTarget = NoFence
	case TruncateTo:
		c, err := ParseTruncation(h.Body)
		if err != nil {
			return err
		}
		if c.Offset > s.NextOffset {
			return fmt.Errorf("%w: truncate to %d above the log end offset %d", ErrCorrupt, c.Offset, s.NextOffset)
		}
		s.NextOffset, s.LastEpoch = c.Offset, c.LeaderEpoch
		s.Cut = Cut{s.SiteEpoch, c.Offset}
	default:
		return fmt.Errorf("%w %d at format level %d", ErrKind, h.Kind, s.Level)
	}
	return nil
}

// stampFence writes the next offset into a fence: the one that a planned promotion goes on at.
func (s *State) stampFence(h *Header) {
	binary.BigEndian.PutUint64(h.Body[8:], uint64(s.NextWrite()))
}
