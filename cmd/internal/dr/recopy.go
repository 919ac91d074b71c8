package dr

import (
	"context"
	"math"

	"github.com/tandembroker/tandem/broker/sites/operator"
)

func (c *command) recopyFlags() {
	c.yesFlag()
	c.flags.StringVar(&c.topic, "topic", "", "")
	c.flags.IntVar(&c.partition, "partition", -1, "")
	c.flags.BoolVar(&c.dryRun, "dry-run", false, "")
}

// recopy has the standby copy a partition anew. It is begun on return; the status says when the copy is whole.
func (c *command) recopy(ctx context.Context) error {
	if c.topic == "" || c.partition < 0 || c.partition > math.MaxInt32 {
		return &operator.Error{Code: operator.CodeUsage, Text: "which partition is to be copied anew?", Next: "tandem dr recopy --topic TOPIC --partition N"}
	}
	o := operator.RecopyOrder{Topic: c.topic, Partition: int32(c.partition), DryRun: true}
	var r operator.Recopied
	if err := c.client.ask(ctx, operator.OpRecopy, o, &r); err != nil {
		return err
	}
	if r.From < r.End {
		c.say("%s has the offsets %d to %d of %s-%d alone: they are kept as lost records.", r.Site, r.From, r.End-1, r.Topic, r.Partition)
	}
	if c.dryRun {
		return c.show(r, func() { c.say("%s", r.Question) })
	}
	if err := c.confirm(r.Question); err != nil {
		return err
	}
	o.DryRun = false
	r = operator.Recopied{}
	if err := c.client.ask(ctx, operator.OpRecopy, o, &r); err != nil {
		return err
	}
	return c.show(r, func() {
		c.say("%s has dropped %s-%d and copies it anew; tandem dr status --watch shows when it is whole.", r.Site, r.Topic, r.Partition)
	})
}
