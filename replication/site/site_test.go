package site

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// These are the rules whose breach needs more luck than a thousand seeds have.

func steps(t *testing.T, s *Site, inputs ...Input) (effects []Effect) {
	t.Helper()
	for _, in := range inputs {
		more, err := s.Step(0, in)
		if err != nil {
			t.Fatalf("%T: %v", in, err)
		}
		effects = append(effects, more...)
	}
	return effects
}

func sends(effects []Effect, m Message) bool { return slices.Contains(effects, Effect(Send{m})) }

func TestNextOwned(t *testing.T) {
	for _, c := range []struct{ index, above, want uint32 }{
		{0, 0, 4}, {1, 0, 1}, {1, 1, 5}, {0, 3, 4}, {0, 4, 8}, {3, 0, 3}, {3, 3, 7}, {2, 7, 10},
	} {
		if got := NextOwned(c.index, c.above); got != c.want {
			t.Errorf("site %d above %d: %d, want %d", c.index, c.above, got, c.want)
		}
	}
}

// Otherwise the standby, drained for 5, promotes itself to 5, above the 4 that this site went on to write.
func TestFailoverGoesAboveEveryTarget(t *testing.T) {
	a := Found(Options{Index: 0, PeerIndex: 1}, 1, Record{Role: Active})
	steps(t, a, Switchover{}, Stored{})
	if got := a.Record().Fencing; got != 1 {
		t.Fatalf("fences for %d", got)
	}
	a = Restart(Options{Index: 0, PeerIndex: 1}, 2, Record{Role: Active, Fencing: 5, LastTarget: 5})
	steps(t, a, Failover{ActiveIsDown: true}, Stored{})
	if got := a.Record(); got.Epoch != 8 || got.Fencing != 0 {
		t.Fatalf("failed over to %+v", got)
	}
}

func TestTargetsAreUsedOnce(t *testing.T) {
	a := Found(Options{Index: 0, PeerIndex: 1}, 1, Record{Role: Active})
	steps(t, a, Switchover{}, Stored{}, Received{Refused{1}}, Stored{}, Switchover{}, Stored{})
	if got := a.Record(); got.Fencing != 5 || got.LastTarget != 5 {
		t.Fatalf("%+v", got)
	}
	if _, err := a.Step(0, Switchover{}); !errors.Is(err, ErrSwitching) {
		t.Fatalf("a second switchover: %v", err)
	}
}

func TestFenceOutlivesARestart(t *testing.T) {
	rec := Record{Role: Active, Fencing: 1, LastTarget: 1}
	if got := Restart(Options{PeerIndex: 1}, 2, rec).View(); got.Fencing != 1 || got.Serving {
		t.Fatalf("%+v", got)
	}
}

func TestRefusalIsDurableBeforeItIsSaid(t *testing.T) {
	b := Restart(Options{Index: 1}, 1, Record{})
	if sends(steps(t, b, Received{Refuse{1}}), Refused{1}) {
		t.Fatal("said before it is durable")
	}
	if !sends(steps(t, b, Stored{}), Refused{1}) || b.Record().Refused != 1 {
		t.Fatal("not said once it is")
	}
	if !sends(steps(t, b, Received{Refuse{1}}), Refused{1}) {
		t.Fatal("not said again")
	}
	steps(t, b, Partitions{1, []PartitionID{{}}})
	if got := steps(t, b, Drained{Target: 1, Boot: 1}); len(got) != 0 {
		t.Fatalf("promotes itself to what it refused: %v", got)
	}
	if got := steps(t, b, Partitions{5, []PartitionID{{}}}, Drained{Target: 5, Boot: 1}); len(got) != 1 {
		t.Fatalf("the next target: %v", got)
	}
}

// Its word would come too late: the promotion may already be durable.
func TestNoRefusalWhilePromoting(t *testing.T) {
	b := Restart(Options{Index: 1}, 1, Record{})
	steps(t, b, Partitions{1, []PartitionID{{}}}, Drained{Target: 1, Boot: 1})
	if got := steps(t, b, Received{Refuse{1}}, Stored{}, Received{Refuse{1}}); len(got) != 0 {
		t.Fatalf("%v", got)
	}
	if got := b.Record(); got.Role != Active || got.Epoch != 1 || !got.Planned {
		t.Fatalf("%+v", got)
	}
}

