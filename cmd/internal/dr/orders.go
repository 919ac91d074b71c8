package dr

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tandembroker/tandem/broker/sites/operator"
)

const (
	pollFirst = 50 * time.Millisecond // between two questions how an order stands; doubled
	pollLast  = 500 * time.Millisecond
	watchEach = time.Second
)

func (c *command) status(ctx context.Context) error {
	for shown, seenEnough := false, false; !seenEnough; shown = true {
		var s operator.Status
		if err := c.client.ask(ctx, operator.OpStatus, nil, &s); err != nil {
			return unlessEnough(ctx, shown, err)
		}
		if err := c.show(s, func() { c.printStatus(&s) }); err != nil || !c.watch {
			return err
		}
		seenEnough = c.Sleep(ctx, watchEach) != nil
		c.say("")
	}
	return nil
}

// unlessEnough is err, but for one that comes of an interrupt of whoever watches, and has been shown something.
func unlessEnough(ctx context.Context, shown bool, err error) error {
	select {
	case <-ctx.Done():
		if shown {
			return nil
		}
	default:
	}
	return err
}

// show prints a result, as JSON or for people.
func (c *command) show(v any, people func()) error {
	if c.json {
		return c.object(v)
	}
	people()
	return nil
}

func (c *command) switchover(ctx context.Context) error {
	o := operator.SwitchoverOrder{ID: c.NewID(), To: c.to}
	dry := o
	dry.DryRun = true
	return c.order(ctx, operator.OpSwitchover, dry, o)
}

func (c *command) failover(ctx context.Context) error {
	o := operator.FailoverOrder{ID: c.NewID(), To: c.to, ActiveIsDown: c.down, AcceptDataLoss: c.accept}
	dry := o
	dry.DryRun = true
	return c.order(ctx, operator.OpFailover, dry, o)
}

// order asks what would happen, and whether it may; then has it begun and waits for its end.
func (c *command) order(ctx context.Context, op operator.Operation, dry, real any) error {
	var o operator.Order
	if c.dryRun || !c.yes {
		if err := c.client.ask(ctx, op, dry, &o); err != nil {
			return err
		}
		if o.Plan == nil {
			return &operator.Error{Code: operator.CodeFailed, Text: "the broker did not say what would happen", Next: "tandem dr status"}
		}
		if c.dryRun {
			return c.show(o, func() { c.printPlan(o.Plan) })
		}
		if err := c.confirm(o.Plan.Question, o.Plan.Notes...); err != nil {
			return err
		}
	}
	o = operator.Order{}
	err := c.client.ask(ctx, op, real, &o)
	if gone := (*noAnswer)(nil); errors.As(err, &gone) && gone.sent {
		return &operator.Error{Code: operator.CodeFailed, Text: "whether that was begun is not known: " + gone.told.Text,
			Next: "tandem dr status of either site tells whether it goes on; " + gone.told.Next}
	}
	if err != nil {
		return err
	}
	return c.await(ctx, o)
}

// await waits for the end of an order, and prints its progress and what came out.
func (c *command) await(ctx context.Context, o operator.Order) error {
	o, err := c.ended(ctx, o)
	if err != nil {
		return err
	}
	if o.State != operator.Done {
		return &operator.Error{Code: operator.CodeFailed, Text: fmt.Sprintf("the %s to %s %s: %s", o.Kind, o.To, outcome(o.State), orNone(o.Error)), Next: o.Next}
	}
	return c.show(o, func() { c.printOrder(&o) })
}

// ended waits for the end of an order, whatever it is, and prints its progress.
func (c *command) ended(ctx context.Context, o operator.Order) (operator.Order, error) {
	end := c.Now().Add(c.timeout)
	shown := ""
	for pause := pollFirst; o.State == operator.Running; pause = min(2*pause, pollLast) {
		if line := progressLine(o); line != shown {
			c.say("%s", line)
			shown = line
		}
		why := ""
		if c.Now().After(end) {
			why = "has not ended within " + c.timeout.String()
		} else if c.Sleep(ctx, pause) != nil {
			why = "is not waited for any longer"
		}
		if why != "" {
			return o, &operator.Error{Code: operator.CodeFailed, Text: fmt.Sprintf("the %s to %s %s, and goes on: %s", o.Kind, o.To, why, progressLine(o)),
				Next: "tandem dr status --watch, or tandem dr abort"}
		}
		before := o
		var err error
		if o, err = c.progress(ctx, before); err != nil {
			return before, err
		}
		if o.State == operator.Running && o.Next != "" {
			return o, &operator.Error{Code: operator.CodeFailed, Text: fmt.Sprintf("the %s to %s stands still: %s", o.Kind, o.To, o.Step), Next: o.Next}
		}
	}
	return o, nil
}

