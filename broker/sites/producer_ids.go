package sites

import (
	"context"
	"fmt"
	"math"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/replication/site"
)

// ProducerID returns a producer id of the active site, for a client that begins at this one: any broker is asked for it, and librdkafka asks no
// other while it has a connection. Errors: controller.ErrNotController where none is to be had, controller.ErrTimeout.
func (p *Pair) ProducerID(ctx context.Context) (int64, error) { return p.ids.Next(ctx) }

func (p *Pair) borrowProducerIDs(ctx context.Context) (first int64, err error) {
	var block operator.ProducerIDs
	if err := p.forward(ctx, operator.OpProducerIDs, nil, &block); err != nil {
		return 0, fmt.Errorf("%w: producer ids of the active site: %w", controller.ErrNotController, err)
	}
	if block.First < 0 || block.Count != controller.ProducerIDBlock || block.First > math.MaxInt64-block.Count {
		return 0, fmt.Errorf("%w: the other site gave %d producer ids from %d on", controller.ErrNotController, block.Count, block.First)
	}
	return block.First, nil
}

// ProducerIDs implements operator.DR: of this active site.
func (d DR) ProducerIDs(ctx context.Context) (operator.ProducerIDs, error) {
	if v := d.p.driver.View(); v.Role != site.Active || !v.Serving || !d.p.driver.MayAcknowledge() {
		return operator.ProducerIDs{}, &operator.Error{Code: operator.CodeRefused, Text: "this site does not serve", Next: "tandem dr status"}
	}
	first, err := d.p.options.Controller.AllocateProducerIDs(ctx)
	return operator.ProducerIDs{First: first, Count: controller.ProducerIDBlock}, err
}
