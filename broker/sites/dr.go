package sites

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/replication/site"
)

// identified names an order.
type identified struct {
	ID string `json:"id"`
}

// DR carries out what the operator asks (operator.DR).
type DR struct {
	p     *Pair
	asked bool // by the other site: it is not asked back
}

var _ operator.DR = DR{}

// DR is the Pair as the operator's requests see it.
func (p *Pair) DR() DR { return DR{p, false} }

// elsewhere says that the other site has to carry out what the named one has to.
func (d DR) elsewhere(name string) bool {
	return !d.asked && name != d.p.options.Config.Name && d.p.Connected()
}

// Status implements operator.DR.
func (d DR) Status(context.Context) (operator.Status, error) {
	f := d.p.facts()
	return f.Status(), nil
}

// Switchover implements operator.DR. The active site carries it out.
func (d DR) Switchover(ctx context.Context, o operator.SwitchoverOrder) (operator.Order, error) {
	if known, ok := d.p.orders.known(d.p, o.ID); ok && !o.DryRun {
		return known, nil
	}
	f := d.p.facts()
	if f.Here.Role != site.Active && f.There.Known && f.There.Role == site.Active && d.elsewhere(f.There.Name) {
		return d.passOn(ctx, o, f)
	}
	d.p.ordering.Lock()
	defer d.p.ordering.Unlock()
	if known, ok := d.p.orders.known(d.p, o.ID); ok && !o.DryRun {
		return known, nil // meanwhile
	}
	f = d.p.facts()
	plan, refused := f.DecideSwitchover(o)
	if refused != nil {
		return d.begunThere(ctx, o.ID, refused)
	}
	if o.DryRun {
		return planned(operator.Switchover, f, o.To, plan), nil
	}
	if !d.p.answers(ctx) { // before the fence: behind it nobody writes until the other site is back
		return operator.Order{}, &operator.Error{Code: operator.CodeRefused, Text: fmt.Sprintf("%s does not answer at this moment: nothing has changed", f.There.Name), Next: "tandem dr status"}
	}
	if err := d.p.driver.Order(site.Switchover{}); err != nil {
		return operator.Order{}, operator.Explain(err)
	}
	return d.p.orders.begin(operator.Switchover, o.ID, &plan, f, o.To), nil
}

// passOn has the other site carry out a switchover to this one, and remembers it: the other one may be gone before it is done.
func (d DR) passOn(ctx context.Context, o operator.SwitchoverOrder, f operator.Facts) (operator.Order, error) {
	var out operator.Order
	if o.DryRun {
		err := d.p.forward(ctx, operator.OpSwitchover, o, &out)
		return out, err
	}
	if _, again := d.p.passed.known(d.p, o.ID); !again && o.To == f.Here.Name && o.ID != "" {
		d.p.passed.begin(operator.Switchover, o.ID, nil, f, o.To)
	}
	err := d.p.forward(ctx, operator.OpSwitchover, o, &out)
	if known, ok := d.p.passed.known(d.p, o.ID); ok && unanswered(err) {
		return known, nil
	}
	if err != nil {
		d.p.passed.forget(o.ID)
	}
	return out, err
}

// begunTimeout bounds the question whether the other site knows an order: it may be gone.
const begunTimeout = 2 * time.Second

// begunThere is what an order that is refused here has come to at the other site, where it was begun there: it was sent again.
func (d DR) begunThere(ctx context.Context, id string, refused *operator.Error) (operator.Order, error) {
	if id == "" || d.asked || !d.p.Connected() {
		return operator.Order{}, refused
	}
	ctx, cancel := context.WithTimeout(ctx, begunTimeout)
	defer cancel()
	var there operator.Order
	err := d.p.forward(ctx, operator.OpProgress, identified{id}, &there)
	if err != nil || there.ID != id {
		return operator.Order{}, refused
	}
	return there, nil
}

func planned(kind operator.OrderKind, f operator.Facts, to string, plan operator.Plan) operator.Order {
	from := f.Here.Name
	if from == to {
		from = f.There.Name
	}
	return operator.Order{Kind: kind, From: from, To: to, State: operator.Planned, Partitions: len(f.Partitions), Plan: &plan}
}

