package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const returnBatch = 1 << 20

// runReturn loses the active with records that only it has, and has it come back. What goes over the link then is to be what was written since
// at the other site, and all is to be green soon behind that. It ends with both logs compared byte by byte.
func runReturn(ctx context.Context, o options, r *report, p *sitePair, name string) error {
	if _, err := fill(p.sites[0], returnBatch, o.sites.common); err != nil {
		return err
	}
	if err := p.equal(ctx); err != nil {
		return err
	}
	copied := p.moved()
	p.cut()
	if _, err := fill(p.sites[0], returnBatch, o.sites.divergent); err != nil {
		return err
	}
	p.sites[0].kill()
	if err := p.failover(ctx); err != nil {
		return err
	}
	since, err := fill(p.sites[1], returnBatch, o.sites.divergent)
	if err != nil {
		return err
	}
	missing := since.requests * int64(len(makeBatch(returnBatch, 1)))
	back, err := p.comeBack(ctx, missing)
	if err != nil {
		return err
	}
	if err := errors.Join(p.sites[0].stop(), p.sites[1].stop()); err != nil {
		return err
	}
	found, err := compareLogs(p.sites[0].dir, p.sites[1].dir, true)
	if err != nil {
		return err
	}
	mb := 1e-6
	title := fmt.Sprintf("return with %d MB in common, %d MB on each side", o.sites.common/1e6, o.sites.divergent/1e6)
	r.add(sample{Figure: "sites", Case: title + ": bytes moved", Round: 1, Broker: float64(back.moved) * mb, Baseline: float64(missing) * mb,
		Unit: "MB", Extra: map[string]float64{"records_equal": float64(found.records),
			"first_copy_moved": float64(copied) / float64(o.sites.common)}}, target{below: 1.1})
	r.add(sample{Figure: "sites", Case: title + ": green beyond the transfer", Round: 1, Broker: (back.green - back.transfer).Seconds(), Unit: "s",
		Extra: map[string]float64{"from_start_s": back.green.Seconds(), "transfer_s": back.transfer.Seconds(),
			"ready_s": back.ready.Seconds()}}, target{below: 10})
	return nil
}

// failover makes site 1 active, again and again while it takes the other one for reachable.
func (p *sitePair) failover(ctx context.Context) error {
	deadline := time.Now().Add(orderMax)
	for {
		var order struct {
			State string `json:"state"`
		}
		err := p.dr(ctx, 1, &order, "failover", "--to", siteNames[1], "--active-is-down", "--yes")
		switch {
		case err == nil && order.State == "done":
			c, err := p.sites[1].dial(ctx)
			if err != nil {
				return err
			}
			defer c.close()
			return c.await(ctx, func() error { return c.serving(sitesTopic, sitesPartitions) })
		case time.Now().After(deadline):
			return fmt.Errorf("failover: %s, %w", order.State, err)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// returned is how the lost site came back.
type returned struct {
	moved           int64         // bytes
	green, transfer time.Duration // from the start of its process until all was well; in which nearly all bytes went over
	ready           time.Duration // from the start of its process until it answers clients: its own recovery
}

// comeBack starts site 0 again, which misses about missing bytes.
func (p *sitePair) comeBack(ctx context.Context, missing int64) (returned, error) {
	before := p.moved()
	p.heal()
	start := time.Now()
	if err := p.start(0); err != nil {
		return returned{}, err
	}
	watched, stop := make(chan time.Duration, 1), make(chan struct{})
	go func() { watched <- p.watchTransfer(before, missing, stop) }() // awaited below
	ready, err := p.answers(ctx, 0, start)
	if err == nil {
		err = p.green(ctx)
	}
	green := time.Since(start)
	close(stop)
	return returned{p.moved() - before, green, <-watched, ready}, err
}

// answers waits until a site answers clients, and says how long after start that was.
func (p *sitePair) answers(ctx context.Context, i int, start time.Time) (time.Duration, error) {
	c, err := p.sites[i].dial(ctx)
	if err != nil {
		return 0, err
	}
	defer c.close()
	err = c.await(ctx, c.metadata)
	return time.Since(start), err
}

// watchTransfer is how long it takes until missing bytes have gone over the link, but for a hundredth at both ends.
func (p *sitePair) watchTransfer(before, missing int64, stop <-chan struct{}) time.Duration {
	var began time.Time
	tick := time.NewTicker(pollLog)
	defer tick.Stop()
	for {
		moved := p.moved() - before
		if began.IsZero() && moved > missing/100 {
			began = time.Now()
		}
		if !began.IsZero() && moved > missing-missing/100 {
			return time.Since(began)
		}
		select {
		case <-tick.C:
		case <-stop:
			return 0
		}
	}
}
