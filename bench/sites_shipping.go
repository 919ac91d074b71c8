package main

import (
	"context"
	"fmt"
	"time"
)

const (
	shippingRTT   = 150 * time.Millisecond
	shippingLanes = 16
)

// shippingCase is how fast a standby catches up: the active is filled while the link is cut, so that the standby alone works
// then, beside the active's reading. Against it: produces of the same batches to a broker of its own on the same disk, synced; and the
// same at 150 ms RTT against none.
func shippingCase(batch int) siteCase {
	name := fmt.Sprintf("shipping of %d KiB batches", batch>>10)
	return siteCase{name, func(ctx context.Context, o options, r *report, p *sitePair, name string) error {
		for round := 0; round <= o.rounds && ctx.Err() == nil; round++ {
			near, err := p.fillAndShip(ctx, batch, o.bytes, 0)
			if err != nil {
				return err
			}
			far, err := p.fillAndShip(ctx, batch, o.bytes, shippingRTT)
			if err != nil {
				return err
			}
			own, err := appendSpeed(ctx, o, batch)
			if err != nil {
				return err
			}
			if round == 0 {
				continue // warm-up
			}
			r.add(sample{Figure: "sites", Case: name, Round: round, Broker: near.speed, Baseline: own, Unit: "MB/s", Extra: near.extra()}, target{atLeast: 0.7})
			r.add(sample{Figure: "sites", Case: name + ", RTT 150 ms", Round: round, Broker: far.speed, Baseline: near.speed, Unit: "MB/s", Extra: far.extra()},
				target{atLeast: 0.8})
		}
		return ctx.Err()
	}}
}

// shipped is how a standby caught up.
type shipped struct {
	speed   float64       // MB/s, from the first records that came to the last
	begin   time.Duration // from the end of the cut until the first records came
	filling float64       // MB/s of the producers meanwhile: the active alone
	syncs   float64       // of the standby
	overrun float64       // bytes over the link by bytes of the log
}

func (s shipped) extra() map[string]float64 {
	return map[string]float64{"begin_ms": ms(s.begin), "fill_MB_per_s": s.filling, "standby_syncs": s.syncs, "moved": s.overrun}
}

// fillAndShip writes total bytes to the active while the link is cut, heals it and waits until the standby has them.
func (p *sitePair) fillAndShip(ctx context.Context, batch int, total int64, rtt time.Duration) (shipped, error) {
	p.setRTT(0)
	p.cut()
	had, err := p.records(ctx, 0)
	if err != nil {
		return shipped{}, err
	}
	filled, err := fill(p.sites[0], batch, total)
	if err != nil {
		return shipped{}, err
	}
	want, err := p.records(ctx, 0)
	if err != nil {
		return shipped{}, err
	}
	before, err := p.sites[1].written(ctx)
	if err != nil {
		return shipped{}, err
	}
	p.setRTT(rtt)
	moved := p.moved()
	first := mark{end: -1}
	begin := time.Now()
	p.heal()
	err = p.awaitRecords(ctx, want, func(have int64) {
		if first.end < 0 && have > had {
			first = mark{have, time.Now()}
		}
	})
	end := time.Now()
	if err != nil {
		return shipped{}, err
	}
	after, err := p.sites[1].written(ctx)
	if err != nil {
		return shipped{}, err
	}
	wrote := filled.requests * int64(len(makeBatch(batch, 1)))
	bytes := float64(wrote) / float64(want-had) // of a record
	s := shipped{begin: first.at.Sub(begin), filling: float64(wrote) / 1e6 / filled.elapsed.Seconds(), syncs: after.syncs - before.syncs,
		overrun: float64(p.moved()-moved) / float64(wrote)}
	s.speed = float64(want-first.end) * bytes / 1e6 / end.Sub(first.at).Seconds()
	if first.end >= want {
		return s, fmt.Errorf("all %d records came at once: -bytes is too small to tell a speed", want-had)
	}
	return s, nil
}

// fill produces total bytes to all partitions.
func fill(b *broker, batch int, total int64) (outcome, error) {
	lanes, err := producers(b.addr, sitesTopic, sitesPartitions, 1, shippingLanes, makeBatch(batch, 1))
	if err != nil {
		return outcome{}, err
	}
	defer closeLanes(lanes)
	return drive(lanes, times(total/int64(batch)))
}

// appendSpeed is how fast a broker without another site takes the same, in MB/s.
func appendSpeed(ctx context.Context, o options, batch int) (float64, error) {
	b, err := startBroker(ctx, o)
	if err != nil {
		return 0, err
	}
	defer b.discard()
	c, err := b.dial(ctx)
	if err != nil {
		return 0, err
	}
	defer c.close()
	if err := c.create(ctx, sitesTopic, sitesPartitions, nil); err != nil {
		return 0, err
	}
	if _, err := fill(b, batch, o.bytes/8); err != nil { // warm-up
		return 0, err
	}
	got, err := fill(b, batch, o.bytes)
	return got.perSecond() * float64(len(makeBatch(batch, 1))) / 1e6, err
}
