package operator

import (
	"cmp"
	"slices"
	"time"
)

// reportPartitionsMax bounds the list of a Report; those that lost most come first.
const reportPartitionsMax = 10_000

// Report says what a promotion has cost. The part that is known is what the site had heard of before contact was lost; what the other
// one took behind that nobody here can know.
type Report struct {
	Kind      OrderKind `json:"kind"`
	From      string    `json:"from"`
	To        string    `json:"to"`
	SiteEpoch uint32    `json:"site_epoch"`
	Promoted  time.Time `json:"promoted"`
	// Lost is what is known to be lost, and since when nothing is known. Ms is the time from the oldest record that may be lost to the promotion.
	Lost       RPO               `json:"lost"`
	Partitions []PartitionReport `json:"partitions"`
	LeftOff    int               `json:"partitions_left_off"`
}

// PartitionReport is what became of one partition. A null is unknown.
type PartitionReport struct {
	Topic       string     `json:"topic"`
	Partition   int32      `json:"partition"`
	ShippedEnd  *int64     `json:"shipped_end"`   // offset behind the last record that was shipped
	ShippedAt   *time.Time `json:"shipped_at"`    // the newest timestamp of a record up to there
	ActiveEnd   *int64     `json:"active_end"`    // offset behind the last record that the other site is known to have had
	ActiveEndAt *time.Time `json:"active_end_at"` // when it was there, or later
	Resumes     *int64     `json:"resumes"`       // offset of the next record
	LostRecords *int64     `json:"lost_records"`  // of those known
	LostMs      *int64     `json:"lost_ms"`       // from the oldest record that may be lost, at the earliest, to the promotion
}

// Promotion is what came out of an order.
type Promotion struct {
	Kind      OrderKind
	SiteEpoch uint32
	At        time.Time
	// Resumes is the offset of the next record of a partition; ok is false where it is not known yet.
	Resumes func(topic string, partition int32) (offset int64, ok bool)
}

// NewReport tells what a promotion has cost, from the facts of the site that was promoted as they were before it.
func NewReport(before *Facts, p Promotion) Report {
	r := Report{Kind: p.Kind, From: before.There.Name, To: before.Here.Name, SiteEpoch: p.SiteEpoch, Promoted: p.At}
	planned := p.Kind == Switchover
	for i := range before.Partitions {
		part := before.Partitions[i]
		if before.overtaken() || !planned && before.unasked() { // these are figures of the epoch before
			part.Active, part.Shipped, part.Lag = End{Offset: unknownEnd}, End{Offset: unknownEnd}, Lag{}
		}
		r.Partitions = append(r.Partitions, reportOf(&part, p, planned))
	}
	switch {
	case !planned && before.unasked(): // nothing is known
	case planned || before.hasAll():
		r.Lost = RPO{Records: new(int64), Bytes: new(int64), Ms: new(int64)}
	default:
		at := *before
		at.Now = p.At
		r.Lost = at.RPO()
	}
	slices.SortStableFunc(r.Partitions, func(a, b PartitionReport) int { return cmp.Compare(lossOrder(b), lossOrder(a)) })
	r.LeftOff = max(len(r.Partitions)-reportPartitionsMax, 0)
	r.Partitions = r.Partitions[:len(r.Partitions)-r.LeftOff]
	return r
}

func reportOf(p *Partition, promotion Promotion, planned bool) PartitionReport {
	out := PartitionReport{Topic: p.Topic, Partition: p.Index, LostRecords: p.behind()}
	out.ShippedEnd, out.ShippedAt = p.Shipped.told()
	out.ActiveEnd, out.ActiveEndAt = p.known().told()
	if offset, ok := promotion.Resumes(p.Topic, p.Index); ok {
		out.Resumes = &offset
	}
	if planned { // the fence says that all has arrived, whatever was heard before
		out.LostRecords, out.LostMs = new(int64), new(int64)
		out.ShippedEnd, out.ActiveEnd = out.Resumes, out.Resumes
		return out
	}
	out.LostMs = lostMs(p, out.LostRecords, promotion.At)
	return out
}

// lostMs is since when at the longest records of p may be lost, by the clocks of the sites and not by the records' timestamps, which are their
// producers': for as long as the oldest that is known to be missing had been missing when the active's end was heard of, and all the time
// since; nil = not known.
func lostMs(p *Partition, missing *int64, promoted time.Time) *int64 {
	end := p.known()
	if missing == nil || end.Offset == unknownEnd || end.At.IsZero() || *missing > 0 && p.Lag.Ms == nil {
		return nil
	}
	ms := max(promoted.Sub(end.At).Milliseconds(), 0)
	if *missing > 0 {
		ms += *p.Lag.Ms
	}
	return &ms
}

// told is an end as documents have it.
func (e End) told() (offset *int64, at *time.Time) {
	if e.Offset == unknownEnd {
		return nil, nil
	}
	if !e.At.IsZero() {
		at = &e.At
	}
	return &e.Offset, at
}

// lossOrder puts what is unknown first.
func lossOrder(p PartitionReport) int64 {
	if p.LostRecords == nil {
		return 1<<63 - 1
	}
	return *p.LostRecords
}
