package main

import (
	"context"
	"fmt"
	"time"
)

// sitesOptions are the flags of the figures of two sites.
type sitesOptions struct {
	cut       time.Duration
	common    int64 // bytes
	divergent int64 // bytes, of each site
}

const (
	sitesTopic      = "bench"
	sitesPartitions = 8
)

// siteCase is a figure of two sites that gets a pair of its own.
type siteCase struct {
	name string
	run  func(ctx context.Context, o options, r *report, p *sitePair, name string) error
}

func (c siteCase) String() string { return c.name }

func siteCases() []siteCase {
	var all []siteCase
	for _, rtt := range []time.Duration{0, 50 * time.Millisecond, 150 * time.Millisecond} {
		all = append(all, lagCase(rtt))
	}
	for _, kib := range []int{16, 64, 1024} {
		all = append(all, shippingCase(kib<<10))
	}
	for _, l := range []load{{64 << 10, 16}, {1 << 20, 16}} {
		all = append(all, costCase(l))
	}
	return append(all, slowCostCase(), siteCase{"cut", runCut}, siteCase{"return", runReturn})
}

// runSites is the figure of two sites: two brokers on this machine, all that they say to each other through a proxy in this
// process, which adds the delay.
func runSites(ctx context.Context, o options, r *report) error {
	cases := siteCases()
	if o.quick {
		cases = cases[:1]
	}
	for _, c := range chosen(o, cases) {
		p, err := startSites(ctx, o, sitesPartitions)
		if err != nil {
			return err
		}
		err = c.run(ctx, o, r, p, c.name)
		if err != nil {
			err = fmt.Errorf("%s: %w\n%s", c.name, err, p.sites[0].process.LogTail())
		}
		p.discard()
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}