// What the metadata does not take yet must not stand in the way of an order: the active may be gone before the copy is whole.
func TestPromotionThatIsRefusedHoldsNothingUp(t *testing.T) {
	p := PartitionID{Partition: 0}
	declined := func() *Site {
		b := Restart(Options{Index: 1}, 1, Record{})
		if got := steps(t, b, Partitions{1, []PartitionID{p}}, Drained{p, 1, 1}); !promotes(got) {
			t.Fatalf("drained: %v", got)
		}
		if got := steps(t, b, NotStored{}, Drained{p, 1, 1}); len(got) != 0 || b.Record().Role != Standby {
			t.Fatalf("tried again at once: %v", got)
		}
		return b
	}
	b := declined()
	if got := steps(t, b, Tick{}); !promotes(got) {
		t.Errorf("not tried again: %v", got)
	}
	steps(t, b, Stored{})
	if got := b.Record(); got.Role != Active || got.Epoch != 1 || !got.Planned {
		t.Errorf("%+v", got)
	}
	b = declined()
	steps(t, b, Failover{ActiveIsDown: true}, Stored{})
	if got := b.Record(); got.Role != Active || got.Planned {
		t.Errorf("failed over to %+v", got)
	}
	b = declined()
	if got := steps(t, b, Received{Refuse{1}}, Stored{}); !sends(got, Refused{1}) {
		t.Errorf("no word that the switchover is given up: %v", got)
	}
	if got := steps(t, b, Tick{}, Drained{p, 1, 1}); promotes(got) {
		t.Errorf("promotes itself against its word: %v", got)
	}
}

// Between two switchovers topics are created: what the first had to drain is not all that the second has to.
func TestPartitionsOfOneSwitchoverAreNotThoseOfTheNext(t *testing.T) {
	p, q := PartitionID{Partition: 0}, PartitionID{Partition: 1}
	b := Restart(Options{Index: 1}, 1, Record{})
	if got := steps(t, b, Partitions{1, []PartitionID{p}}, Received{Refuse{1}}, Stored{}, Drained{p, 5, 1}); promotes(got) {
		t.Fatalf("promotes itself with the partitions of the switchover before: %v", got)
	}
	if got := steps(t, b, Partitions{5, []PartitionID{p, q}}); len(got) != 0 {
		t.Fatalf("promotes itself without one of two: %v", got)
	}
	if got := steps(t, b, Drained{q, 5, 1}); !promotes(got) {
		t.Fatalf("both are drained: %v", got)
	}
	early := Restart(Options{Index: 1}, 1, Record{})
	empty := Restart(Options{Index: 1}, 1, Record{})
	if got := steps(t, empty, Partitions{}); promotes(got) {
		t.Error("promoted without a switchover")
	}
	if got := steps(t, empty, Partitions{Target: 1}); !promotes(got) {
		t.Error("a switchover of no partitions does not end")
	}
	if got := steps(t, early, Drained{p, 1, 1}, Partitions{1, []PartitionID{p}}); !promotes(got) {
		t.Fatalf("a mark that came before the partitions: %v", got)
	}
}

func promotes(effects []Effect) bool {
	return slices.ContainsFunc(effects, func(e Effect) bool {
		s, ok := e.(Store)
		return ok && s.Record.Role == Active
	})
}

func TestDrainedMarksAreOfThisRunAndTarget(t *testing.T) {
	p, q := PartitionID{Partition: 0}, PartitionID{Partition: 1}
	for _, c := range []struct {
		name   string
		second Drained
		want   int
	}{
		{"of this run", Drained{q, 1, 7}, 1},
		{"of an earlier run", Drained{q, 1, 6}, 0},
		{"for another target", Drained{q, 5, 7}, 0},
		{"for an epoch of the other site", Drained{q, 4, 7}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := Restart(Options{Index: 1}, 7, Record{})
			if got := steps(t, b, Partitions{c.second.Target, []PartitionID{p, q}}, Drained{p, 1, 7}, c.second); len(got) != c.want {
				t.Fatalf("%v", got)
			}
		})
	}
}

