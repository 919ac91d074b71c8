package sites

import (
	"cmp"
	"fmt"
	"sync"
	"time"

	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/replication/site"
)

// orders are the switchovers and failovers that were begun at this broker in this run. Safe for concurrent use.
type orders struct {
	mu   sync.Mutex
	list []*order
}

// order is one of them.
type order struct {
	operator.Order
	before operator.Facts // when it began
	epoch  uint32         // the site epoch of this site when it began
}

// ordersMax bounds how many are remembered.
const ordersMax = 100

// begin notes an order; id "" = it gets one.
func (o *orders) begin(kind operator.OrderKind, id string, plan *operator.Plan, before operator.Facts, to string) operator.Order {
	now := before.Now.UTC()
	from := before.Here.Name
	if to == from {
		from = before.There.Name
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	n := &order{before: before, epoch: before.Here.Epoch}
	n.Order = operator.Order{
		ID: cmp.Or(id, fmt.Sprintf("%s-%d", before.Here.Name, now.UnixMilli())), Kind: kind, From: from, To: to, State: operator.Running, Partitions: len(before.Partitions),
		Began: &now, Plan: plan,
	}
	o.list = append(o.list, n)
	if len(o.list) > ordersMax {
		o.list = o.list[1:]
	}
	return n.Order
}

// find is how an order stands; "" = the newest. ok is false where there is none.
func (o *orders) find(p *Pair, id string) (operator.Order, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := len(o.list) - 1; i >= 0; i-- {
		if n := o.list[i]; id == "" || n.ID == id {
			p.progress(n)
			return n.Order, true
		}
	}
	return operator.Order{}, false
}

// known is an order that was begun here under an ID that is not empty: one that comes twice is not begun twice.
func (o *orders) known(p *Pair, id string) (operator.Order, bool) {
	if id == "" {
		return operator.Order{}, false
	}
	return o.find(p, id)
}

// running is the order that is going on; nil = none.
func (o *orders) running(p *Pair) *operator.Order {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.list) == 0 {
		return nil
	}
	n := o.list[len(o.list)-1]
	p.progress(n)
	if n.State != operator.Running {
		return nil
	}
	copied := n.Order
	return &copied
}

// end closes the newest order; what it is about has ended otherwise.
func (o *orders) end(p *Pair, state operator.OrderState, why string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.list) == 0 {
		return
	}
	n := o.list[len(o.list)-1]
	p.progress(n)
	if n.State == operator.Running {
		now := p.options.Now().UTC()
		n.State, n.Ended, n.Error = state, &now, why
	}
}

// progress looks how far an order is. orders.mu is held.
func (p *Pair) progress(n *order) {
	if n.State != operator.Running {
		return
	}
	view := p.driver.View()
	takes := n.To == p.options.Config.Name
	if state, why := n.overtaken(takes, view, p.driver.Record().LastTarget); state != operator.Running {
		now := p.options.Now().UTC()
		n.State, n.Ended, n.Error = state, &now, why
		return
	}
	if takes {
		p.takesOver(n, view)
	} else {
		p.handsOver(n, view)
	}
}

// overtaken says whether the role has gone another way than n would have it; Running = it has not. takes: this site is to take over.
// lastTarget is the newest target of a switchover that this site has handed out.
func (n *order) overtaken(takes bool, view site.View, lastTarget uint32) (state operator.OrderState, why string) {
	switch target := cmp.Or(n.SiteEpoch, lastTarget); {
	case takes && view.Role == site.Standby && view.Epoch > n.epoch:
		return operator.Failed, fmt.Sprintf("meanwhile %s was promoted to site epoch %d, and is followed", n.From, view.Epoch)
	case !takes && view.Role == site.Active && n.SiteEpoch != 0 && view.Fencing != n.SiteEpoch:
		return operator.Aborted, "it was given up: " + n.From + " goes on"
	case !takes && view.Role == site.Standby && view.Epoch != target:
		return operator.Failed, fmt.Sprintf("meanwhile %s was promoted to site epoch %d, not by this switchover: records may be lost (tandem dr lost list)",
			n.To, view.Epoch)
	}
	return operator.Running, ""
}

// takesOver is the progress of an order by which this site becomes active.
func (p *Pair) takesOver(n *order, view site.View) {
	if view.Role != site.Active || view.Epoch == n.epoch {
		n.Step = "waiting for the end of the active's lease"
		if !p.driver.Record().StopRenew {
			n.Step = "storing the new role"
		}
		return
	}
	n.SiteEpoch = view.Epoch
	n.Step = "partitions go over"
	next := map[site.PartitionID]int64{}
	done := 0
	for _, s := range p.driver.Links() {
		if s.Leads && s.LeaderEpoch >= 0 {
			done++
			next[s.ID] = s.Next
		}
	}
	n.PartitionsDone = min(done, n.Partitions)
	if view.Serving && done >= p.offline(n.Partitions) {
		p.finish(n, next)
	}
}

// offline takes the partitions that no order can bring over, because their data cannot be used, off a count.
func (p *Pair) offline(count int) int {
	for _, part := range p.options.Partitions.All() {
		if part.Offline() != nil {
			count--
		}
	}
	return max(count, 0)
}

// handsOver is the progress of a switchover at the site that was active.
func (p *Pair) handsOver(n *order, view site.View) {
	switch {
	case view.Role == site.Active && view.Fencing != 0:
		n.SiteEpoch = view.Fencing
		n.Step = fmt.Sprintf("%s fetches what it lacks", n.To)
		return
	case view.Role == site.Active:
		n.Step = "storing what is about to happen"
		return
	}
	n.SiteEpoch = view.Epoch
	n.Step = fmt.Sprintf("%s takes over", n.To)
	told, _ := p.remote.told()
	if !told.Active || told.Epoch < view.Epoch {
		return
	}
	next := map[site.PartitionID]int64{}
	done := 0
	p.remote.mu.Lock()
	for id, l := range p.remote.mu.links {
		if l.Epoch >= 0 {
			done++
			next[id] = l.Next
		}
	}
	p.remote.mu.Unlock()
	n.PartitionsDone = min(done, n.Partitions)
	if told.Serving && done >= p.offline(n.Partitions) {
		p.finish(n, next)
	}
}

// finish notes that an order has been carried out.
func (p *Pair) finish(n *order, next map[site.PartitionID]int64) {
	now := p.options.Now().UTC()
	image := p.options.Controller.Image()
	before := n.before
	if n.To != before.Here.Name { // NewReport is told by the site that was promoted
		before.Here, before.There = before.There, before.Here
	}
	r := operator.NewReport(&before, operator.Promotion{Kind: n.Kind, SiteEpoch: n.SiteEpoch, At: now,
		Resumes: func(topic string, partition int32) (int64, bool) {
			t, ok := image.Topic(topic)
			if !ok {
				return 0, false
			}
			offset, ok := next[site.PartitionID{Topic: t.ID, Partition: partition}]
			return offset, ok
		}})
	n.State, n.Ended, n.Step, n.Report = operator.Done, &now, "", &r
	n.PartitionsDone = n.Partitions
	p.history.report(n.SiteEpoch, &r)
	p.logger.Info("the active role has gone over", "order", n.Kind, "from", n.From, "to", n.To, "epoch", n.SiteEpoch, "took", now.Sub(*n.Began).Round(time.Millisecond))
}
