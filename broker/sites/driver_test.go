package sites

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/entry"
)

// until waits, on the bubble's clock, for cond.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for range 3000 {
		if cond() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("after a minute: %s not reached", what)
}

func equal(a, b *fakeSite) bool {
	for i := range a.replicas {
		x, _ := a.replicas[i].records()
		y, _ := b.replicas[i].records()
		if !slices.Equal(x, y) {
			return false
		}
	}
	return true
}

func writes(s *fakeSite) bool {
	for _, r := range s.replicas {
		view, _ := r.LogView()
		if v := s.driver.View(); !v.Serving || view.Tip.SiteEpoch != v.Epoch || !view.Tip.HasEpochBase || view.Tip.FenceTarget != entry.NoFence {
			return false
		}
	}
	return true
}

func produce(t *testing.T, s *fakeSite, n int) {
	t.Helper()
	for _, r := range s.replicas {
		if got := r.produce(n); got != n {
			t.Fatalf("%s: %d of %d records taken", s.name, got, n)
		}
	}
}

func closeBoth(east, west *fakeSite) {
	east.driver.Close()
	west.driver.Close()
	time.Sleep(time.Minute) // what was under way in the network ends
}

func give(t *testing.T, s *fakeSite, in site.Input) {
	t.Helper()
	until(t, "order", func() bool {
		err := s.driver.Order(in)
		if err != nil && !errors.Is(err, site.ErrBusy) {
			t.Fatal(err)
		}
		return err == nil
	})
}

func TestStandbyFollowsByteForByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		east, west := newPair(t, 3)
		defer closeBoth(east, west)
		until(t, "east serves", func() bool { return writes(east) })
		east.setNetwork(false, 5) // one message in five is lost
		produce(t, east, 100)
		until(t, "equal sites", func() bool { return equal(east, west) })
		if n := west.replicas[0].produce(1); n != 0 {
			t.Fatal("a standby took a produce")
		}
		until(t, "known lag", func() bool {
			for _, l := range east.driver.Links() {
				if !l.Lag.Known || l.Lag.Offsets != 0 || l.Lag.Time != 0 {
					return false
				}
			}
			return true
		})
		for _, l := range west.driver.Links() {
			if l.Lag.Known {
				t.Fatal("a standby can not know its lag by itself")
			}
		}
	})
}

func TestSwitchoverLosesNothingAndLeavesNoGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		east, west := newPair(t, 3)
		defer closeBoth(east, west)
		until(t, "east serves", func() bool { return writes(east) })
		produce(t, east, 50)
		if err := west.driver.Order(site.Partitions{Target: 1, IDs: partitionIDs(west)}); err != nil {
			t.Fatal(err)
		}
		give(t, east, site.Switchover{})
		until(t, "west serves", func() bool { return writes(west) })
		if !equal(east, west) {
			t.Fatal("the sites differ behind a switchover")
		}
		produce(t, west, 50)
		until(t, "equal sites", func() bool { return equal(east, west) })
		for i, r := range east.replicas {
			rows, archive := r.records()
			if len(rows) != 100 || len(archive) != 0 || rows[99].BaseOffset != 99 {
				t.Fatalf("partition %d: %d records up to offset %d, %d archived", i, len(rows), rows[len(rows)-1].BaseOffset, len(archive))
			}
		}
	})
}

// A switchover to a copy that is not whole waits for it. Where the active is gone meanwhile, the site can be failed over to.
func TestSwitchoverToAHalfCopyDoesNotStandInTheWayOfAFailover(t *testing.T) {
	for _, lost := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			east, west := newPair(t, 3)
			defer closeBoth(east, west)
			until(t, "east serves", func() bool { return writes(east) })
			west.half.Store(true)
			if err := west.driver.Order(site.Partitions{Target: 1, IDs: partitionIDs(west)}); err != nil {
				t.Fatal(err)
			}
			give(t, east, site.Switchover{})
			time.Sleep(2 * time.Second)
			if writes(west) {
				t.Fatal("promoted")
			}
			if lost {
				give(t, west, site.Failover{ActiveIsDown: true})
			} else {
				west.half.Store(false)
			}
			until(t, "west serves", func() bool { return writes(west) })
			if v := west.driver.View(); v.Planned == lost {
				t.Errorf("%+v", v)
			}
		})
	}
}

func TestLostSiteReturnsAndItsTailIsArchived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		east, west := newPair(t, 2)
		defer func() { closeBoth(east, west) }()
		until(t, "east serves", func() bool { return writes(east) })
		produce(t, east, 40)
		until(t, "equal sites", func() bool { return equal(east, west) })
		east.setNetwork(true, 0)
		produce(t, east, 7) // nobody will see them
		east.driver.Close()
		give(t, west, site.Failover{ActiveIsDown: true})
		until(t, "west serves", func() bool { return writes(west) })
		produce(t, west, 30)
		east.start(false)
		if east.driver.MayAcknowledge() {
			t.Fatal("a restarted active serves before it has asked")
		}
		east.driver.Start()
		time.Sleep(10 * time.Second)
		if east.driver.View().Serving {
			t.Fatal("a restarted active serves without an answer")
		}
		east.setNetwork(false, 0)
		until(t, "equal sites", func() bool { return equal(east, west) })
		for i, r := range east.replicas {
			rows, archive := r.records()
			if len(rows) != 70 || len(archive) != 7 || archive[0].BaseOffset != 40 || rows[40].BaseOffset != entry.BandStart(1) {
				t.Fatalf("partition %d: %d records, %d archived", i, len(rows), len(archive))
			}
		}
		produce(t, west, 5)
		until(t, "equal sites", func() bool { return equal(east, west) })
	})
}

func partitionIDs(s *fakeSite) []site.PartitionID {
	var ids []site.PartitionID
	for _, r := range s.replicas {
		ids = append(ids, r.id)
	}
	return ids
}

// What was written under metadata that the standby does not have yet waits for it, and is not waited for longer than that.
func TestAppendsWaitForTheirMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		east, west := newPair(t, 2)
		defer closeBoth(east, west)
		until(t, "east serves", func() bool { return writes(east) })
		west.driver.Followed(controller.Version{Epoch: 0, N: 3})
		east.needs.Store(3)
		produce(t, east, 40)
		until(t, "equal sites", func() bool { return equal(east, west) })
		east.needs.Store(5)
		produce(t, east, 40)
		for _, v := range []controller.Version{{Epoch: 0, N: 4}, {Epoch: 1, N: 9}} { // the latter is of another active
			west.driver.Followed(v)
			time.Sleep(10 * time.Second)
			if rows, _ := west.replicas[0].records(); len(rows) != 40 {
				t.Fatalf("%d records at a standby with metadata %s, of which 40 need no later one", len(rows), v)
			}
		}
		if l := east.driver.Links()[0].Lag; l.Known && l.Offsets == 0 {
			t.Fatalf("lag %+v: nothing was taken", l)
		}
		began := time.Now()
		west.driver.Followed(controller.Version{Epoch: 0, N: 5})
		until(t, "equal sites", func() bool { return equal(east, west) })
		if d := time.Since(began); d > 900*time.Millisecond {
			t.Errorf("what had waited came after %v: nobody has asked for it", d)
		}
	})
}