// What the site is about to be has no lease: whoever waits for one would wait for nothing.
func TestNoLeaseIsPromisedWhileFailingOver(t *testing.T) {
	a := Found(Options{PeerIndex: 1, Lease: time.Second}, 1, Record{Role: Active})
	hello := Received{Hello{Boot: 9}}
	leased := func(effects []Effect) bool {
		return effects[len(effects)-1].(Send).Message.(Greeting).Leased
	}
	steps(t, a, Received{Greeting{Nonce: 1, Boot: 9, Renews: true, Sent: -time.Second}})
	if !leased(steps(t, a, hello)) {
		t.Fatal("an active under a lease does not say so")
	}
	if a.MayAcknowledge(0) {
		t.Fatal("acknowledges when the lease has ended")
	}
	steps(t, a, Failover{ActiveIsDown: true})
	if leased(steps(t, a, hello)) {
		t.Fatal("says that it is under a lease")
	}
}

func TestOrdersAreRefused(t *testing.T) {
	standby := Record{Epoch: 4}
	waiting := Record{Epoch: 4, StopRenew: true}
	for _, c := range []struct {
		name string
		rec  Record
		in   Input
		want error
	}{
		{"failover by waiting, no lease known", standby, Failover{}, ErrNotLeased},
		{"failover by waiting, after a restart", waiting, Failover{}, ErrNotLeased},
		{"failover abort without failover", standby, AbortFailover{}, ErrNoFailover},
		{"switchover by a standby", standby, Switchover{}, ErrNotActive},
		{"switchover abort by a standby", standby, AbortSwitchover{}, ErrNotActive},
		{"switchover by an active that nobody confirmed", Record{Role: Active}, Switchover{}, ErrNotActive},
		{"self-promotion by an active that nobody confirmed", Record{Role: Active}, SelfPromote{}, ErrNotActive},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Restart(Options{Index: 1, Lease: time.Second}, 1, c.rec)
			if effects, err := s.Step(0, c.in); !errors.Is(err, c.want) || effects != nil || s.Record() != c.rec {
				t.Fatalf("%v, %v", effects, err)
			}
		})
	}
	a := Found(Options{PeerIndex: 1}, 1, Record{Role: Active})
	if _, err := a.Step(0, Failover{ActiveIsDown: true}); !errors.Is(err, ErrServes) {
		t.Fatalf("failover at the site that serves: %v", err)
	}
	steps(t, a, Switchover{})
	if _, err := a.Step(0, SelfPromote{}); !errors.Is(err, ErrBusy) {
		t.Fatalf("two changes at once: %v", err)
	}
}

// The lease ends as long after the question was sent as the standby waits after it has stopped answering, less the drift of two clocks.
func TestLeaseEndsBeforeTheStandbyTakesOver(t *testing.T) {
	const lease, drift = 10 * time.Second, time.Second
	a := Found(Options{Index: 0, PeerIndex: 1, Lease: lease}, 1, Record{Role: Active})
	if _, err := a.Step(7*time.Second, Received{Greeting{Nonce: 1, Boot: 2, Renews: true, Sent: 3 * time.Second}}); err != nil {
		t.Fatal(err)
	}
	if !a.MayAcknowledge(13*time.Second-1) || a.MayAcknowledge(13*time.Second) {
		t.Fatal("the lease does not end 10 s after the question was sent")
	}
	b := Restart(Options{Index: 1, Lease: lease, Drift: drift}, 2, Record{})
	steps(t, b, Received{Greeting{Role: Active, Nonce: 2, Boot: 1, Leased: true}}, Failover{})
	for _, s := range []struct {
		at       time.Duration
		in       Input
		takeover bool
	}{
		{4 * time.Second, Tick{}, false}, {5 * time.Second, Stored{}, false}, {16*time.Second - 1, Tick{}, false}, {16 * time.Second, Tick{}, true},
	} {
		effects, err := b.Step(s.at, s.in)
		if err != nil {
			t.Fatal(err)
		}
		stores := slices.ContainsFunc(effects, func(e Effect) bool { _, ok := e.(Store); return ok })
		if stores != s.takeover {
			t.Fatalf("at %v: %v", s.at, effects)
		}
	}
}

