package partition

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

func follow(t testing.TB, p *Partition, siteEpoch uint32, shared int64) {
	t.Helper()
	p.control(t, entry.Follow, siteEpoch, entry.Followed{SiteEpoch: siteEpoch, Shared: shared}.Append(nil))
}

// promote makes the log this site's, unplanned, and returns its base.
func promote(t testing.TB, p *Partition, siteEpoch uint32, shared int64) int64 {
	t.Helper()
	base := entry.BandStart(siteEpoch)
	promoteAt(t, p, siteEpoch, base, shared)
	return base
}

func promoteAt(t testing.TB, p *Partition, siteEpoch uint32, base, shared int64) {
	t.Helper()
	p.control(t, entry.Promote, siteEpoch, entry.Promotion{SiteEpoch: siteEpoch, Planned: base != entry.BandStart(siteEpoch), Base: base, Shared: shared}.Append(nil))
	term, _ := p.group.Leads()
	p.control(t, entry.EpochBase, siteEpoch, entry.EpochBaseBody(term, 0))
	if err := p.WaitReady(waitContext(t)); err != nil {
		t.Fatal(err)
	}
}

// ship appends a batch that the other site has stored, in a log that follows siteEpoch.
func ship(t testing.TB, p *Partition, siteEpoch uint32, w write, offset int64, leaderEpoch int32) {
	t.Helper()
	b := w.batch(t)
	b.SetBaseOffset(offset)
	b.SetLeaderEpoch(leaderEpoch)
	rows, _, err := entry.RowsOf(b)
	if err != nil {
		t.Fatal(err)
	}
	h := &entry.Header{Kind: entry.Data, SiteEpoch: siteEpoch, Rows: rows, PayloadLength: uint32(len(b))}
	if _, err := p.group.Propose(h, b, nil).Wait(waitContext(t)); err != nil {
		t.Fatalf("ship to %d: %v", offset, err)
	}
}

const band = int64(1) << entry.OffsetBandBits

// leaderEpoch is the first one of a site epoch.
func leaderEpoch(siteEpoch int32) int32 { return siteEpoch << entry.LeaderEpochBits }

// TestGapBelongsToTheOldEpoch: after a promotion every position up to the base is one of the old epoch that goes on, nothing is read there
// until the first append, and then what is at the base. The log ends where it ended.
func TestGapBelongsToTheOldEpoch(t *testing.T) {
	b := newSitesBroker(t)
	p := b.create(t, 0)
	old := leaderEpoch(1) + 3
	follow(t, p, 1, 0)
	ship(t, p, 1, write{count: 10}, 0, old)
	base := promote(t, p, 2, -1)
	current := p.Epoch()
	if entry.SiteEpochOf(current) != 2 || base != 2*band {
		t.Fatalf("epoch %d, base %d", current, base)
	}
	ask := func(epoch, wantEpoch int32, wantEnd int64) {
		t.Helper()
		if e, end, err := p.EpochEnd(current, epoch); err != nil || e != wantEpoch || end != wantEnd {
			t.Errorf("epoch %d ends at %d, %d (%v), want %d, %d", epoch, e, end, err, wantEpoch, wantEnd)
		}
	}
	read := func(offset int64, records bool) {
		t.Helper()
		r, err := p.ReadAfter(Position{Offset: offset, CurrentEpoch: current, LastEpoch: old}, 1<<20, ReadCommitted, true)
		if err != nil || r.Diverging != nil || (r.Extent != nil) != records {
			t.Fatalf("read at %d: %+v, %v", offset, r, err)
		}
		if !records {
			return
		}
		defer r.Extent.Release()
		bytes, err := r.Extent.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if first, _, err := record.Next(bytes); err != nil || first.BaseOffset() != base {
			t.Fatalf("read at %d: batch at %d, %v", offset, first.BaseOffset(), err)
		}
	}
	ask(old, old, base)
	ask(old+1, old, base)
	ask(current, current, base)
	for _, offset := range []int64{10, 11, 15, base - 1, base} {
		read(offset, false)
	}
	if _, err := p.Read(base+1, 1<<20, ReadUncommitted, current, true); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Errorf("above the base: %v", err)
	}
	if start, hw, lso, leo := p.Offsets(); start != 0 || hw != 10 || lso != 10 || leo != 10 {
		t.Errorf("the log is %d to %d, %d, %d", start, hw, lso, leo)
	}
	if offset, _, _, err := p.ListOffset(LatestTimestamp, ReadUncommitted, current); err != nil || offset != 10 {
		t.Errorf("latest %d, %v", offset, err)
	}
	b.stop(t)
	b.start(t)
	p = b.get(t, 0)
	later := p.Epoch()
	if later <= current {
		t.Fatalf("epoch %d after a restart, %d before", later, current)
	}
	current = later
	ask(old, old, base)

	if at := mustAppend(t, p, write{count: 2}); at != base {
		t.Fatalf("written at %d, want %d", at, base)
	}
	ask(old, old, base)
	ask(current, current, base+2)
	for _, offset := range []int64{10, 11, 15, base - 1, base} {
		read(offset, true)
	}
}

