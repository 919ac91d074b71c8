package site

import (
	"testing"

	"github.com/tandembroker/tandem/storage/entry"
)

func TestSenderHalts(t *testing.T) {
	for _, c := range []struct {
		name     string
		end      Position
		logStart int64
		want     HaltReason
	}{
		{"more than the active has", Position{4, 0}, 0, HaltDivergent},
		{"an epoch that the active never had", Position{2, 1 << entry.LeaderEpochBits}, 0, HaltDivergent},
		{"what retention has removed is missing", Position{1, 0}, 2, HaltGap},
		{"all that is left is there", Position{2, 0}, 2, Running},
	} {
		t.Run(c.name, func(t *testing.T) {
			log, v := active(t, 3)
			log.lineage.LogStart = c.logStart
			l := NewLink(linkID, LinkOptions{})
			l.Step(0, v, log.view(), Received{Ack{Partition: linkID, Boot: 2, End: c.end}})
			if l.Halted() != c.want {
				t.Fatalf("%v", l.Halted())
			}
		})
	}
}

// A standby that has begun a partition anew is shipped all of it, also by an active that had halted for its log, and what is late of the log
// before says nothing.
func TestLogBegunAnewIsShippedWhole(t *testing.T) {
	ack := func(log uint32, end Position) Received {
		return Received{Ack{Partition: linkID, Boot: 2, Log: log, End: end}}
	}
	for _, c := range []struct {
		name  string
		end   Position
		start int64
		want  HaltReason
	}{{"divergent", Position{9, 0}, 0, HaltDivergent}, {"gap", Position{1, 0}, 2, HaltGap}, {"all is well", Position{5, 0}, 0, Running}} {
		log, v := active(t, 5)
		log.lineage.LogStart = c.start
		l := NewLink(linkID, LinkOptions{})
		l.Step(0, v, log.view(), ack(1, c.end))
		l.Step(0, v, log.view(), ack(1, Position{0, -1})) // the same log: late, or out of order
		if l.Halted() != c.want {
			t.Fatalf("%s: %v", c.name, l.Halted())
		}
		if _, ok := only[Send](t, l.Step(0, v, log.view(), Received{Compare{Partition: linkID}})).Message.(Compared); !ok {
			t.Fatalf("%s: the log that is begun anew gets no answer", c.name)
		}
		if from := only[Ship](t, l.Step(0, v, log.view(), ack(2, Position{0, -1}))).From; from.Next != 0 || l.Halted() != Running || l.PeerLog() != 2 {
			t.Fatalf("%s: shipped from %v, %v", c.name, from, l.Halted())
		}
		l.Step(0, v, log.view(), ack(1, Position{5, 0}))
		if lag, known := l.Lag(log.view()); lag != 5 || !known {
			t.Fatalf("%s: lag %d, %v: the log that was dropped counts", c.name, lag, known)
		}
	}
}

// epochAt is a log whose record at each offset has that leader epoch.
type epochAt map[int64]int32

func (e epochAt) Wrote(offset int64, epoch int32) bool {
	wrote, known := e[offset]
	return !known || wrote == epoch
}

// Two records of one site epoch at the same offset, of which one was written after the active had lost the other, have different leader epochs: the
// logs are not the same, however far the active has got since.
func TestLeaderEpochTellsLogsApart(t *testing.T) {
	for _, c := range []struct {
		name   string
		epochs epochAt
		end    Position
		want   HaltReason
	}{
		{"same", epochAt{2: 0, 3: 4}, Position{3, 0}, Running},
		{"written again", epochAt{2: 4, 3: 4}, Position{3, 0}, HaltDivergent},
		{"not known", epochAt{}, Position{3, 0}, Running},
		{"of the same leader", epochAt{2: 4}, Position{3, 4}, Running},
		{"empty", epochAt{0: 4, 2: 4}, Position{0, -1}, Running},
	} {
		log, v := active(t, 5)
		view := log.view()
		view.Epochs = c.epochs
		l := NewLink(linkID, LinkOptions{})
		if l.Step(0, v, view, Received{Ack{Partition: linkID, Boot: 2, End: c.end}}); l.Halted() != c.want {
			t.Errorf("%s: %v", c.name, l.Halted())
		}
	}
}

