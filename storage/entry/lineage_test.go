package entry

import "testing"

// branch is a lineage with the given record counts by site epoch: epoch e holds n records from its band's start on.
func branch(counts map[uint32]int32) *Lineage {
	var l Lineage
	for e := range uint32(16) {
		if n := counts[e]; n > 0 {
			h := linked(e, BandStart(e), n, int32(e<<LeaderEpochBits))
			if err := l.Advance(&h); err != nil {
				panic(err)
			}
		}
	}
	return &l
}

func TestDivergence(t *testing.T) {
	b1 := BandStart(1)
	for _, c := range []struct {
		name       string
		mine, them map[uint32]int32
		below      uint32
		keep       int64
		divergent  bool
	}{
		{"equal", map[uint32]int32{0: 5}, map[uint32]int32{0: 5}, 1, 0, false},
		{"prefix", map[uint32]int32{0: 5}, map[uint32]int32{0: 7, 1: 2}, 1, 0, false},
		{"empty", nil, map[uint32]int32{0: 7}, 1, 0, false},
		{"tail that was not shipped", map[uint32]int32{0: 7}, map[uint32]int32{0: 5, 1: 2}, 1, 5, true},
		{"nothing was shipped", map[uint32]int32{0: 7}, map[uint32]int32{1: 2}, 1, 0, true},
		{"epoch that the other never had", map[uint32]int32{0: 5, 4: 2}, map[uint32]int32{0: 7, 5: 1}, 5, 5, true},
		{"tail of the second epoch", map[uint32]int32{0: 5, 1: 4}, map[uint32]int32{0: 5, 1: 3, 4: 1}, 4, b1 + 3, true},
		{"two epochs that the other never had", map[uint32]int32{0: 5, 1: 4, 4: 3}, map[uint32]int32{0: 5, 1: 4, 5: 1}, 5, b1 + 4, true},
		{"the followed epoch is not looked at", map[uint32]int32{0: 5, 1: 4}, map[uint32]int32{0: 5, 1: 2}, 1, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if keep, divergent := branch(c.mine).Divergence(branch(c.them), c.below); keep != c.keep || divergent != c.divergent {
				t.Fatalf("keeps %d, divergent %v; want %d, %v", keep, divergent, c.keep, c.divergent)
			}
		})
	}
}

// What retention has deleted of a log is not compared: it can not be lost any more, and the other log may have been begun behind it. Where the other
// log has nothing of what is left either, the logs part where they did.
func TestDivergenceLooksAtWhatIsLeft(t *testing.T) {
	b4 := BandStart(4)
	for _, c := range []struct {
		name       string
		mine, them map[uint32]int32
		start      int64
		keep       int64
		divergent  bool
	}{
		{"begun behind it", map[uint32]int32{0: 5, 4: 7}, map[uint32]int32{4: 7, 5: 1}, b4, 0, false},
		{"begun behind it, and the tail was not shipped", map[uint32]int32{0: 5, 4: 7}, map[uint32]int32{4: 3, 5: 1}, b4, b4 + 3, true},
		{"begun behind two of them", map[uint32]int32{0: 5, 1: 3, 4: 7}, map[uint32]int32{4: 7, 5: 1}, b4, 0, false},
		{"begun later than it was", map[uint32]int32{0: 5, 4: 7}, map[uint32]int32{4: 7, 5: 1}, 5, 0, false},
		{"a record of it is left", map[uint32]int32{0: 5, 4: 7}, map[uint32]int32{4: 7, 5: 1}, 4, 0, true},
		{"other branch", map[uint32]int32{0: 5, 4: 7}, map[uint32]int32{0: 3, 5: 1}, b4, 3, true},
		{"other branch, nothing is left", map[uint32]int32{0: 5}, map[uint32]int32{0: 3, 5: 1}, 5, 3, true},
		{"nothing is left, and nothing is there", map[uint32]int32{0: 5}, map[uint32]int32{5: 1}, 5, 0, true},
		{"what is left came from there", map[uint32]int32{0: 5, 5: 1}, map[uint32]int32{5: 2}, BandStart(5), 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			mine := branch(c.mine)
			mine.LogStart = c.start
			if keep, divergent := mine.Divergence(branch(c.them), 5); keep != c.keep || divergent != c.divergent {
				t.Fatalf("keeps %d, divergent %v; want %d, %v", keep, divergent, c.keep, c.divergent)
			}
		})
	}
}

