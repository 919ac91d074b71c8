package entry

import (
	"errors"
	"testing"
)

// siteLog drives a State and a Lineage as one leadership of a log does.
type siteLog struct {
	t       *testing.T
	s       State
	lineage Lineage
	term    uint64
}

func newSiteLog(t *testing.T) *siteLog {
	return &siteLog{t: t, s: NewSitesState(0), term: 3}
}

// next gives h the term and sequence that the log expects.
func (l *siteLog) next(h Header) Header {
	h.ValidatedTerm, h.AppendSequence = l.term, 1
	if l.s.LastTerm == l.term {
		h.AppendSequence = l.s.AppendSequence + 1
	}
	return h
}

func (l *siteLog) admit(h Header) VoidReason {
	h = l.next(h)
	return l.s.Admit(&h, l.term)
}

func (l *siteLog) store(h Header) Header {
	l.t.Helper()
	h = l.next(h)
	if r := l.s.Admit(&h, l.term); r != Admitted {
		l.t.Fatalf("kind %d of site epoch %d is void: %v", h.Kind, h.SiteEpoch, r)
	}
	l.s.Stamp(&h, l.term)
	if err := l.s.Advance(&h); err != nil {
		l.t.Fatal(err)
	}
	if err := l.lineage.Advance(&h); err != nil {
		l.t.Fatal(err)
	}
	return h
}

func produce(siteEpoch uint32, n int32) Header {
	h := proposal(0, 0, n)
	h.SiteEpoch = siteEpoch
	return h
}

func linked(siteEpoch uint32, base int64, n int32, leaderEpoch int32) Header {
	h := produce(siteEpoch, n)
	r := &h.Rows[0]
	r.BaseOffset, r.LastOffset, r.LeaderEpoch = base, base+int64(n)-1, leaderEpoch
	return h
}

func epochBase(siteEpoch uint32) Header {
	return Header{Kind: EpochBase, SiteEpoch: siteEpoch, Body: EpochBaseBody(3, 0)}
}

func promote(siteEpoch uint32, base, shared int64) Header {
	return Header{Kind: Promote, SiteEpoch: siteEpoch, Body: Promotion{SiteEpoch: siteEpoch, Base: base, Shared: shared}.Append(nil)}
}

func follow(siteEpoch uint32, shared int64) Header {
	return Header{Kind: Follow, SiteEpoch: siteEpoch, Body: Followed{siteEpoch, shared}.Append(nil)}
}

func fence(siteEpoch, target uint32) Header {
	return Header{Kind: Fence, SiteEpoch: siteEpoch, Body: Fencing{target, UnknownOffset}.Append(nil)}
}

func unfence(siteEpoch, target uint32) Header {
	return Header{Kind: Unfence, SiteEpoch: siteEpoch, Body: UnfenceBody(target)}
}

func truncate(siteEpoch uint32, offset int64, leaderEpoch int32) Header {
	return Header{Kind: TruncateTo, SiteEpoch: siteEpoch, Body: Truncation{offset, leaderEpoch}.Append(nil)}
}

const epoch1 = 1 << LeaderEpochBits // first leader epoch of site epoch 1

// writing is a log of site epoch 0 that takes produces, with 5 records.
func writing(t *testing.T) *siteLog {
	l := newSiteLog(t)
	l.store(epochBase(0))
	l.store(produce(0, 5))
	return l
}

// following is a standby's log with the same 5 records.
func following(t *testing.T) *siteLog {
	l := newSiteLog(t)
	l.store(follow(0, UnknownOffset))
	l.store(follow(0, 0))
	l.store(linked(0, 0, 5, 0))
	return l
}