// progressPatience is how long whoever carries out an order may be gone before that is told.
const progressPatience = 10 * time.Second

// progress asks how an order stands.
func (c *command) progress(ctx context.Context, before operator.Order) (o operator.Order, err error) {
	ctx, cancel := context.WithTimeout(ctx, progressPatience)
	defer cancel()
	err = c.client.ask(ctx, operator.OpProgress, identified{before.ID}, &o)
	if gone := (*noAnswer)(nil); errors.As(err, &gone) {
		next := fmt.Sprintf("ask the other site: tandem dr status --bootstrap-server HOST:PORT; if %s is lost: tandem dr failover --to %s --active-is-down", before.From, before.To)
		if before.Kind == operator.Failover {
			next = fmt.Sprintf("tandem dr status, when a broker of %s is there again", before.To)
		}
		return o, &operator.Error{Code: operator.CodeFailed, Text: fmt.Sprintf("what became of the %s to %s is not known: %s", before.Kind, before.To, gone.told.Text), Next: next}
	}
	return o, err
}

// identified names what was begun before.
type identified struct {
	ID string `json:"id"`
}

func outcome(s operator.OrderState) string {
	if s == operator.Aborted {
		return "was given up"
	}
	return "failed"
}

func progressLine(o operator.Order) string {
	line := fmt.Sprintf("%s to %s: %s", o.Kind, o.To, orNone(o.Step))
	if o.Partitions > 0 {
		line += fmt.Sprintf(" (%d of %d partitions)", o.PartitionsDone, o.Partitions)
	}
	return line
}

func orNone(s string) string {
	if s == "" {
		return "begun"
	}
	return s
}

func (c *command) abort(ctx context.Context) error {
	if err := c.confirm("Give up the switchover or failover that is going on?"); err != nil {
		return err
	}
	var o operator.Order
	if err := c.client.ask(ctx, operator.OpAbort, nil, &o); err != nil {
		return err
	}
	o, err := c.ended(ctx, o) // the other site has to agree
	if err != nil {
		return err
	}
	if o.State == operator.Done {
		return &operator.Error{Code: operator.CodeFailed, Text: fmt.Sprintf("it was too late: the %s to %s is done", o.Kind, o.To), Next: "tandem dr status"}
	}
	return c.show(o, func() { c.say("The %s to %s is given up.", o.Kind, o.To) })
}

func (c *command) history(ctx context.Context) error {
	var h operator.History
	if err := c.client.ask(ctx, operator.OpHistory, nil, &h); err != nil {
		return err
	}
	return c.show(h, func() { c.printHistory(&h) })
}

// verify has the sites compared, for as long as that takes. What differs is a failure.
func (c *command) verify(ctx context.Context) error {
	var v operator.Verification
	if err := c.client.ask(ctx, operator.OpVerify, operator.VerifyOrder{ID: c.NewID(), Topics: c.args}, &v); err != nil {
		return err
	}
	shown := -1
	for pause := pollFirst; v.State == operator.Running; pause = min(2*pause, pollLast) {
		if v.PartitionsDone != shown && v.Partitions > 0 {
			c.say("%d of %d partitions compared", v.PartitionsDone, v.Partitions)
			shown = v.PartitionsDone
		}
		if c.Sleep(ctx, pause) != nil {
			return &operator.Error{Code: operator.CodeFailed, Text: "stopped before the sites were compared", Next: "tandem dr verify"}
		}
		id := v.ID
		v = operator.Verification{}
		if err := c.client.ask(ctx, operator.OpVerifyProgress, identified{id}, &v); err != nil {
			return err
		}
	}
	if v.State != operator.Done {
		return &operator.Error{Code: operator.CodeFailed, Text: "the sites could not be compared: " + orNone(v.Error), Next: "tandem dr status"}
	}
	if err := c.show(v, func() { c.printVerification(&v) }); err != nil {
		return err
	}
	if d := v.Difference; d != nil {
		return &operator.Error{Code: operator.CodeFailed, Text: fmt.Sprintf("the sites differ, first in %s-%d at offset %d: %s against %s", d.Topic, d.Partition, d.Offset, d.Here, d.There),
			Next: "keep both sites as they are, and report it"}
	}
	if v.NotCompared > 0 {
		return &operator.Error{Code: operator.CodeFailed, Text: fmt.Sprintf("%d of %d partitions could not be compared", v.NotCompared, v.Partitions),
			Next: "tandem dr status; once it is green, tandem dr verify"}
	}
	return nil
}

func (c *command) undelete(ctx context.Context) error {
	topic := c.args[0]
	if err := c.client.ask(ctx, operator.OpUndelete, map[string]string{"topic": topic}, nil); err != nil {
		return err
	}
	return c.show(map[string]string{"undeleted": topic}, func() { c.say("The topic %s is back.", topic) })
}