// A standby whose disk was replaced begins to count incarnations anew: what halted the link for the log before does not hold this one up. One that was
// only started again has the same log.
func TestEmptiedStandbyEndsAHalt(t *testing.T) {
	ack := func(boot Boot, end Position) Received {
		return Received{Ack{Partition: linkID, Boot: boot, Log: 3, End: end}}
	}
	log, v := active(t, 5)
	l := NewLink(linkID, LinkOptions{})
	l.Step(0, v, log.view(), Received{Ack{Partition: linkID, Boot: 2, Log: 7, End: Position{9, 0}}})
	v.PeerBoot = 3
	for name, in := range map[string]LinkInput{"late": ack(1, Position{0, -1}), "of the run that is over": ack(2, Position{0, -1}), "started again": ack(3, Position{9, 0})} {
		if l.Step(0, v, log.view(), in); l.Halted() != HaltDivergent {
			t.Fatalf("%s: %v", name, l.Halted())
		}
	}
	v.PeerBoot = 4
	if from := only[Ship](t, l.Step(0, v, log.view(), ack(4, Position{0, -1}))).From; from.Next != 0 || l.Halted() != Running {
		t.Fatalf("shipped from %v, %v", from, l.Halted())
	}
}

// What a standby says of the log that it has begun anew may be lost: an active whose link has halted asks.
func TestHaltedLinkAsks(t *testing.T) {
	log, v := active(t, 5)
	l := NewLink(linkID, LinkOptions{})
	l.Step(0, v, log.view(), Received{Ack{Partition: linkID, Boot: 2, Log: 1, End: Position{9, 0}}})
	if _, ok := only[Send](t, l.Step(0, v, log.view(), Tick{})).Message.(Probe); !ok || l.Halted() != HaltDivergent {
		t.Fatal("it does not ask")
	}
	if effects := l.Step(0, v, log.view(), LogMoved{}); len(effects) > 0 {
		t.Fatalf("%+v", effects)
	}
	v.Serving = false
	if effects := l.Step(0, v, log.view(), Tick{}); len(effects) > 0 {
		t.Fatalf("%+v by an active that does not serve", effects)
	}
}

// A link has halted for how the logs were under one site epoch. Under another one they are compared anew.
func TestAnotherSiteEpochEndsAHalt(t *testing.T) {
	for _, role := range []Role{Active, Standby} {
		log, v := active(t, 5)
		l := NewLink(linkID, LinkOptions{})
		l.Step(0, v, log.view(), Received{Ack{Partition: linkID, Boot: 2, Log: 1, End: Position{9, 0}}})
		v.Role, v.Epoch = role, 4
		if e := only[Propose](t, l.Step(0, v, log.view(), LogMoved{})); e.Header.SiteEpoch != 4 || l.Halted() != Running {
			t.Fatalf("%v: %+v, %v", role, e, l.Halted())
		}
	}
	log, v := standby(t)
	l := NewLink(linkID, LinkOptions{})
	other := linkID
	other.Topic[0] = 7
	l.Step(0, v, log.view(), Received{Probe{Partition: other}})
	v.Epoch = 4
	if l.Step(0, v, log.view(), Tick{}); l.Halted() != HaltRecreated {
		t.Fatal("a topic that was created anew is the same one by now")
	}
}

