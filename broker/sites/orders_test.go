package sites

import (
	"testing"
	"time"

	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/replication/site"
)

// An order whose role went another way ends, and not as done.
func TestOrdersThatWereOvertakenEnd(t *testing.T) {
	const takes, hands = true, false
	for _, c := range []struct {
		name   string
		takes  bool
		target uint32 // as the order has noticed it; 0 = not yet
		view   site.View
		last   uint32
		want   operator.OrderState
	}{
		{"waits for the lease", takes, 0, site.View{Role: site.Standby, Epoch: 4}, 0, operator.Running},
		{"took over", takes, 0, site.View{Role: site.Active, Epoch: 5}, 0, operator.Running},
		{"took over again in its own right", takes, 5, site.View{Role: site.Active, Epoch: 9}, 0, operator.Running},
		{"follows another promotion", takes, 0, site.View{Role: site.Standby, Epoch: 8}, 0, operator.Failed},
		{"not begun", hands, 0, site.View{Role: site.Active, Epoch: 4}, 0, operator.Running},
		{"not begun, behind another one", hands, 0, site.View{Role: site.Active, Epoch: 4}, 1, operator.Running},
		{"fenced", hands, 5, site.View{Role: site.Active, Epoch: 4, Fencing: 5}, 5, operator.Running},
		{"given up", hands, 5, site.View{Role: site.Active, Epoch: 4}, 5, operator.Aborted},
		{"given up, and the next one has begun", hands, 5, site.View{Role: site.Active, Epoch: 4, Fencing: 9}, 9, operator.Aborted},
		{"gone over", hands, 5, site.View{Role: site.Standby, Epoch: 5}, 5, operator.Running},
		{"gone over before it was looked at", hands, 0, site.View{Role: site.Standby, Epoch: 5}, 5, operator.Running},
		{"failover of the standby", hands, 5, site.View{Role: site.Standby, Epoch: 9}, 5, operator.Failed},
		{"failover of the standby before it was looked at", hands, 0, site.View{Role: site.Standby, Epoch: 9}, 5, operator.Failed},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := &order{Order: operator.Order{From: "east", To: "west", SiteEpoch: c.target}, epoch: 4}
			if got, why := n.overtaken(c.takes, c.view, c.last); got != c.want {
				t.Fatalf("%s (%s), want %s", got, why, c.want)
			}
		})
	}
}

// TestOrderThatIsAboutToBeginIsKnown: whoever has passed a switchover on, and got no answer in time, asks what became of it while the other site
// may still be making sure that it is answered itself.
func TestOrderThatIsAboutToBeginIsKnown(t *testing.T) {
	p := &Pair{}
	p.ordering.Lock()
	type result struct {
		order operator.Order
		err   error
	}
	got := make(chan result, 1)
	go func() {
		o, err := DR{p, true}.Progress(t.Context(), "west-1")
		got <- result{o, err}
	}()
	select {
	case r := <-got:
		t.Errorf("told before it was decided: %+v", r)
	case <-time.After(20 * time.Millisecond):
	}
	p.orders.mu.Lock()
	p.orders.list = []*order{{Order: operator.Order{ID: "west-1", State: operator.Done}}}
	p.orders.mu.Unlock()
	p.ordering.Unlock()
	if r := <-got; r.err != nil || r.order.ID != "west-1" {
		t.Errorf("%+v", r)
	}
}
