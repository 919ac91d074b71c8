package site

import (
	"testing"
	"time"
)

// TestGapIsToldOnce: what was on its way behind an Append that was not taken comes too, and for each that is refused all would be shipped again.
func TestGapIsToldOnce(t *testing.T) {
	log, v := standby(t)
	l := NewLink(linkID, LinkOptions{})
	gap := Append{Partition: linkID, Epoch: 0, Prev: Position{Next: 7}, Rows: batch(7)}
	told := func(m Message) bool {
		t.Helper()
		for _, e := range l.Step(0, v, log.view(), Received{m}) {
			if s, ok := e.(Send); ok && s.Message.(Ack).Rejected {
				return true
			}
		}
		return false
	}
	for _, s := range []struct {
		what string
		m    Message
		told bool
	}{
		{"a gap", gap, true},
		{"what was sent behind it", Append{Partition: linkID, Prev: Position{Next: 8}, Rows: batch(8)}, false},
		{"a question", Probe{Partition: linkID}, true},
		{"a gap behind that", gap, true},
		{"once more", gap, false},
	} {
		if got := told(s.m); got != s.told {
			t.Errorf("%s: told %v", s.what, got)
		}
	}
	// What is shipped again may overlap what is under way, and is not taken then: what is behind that is another gap.
	only[Propose](t, l.Step(0, v, log.view(), Received{Append{Partition: linkID, Prev: Position{Epoch: -1}, Rows: batch(0)}}))
	if !told(gap) || told(gap) {
		t.Error("a gap behind what is under way")
	}
	if told(Append{Partition: linkID, Prev: Position{Epoch: -1}, Rows: batch(0)}) || !told(gap) {
		t.Error("a gap behind what was shipped again")
	}
}

// TestLongLineIsNotAskedTooSoon: what was sent may be on its way for as long as the line takes.
func TestLongLineIsNotAskedTooSoon(t *testing.T) {
	log, v := active(t, 3)
	v.RTT = 2 * time.Second
	l := NewLink(linkID, LinkOptions{})
	only[Ship](t, l.Step(0, v, log.view(), Received{Ack{Partition: linkID, Boot: 2, End: Position{0, -1}}}))
	l.Step(0, v, log.view(), Shipped{End: Position{3, 0}})
	if e := l.Step(waitTrips*v.RTT-1, v, log.view(), Tick{}); len(e) != 0 {
		t.Errorf("%+v before it can have arrived", e)
	}
	if m := only[Send](t, l.Step(waitTrips*v.RTT, v, log.view(), Tick{})).Message; m != (Probe{Partition: linkID}) {
		t.Errorf("%+v", m)
	}
}

// TestUnheardStandbyIsAskedLessOften: one that has no such partition yet does not answer, and says so by itself once it has. Another run is asked at
// once.
func TestUnheardStandbyIsAskedLessOften(t *testing.T) {
	log, v := active(t, 3)
	l := NewLink(linkID, LinkOptions{})
	asked := func(from, to time.Duration) (n int) {
		for now := from; now < to; now += 200 * time.Millisecond {
			n += len(l.Step(now, v, log.view(), Tick{}))
		}
		return n
	}
	if n := asked(0, time.Second); n != 2 && n != 3 {
		t.Errorf("asked %d times within 1 s", n)
	}
	if n := asked(time.Second, 101*time.Second); n < 8 || n > 12 {
		t.Errorf("asked %d times within 100 s", n)
	}
	v.PeerBoot++
	if n := asked(101*time.Second, 102*time.Second); n != 2 && n != 3 {
		t.Errorf("another run was asked %d times within 1 s", n)
	}
}

// TestGapThatIsToldWhileMoreIsShipped: who has much to catch up with is always shipping, and a gap is told once. What answers a question is no gap.
func TestGapThatIsToldWhileMoreIsShipped(t *testing.T) {
	end := func(next int64) Position { return Position{next, 0} }
	ack := Ack{Partition: linkID, Boot: 2, End: Position{0, -1}}
	for _, c := range []struct {
		what   string
		behind time.Duration // a question
		from   Position
	}{
		{"a gap", time.Minute, ack.End},
		{"a question on a long line", waitTrips * 2 * time.Second, end(2)},
	} {
		log, v := active(t, 600)
		v.RTT = 2 * time.Second
		l := NewLink(linkID, LinkOptions{Window: 512})
		only[Send](t, l.Step(0, v, log.view(), Tick{}))
		only[Ship](t, l.Step(0, v, log.view(), Received{ack}))
		only[Ship](t, l.Step(c.behind, v, log.view(), Shipped{End: end(1)}))
		rejected := ack
		rejected.Rejected = true
		if e := l.Step(c.behind, v, log.view(), Received{rejected}); len(e) != 0 {
			t.Errorf("%s: %+v while an Append is on its way out", c.what, e)
		}
		if s := only[Ship](t, l.Step(c.behind, v, log.view(), Shipped{End: end(2)})); s.From != c.from {
			t.Errorf("%s: shipped from %v", c.what, s.From)
		}
	}
}

// TestLateAnswerDoesNotShipAllAgain: the standby may say by itself where its log ends while it is being asked. Its answer comes when all is out.
func TestLateAnswerDoesNotShipAllAgain(t *testing.T) {
	log, v := active(t, 3)
	l := NewLink(linkID, LinkOptions{})
	ack := Ack{Partition: linkID, Boot: 2, End: Position{0, -1}}
	only[Send](t, l.Step(0, v, log.view(), Tick{}))
	only[Ship](t, l.Step(0, v, log.view(), Received{ack}))
	l.Step(0, v, log.view(), Shipped{End: Position{3, 0}})
	ack.Rejected = true
	if e := l.Step(0, v, log.view(), Received{ack}); len(e) != 0 {
		t.Errorf("%+v", e)
	}
	if s := only[Ship](t, l.Step(0, v, log.view(), Received{ack})); s.From.Next != 0 {
		t.Errorf("shipped from %v behind a gap", s.From)
	}
}
