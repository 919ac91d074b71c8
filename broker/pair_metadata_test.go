package broker_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/tandembroker/tandem/broker/brokertest"
)

// Green means that the standby has the active's topics and configs too: a topic that it has not heard of cannot be green anywhere where that
// is known, however short the time is.
func TestStatusIsNotGreenBeforeTheStandbyHasTheTopic(t *testing.T) {
	east, west := startPair(t)
	east.CreateTopic("first", 1)
	produceTo(t, east, "first", "one", 1, 10)
	green := func(b *brokertest.Broker) bool {
		s, err := b.Pair().DR().Status(b.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.Green
	}
	until(t, "green at both", func() bool { return green(east) && green(west) })
	for range 20 {
		before := east.Pair().Metadata()
		east.CreateTopic("t", 2)
		// The standby is asked behind the active: it has at least what it had when the active said that all is well.
		for range 50 {
			if green(east) {
				if _, ok := west.Partition("t", 1); !ok {
					t.Fatal("east is green, west has no partition t-1")
				}
				break
			}
		}
		until(t, "green at both", func() bool { return green(east) && green(west) })
		s, err := west.Pair().DR().Status(west.Context())
		if err != nil || !s.Metadata.Current || s.Metadata.Active == nil || *s.Metadata.Active == before || s.Partitions.All != 3 {
			t.Fatalf("%+v, %v; before it was version %s", s, err, before)
		}
		if _, err := kadm.NewClient(east.Client()).DeleteTopics(east.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		until(t, "green at both", func() bool { return green(east) && green(west) })
	}
}
