package site

import (
	"testing"
	"time"

	"github.com/tandembroker/tandem/storage/entry"
)

// linkLog is a log for tests of single steps: what is stored is durable.
type linkLog struct {
	t       *testing.T
	state   entry.State
	lineage entry.Lineage
}

func newLinkLog(t *testing.T) *linkLog { return &linkLog{t: t, state: entry.NewSitesState(0)} }

func (l *linkLog) view() LogView {
	return LogView{Term: 1, Tip: l.state, Durable: l.state, Lineage: &l.lineage}
}

func (l *linkLog) store(h entry.Header) {
	l.t.Helper()
	h.ValidatedTerm, h.AppendSequence = 1, l.state.AppendSequence+1
	if r := l.state.Admit(&h, 1); r != entry.Admitted {
		l.t.Fatalf("kind %d: %v", h.Kind, r)
	}
	l.state.Stamp(&h, 1)
	if err := l.state.Advance(&h); err != nil {
		l.t.Fatal(err)
	}
	if err := l.lineage.Advance(&h); err != nil {
		l.t.Fatal(err)
	}
}

func (l *linkLog) produce(n int) {
	l.t.Helper()
	for range n {
		l.store(entry.Header{Kind: entry.Data, SiteEpoch: l.state.SiteEpoch, Rows: []entry.Row{{BaseOffset: -1}}})
	}
}

// active is the log of the founding site with n records, and its view.
func active(t *testing.T, n int) (*linkLog, View) {
	l := newLinkLog(t)
	l.store(entry.Header{Kind: entry.EpochBase, Body: entry.EpochBaseBody(1, 0)})
	l.produce(n)
	return l, View{Role: Active, Serving: true, Boot: 1, PeerBoot: 2}
}

// standby is a log that follows epoch 0, and its view.
func standby(t *testing.T) (*linkLog, View) {
	l := newLinkLog(t)
	for _, shared := range []int64{entry.UnknownOffset, 0} {
		l.store(entry.Header{Kind: entry.Follow, Body: entry.Followed{Shared: shared}.Append(nil)})
	}
	return l, View{Role: Standby, Boot: 2}
}

var linkID = partitionID(0)

func only[T Effect](t *testing.T, effects []Effect) T {
	t.Helper()
	if len(effects) == 1 {
		if e, ok := effects[0].(T); ok {
			return e
		}
	}
	t.Fatalf("effects %+v", effects)
	panic("not reached")
}

func batch(offset int64) []entry.Row {
	return []entry.Row{{BaseOffset: offset, LastOffset: offset}}
}

func TestTopicCreatedAnewIsNotAppendedTo(t *testing.T) {
	log, v := standby(t)
	other := PartitionID{Topic: linkID.Topic, Partition: linkID.Partition}
	other.Topic[0] = 7
	for _, m := range []Message{Append{Partition: other, Prev: Position{0, -1}, Rows: batch(0)}, Probe{Partition: other}} {
		l := NewLink(linkID, LinkOptions{})
		if h := only[Halt](t, l.Step(0, v, log.view(), Received{m})); h.Reason != HaltRecreated {
			t.Fatalf("%T: %v", m, h.Reason)
		}
		if effects := l.Step(0, v, log.view(), Received{Append{Partition: linkID, Prev: Position{0, -1}, Rows: batch(0)}}); effects != nil {
			t.Fatalf("a halted link goes on: %v", effects)
		}
	}
}