func TestSiteRulesRefuse(t *testing.T) {
	fenced := func(t *testing.T) *siteLog {
		l := writing(t)
		l.store(fence(0, 1))
		return l
	}
	returned := func(t *testing.T) *siteLog { // an old active that has stepped down for epoch 1, and is not compared
		l := writing(t)
		l.store(follow(1, UnknownOffset))
		return l
	}
	promoted := func(t *testing.T) *siteLog {
		l := following(t)
		l.store(promote(1, BandStart(1), 5))
		return l
	}
	band := BandStart(1)
	for _, c := range []struct {
		name string
		log  func(*testing.T) *siteLog
		h    Header
		want VoidReason
	}{
		{"produce behind a fence", fenced, produce(0, 1), VoidFenced},
		{"second fence", fenced, fence(0, 5), VoidFenced},
		{"un-fence of another target", fenced, unfence(0, 5), VoidRole},
		{"un-fence", fenced, unfence(0, 1), Admitted},
		{"fence for an epoch that is past", promoted, fence(1, 1), VoidRole},
		{"fence of a log that follows", following, fence(0, 1), VoidRole},
		{"produce at a log that follows", following, produce(0, 1), VoidRole},
		{"epoch base at a log that follows", following, epochBase(0), VoidRole},
		{"link append", following, linked(0, 5, 1, 0), Admitted},
		{"link append with a gap", following, linked(0, 9, 1, 0), Admitted},
		{"link append below the log end offset", following, linked(0, 4, 1, 0), VoidLink},
		{"link append of a later site epoch's records", following, linked(0, band, 1, epoch1), VoidSiteEpoch},
		{"link append for an epoch not followed yet", following, linked(1, band, 1, epoch1), VoidSiteEpoch},
		{"link append at the last offset of the band", following, linked(0, band-1, 1, 0), Admitted},
		{"link append past the band", following, linked(0, band-1, 2, 0), VoidBand},
		{"link append at a log that writes", writing, linked(0, 5, 1, 0), VoidRole},
		{"link append that comes after the promotion", promoted, linked(0, 5, 1, 0), VoidSiteEpoch},
		{"link append of the own epoch", promoted, linked(1, band, 1, epoch1), VoidRole},
		{"link append before the comparison", returned, linked(1, 5, 1, 0), VoidRole},
		{"produce that comes after the follow", returned, produce(0, 1), VoidSiteEpoch},
		{"produce without an epoch base", promoted, produce(1, 1), VoidEpochBound},
		{"produce for an epoch not promoted to yet", writing, produce(1, 1), VoidSiteEpoch},
		{"promote again", promoted, promote(1, band, 5), VoidSiteEpoch},
		{"promote to an older epoch", promoted, promote(0, 5, 5), VoidSiteEpoch},
		{"promote with a base below the log end offset", following, promote(1, 4, 4), VoidBand},
		{"promote with a base past its band", following, promote(1, BandEnd(1), 4), VoidBand},
		{"promote whose body names another epoch", following, Header{Kind: Promote, SiteEpoch: 2, Body: promote(1, band, 5).Body}, VoidSiteEpoch},
		{"follow of the own epoch", promoted, follow(1, UnknownOffset), VoidRole},
		{"follow of the epoch that it writes from the start", writing, follow(0, UnknownOffset), VoidRole},
		{"follow that has compared more than there is", returned, follow(1, 6), VoidLink},
		{"truncate", returned, truncate(1, 3, 0), Admitted},
		{"truncate above the end", returned, truncate(1, 6, 0), VoidRole},
		{"truncate of a log that writes", writing, truncate(0, 3, 0), VoidRole},
		{"truncate after the comparison", following, truncate(0, 3, 0), VoidRole},
		{"truncate of an older epoch", returned, truncate(0, 3, 0), VoidSiteEpoch},
		{"body of the wrong length", following, Header{Kind: Promote, SiteEpoch: 1, Body: []byte{1}}, VoidSiteEpoch},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.log(t).admit(c.h); got != c.want {
				t.Fatalf("got %v, want %v", got, c.want)
			}
		})
	}
}

// What came from the site that is followed is never cut: a late comparison may not know it.
func TestTruncateSparesTheFollowedEpoch(t *testing.T) {
	l := newSiteLog(t)
	l.store(follow(1, UnknownOffset))
	l.store(follow(1, 0))
	l.store(linked(1, 0, 5, 0))
	l.store(linked(1, BandStart(1), 2, epoch1))
	l.store(follow(1, UnknownOffset)) // as if it began again
	if got := l.admit(truncate(1, 3, 0)); got != VoidSiteEpoch {
		t.Fatalf("got %v", got)
	}
}