// TestCommitsInTheGapStayBelowWhatIsCommitted: while the first append behind a gap is on its way a group goes on at the end that ListOffsets
// tells. A client that compares the two would begin anew otherwise.
func TestCommitsInTheGapStayBelowWhatIsCommitted(t *testing.T) {
	b := startSitesBroker(t, vfs.NewMem())
	p := b.create(t, 0)
	mustAppend(t, p, write{count: 10})
	follow(t, p, 1, 10)
	base := promote(t, p, 4, -1)
	disk := b.holdSyncs(t)
	a := write{size: 100_000}.append(t, p) // in the segment, which is synced
	disk.wait(t)
	if _, hw, _, end := p.Offsets(); hw != 10 || end != base+1 {
		t.Fatalf("high watermark %d, end %d", hw, end)
	}
	if at, _ := p.Resume(11, 0); at != 10 {
		t.Errorf("a commit in the gap goes on at %d", at)
	}
	disk.release()
	if _, err := wait(t, a); err != nil {
		t.Fatal(err)
	}
	if at, _ := p.Resume(11, 0); at != base {
		t.Errorf("a commit in the gap goes on at %d behind the first append", at)
	}
}

// TestCommitsInTheGapAreClamped: a committed offset that the lost site had and this one has not goes on at the end of the log, or where
// it was continued; others stay.
func TestCommitsInTheGapAreClamped(t *testing.T) {
	b := newSitesBroker(t)
	p := b.create(t, 0)
	want := func(offset int64, epoch int32, wantOffset int64, wantEpoch int32) {
		t.Helper()
		if o, e := p.Resume(offset, epoch); o != wantOffset || e != wantEpoch {
			t.Errorf("commit of %d in epoch %d: %d in epoch %d, want %d, %d", offset, epoch, o, e, wantOffset, wantEpoch)
		}
	}
	mustAppend(t, p, write{count: 10})
	want(25, 0, 25, 0) // one site: as it was committed
	follow(t, p, 1, 10)
	base := promote(t, p, 4, -1)
	want(7, 0, 7, 0)
	want(10, 0, 10, 0)
	want(11, 0, 10, 0)
	want(11, -1, 10, -1)
	want(base, 0, 10, 0)
	want(base+1, 0, base+1, 0)
	mustAppend(t, p, write{count: 5})
	want(7, 0, 7, 0)
	want(10, 0, 10, 0)
	want(11, 0, base, 0)
	want(11, -1, base, -1)
	want(base, leaderEpoch(4), base, leaderEpoch(4))
	want(base+3, leaderEpoch(4), base+3, leaderEpoch(4))
	want(-1, -1, -1, -1)
	follow(t, p, 5, base+5) // a following log of another gap, which the other site made
	ship(t, p, 5, write{count: 3}, 5*band, leaderEpoch(5))
	promoteAt(t, p, 8, 5*band+3, 5*band+3)
	want(base+6, leaderEpoch(4), 5*band, leaderEpoch(4))
	want(11, 0, base, 0)
	want(5*band+1, leaderEpoch(5), 5*band+1, leaderEpoch(5))
}

// TestStrangeBranchGoesBackToWhatWasShared: two failovers, between which the other site wrote records that this one never had: its
// readers go back to what both had, and see all that is here.
func TestStrangeBranchGoesBackToWhatWasShared(t *testing.T) {
	b := newSitesBroker(t)
	p := b.create(t, 0)
	mustAppend(t, p, write{count: 10})
	// The other site was promoted to 1 with offsets up to 6 and wrote; this one heard nothing and was failed over to itself.
	base := promote(t, p, 4, 6)
	stranger := leaderEpoch(1) + 2
	if e, end, err := p.EpochEnd(none, stranger); err != nil || end != 6 || e > stranger || e < 0 {
		t.Errorf("epoch %d ends at %d, %d, %v", stranger, e, end, err)
	}
	for _, epoch := range []int32{stranger, none} { // without an epoch, by the band
		if o, e := p.Resume(band+5, epoch); o != 6 || e != none {
			t.Errorf("commit in epoch %d: %d, %d", epoch, o, e)
		}
	}
	if o, e := p.Resume(4, stranger); o != 4 || e != stranger {
		t.Errorf("commit of what both have: %d, %d", o, e)
	}
	mustAppend(t, p, write{count: 2})
	if _, end, err := p.EpochEnd(none, stranger); err != nil || end != 6 {
		t.Errorf("after an append the epoch ends at %d, %v", end, err)
	}
	if _, end, err := p.EpochEnd(none, 0); err != nil || end != base {
		t.Errorf("the own branch ends at %d, %v", end, err)
	}
}