func TestAppendMustContinueTheLog(t *testing.T) {
	log, v := standby(t)
	l := NewLink(linkID, LinkOptions{})
	l.Step(0, v, log.view(), LogMoved{}) // the first acknowledgement
	propose := only[Propose](t, l.Step(0, v, log.view(), Received{Append{Partition: linkID, Prev: Position{0, -1}, Rows: batch(0)}}))
	if !propose.Header.Linked() {
		t.Fatalf("%+v", propose.Header)
	}
	only[Propose](t, l.Step(0, v, log.view(), Received{Append{Partition: linkID, Prev: Position{1, 0}, Rows: batch(1)}}))
	for _, prev := range []Position{{3, 0}, {2, 1}, {1, 0}} {
		effects := l.Step(0, v, log.view(), Received{Append{Partition: linkID, Prev: prev, Rows: batch(9)}})
		ack := only[Send](t, effects).Message.(Ack)
		if ack.End != (Position{0, -1}) || ack.Rejected != (prev.Next > 2) {
			t.Fatalf("behind %v: %+v", prev, ack)
		}
	}
	// One of them becomes a void: what was proposed behind it will too, and nothing more is until both are settled.
	l.Step(0, v, log.view(), Settled{entry.Data, entry.VoidTerm})
	if effects := l.Step(0, v, log.view(), Received{Append{Partition: linkID, Prev: Position{2, 0}, Rows: batch(2)}}); effects != nil {
		t.Fatalf("%v", effects)
	}
	l.Step(0, v, log.view(), Settled{entry.Data, entry.VoidSequence})
	only[Propose](t, l.Step(0, v, log.view(), Received{Append{Partition: linkID, Prev: Position{0, -1}, Rows: batch(0)}}))
}

func TestLagIsUnknownUntilTheStandbySays(t *testing.T) {
	log, v := active(t, 3)
	l := NewLink(linkID, LinkOptions{})
	only[Send](t, l.Step(0, v, log.view(), Tick{}))
	if lag, known := l.Lag(log.view()); known {
		t.Fatalf("lag %d", lag)
	}
	only[Ship](t, l.Step(0, v, log.view(), Received{Ack{Partition: linkID, Boot: 2, End: Position{1, 0}}}))
	if lag, known := l.Lag(log.view()); !known || lag != 2 {
		t.Fatalf("lag %d, known %v", lag, known)
	}
	v.Epoch, v.Planned = 4, false
	l.Step(0, v, log.view(), LogMoved{})
	if lag, known := l.Lag(log.view()); known {
		t.Fatalf("lag %d in a new epoch", lag)
	}
}

// A lost tail that begins where retention has already deleted, here or at the active, cannot be cut record by record: the partition is
// copied anew, by itself.
func TestReturnBehindAGapIsCopiedAnew(t *testing.T) {
	for name, c := range map[string]struct {
		shared      int
		here, there int64 // where the logs begin
	}{
		"this log begins behind it":                {shared: 1, here: 2},
		"the active's log does":                    {shared: 1, there: 2},
		"the active's log does, nothing is shared": {there: 1},
	} {
		t.Run(name, func(t *testing.T) {
			log, _ := active(t, 3)
			log.store(entry.Header{Kind: entry.Follow, SiteEpoch: 1, Body: entry.Followed{SiteEpoch: 1, Shared: entry.UnknownOffset}.Append(nil)})
			log.lineage.LogStart = c.here
			other, _ := active(t, c.shared)
			other.lineage.LogStart = c.there
			l := NewLink(linkID, LinkOptions{})
			v := View{Role: Standby, Epoch: 1, Boot: 1}
			l.Step(0, v, log.view(), Tick{})
			compared := Received{Compared{Partition: linkID, Epoch: 1, Lineage: other.lineage}}
			if r := only[Recopy](t, l.Step(0, v, log.view(), compared)); r.From != int64(c.shared) || r.Epoch != 1 || l.Halted() != Running {
				t.Fatalf("%+v, %v", r, l.Halted())
			}
			for _, in := range []LinkInput{compared, Tick{}, LogMoved{}} {
				if effects := l.Step(0, v, log.view(), in); len(effects) != 0 {
					t.Fatalf("%+v while the log is dropped", effects)
				}
			}
		})
	}
}

