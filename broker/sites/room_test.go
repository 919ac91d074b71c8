package sites

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/sites/operator"
)

// TestWhatHasNoRoomIsNotTaken: the standby holds what it has, the active ships nothing meanwhile, and both go on once there is room.
func TestWhatHasNoRoomIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		east, west := newPair(t, 2)
		defer closeBoth(east, west)
		until(t, "east serves", func() bool { return writes(east) })
		produce(t, east, 20)
		until(t, "equal sites", func() bool { return equal(east, west) })
		before := west.ends()
		west.room.Store(1)
		produce(t, east, 20)
		until(t, "said", func() bool { err := west.driver.Full(); return err != nil && strings.Contains(err.Error(), "no room") })
		time.Sleep(time.Second) // what was on its way
		shipped := east.appends.Load()
		time.Sleep(time.Minute)
		if west.ends() != before {
			t.Error("the standby took what it has no room for")
		}
		if n := east.appends.Load(); n != shipped {
			t.Errorf("%d Appends went to a site that takes none", n-shipped)
		}
		west.room.Store(west.driver.turnedAway.Load())
		if west.driver.Full() == nil {
			t.Error("room for one Append is taken for an end of the shortage")
		}
		west.room.Store(0)
		until(t, "equal sites", func() bool { return equal(east, west) })
		if err := west.driver.Full(); err != nil {
			t.Error(err)
		}
	})
}

// TestStandbyRemembersItsLastContact: of its site epoch, not of a time to come, and copies only of the partitions that it was about.
func TestStandbyRemembersItsLastContact(t *testing.T) {
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	v := controller.Version{Epoch: 4, N: 7}
	c := lastContact{At: noon, Epoch: 4, Version: v, Copied: true}
	later := v
	later.N++
	for i, got := range []bool{
		c.counts(4, noon.Add(time.Hour)), c.counts(4, noon), !c.counts(5, noon.Add(time.Hour)), !c.counts(4, noon.Add(-time.Second)),
		!(&lastContact{Epoch: 4}).counts(4, noon), c.whole(v), !c.whole(later), !(&lastContact{Version: v}).whole(v),
	} {
		if !got {
			t.Errorf("case %d", i)
		}
	}
	stored := c
	c.At = noon.Add(time.Second)
	if c.news(&stored, false) || !c.news(&stored, true) {
		t.Error("a second is stored where the contact ends, and not before")
	}
	if c.Version = later; !c.news(&stored, false) {
		t.Error("another version is stored at once")
	}
	c = stored
	if c.At = noon.Add(contactEach); !c.news(&stored, false) || stored.news(&stored, true) {
		t.Error("stored at the wrong time")
	}
}

// TestStandbyDoesNotRememberAWholeCopyOfWhatIsCopiedAnew: the log was dropped behind the last contact that was stored, and the broker killed.
func TestStandbyDoesNotRememberAWholeCopyOfWhatIsCopiedAnew(t *testing.T) {
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	v := controller.Version{Epoch: 4, N: 7}
	c := lastContact{At: noon, Epoch: 4, Version: v, Copied: true}
	f := operator.Facts{Partitions: []operator.Partition{{Topic: "t"}, {Topic: "t", Index: 1}}}
	c.fill(&f, v, func(topic string, index int32) bool { return topic == "t" && index == 1 })
	if f.LastContact != noon || f.AsOf != noon || !f.Partitions[0].Copied || f.Partitions[1].Copied {
		t.Errorf("%+v", f)
	}
}
