package entry

import "slices"

// EpochSpan is what a log holds of one site epoch.
type EpochSpan struct {
	SiteEpoch  uint32
	FirstEpoch int32 // leader epoch of its first batch; -1 = no data
	Base       int64 // where a promote of this log said that it begins; -1 = the log never wrote it itself
	Shared     int64 // from the promote or follow of this epoch; -1 = not known
	Start      int64 // first offset; -1 = no data
	End        int64 // behind the last record; -1 = no data
}

// Lineage is the history of a log by site epochs, in ascending order: what two sites compare to find where their logs part. A site
// epoch is written in one go by the site that owns it, so of each epoch every log holds a prefix of the same records: two logs agree
// up to the first epoch of which they do not hold equally much. It has a row for each promotion, so it is small.
type Lineage struct {
	Spans    []EpochSpan
	LogStart int64
}

// Clone is a copy that shares nothing with l.
func (l *Lineage) Clone() Lineage { return Lineage{slices.Clone(l.Spans), l.LogStart} }

// span finds or makes the row of an epoch.
func (l *Lineage) span(siteEpoch uint32) *EpochSpan {
	i, ok := slices.BinarySearchFunc(l.Spans, siteEpoch, func(s EpochSpan, e uint32) int { return int(s.SiteEpoch) - int(e) })
	if !ok {
		l.Spans = slices.Insert(l.Spans, i, EpochSpan{SiteEpoch: siteEpoch, FirstEpoch: -1, Base: -1, Shared: UnknownOffset, Start: -1, End: -1})
	}
	return &l.Spans[i]
}

// Advance moves l past a stored entry, which State.Advance has accepted. Errors: ErrCorrupt.
func (l *Lineage) Advance(h *Header) error {
	switch h.Kind {
	case Data:
		for i := range h.Rows {
			r := &h.Rows[i]
			s := l.span(SiteEpochOf(r.LeaderEpoch))
			if s.Start < 0 {
				s.Start, s.FirstEpoch = r.BaseOffset, r.LeaderEpoch
			}
			s.End = r.LastOffset + 1
		}
	case Promote:
		p, err := ParsePromotion(h.Body)
		if err != nil {
			return err
		}
		s := l.span(p.SiteEpoch)
		s.Base, s.Shared = p.Base, p.Shared
	case Follow:
		f, err := ParseFollowed(h.Body)
		if err != nil {
			return err
		}
		if s := l.span(f.SiteEpoch); f.Shared != UnknownOffset {
			s.Shared = f.Shared
		}
	case TruncateTo:
		c, err := ParseTruncation(h.Body)
		if err != nil {
			return err
		}
		l.truncate(c.Offset)
	}
	return nil
}

// truncate forgets what lies at or above offset. A promotion whose base is cut away has not been, as far as positions go.
func (l *Lineage) truncate(offset int64) {
	l.Spans = slices.DeleteFunc(l.Spans, func(s EpochSpan) bool { return s.Base >= 0 && s.Base >= offset })
	for i := range l.Spans {
		s := &l.Spans[i]
		s.Shared, s.End = min(s.Shared, offset), min(s.End, offset)
		if s.Start >= offset {
			s.Start, s.End, s.FirstEpoch = -1, -1, -1
		}
	}
}

// end is behind the last record of siteEpoch, -1 = the log has none of it.
func (l *Lineage) end(siteEpoch uint32) int64 {
	for i := range l.Spans {
		if l.Spans[i].SiteEpoch == siteEpoch {
			return l.Spans[i].End
		}
	}
	return -1
}

// Divergence compares l with the active's lineage. Where l holds records that other does not, it says where the part of l that both
// hold ends, which is where l has to be cut. Only site epochs below that of the active which answers are looked at: what is newer came
// from there, and other may be older than it. Nor does it matter what l once held below its log start, where a later part of it is the same: other
// may have been begun behind that.
func (l *Lineage) Divergence(other *Lineage, below uint32) (keep int64, divergent bool) {
	parted := int64(-1) // where the logs part, if only what is deleted says so; -1 = it does not
	for i := range l.Spans {
		s := &l.Spans[i]
		if s.End < 0 {
			continue
		}
		if s.SiteEpoch >= below {
			parted = -1
			continue
		}
		at := keep
		switch end := other.end(s.SiteEpoch); {
		case end >= s.End:
			keep, parted = s.End, -1
			continue
		case end > s.Start:
			at = end
			if end > l.LogStart { // both hold some of what is left
				parted = -1
			}
		}
		if parted < 0 {
			parted = at
		}
		if s.End > l.LogStart {
			return parted, true
		}
	}
	return max(parted, 0), parted >= 0
}

// Holds says that a log that ends at offset next with a batch of leaderEpoch is a prefix of this one.
func (l *Lineage) Holds(next int64, leaderEpoch int32) bool {
	if leaderEpoch < 0 {
		return true // an empty log; whether its records are still here is another question
	}
	e := SiteEpochOf(leaderEpoch)
	for i := range l.Spans {
		if s := &l.Spans[i]; s.SiteEpoch == e {
			return s.Start >= 0 && s.Start < next && next <= s.End
		}
	}
	return false
}

// RecordsBelow says that the log holds records in front of offset, which are not deleted. Those of a compacted log may be gone all the same.
func (l *Lineage) RecordsBelow(offset int64) bool {
	return slices.ContainsFunc(l.Spans, func(s EpochSpan) bool { return s.Start >= 0 && max(s.Start, l.LogStart) < min(s.End, offset) })
}

// LastShared is the newest offset that is known to be shared with the other site; 0 = none.
func (l *Lineage) LastShared() int64 {
	for i := len(l.Spans) - 1; i >= 0; i-- {
		if l.Spans[i].Shared != UnknownOffset {
			return l.Spans[i].Shared
		}
	}
	return 0
}

// Resume is where a reader goes on here that stood at offset, behind a record of siteEpoch, when it may have read it at the other
// site. current is the site epoch of this log; acked is how far the other site is known to hold it, -1 = not known. It never
// passes over a record that the reader has not seen, and may go back over some that it has.
func (l *Lineage) Resume(offset int64, siteEpoch, current uint32, acked int64) int64 {
	if siteEpoch == current {
		return offset
	}
	if end := l.end(siteEpoch); end >= 0 {
		return min(offset, end)
	}
	// An epoch that this log never had: the reader comes from the other site's branch, which left ours below the next promotion.
	for i := range l.Spans {
		if s := &l.Spans[i]; s.SiteEpoch > siteEpoch && s.Shared != UnknownOffset {
			return min(offset, s.Shared)
		}
	}
	return min(offset, max(acked, l.LastShared()))
}