func TestFenceIsNotTakenAwayByAnOlderView(t *testing.T) {
	log, v := active(t, 1)
	log.store(entry.Header{Kind: entry.Fence, Body: entry.Fencing{Target: 5, Next: -1}.Append(nil)})
	l := NewLink(linkID, LinkOptions{})
	v.LastTarget = 1 // before the switchover to 5 began
	if effects := l.Step(0, v, log.view(), LogMoved{}); effects != nil {
		t.Fatalf("%+v", effects)
	}
	v.LastTarget = 5 // it began, and was refused
	if h := only[Propose](t, l.Step(0, v, log.view(), LogMoved{})).Header; h.Kind != entry.Unfence {
		t.Fatalf("kind %d", h.Kind)
	}
}

func TestNothingIsDrainedForASwitchoverThatIsGivenUp(t *testing.T) {
	log, v := active(t, 1)
	v.Fencing, v.LastTarget = 1, 1
	log.store(entry.Header{Kind: entry.Fence, Body: entry.Fencing{Target: 1, Next: entry.UnknownOffset}.Append(nil)})
	l := NewLink(linkID, LinkOptions{})
	l.Step(0, v, log.view(), Received{Ack{Partition: linkID, Boot: 2, End: end(&log.state)}})
	drains := func() (n int) {
		for _, e := range l.Step(0, v, log.view(), Tick{}) {
			if s, ok := e.(Send); ok {
				if _, ok := s.Message.(Drain); ok {
					n++
				}
			}
		}
		return n
	}
	if n := drains(); n != 1 {
		t.Fatalf("drained %d times", n)
	}
	if v.Abandoned = true; drains() != 0 {
		t.Fatal("drained for a target that the standby is asked to refuse")
	}
}

func TestDrainIsForThisRunAndThisEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		m    Drain
		want bool
	}{
		{"all is here", Drain{Partition: linkID, Target: 1, End: Position{0, -1}, Boot: 2}, true},
		{"said to an earlier run", Drain{Partition: linkID, Target: 1, End: Position{0, -1}, Boot: 1}, false},
		{"a record is missing", Drain{Partition: linkID, Target: 1, End: Position{1, 0}, Boot: 2}, false},
		{"of another epoch", Drain{Partition: linkID, Epoch: 4, Target: 5, End: Position{0, -1}, Boot: 2}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			log, v := standby(t)
			l := NewLink(linkID, LinkOptions{})
			l.Step(0, v, log.view(), LogMoved{})
			if effects := l.Step(0, v, log.view(), Received{c.m}); (len(effects) == 1) != c.want {
				t.Fatalf("%+v", effects)
			}
		})
	}
}

// The offset of the fence is known to the link that saw it drained. Another leader begins in the new band: a gap, and never a record
// at an offset that was used.
func TestPlannedPromotionBeginsAtTheFence(t *testing.T) {
	log, v := standby(t)
	l := NewLink(linkID, LinkOptions{})
	l.Step(0, v, log.view(), Received{Drain{Partition: linkID, Target: 1, End: Position{0, -1}, Next: 7, Boot: 2}})
	v = View{Role: Active, Epoch: 1, Planned: true, Serving: true, Boot: 2}
	for _, c := range []struct {
		link *Link
		want int64
	}{{l, 7}, {NewLink(linkID, LinkOptions{}), entry.BandStart(1)}} {
		h := only[Propose](t, c.link.Step(0, v, log.view(), LogMoved{})).Header
		if p, err := entry.ParsePromotion(h.Body); err != nil || p.Base != c.want || !p.Planned {
			t.Fatalf("%+v, %v", p, err)
		}
	}
}

// Before the promote is in the log, records of the older epoch may still come into it: its lineage would name too early an end.
func TestLineageIsToldOnlyOfAPromotedLog(t *testing.T) {
	log, _ := standby(t)
	v := View{Role: Active, Epoch: 1, Serving: true, Boot: 2}
	l := NewLink(linkID, LinkOptions{})
	compare := Received{Compare{Partition: linkID, Epoch: 1}}
	if h := only[Propose](t, l.Step(0, v, log.view(), compare)).Header; h.Kind != entry.Promote {
		t.Fatalf("kind %d", h.Kind)
	} else {
		log.store(h)
	}
	if h := only[Propose](t, l.Step(0, v, log.view(), Settled{Kind: entry.Promote})).Header; h.Kind != entry.EpochBase {
		t.Fatalf("kind %d", h.Kind)
	} else {
		log.store(h)
	}
	only[Send](t, l.Step(0, v, log.view(), compare))
}