func TestSwitchoverIsGivenUpWithTheStandbysWordOnly(t *testing.T) {
	a := Found(Options{Index: 0, PeerIndex: 1}, 1, Record{Role: Active})
	steps(t, a, Switchover{}, Stored{})
	if !sends(steps(t, a, AbortSwitchover{}), Refuse{1}) {
		t.Fatal("the standby is not asked")
	}
	steps(t, a, Stored{}, Received{Refused{5}}, Stored{})
	if a.Record().Fencing != 1 {
		t.Fatal("given up without its word")
	}
	for range 3 { // it may be down
		if !sends(steps(t, a, Tick{}), Refuse{1}) {
			t.Fatal("the standby is not asked again")
		}
	}
	steps(t, a, Received{Refused{1}}, Stored{})
	if a.Record().Fencing != 0 {
		t.Fatal("not given up with it")
	}
	if steps(t, a, Switchover{}, Stored{}); sends(steps(t, a, Tick{}), Refuse{a.Record().Fencing}) {
		t.Fatal("the next switchover is given up too")
	}
}

func TestSiteEpochsEnd(t *testing.T) {
	last := uint32(epochsMax - Sites) // of site 0
	s := Restart(Options{Index: 0, PeerIndex: 1}, 1, Record{Epoch: last - 1})
	steps(t, s, Failover{ActiveIsDown: true}, Stored{}, Received{Refuse{epochsMax + 1}}, Received{Hello{Role: Active, Epoch: epochsMax + 1}})
	if rec := s.Record(); rec.Epoch != last || !s.Serving() || rec.Refused != 0 {
		t.Fatalf("%+v", rec)
	}
	if _, err := s.Step(0, SelfPromote{}); !errors.Is(err, ErrExhausted) {
		t.Fatalf("past the last epoch: %v", err)
	}
	steps(t, s, Switchover{}, Stored{}, Received{Refused{last + 1}}, Stored{})
	if _, err := s.Step(0, Switchover{}); !errors.Is(err, ErrExhausted) {
		t.Fatalf("past the other site's last epoch: %v", err)
	}
}

func TestNumbersOfTwoSitesDiffer(t *testing.T) {
	if ProducerID(0, 7) != 7 || ProducerID(4, 7) != 4<<40|7 {
		t.Fatal("docs/formats.md section 1 says otherwise")
	}
}

func TestSiteThatTakesOverHandsNothingOver(t *testing.T) {
	s := Found(Options{Index: 0, PeerIndex: 1}, 1, Record{Role: Active})
	if _, err := s.Step(0, Switchover{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Step(0, Stored{}); err != nil {
		t.Fatal(err)
	}
	if v := s.View(); !v.Serving || v.Fencing == 0 {
		t.Fatalf("%+v: no switchover is going on", v)
	}
	if _, err := s.Step(0, Failover{ActiveIsDown: true}); err != nil { // to itself: the standby is down
		t.Fatal(err)
	}
	if v := s.View(); v.Serving {
		t.Fatalf("%+v: links would go on to drain for a standby that comes back", v)
	}
}

func TestRestartedActiveIsNotConfirmedByASiteThatIsTakingOver(t *testing.T) {
	s := Restart(Options{Index: 0, PeerIndex: 1}, 7, Record{Role: Active})
	for _, failing := range []bool{true, false} {
		if _, err := s.Step(0, Received{Greeting{Role: Standby, Boot: 2, Nonce: 7, Failing: failing}}); err != nil {
			t.Fatal(err)
		}
		if s.Serving() == failing {
			t.Fatalf("serving %v, confirmed by a site of which is said that it takes over: %v", s.Serving(), failing)
		}
	}
}
