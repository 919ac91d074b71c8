package broker_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/tandembroker/tandem/broker/brokertest"
)

// What a client has deleted is kept for dr.delete.delay.ms at both sites, and then goes at both.
func TestDataOfADeletedTopicGoesAfterTheDelay(t *testing.T) {
	const delay = 1500 * time.Millisecond
	east, west := startPair(t, "dr.delete.delay.ms=1500")
	east.CreateTopic("t", 1)
	produceTo(t, east, "t", "one", 1, 10)
	awaitSameLog(t, east, west, "t", 1)
	deleted := time.Now()
	if _, err := kadm.NewClient(east.Client()).DeleteTopics(east.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	until(t, "topic gone at the standby", func() bool {
		_, ok := west.Partition("t", 0)
		return !ok
	})
	gone := func(b *brokertest.Broker) bool {
		_, err := os.Stat(filepath.Join(b.Config().LogDirs[0], "t-0"))
		return os.IsNotExist(err)
	}
	eastGone, westGone := gone(east), gone(west)
	if (eastGone || westGone) && time.Since(deleted) < delay {
		t.Fatalf("the data is not kept: gone at east %v, at west %v", eastGone, westGone)
	}
	until(t, "data gone at both", func() bool { return gone(east) && gone(west) })
}

// A topic that came back while it was archived as lost is in a log that is in use: what its archives hold is not lost.
func TestArchiveOfALogInUseIsWithdrawn(t *testing.T) {
	east, west := startPair(t, "dr.delete.delay.ms=1000")
	east.CreateTopic("t", 2)
	produceTo(t, east, "t", "one", 2, 20)
	awaitSameLog(t, east, west, "t", 2)
	for i := range int32(2) {
		p, _ := west.Partition("t", i)
		if err := p.ArchiveWhole(t.Context(), "t", 9); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "archives withdrawn", func() bool {
		list, err := west.Pair().DR().LostList(west.Context())
		return err == nil && len(list.Archives) == 0
	})
	awaitSameLog(t, east, west, "t", 2)
}