// A control entry that is void for a lasting reason is not proposed again and again.
func TestVoidControlEntryWaitsForATick(t *testing.T) {
	log, _ := standby(t)
	v := View{Role: Active, Epoch: 1, Serving: true, Boot: 2}
	l := NewLink(linkID, LinkOptions{})
	only[Propose](t, l.Step(0, v, log.view(), LogMoved{}))
	if effects := l.Step(0, v, log.view(), Settled{entry.Promote, entry.VoidBand}); effects != nil {
		t.Fatalf("%+v", effects)
	}
	only[Propose](t, l.Step(0, v, log.view(), Tick{}))
}

func TestOneAckForManyAppendsOpensTheWindowForAll(t *testing.T) {
	log, v := active(t, 10)
	l := NewLink(linkID, LinkOptions{Window: 4})
	step := func(in LinkInput) []Effect { return l.Step(0, v, log.view(), in) }
	ack := func(next int64) []Effect {
		return step(Received{Ack{Partition: linkID, Boot: 2, End: Position{next, min(int32(next)-1, 0)}}})
	}
	ship := func(effects []Effect) []Effect {
		from := only[Ship](t, effects).From
		return step(Shipped{End: Position{from.Next + 1, 0}})
	}
	effects := ack(0)
	for range 4 {
		effects = ship(effects)
	}
	if len(effects) > 0 {
		t.Fatalf("the window is full, and then %+v", effects)
	}
	effects = ack(3) // of three of the four
	for range 3 {
		effects = ship(effects)
	}
	if len(effects) > 0 {
		t.Fatalf("the window is full, and then %+v", effects)
	}
	if effects = ack(7); len(effects) == 0 {
		t.Fatal("all is acknowledged, and nothing is shipped")
	}
}

// What the standby does not take, a batch that is damaged here, goes over about once a second, alone, and not as fast as it is refused.
func TestWhatIsNeverTakenIsNotShippedAgainAtOnce(t *testing.T) {
	log, v := active(t, 100)
	l := NewLink(linkID, LinkOptions{Window: 4})
	const damaged = 7
	now, ships := time.Duration(0), 0
	step := func(inputs ...LinkInput) {
		for ; len(inputs) > 0 && ships < 1000; inputs = inputs[1:] {
			for _, e := range l.Step(now, v, log.view(), inputs[0]) {
				refused := false // who comes behind the damaged one, or asks
				switch e := e.(type) {
				case Ship:
					ships++
					refused = e.From.Next > damaged
					inputs = append(inputs, Shipped{End: Position{e.From.Next + 1, 0}})
				case Send:
					_, refused = e.Message.(Probe)
				}
				if refused {
					inputs = append(inputs, Received{Ack{Partition: linkID, Boot: 2, End: Position{damaged, 0}, Rejected: true}})
				}
			}
		}
	}
	step(Received{Ack{Partition: linkID, Boot: 2, End: Position{damaged, 0}}})
	first := ships
	for range 100 {
		now += 100 * time.Millisecond
		step(Tick{})
	}
	if again := ships - first; first > 12 || again < 8 || again > 12 {
		t.Errorf("%d Appends went at once, and %d within 10 s", first, again)
	}
	effects := l.Step(now, v, log.view(), Received{Ack{Partition: linkID, Boot: 2, End: Position{damaged + 1, 0}}})
	for i := range 4 {
		effects = l.Step(now, v, log.view(), Shipped{End: Position{only[Ship](t, effects).From.Next + 1, 0}})
		if full := i == 3; full != (len(effects) == 0) {
			t.Fatalf("%d Appends on their way behind progress, and then %+v", i+1, effects)
		}
	}
}

