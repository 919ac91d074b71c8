package entry

import (
	"errors"
	"testing"
)

// proposal is a data entry of n records that a leader of term proposes as its seq-th.
func proposal(term, seq uint64, n int32) Header {
	return Header{Kind: Data, ValidatedTerm: term, AppendSequence: seq, PayloadLength: 70,
		Rows: []Row{{Length: 70, BaseOffset: -1, LastOffset: -1, LeaderEpoch: -1, LastOffsetDelta: n - 1, ControlType: -1}}}
}

func led(t *testing.T, term uint64) State {
	t.Helper()
	s := NewState(0)
	base := Header{Kind: EpochBase, ValidatedTerm: term, AppendSequence: 1, Body: EpochBaseBody(term, 0)}
	if r := s.Admit(&base, term); r != Admitted {
		t.Fatalf("epoch base: %v", r)
	}
	if err := s.Advance(&base); err != nil {
		t.Fatal(err)
	}
	return s
}

func store(t *testing.T, s *State, h Header, term uint64) {
	t.Helper()
	if r := s.Admit(&h, term); r != Admitted {
		t.Fatalf("sequence %d: %v", h.AppendSequence, r)
	}
	s.Stamp(&h, term)
	if err := s.Advance(&h); err != nil {
		t.Fatal(err)
	}
}

func TestAdmitStampsOffsetsAndEpoch(t *testing.T) {
	s := led(t, 4)
	store(t, &s, proposal(4, 2, 3), 4)
	if s.NextOffset != 3 || s.LastEpoch != 0 {
		t.Fatalf("after 3 records: next %d, epoch %d", s.NextOffset, s.LastEpoch)
	}
	store(t, &s, proposal(6, 1, 1), 6) // two elections later, the sequence starts again
	if s.NextOffset != 4 || s.LastEpoch != 2 {
		t.Fatalf("in term 6: next %d, epoch %d", s.NextOffset, s.LastEpoch)
	}
}

func TestAdmitRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		h    func() Header
		mend func(*State)
		term uint64
		want VoidReason
	}{
		{"validated in an older term", func() Header { return proposal(4, 2, 1) }, nil, 5, VoidTerm},
		{"sequence skipped", func() Header { return proposal(4, 3, 1) }, nil, 4, VoidSequence},
		{"sequence repeated", func() Header { return proposal(4, 1, 1) }, nil, 4, VoidSequence},
		{"new leadership begins above 1", func() Header { return proposal(5, 2, 1) }, nil, 5, VoidSequence},
		{"older site epoch", func() Header { return proposal(4, 2, 1) }, func(s *State) { s.SiteEpoch = 1 }, 4, VoidSiteEpoch},
		{"fenced", func() Header { return proposal(4, 2, 1) }, func(s *State) { s.FenceTarget = 1 }, 4, VoidFenced},
		{"band full", func() Header { return proposal(4, 2, 2) }, func(s *State) { s.NextOffset = 1<<OffsetBandBits - 1 }, 4, VoidBand},
		{"band filled to the brim", func() Header { return proposal(4, 2, 1) }, func(s *State) { s.NextOffset = 1<<OffsetBandBits - 1 }, 4, Admitted},
		{"epochs exhausted", func() Header { return proposal(4, 2, 1) }, func(s *State) { s.EpochBase = 1 << LeaderEpochBits }, 4, VoidEpochBound},
		{"no epoch base yet", func() Header { return proposal(4, 2, 1) }, func(s *State) { s.HasEpochBase = false }, 4, VoidEpochBound},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := led(t, 4)
			if c.mend != nil {
				c.mend(&s)
			}
			h := c.h()
			if got := s.Admit(&h, c.term); got != c.want {
				t.Fatalf("got %v, want %v", got, c.want)
			}
		})
	}
}

// One lost proposal voids all that follow it in the same leadership, so that a later batch is never stored without an
// earlier one.
func TestVoidDoesNotAdvanceTheSequence(t *testing.T) {
	s := led(t, 4)
	late := proposal(4, 3, 1)
	late.MakeVoid(s.Admit(&late, 4))
	if err := s.Advance(&late); err != nil {
		t.Fatal(err)
	}
	next := proposal(4, 4, 1)
	if got := s.Admit(&next, 4); got != VoidSequence {
		t.Fatalf("the entry behind a void: %v", got)
	}
	store(t, &s, proposal(4, 2, 1), 4) // the partition resynchronised
}

func TestAdvanceRefusesToGoBack(t *testing.T) {
	s := led(t, 4)
	store(t, &s, proposal(4, 2, 5), 4)
	h := proposal(4, 3, 1)
	s.Stamp(&h, 4)
	h.Rows[0].BaseOffset, h.Rows[0].LastOffset = 4, 4
	if err := s.Advance(&h); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("offset 4 behind 5: %v", err)
	}
	h.Rows[0].BaseOffset, h.Rows[0].LastOffset = 9, 9 // a gap is legal
	if err := s.Advance(&h); err != nil || s.NextOffset != 10 {
		t.Fatalf("gap: %v, next %d", err, s.NextOffset)
	}
	for kind := Promote; kind <= VoidTransactions; kind++ {
		if kind == LogStart {
			continue
		}
		if err := s.Advance(&Header{Kind: kind}); !errors.Is(err, ErrKind) {
			t.Fatalf("reserved kind %d: %v", kind, err)
		}
	}
}