// TestNothingToGoBackTo: a standby that had received nothing when it was promoted: readers of the lost branch go on, since there is nothing
// that they have not seen.
func TestNothingToGoBackTo(t *testing.T) {
	b := newSitesBroker(t)
	p := b.create(t, 0)
	follow(t, p, 1, 0)
	base := promote(t, p, 2, 0)
	if _, end, err := p.EpochEnd(none, leaderEpoch(1)+2); err != nil || end != base {
		t.Errorf("the lost epoch ends at %d, %v", end, err)
	}
	if o, _ := p.Resume(7, leaderEpoch(1)+2); o != 0 {
		t.Errorf("commit: %d", o)
	}
	mustAppend(t, p, write{})
	if _, end, err := p.EpochEnd(none, leaderEpoch(1)+2); err != nil || end != base {
		t.Errorf("the lost epoch ends at %d, %v", end, err)
	}
	if o, _ := p.Resume(7, leaderEpoch(1)+2); o != base {
		t.Errorf("commit: %d", o)
	}
}

// TestProducersJumpOnceAfterAPromotion: sequences that were lost with the other site are passed over once, and no others; what is
// remembered is a duplicate, what is not is refused.
func TestProducersJumpOnceAfterAPromotion(t *testing.T) {
	b := newSitesBroker(t)
	p := b.create(t, 0)
	follow(t, p, 1, 0)
	for i := range int32(7) {
		ship(t, p, 1, write{producer: 9, sequence: i}, int64(i), leaderEpoch(1))
	}
	ship(t, p, 1, write{producer: 8, sequence: 0}, 7, leaderEpoch(1))
	ship(t, p, 1, write{producer: 7, sequence: math.MaxInt32}, 8, leaderEpoch(1))
	base := promote(t, p, 2, -1)
	if at := mustAppend(t, p, write{producer: 9, sequence: 6}); at != 6 { // its answer was lost
		t.Errorf("a duplicate was written at %d", at)
	}
	wantError(t, p, write{producer: 9, sequence: 1}, ErrOutOfOrderSequence) // too old to be remembered
	if at := mustAppend(t, p, write{producer: 9, sequence: 12}); at != base {
		t.Errorf("written at %d", at)
	}
	wantError(t, p, write{producer: 9, sequence: 9}, ErrOutOfOrderSequence) // skipped: never a duplicate
	wantError(t, p, write{producer: 9, sequence: 14}, ErrOutOfOrderSequence)
	mustAppend(t, p, write{producer: 9, sequence: 13})
	mustAppend(t, p, write{producer: 7, sequence: 4}) // sequences begin again behind the largest
	b.stop(t)
	b.start(t)
	p = b.get(t, 0)
	wantError(t, p, write{producer: 9, sequence: 15}, ErrOutOfOrderSequence)
	mustAppend(t, p, write{producer: 8, sequence: 3}) // after a restart as well
	wantError(t, p, write{producer: 8, sequence: 5}, ErrOutOfOrderSequence)
	follow(t, p, 4, -1)
	follow(t, p, 4, p.log.LogEnd())
	promoteAt(t, p, 5, p.log.LogEnd(), -1) // planned: nothing was lost
	wantError(t, p, write{producer: 8, sequence: 5}, ErrOutOfOrderSequence)
	mustAppend(t, p, write{producer: 8, sequence: 4})
}

// TestOneJumpIsInFlightAtATime: behind a batch that jumps the next one must be the next.
func TestOneJumpIsInFlightAtATime(t *testing.T) {
	ps := newProducers()
	ps.apply(nil, &entry.Row{ProducerID: 1, BaseSequence: 3, LastOffset: 3, ControlType: none}, 0)
	a := &Append{producerID: 1, firstSequence: 9, lastSequence: 9}
	row := func(sequence int32) *entry.Row { return &entry.Row{ProducerID: 1, BaseSequence: sequence} }
	if _, err := ps.check(row(9), 0); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Errorf("in the same band: %v", err)
	}
	if d, err := ps.check(row(9), 1); d != nil || err != nil {
		t.Fatalf("jump: %v, %v", d, err)
	}
	ps.begin(1, a)
	if _, err := ps.check(row(11), 1); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Errorf("second jump: %v", err)
	}
	if _, err := ps.check(row(10), 1); err != nil {
		t.Errorf("the next one: %v", err)
	}
	ps.end(1, a) // it was not written: the next try jumps again
	if _, err := ps.check(row(9), 1); err != nil {
		t.Errorf("again: %v", err)
	}
}