func TestPartitionCreatedUnderThisEpochBeginsWhereItWasMade(t *testing.T) {
	log := newLinkLog(t)
	v := View{Role: Active, Epoch: 4, Serving: true, Boot: 1}
	l := NewLink(linkID, LinkOptions{})
	view := log.view()
	view.Born, view.Floor = 4, 4<<entry.LeaderEpochBits|7
	p := only[Propose](t, l.Step(0, v, view, LogMoved{}))
	promotion, err := entry.ParsePromotion(p.Header.Body)
	if err != nil || promotion.Base != 0 {
		t.Fatalf("promotion %+v, %v: a new topic begins at 0", promotion, err)
	}
	log.store(p.Header)
	l.Step(0, v, log.view(), Settled{Kind: entry.Promote})
	view = log.view()
	view.Born, view.Floor = 4, 4<<entry.LeaderEpochBits|7
	log.store(only[Propose](t, NewLink(linkID, LinkOptions{}).Step(0, v, view, LogMoved{})).Header)
	if epoch, _ := log.state.Epoch(1); epoch != 4<<entry.LeaderEpochBits|7 {
		t.Fatalf("leader epoch %d is below that of the topic's predecessor", epoch)
	}
}

func TestPartitionOfAnOlderEpochBeginsInTheNewBand(t *testing.T) {
	log := newLinkLog(t)
	view := log.view()
	view.Born = 1
	p := only[Propose](t, NewLink(linkID, LinkOptions{}).Step(0, View{Role: Active, Epoch: 4, Serving: true}, view, LogMoved{}))
	promotion, err := entry.ParsePromotion(p.Header.Body)
	if err != nil || promotion.Base != entry.BandStart(4) {
		t.Fatalf("promotion %+v, %v: the other site may have written below the band", promotion, err)
	}
}

func TestLogStartIsSaidUntilTheStandbyHasIt(t *testing.T) {
	log, v := active(t, 3)
	log.lineage.LogStart = 2
	l := NewLink(linkID, LinkOptions{})
	// The standby has less than what is deleted, on purpose: its log goes on with a gap, and starts no later than it ends.
	view := log.view()
	view.Purged = 2
	effects := l.Step(0, v, view, Received{Ack{Partition: linkID, Boot: 2, End: Position{1, 0}}})
	if m := effects[1].(Send).Message; m != (LogStart{Partition: linkID, Offset: 1}) || l.Halted() != Running {
		t.Fatalf("%+v, %v", m, l.Halted())
	}
	l = NewLink(linkID, LinkOptions{})
	if m := only[Send](t, l.Step(0, v, log.view(), Received{Ack{Partition: linkID, Boot: 2, End: Position{3, 0}}})).Message; m != (LogStart{Partition: linkID, Offset: 2}) {
		t.Fatalf("%+v", m)
	}
	if e := l.Step(0, v, log.view(), Tick{}); len(e) != 0 || l.Quiet(v, log.view()) {
		t.Fatalf("%+v: said again at once", e)
	}
	only[Send](t, l.Step(l.options.Resend, v, log.view(), Tick{})) // it may have been lost
	l.Step(0, v, log.view(), Received{Ack{Partition: linkID, Boot: 2, End: Position{3, 0}, LogStart: 2}})
	if e := l.Step(2*l.options.Resend, v, log.view(), Tick{}); len(e) != 0 || !l.Quiet(v, log.view()) {
		t.Fatalf("%+v: the standby has it", e)
	}
}