func TestPromotionBeginsAtItsBase(t *testing.T) {
	l := following(t)
	l.store(promote(1, BandStart(1), 5))
	if l.s.NextOffset != 5 || l.s.NextWrite() != BandStart(1) {
		t.Fatalf("log end offset %d, next write %d", l.s.NextOffset, l.s.NextWrite())
	}
	l.store(epochBase(1))
	h := l.store(produce(1, 2))
	if h.Rows[0].BaseOffset != BandStart(1) || h.Rows[0].LeaderEpoch != epoch1 {
		t.Fatalf("first batch at %d, leader epoch %d", h.Rows[0].BaseOffset, h.Rows[0].LeaderEpoch)
	}
	l.store(follow(2, UnknownOffset))
	if l.s.Base != 0 || l.s.FenceTarget != NoFence || l.s.HasEpochBase {
		t.Fatalf("behind a follow: %+v", l.s)
	}
}

func TestFenceCarriesTheUnusedBase(t *testing.T) {
	l := following(t)
	l.store(promote(1, BandStart(1), 5))
	l.store(epochBase(1))
	h := l.store(fence(1, 4))
	if f, err := ParseFencing(h.Body); err != nil || f != (Fencing{4, BandStart(1)}) {
		t.Fatalf("%+v, %v", f, err)
	}
}

// Below level 2 the kinds of two sites are refused as before, and a log that knows of no second site decides as before.
func TestLevelOneRefusesSites(t *testing.T) {
	s := NewState(0)
	for _, h := range []Header{promote(1, BandStart(1), 0), follow(1, 0), fence(0, 1), unfence(0, 1), truncate(0, 0, -1)} {
		if err := s.Advance(&h); !errors.Is(err, ErrKind) {
			t.Fatalf("kind %d: %v", h.Kind, err)
		}
	}
}

func TestAdvanceRefusesDamagedSites(t *testing.T) {
	for _, h := range []Header{
		promote(0, 5, 5), promote(1, 4, 4), follow(1<<SiteEpochBits, 0), {Kind: Promote, Body: make([]byte, 23)}, {Kind: Follow, Body: make([]byte, 15)},
		{Kind: Fence}, {Kind: Unfence, Body: make([]byte, 7)}, truncate(0, 6, 0), {Kind: TruncateTo}, truncate(0, -1, 0),
		{Kind: Fence, Body: Fencing{1 << SiteEpochBits, 0}.Append(nil)}, promote(1, BandStart(1), BandStart(1)+1),
	} {
		l := following(t)
		before := l.s
		if err := l.s.Advance(&h); !errors.Is(err, ErrCorrupt) || l.s != before {
			t.Errorf("kind %d, body %x: %v", h.Kind, h.Body, err)
		}
	}
}

func FuzzSiteBodies(f *testing.F) {
	f.Add(uint8(Promote), promote(1, BandStart(1), 5).Body)
	f.Add(uint8(Follow), follow(1, 5).Body)
	f.Add(uint8(Fence), Fencing{4, 7}.Append(nil))
	f.Add(uint8(Unfence), UnfenceBody(4))
	f.Add(uint8(TruncateTo), Truncation{3, 0}.Append(nil))
	f.Fuzz(func(t *testing.T, kind uint8, body []byte) {
		h := Header{Kind: Kind(kind), SiteEpoch: 1, Body: body}
		l := following(t)
		s, lineage := l.s, l.lineage.Clone()
		admitted := l.admit(h) == Admitted
		h = l.next(h)
		err := s.Advance(&h)
		if admitted && err != nil && kind >= uint8(Promote) && kind <= uint8(TruncateTo) {
			t.Fatalf("admitted, then: %v", err)
		}
		if err == nil && lineage.Advance(&h) != nil {
			t.Fatal("the state accepts what the lineage refuses")
		}
	})
}
