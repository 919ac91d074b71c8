package sites

import (
	"testing"
	"testing/synctest"

	"github.com/tandembroker/tandem/storage/entry"
)

// An active site that has nearly used up its site epoch takes its next one, and the standby follows.
func TestSpentSiteEpochIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		east, west := newPair(t, 2)
		defer closeBoth(east, west)
		until(t, "east serves", func() bool { return writes(east) })
		produce(t, east, 10)
		r := east.replicas[1]
		r.set(func() { r.term, r.sequence = 1<<entry.LeaderEpochBits-60, 0 }) // so many leaders it has had
		until(t, "east's next site epoch", func() bool { return east.driver.View().Epoch == 4 && writes(east) })
		produce(t, east, 10)
		until(t, "equal sites", func() bool { return equal(east, west) })
		if rows, _ := r.records(); len(rows) != 20 || rows[10].BaseOffset != entry.BandStart(4) {
			t.Fatalf("%d records, the last at offset %d", len(rows), rows[len(rows)-1].BaseOffset)
		}
	})
}

func TestSpent(t *testing.T) {
	const epoch = 5
	end := entry.BandEnd(epoch)
	for _, c := range []struct {
		name string
		s    linkState
		want bool
	}{
		{"fresh", linkState{leads: true, epoch: epoch << entry.LeaderEpochBits, end: entry.BandStart(epoch) + 1000}, false},
		{"offsets", linkState{leads: true, epoch: epoch << entry.LeaderEpochBits, end: end - 1000}, true},
		{"offsets, elsewhere led", linkState{epoch: epoch << entry.LeaderEpochBits, end: end - 1000}, false},
		{"offsets, takes nothing", linkState{leads: true, epoch: -1, end: end - 1000}, false},
		{"leader epochs", linkState{leads: true, epoch: (epoch+1)<<entry.LeaderEpochBits - 5, end: entry.BandStart(epoch)}, true},
		{"of the epoch that was left", linkState{leads: true, epoch: epoch<<entry.LeaderEpochBits - 5, end: entry.BandStart(epoch)}, false},
	} {
		if got := c.s.spent(epoch); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