func TestLogStartOfTheStandby(t *testing.T) {
	log, v := standby(t)
	log.store(entry.Header{Kind: entry.Data, Rows: batch(0)})
	l := NewLink(linkID, LinkOptions{})
	l.Step(0, v, log.view(), LogMoved{})
	if e := l.Step(0, v, log.view(), Received{LogStart{Partition: linkID, Epoch: 4, Offset: 1}}); len(e) != 0 {
		t.Fatalf("of another epoch: %+v", e)
	}
	move := only[Propose](t, l.Step(0, v, log.view(), Received{LogStart{Partition: linkID, Offset: 5}}))
	if offset, purge, err := entry.ParseLogStart(move.Header.Body); move.Header.Kind != entry.LogStart || offset != 1 || purge || err != nil {
		t.Fatalf("to %d, %v, %v: never above its own end", offset, purge, err)
	}
	if e := l.Step(0, v, log.view(), Received{LogStart{Partition: linkID, Offset: 5}}); len(e) != 0 {
		t.Fatalf("proposed twice: %+v", e)
	}
	only[Propose](t, l.Step(0, v, log.view(), Received{Append{Partition: linkID, Prev: Position{1, 0}, Rows: batch(1)}})) // does not wait
	log.lineage.LogStart = 1
	if ack := only[Send](t, l.Step(0, v, log.view(), Settled{Kind: entry.LogStart})).Message.(Ack); ack.LogStart != 1 {
		t.Fatalf("%+v", ack)
	}
	if ack := only[Send](t, l.Step(0, v, log.view(), Received{LogStart{Partition: linkID, Offset: 1}})).Message.(Ack); ack.LogStart != 1 {
		t.Fatalf("%+v: said again, since the active does not know", ack)
	}
}

func TestGapThatIsWantedIsNone(t *testing.T) {
	log, v := active(t, 3)
	log.lineage.LogStart = 2
	l := NewLink(linkID, LinkOptions{})
	only[Halt](t, l.Step(0, v, log.view(), Received{Ack{Partition: linkID, Boot: 2, End: Position{1, 0}}}))
	view := log.view()
	view.Purged = 1
	if l.Step(0, v, view, Tick{}); l.Halted() != HaltGap {
		t.Fatal("a part of what is missing was not deleted by anybody")
	}
	view.Purged = 2
	only[Send](t, l.Step(0, v, view, Tick{})) // a probe
	if effects := l.Step(0, v, view, Received{Ack{Partition: linkID, Boot: 2, End: Position{1, 0}, LogStart: 1}}); len(effects) != 1 || l.Halted() != Running {
		t.Fatalf("%+v, %v", effects, l.Halted())
	}
}

func TestEmptyStandbyIsShippedWhatIsLeft(t *testing.T) {
	log, v := active(t, 3)
	log.lineage.LogStart = 2
	l := NewLink(linkID, LinkOptions{})
	if from := only[Ship](t, l.Step(0, v, log.view(), Received{Ack{Partition: linkID, Boot: 2, End: Position{0, -1}}})).From; from.Next != 0 {
		t.Fatalf("shipped from %v", from)
	}
	l = NewLink(linkID, LinkOptions{})
	if h := only[Halt](t, l.Step(0, v, log.view(), Received{Ack{Partition: linkID, Boot: 2, End: Position{1, 0}}})); h.Reason != HaltGap {
		t.Fatalf("halted for %v", h.Reason)
	}
}

func TestStandbyThatComesBackEmptyIsAskedAnew(t *testing.T) {
	log, v := active(t, 5)
	l := NewLink(linkID, LinkOptions{})
	l.Step(0, v, log.view(), Received{Ack{Partition: linkID, Boot: 2, End: Position{5, 0}}})
	if lag, known := l.Lag(log.view()); lag != 0 || !known {
		t.Fatalf("lag %d, known %v", lag, known)
	}
	v.PeerBoot++ // its disk was replaced
	l.Step(0, v, log.view(), LogMoved{})
	if effects := l.Step(0, v, log.view(), Received{Ack{Partition: linkID, Boot: 2, End: Position{5, 0}}}); len(effects) > 0 {
		t.Fatalf("an answer of the run before is believed: %+v", effects)
	}
	if lag, known := l.Lag(log.view()); known {
		t.Fatalf("lag %d of a standby that has said nothing in this run", lag)
	}
	if from := only[Ship](t, l.Step(0, v, log.view(), Received{Ack{Partition: linkID, Boot: 3, End: Position{0, -1}}})).From; from.Next != 0 {
		t.Fatalf("shipped from %v", from)
	}
}