// Failover implements operator.DR. The site that takes over carries it out.
func (d DR) Failover(ctx context.Context, o operator.FailoverOrder) (operator.Order, error) {
	if d.elsewhere(o.To) {
		var out operator.Order
		err := d.p.forward(ctx, operator.OpFailover, o, &out)
		return out, err
	}
	d.p.ordering.Lock()
	defer d.p.ordering.Unlock()
	if known, ok := d.p.orders.known(d.p, o.ID); ok && !o.DryRun {
		return known, nil
	}
	f := d.p.facts()
	plan, refused := f.DecideFailover(o)
	if refused != nil {
		return d.begunThere(ctx, o.ID, refused)
	}
	if o.DryRun {
		return planned(operator.Failover, f, o.To, plan), nil
	}
	d.p.shippedAt(&f)
	if err := d.p.driver.Order(site.Failover{ActiveIsDown: o.ActiveIsDown}); err != nil {
		return operator.Order{}, operator.Explain(err)
	}
	return d.p.orders.begin(operator.Failover, o.ID, &plan, f, o.To), nil
}

// Abort implements operator.DR.
func (d DR) Abort(ctx context.Context) (operator.Order, error) {
	view := d.p.driver.View()
	var err error
	switch {
	case d.p.driver.Record().StopRenew:
		d.p.orders.adopt(d.p, operator.Failover, d.p.facts())
		err = d.p.driver.Order(site.AbortFailover{})
		if err == nil {
			d.p.orders.end(d.p, operator.Aborted, "the operator has aborted it")
		}
	case view.Role == site.Active && view.Fencing != 0:
		d.p.orders.adopt(d.p, operator.Switchover, d.p.facts())
		if err = d.p.driver.Order(site.AbortSwitchover{}); err == nil {
			d.p.orders.abandon()
		}
	case !d.asked && d.p.Connected():
		var out operator.Order
		err := d.p.forward(ctx, operator.OpAbort, nil, &out)
		return out, err
	default:
		return operator.Order{}, &operator.Error{Code: operator.CodeRefused, Text: "no switchover and no failover is going on", Next: "tandem dr status"}
	}
	if err != nil {
		return operator.Order{}, operator.Explain(err)
	}
	o, _ := d.p.orders.find(d.p, "")
	return o, nil
}

// Progress implements operator.DR.
func (d DR) Progress(ctx context.Context, id string) (operator.Order, error) {
	if o, ok := d.p.orders.find(d.p, id); ok {
		return o, nil
	}
	if !d.asked && d.p.Connected() {
		ctx, cancel := context.WithTimeout(ctx, begunTimeout)
		defer cancel()
		var out operator.Order
		err := d.p.forward(ctx, operator.OpProgress, identified{id}, &out)
		if err == nil || !unanswered(err) && !d.p.goesOn(id) {
			return out, err
		}
	}
	if d.asked && id != "" { // it may be about to begin: that takes as long as the other site takes to answer
		d.p.ordering.Lock()
		o, ok := d.p.orders.find(d.p, id)
		d.p.ordering.Unlock()
		if ok {
			return o, nil
		}
	}
	if o, ok := d.p.passed.known(d.p, id); ok {
		return o, nil
	}
	return operator.Order{}, &operator.Error{Code: operator.CodeFailed, Text: "nobody here knows that order: the broker that it was given to was started again, or cannot be reached", Next: "tandem dr status tells how it ended"}
}

// History implements operator.DR: what both sites have stored, as far as the other one can be asked.
func (d DR) History(ctx context.Context) (operator.History, error) {
	events, _, err := d.p.history.load()
	if err != nil {
		return operator.History{}, err
	}
	if !d.asked && d.p.Connected() {
		var there operator.History
		if err := d.p.forward(ctx, operator.OpHistory, nil, &there); err == nil {
			events = append(events, there.Events...)
		}
	}
	slices.SortStableFunc(events, func(a, b operator.Event) int {
		return cmp.Or(cmp.Compare(a.SiteEpoch, b.SiteEpoch), a.At.Compare(b.At))
	})
	return operator.History{Events: events}, nil
}

// Undelete implements operator.DR.
func (d DR) Undelete(ctx context.Context, topic string) error {
	view := d.p.driver.View()
	if view.Role != site.Active && d.elsewhere(d.p.facts().There.Name) {
		return d.p.forward(ctx, operator.OpUndelete, struct {
			Topic string `json:"topic"`
		}{topic}, nil)
	}
	err := d.p.undelete(ctx, topic)
	var refused *controller.RequestError
	if errors.As(err, &refused) {
		return &operator.Error{Code: operator.CodeRefused, Text: err.Error(), Next: "tandem dr status"}
	}
	return err
}