// Both sites have added the partition, each in a band of its own, and nobody has written to it: nothing is lacking, and the one is drained where
// it stands.
func TestEmptyLogsThatBeginAtDifferentOffsetsAreEqual(t *testing.T) {
	for _, c := range []struct{ active, standby, next int64 }{
		{entry.BandStart(9), entry.BandStart(8), entry.BandStart(9)},
		{entry.BandStart(5), entry.BandStart(8), entry.BandStart(8)},
	} {
		log, v := active(t, 0)
		log.state.NextOffset, log.lineage.LogStart = c.active, c.active
		l := NewLink(linkID, LinkOptions{})
		l.Step(0, v, log.view(), Tick{})
		if effects := l.Step(0, v, log.view(), Received{Ack{Partition: linkID, Boot: 2, End: Position{c.standby, -1}, LogStart: c.standby}}); effects != nil {
			t.Fatalf("%+v", effects)
		}
		if lag, known := l.Lag(log.view()); lag != 0 || !known || l.Acked() != c.standby {
			t.Errorf("lag %d, known %v, acknowledged to %d", lag, known, l.Acked())
		}
		if !l.Quiet(v, log.view()) {
			t.Error("something is due")
		}
		v.Fencing = 13
		log.store(only[Propose](t, l.Step(0, v, log.view(), Tick{})).Header)
		l.Step(0, v, log.view(), Settled{Kind: entry.Fence})
		d := only[Send](t, l.Step(0, v, log.view(), Tick{})).Message.(Drain)
		if d.End != (Position{c.standby, -1}) || d.Next != c.next {
			t.Errorf("%+v", d)
		}
	}
	log, v := active(t, 0)
	log.state.NextOffset = 1000
	log.produce(1)
	l := NewLink(linkID, LinkOptions{})
	l.Step(0, v, log.view(), Tick{})
	ship := only[Ship](t, l.Step(0, v, log.view(), Received{Ack{Partition: linkID, Boot: 2, End: Position{10, -1}}}))
	if lag, _ := l.Lag(log.view()); lag != 991 || ship.From.Next != 10 {
		t.Errorf("the first record: lag %d, %+v", lag, ship)
	}
}

// A standby of which all was deleted, and the rest cut, knows of no leader epoch: it is drained where it says that it ends. Where records are left
// here that it does not have, it can not be drained, nor may it seem to have them.
func TestStandbyWithNothingLeftIsDrained(t *testing.T) {
	for _, c := range []struct {
		name       string
		start      int64 // of the active's log
		last, says int32 // leader epochs: of its last record, and of that which the standby ends with
		drained    bool
	}{
		{"all is deleted here too", 5, 0, -1, true},
		{"all is deleted, and it is this log that does not know", 5, -1, 0, true},
		{"records are left here", 4, 0, -1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			log, v := active(t, 5)
			log.lineage.LogStart, log.state.LastEpoch = c.start, c.last
			l := NewLink(linkID, LinkOptions{})
			l.Step(0, v, log.view(), Tick{})
			effects := l.Step(0, v, log.view(), Received{Ack{Partition: linkID, Boot: 2, End: Position{5, c.says}, LogStart: 5}})
			if !c.drained {
				if h := only[Halt](t, effects); h.Reason != HaltDivergent {
					t.Fatal(h.Reason)
				}
				return
			}
			v.Fencing = 1
			log.store(only[Propose](t, l.Step(0, v, log.view(), Tick{})).Header)
			l.Step(0, v, log.view(), Settled{Kind: entry.Fence})
			if d := only[Send](t, l.Step(0, v, log.view(), Tick{})).Message.(Drain); d.End != (Position{5, c.says}) || d.Next != 5 {
				t.Errorf("%+v", d)
			}
		})
	}
}

// A cut that would leave nothing, while the active has records in front of it, is none: the partition is copied anew, by itself.
func TestCutThatWouldEmptyTheLogIsNone(t *testing.T) {
	for name, c := range map[string]struct {
		there int64 // where the active's log begins
		epoch int32 // of the last record in front of the cut
		anew  bool
	}{
		"records are left at the active": {0, -1, true},
		"none is left there either":      {1, -1, false},
		"one is left here":               {0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			log, _ := active(t, 3)
			log.store(entry.Header{Kind: entry.Follow, SiteEpoch: 1, Body: entry.Followed{SiteEpoch: 1, Shared: entry.UnknownOffset}.Append(nil)})
			log.lineage.LogStart = 1
			other, _ := active(t, 1)
			other.lineage.LogStart = c.there
			l := NewLink(linkID, LinkOptions{})
			v := View{Role: Standby, Epoch: 1, Boot: 1}
			l.Step(0, v, log.view(), Tick{})
			tail := only[ArchiveTail](t, l.Step(0, v, log.view(), Received{Compared{Partition: linkID, Epoch: 1, Lineage: other.lineage}}))
			effects := l.Step(0, v, log.view(), Archived{Cut: tail.Cut, Epoch: c.epoch})
			if !c.anew {
				only[Propose](t, effects)
			} else if r := only[Recopy](t, effects); r.From != 1 || r.Epoch != 1 {
				t.Fatalf("%+v", r)
			}
		})
	}
}
