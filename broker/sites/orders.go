package sites

import (
	"cmp"
	"fmt"
	"slices"
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
	passed    bool           // to the other site, which carries it out
	before    operator.Facts // when it began
	epoch     uint32         // the site epoch of this site when it began
	abandoned bool           // the operator has given it up, and the standby has not agreed yet
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
	n := &order{before: before, epoch: before.Here.Epoch, passed: before.Here.Role != site.Active && kind == operator.Switchover}
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

// adopt notes what is going on, where it was begun in an earlier run of this broker: who gives it up has to be told what becomes of it. What was
// begun in this run is known.
func (o *orders) adopt(p *Pair, kind operator.OrderKind, now operator.Facts) {
	if o.running(p) != nil {
		return
	}
	to := now.Here.Name
	if kind == operator.Switchover {
		to = now.There.Name
	}
	o.begin(kind, "", nil, now, to)
}

// abandon notes that the newest order is to be given up.
func (o *orders) abandon() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.list) > 0 {
		o.list[len(o.list)-1].abandoned = true
	}
}

// forget drops an order that was not begun.
func (o *orders) forget(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = slices.DeleteFunc(o.list, func(n *order) bool { return n.ID == id })
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
	case n.passed && view.Role == site.Active && !view.Planned:
		return operator.Failed, fmt.Sprintf("meanwhile a failover to %s was ordered", n.To)
	case takes && view.Role == site.Standby && view.Epoch > n.epoch:
		return operator.Failed, fmt.Sprintf("meanwhile %s was promoted to site epoch %d, and is followed", n.From, view.Epoch)
	case !takes && view.Role == site.Active && n.SiteEpoch != 0 && view.Fencing != n.SiteEpoch:
		return operator.Aborted, n.From + " goes on"
	case !takes && view.Role == site.Standby && view.Epoch != target:
		return operator.Failed, fmt.Sprintf("meanwhile %s was promoted to site epoch %d, not by this switchover: records may be lost (tandem dr lost list)",
			n.To, view.Epoch)
	}
	return operator.Running, ""
}

// takesOver is the progress of an order by which this site becomes active.
func (p *Pair) takesOver(n *order, view site.View) {
	if n.passed && view.Role != site.Active {
		n.Step = n.From + " hands over"
		p.stalls(n, n.From, fmt.Sprintf("if %s is lost: tandem dr failover --to %s --active-is-down; if it comes back, the switchover goes on by itself", n.From, n.To))
		return
	}
	n.Next = ""
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
	for _, s := range p.driver.Links() {
		if s.Leads && s.LeaderEpoch >= 0 {
			next[s.ID] = s.Next
		}
	}
	if p.over(n, next) && view.Serving {
		p.finish(n, next)
	}
}

// over notes how many of an order's partitions have gone over, which are those in next, and says whether all have that can.
func (p *Pair) over(n *order, next map[site.PartitionID]int64) bool {
	left := 0
	for _, id := range p.awaited(n) {
		if _, ok := next[id]; !ok {
			left++
		}
	}
	n.PartitionsDone = min(len(next), max(n.Partitions-left, 0))
	return left == 0
}

// awaited are the partitions that an order has to bring over: those that it began with, as far as they are here. What only the other site has told
// of is not, nor what was deleted meanwhile, nor what cannot be used: an order that waited for that would never end.
func (p *Pair) awaited(n *order) (all []site.PartitionID) {
	image := p.options.Controller.Image()
	for _, b := range n.before.Partitions {
		t, ok := image.Topic(b.Topic)
		if !ok || !t.Has(b.Index) || !p.options.Config.Ships(t.Name) {
			continue
		}
		if part, _ := p.options.Partitions.Find(t.ID, b.Index); part != nil && part.Offline() != nil {
			continue
		}
		all = append(all, site.PartitionID{Topic: t.ID, Partition: b.Index})
	}
	return all
}

// handsOver is the progress of a switchover at the site that was active.
func (p *Pair) handsOver(n *order, view site.View) {
	switch {
	case view.Role == site.Active && view.Fencing != 0:
		n.SiteEpoch = view.Fencing
		n.Step, n.Next = fmt.Sprintf("%s fetches what it lacks", n.To), ""
		if n.abandoned {
			n.Step = fmt.Sprintf("%s waits for the word of %s that it will not take over", n.From, n.To)
		}
		p.stalls(n, n.To, fmt.Sprintf("no site takes writes until %s is back, then it goes on by itself, or is given up with tandem dr abort; "+
			"if %s is lost: tandem dr failover --to %s --active-is-down", n.To, n.To, n.From))
		return
	case view.Role == site.Active:
		n.Step = "storing what is about to happen"
		return
	}
	n.SiteEpoch = view.Epoch
	n.Step, n.Next = fmt.Sprintf("%s takes over", n.To), ""
	p.stalls(n, n.To, fmt.Sprintf("start the brokers of %s, or mend the network; if %s is lost: tandem dr failover --to %s --active-is-down", n.To, n.To, n.From))
	told, _ := p.remote.told()
	if !told.Active || told.Epoch < view.Epoch {
		return
	}
	next := map[site.PartitionID]int64{}
	p.remote.mu.Lock()
	for id, l := range p.remote.mu.links {
		if l.Epoch >= 0 {
			next[id] = l.Next
		}
	}
	p.remote.mu.Unlock()
	if p.over(n, next) && told.Serving {
		p.finish(n, next)
	}
}

// stalledPatience is how long the other site may be silent before an order that needs it is said to stand still. It may well go on: so this
// is not its end.
const stalledPatience = 5 * time.Second

// stalls says of an order what the operator can do, where the other site has not been heard of for a while.
func (p *Pair) stalls(n *order, who, next string) {
	if silence := p.silence(); silence > stalledPatience {
		n.Step, n.Next = fmt.Sprintf("nothing was heard of %s for %s", who, silence.Round(time.Second)), next
	}
}

// goesOn says that a switchover that was passed on to the other site has not ended there, as far as is known here: the other site is gone, or
// was started again and knows of the fence only.
func (p *Pair) goesOn(id string) bool {
	if _, ok := p.passed.known(p, id); !ok {
		return false
	}
	told, _ := p.remote.told()
	return !p.reachable() || told.Fencing != 0 || p.driver.View().Role == site.Active
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
	n.State, n.Ended, n.Step, n.Next, n.Report = operator.Done, &now, "", "", &r
	n.PartitionsDone = n.Partitions
	p.history.report(n.SiteEpoch, &r)
	p.logger.Info("the active role has gone over", "order", n.Kind, "from", n.From, "to", n.To, "epoch", n.SiteEpoch, "took", now.Sub(*n.Began).Round(time.Millisecond))
}