func TestAppendWaitsForTheMetadataThatItNames(t *testing.T) {
	log, v := standby(t)
	l := NewLink(linkID, LinkOptions{})
	m := Append{Partition: linkID, Prev: Position{0, -1}, Metadata: 4, Rows: batch(0)}
	v.Metadata = 3
	for _, e := range l.Step(0, v, log.view(), Received{m}) {
		if _, ok := e.(Propose); ok {
			t.Fatal("appended under metadata of version 3, the append names 4")
		}
	}
	v.Metadata = 4
	ack, ok := only[Send](t, l.Step(0, v, log.view(), LogMoved{})).Message.(Ack)
	if !ok || !ack.Rejected || ack.End.Next != 0 {
		t.Fatalf("%+v: what was not taken is not asked for", ack)
	}
	if effects := l.Step(0, v, log.view(), LogMoved{}); len(effects) != 0 {
		t.Fatalf("asked for twice: %+v", effects)
	}
	only[Propose](t, l.Step(0, v, log.view(), Received{m}))
}

// A standby whose disk is slow is asked, and not sent all again: that would be what it has to do next.
func TestSlowStandbyIsNotShippedAllAgain(t *testing.T) {
	log, v := active(t, 3)
	l := NewLink(linkID, LinkOptions{})
	now, none := l.options.Resend, Position{0, -1}
	ack := Ack{Partition: linkID, Boot: 2, End: none}
	only[Ship](t, l.Step(0, v, log.view(), Received{ack}))
	sent := func() {
		t.Helper()
		if e := l.Step(now, v, log.view(), Shipped{End: Position{3, 0}}); len(e) != 0 {
			t.Fatalf("%+v: all is sent", e)
		}
	}
	asks := func() {
		t.Helper()
		now += l.options.Resend
		if m := only[Send](t, l.Step(now, v, log.view(), Tick{})).Message; m != (Probe{Partition: linkID}) {
			t.Fatalf("%+v", m)
		}
	}
	sent()
	for range 2 * askedMax {
		asks()
		if e := l.Step(now, v, log.view(), Received{ack}); len(e) != 0 {
			t.Fatalf("%+v: it is on its way", e)
		}
		if ack.End.Next < 2 { // some progress
			ack.End = Position{ack.End.Next + 1, 0}
			if e := l.Step(now, v, log.view(), Received{ack}); len(e) != 0 {
				t.Fatalf("%+v: the rest is on its way", e)
			}
			continue
		}
		break
	}
	asks()
	ack.Rejected = true
	if s := only[Ship](t, l.Step(now, v, log.view(), Received{ack})); s.From != ack.End {
		t.Fatalf("ship from %v, what is missing begins at %v", s.From, ack.End)
	}
	sent()
	for range askedMax - 1 { // an earlier release does not say that it lacks something
		asks()
	}
	if s := only[Ship](t, l.Step(now+l.options.Resend, v, log.view(), Tick{})); s.From != ack.End {
		t.Fatalf("ship from %v", s.From)
	}
}

func TestStandbySaysWhetherAnythingIsUnderWay(t *testing.T) {
	log, v := standby(t)
	l := NewLink(linkID, LinkOptions{})
	l.Step(0, v, log.view(), LogMoved{})
	asked := func() Ack {
		t.Helper()
		return only[Send](t, l.Step(0, v, log.view(), Received{Probe{Partition: linkID}})).Message.(Ack)
	}
	if !asked().Rejected {
		t.Error("nothing has come, and it does not say so")
	}
	only[Propose](t, l.Step(0, v, log.view(), Received{Append{Partition: linkID, Prev: Position{0, -1}, Rows: batch(0)}}))
	if asked().Rejected {
		t.Error("what waits for the disk is asked for again")
	}
	l.Step(0, v, log.view(), Settled{Kind: entry.Data})
	behind := log.view()
	behind.Tip.NextOffset++
	if e := l.Step(0, v, behind, Received{Probe{Partition: linkID}}); only[Send](t, e).Message.(Ack).Rejected {
		t.Error("what is stored and not durable yet is asked for again")
	}
}
