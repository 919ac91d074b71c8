package sites

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandembroker/tandem/replication/site"
)

// A disk that is full for a while, and a leadership that changes meanwhile: the copy that the old link asked for must not come behind that of
// the new one, whose archive it would take away.
func TestArchiveOfAnOldLinkIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		east, west := newPair(t, 1)
		defer func() { closeBoth(east, west) }()
		until(t, "east serves", func() bool { return writes(east) })
		produce(t, east, 40)
		until(t, "equal sites", func() bool { return equal(east, west) })
		east.setNetwork(true, 0)
		produce(t, east, 7)
		give(t, west, site.Failover{ActiveIsDown: true})
		until(t, "west serves", func() bool { return writes(west) })
		r := east.replicas[0]
		r.set(func() { r.archiveErr = errors.New("disk full") })
		east.setNetwork(false, 0)
		time.Sleep(7 * time.Second) // the copy fails, and waits
		r.set(func() { r.term++; r.sequence = 0 })
		time.Sleep(2 * time.Second) // so does that of the next leadership, at other times
		r.set(func() { r.archiveErr = nil })
		until(t, "equal sites", func() bool { return equal(east, west) })
		time.Sleep(time.Minute)
		if _, archive := r.records(); len(archive) != 7 {
			t.Fatalf("%d records archived, 7 were lost", len(archive))
		}
		r.set(func() {
			if r.archived != 1 {
				t.Errorf("the tail was copied %d times", r.archived)
			}
		})
	})
}

// bornLater is another Replica of a log: the metadata says of it by now that it was created in another site epoch.
type bornLater struct{ *fakeReplica }

// A link goes on where only what the metadata says of its log has changed: one that began anew would archive the tail once more, and throw the first
// archive away, while the cut that is on its way takes the tail.
func TestLinkGoesOnWithWhatTheMetadataSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		east, west := newPair(t, 1)
		defer func() { closeBoth(east, west) }()
		until(t, "east serves", func() bool { return writes(east) })
		produce(t, east, 40)
		until(t, "equal sites", func() bool { return equal(east, west) })
		east.setNetwork(true, 0)
		produce(t, east, 7)
		give(t, west, site.Failover{ActiveIsDown: true})
		until(t, "west serves", func() bool { return writes(west) })
		r := east.replicas[0]
		r.set(func() { r.slow = true })
		east.setNetwork(false, 0)
		copies := func() (n int) {
			r.set(func() { n = r.archived })
			return n
		}
		until(t, "the tail is archived", func() bool { return copies() == 1 })
		time.Sleep(time.Second) // its cut is on the way
		east.driver.Add(bornLater{r})
		time.Sleep(time.Minute)
		if n := copies(); n != 1 || east.driver.Len() != 1 {
			t.Errorf("the tail was archived %d times, %d links", n, east.driver.Len())
		}
		r.set(func() { r.slow = false })
		until(t, "equal sites", func() bool { return equal(east, west) })
		time.Sleep(time.Minute)
		if _, archive := r.records(); len(archive) != 7 {
			t.Errorf("%d records archived, 7 were lost", len(archive))
		}
		if _, is := east.driver.runners()[0].replica().(bornLater); !is {
			t.Error("the link does not know what the metadata says by now")
		}
	})
}

// Data of write.caching is on disk soon, also where everything else is done: nobody else asks for it.
func TestCachedDataShipsSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		east, west := newPair(t, 1)
		defer closeBoth(east, west)
		until(t, "east serves", func() bool { return writes(east) })
		produce(t, east, 1)
		for _, s := range []*fakeSite{east, west} {
			s.replicas[0].set(func() { s.replicas[0].cached = true })
		}
		time.Sleep(11 * time.Second) // both links have come to rest
		produce(t, east, 1)
		time.Sleep(2 * time.Second)
		x, _ := west.replicas[0].records()
		view, _ := west.replicas[0].LogView()
		if len(x) != 2 || view.Durable.NextOffset != 2 {
			t.Fatalf("after two seconds %d of 2 records are there, durable up to %d", len(x), view.Durable.NextOffset)
		}
	})
}

// A link that its worker does not get to is owed no more than one tick.
func TestTicksDoNotPileUp(t *testing.T) {
	d := New(Options{Network: &fakeSite{}})
	r := newRunner(d, newReplica(t, site.PartitionID{}), newWorker(d.now))
	for range 10 {
		r.put(input{in: site.Tick{}})
		r.put(input{in: site.LogMoved{}})
	}
	if n := len(r.mu.inputs); n != 11 {
		t.Fatalf("%d inputs wait, 11 are expected", n)
	}
}

// What comes behind the end of a run, for instance an order, stores nothing: nobody would wait for that.
func TestNothingIsStoredBehindTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		east, west := newPair(t, 1)
		until(t, "east serves", func() bool { return writes(east) })
		closeBoth(east, west)
		if err := west.driver.Order(site.Failover{ActiveIsDown: true}); err == nil {
			t.Error("an order is taken")
		}
		time.Sleep(time.Second)
		if west.record.Role == site.Active {
			t.Error("a role is stored")
		}
	})
}
