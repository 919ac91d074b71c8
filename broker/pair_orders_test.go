package broker_test

import (
	"testing"

	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/replication/site"
)

// A broker that was started again gives up what was begun before, and says what that was and what has become of it.
func TestOrderOfAnEarlierRunIsGivenUp(t *testing.T) {
	t.Run("switchover", func(t *testing.T) {
		east, west, between := startPairApart(t)
		east.CreateTopic("t", 1)
		produceTo(t, east, "t", "one", 1, 10)
		until(t, "equal logs", sameLog(t, east, west, "t", 1))
		between.Cut(true)
		orderOf(t, east, site.Switchover{}) // by nobody whom this run knows
		until(t, "fenced", func() bool { return east.Pair().View().Fencing != 0 })
		o, err := east.Pair().DR().Abort(east.Context())
		if err != nil || o.Kind != operator.Switchover || o.From != "east" || o.To != "west" || o.State != operator.Running || o.ID == "" {
			t.Fatalf("%+v, %v", o, err)
		}
		between.Cut(false)
		until(t, "the end", func() bool {
			o, err = east.Pair().DR().Progress(east.Context(), o.ID)
			return err == nil && o.State != operator.Running
		})
		if o.State != operator.Aborted {
			t.Errorf("%+v", o)
		}
		awaitWritable(t, east, "t", 1)
	})
	t.Run("failover", func(t *testing.T) {
		_, west := startPair(t, "dr.fence.after.ms=60000")
		until(t, "the active is known to be leased", func() bool { return west.Pair().Order(site.Failover{}) == nil })
		var o operator.Order
		until(t, "it waits", func() bool {
			var err error
			o, err = west.Pair().DR().Abort(west.Context())
			return err == nil
		})
		if o.Kind != operator.Failover || o.From != "east" || o.To != "west" || o.State != operator.Aborted {
			t.Fatalf("%+v", o)
		}
	})
}