func TestHolds(t *testing.T) {
	l := branch(map[uint32]int32{0: 5, 4: 2})
	for _, c := range []struct {
		next  int64
		epoch int32
		want  bool
	}{
		{0, -1, true}, {3, 0, true}, {5, 0, true}, {6, 0, false}, {0, 0, false},
		{BandStart(4) + 1, 4 << LeaderEpochBits, true}, {5, 4 << LeaderEpochBits, false}, {BandStart(1) + 1, epoch1, false},
	} {
		if got := l.Holds(c.next, c.epoch); got != c.want {
			t.Errorf("position %d of leader epoch %d: %v", c.next, c.epoch, got)
		}
	}
}

// A reader never passes over a record: positions of epochs that this log cut or never had go back to what both sites shared.
func TestResume(t *testing.T) {
	l := newSiteLog(t)
	l.store(follow(0, UnknownOffset))
	l.store(follow(0, 0))
	l.store(linked(0, 0, 5, 0))
	l.store(promote(4, BandStart(4), 3))
	l.store(epochBase(4))
	l.store(produce(4, 2))
	for _, c := range []struct {
		name      string
		offset    int64
		siteEpoch uint32
		acked     int64
		want      int64
	}{
		{"own epoch", BandStart(4) + 1, 4, -1, BandStart(4) + 1},
		{"in what was shipped", 4, 0, -1, 4},
		{"behind what was shipped", 9, 0, -1, 5},
		{"other site's epoch, left below our promotion", BandStart(1) + 3, 1, -1, 3},
		{"other site's later epoch", BandStart(5) + 3, 5, -1, 3},
		{"other site's later epoch, acknowledged since", BandStart(5) + 3, 5, 4, 4},
		{"nothing read", 0, 0, -1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := l.lineage.Resume(c.offset, c.siteEpoch, 4, c.acked); got != c.want {
				t.Fatalf("got %d, want %d", got, c.want)
			}
		})
	}
}

func TestLineageForgetsWhatIsCut(t *testing.T) {
	l := following(t)
	l.store(promote(1, BandStart(1), 5))
	l.store(epochBase(1))
	l.store(produce(1, 4))
	l.store(follow(4, UnknownOffset))
	l.store(truncate(4, 3, 0))
	if end := l.lineage.end(1); end != -1 {
		t.Fatalf("epoch 1 ends at %d", end)
	}
	if end := l.lineage.end(0); end != 3 {
		t.Fatalf("epoch 0 ends at %d", end)
	}
	l.store(follow(4, 3))
	if got := l.lineage.Resume(BandStart(1)+2, 1, 4, -1); got != 3 {
		t.Fatalf("a position of the epoch that was cut goes on at %d", got)
	}
	if l.s.Cut != (Cut{4, 3}) {
		t.Fatalf("newest cut %+v", l.s.Cut)
	}
}

func TestRecordsBelow(t *testing.T) {
	l := Lineage{LogStart: 5, Spans: []EpochSpan{{SiteEpoch: 0, Start: 0, End: 10}, {SiteEpoch: 1, Start: -1, End: -1}, {SiteEpoch: 4, Start: 100, End: 110}}}
	for offset, want := range map[int64]bool{0: false, 5: false, 6: true, 10: true, 100: true} {
		if l.RecordsBelow(offset) != want {
			t.Errorf("below %d: %v", offset, !want)
		}
	}
	l.LogStart = 10
	if l.RecordsBelow(100) || !l.RecordsBelow(101) {
		t.Error("what is deleted counts, or what is left does not")
	}
}