// TestFollowingLogIsReadAndNotWritten: what the link ships can be read from a replica that follows, by clients that ask for it; nothing is
// written, listed or taken away there.
func TestFollowingLogIsReadAndNotWritten(t *testing.T) {
	b := newSitesBroker(t)
	b.config.RetentionMs = 1000
	p := b.create(t, 0)
	follow(t, p, 4, -1)
	at := Position{CurrentEpoch: none, LastEpoch: none, Follower: true}
	if _, err := p.ReadAfter(at, 1<<20, ReadUncommitted, true); !errors.Is(err, ErrNotLeader) || p.Follows() {
		t.Errorf("not compared yet: %v", err)
	}
	follow(t, p, 4, 0)
	ship(t, p, 4, write{producer: 5, count: 4}, 0, leaderEpoch(4)+2)
	changed := make(chan struct{}, 1)
	defer p.Subscribe(changed)()
	ship(t, p, 4, write{producer: 5, sequence: 4, count: 4}, 4, leaderEpoch(4)+3)
	select {
	case <-changed:
	case <-time.After(patience):
		t.Fatal("nobody is told of shipped data")
	}
	for _, c := range []struct {
		epoch int32
		want  error
	}{
		{none, nil}, {leaderEpoch(4) + 3, nil}, {leaderEpoch(4) + 9, nil}, // an election without records is not shipped
		{leaderEpoch(4) + 2, ErrFencedEpoch}, {leaderEpoch(5), ErrUnknownEpoch},
	} {
		at.CurrentEpoch = c.epoch
		r, err := p.ReadAfter(at, 1<<20, ReadUncommitted, true)
		if !errors.Is(err, c.want) || err == nil && (r.Extent == nil || r.HW != 8) {
			t.Errorf("epoch %d: %+v, %v", c.epoch, r, err)
		}
		if r.Extent != nil {
			r.Extent.Release()
		}
	}
	at.CurrentEpoch, at.Offset = none, 9
	for _, last := range []int32{none, leaderEpoch(4)} {
		at.LastEpoch = last
		if r, err := p.ReadAfter(at, 1<<20, ReadUncommitted, true); !errors.Is(err, ErrNotLeader) || r.Diverging != nil {
			t.Errorf("above what is there, behind epoch %d: %+v, %v", last, r.Diverging, err)
		}
	}
	at.LastEpoch = none
	if _, err := p.read(Read{}, 9, 1<<20, ReadUncommitted, true); !errors.Is(err, ErrNotLeader) {
		t.Errorf("cut meanwhile: %v", err)
	}
	if _, err := p.Read(0, 1<<20, ReadUncommitted, none, true); !errors.Is(err, ErrNotLeader) {
		t.Errorf("as leader: %v", err)
	}
	wantError(t, p, write{}, ErrNotLeader)
	if _, _, _, err := p.ListOffset(LatestTimestamp, ReadUncommitted, none); !errors.Is(err, ErrNotLeader) {
		t.Errorf("list: %v", err)
	}
	if _, _, err := p.EpochEnd(none, 0); !errors.Is(err, ErrNotLeader) {
		t.Errorf("epoch: %v", err)
	}
	b.clock.add(48 * time.Hour)
	if _, err := p.Retain(waitContext(t), b.clock.Now()); err != nil {
		t.Errorf("retention: %v", err)
	}
	if n := p.expireProducers(b.clock.Now(), time.Hour); n != 0 {
		t.Errorf("%d producers were forgotten", n)
	}
	if start, _, _, _ := p.Offsets(); start != 0 {
		t.Errorf("the log starts at %d", start)
	}
	promote(t, p, 5, -1)
	if n := p.expireProducers(b.clock.Now(), time.Hour); n != 1 {
		t.Errorf("%d producers were forgotten once the log is this site's", n)
	}
}

// TestFencedLogNamesNobody: behind a fence a produce is refused as one for another broker, and nothing is stored for it.
func TestFencedLogNamesNobody(t *testing.T) {
	b := newSitesBroker(t)
	p := b.create(t, 0)
	mustAppend(t, p, write{})
	p.control(t, entry.Fence, 0, entry.Fencing{Target: 1, Next: -1}.Append(nil))
	last := p.group.Storage().LastIndex()
	wantError(t, p, write{}, ErrNotLeader)
	if now := p.group.Storage().LastIndex(); now != last {
		t.Errorf("%d entries were stored", now-last)
	}
	p.control(t, entry.Unfence, 0, entry.UnfenceBody(1))
	mustAppend(t, p, write{})
	if r, err := p.Read(0, 1<<20, ReadUncommitted, none, true); err != nil || r.HW != 2 {
		t.Error(fmt.Sprint(r, err))
	} else {
		r.Extent.Release()
	}
}
