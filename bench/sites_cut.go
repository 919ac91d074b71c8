package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	cutRate  = 20e6 // bytes per second
	cutBatch = 64 << 10
	cutNear  = 1000 // records: what is written in 50 ms
)

// runCut cuts the link for a while under load, and has the standby catch up while the load goes on. Broker is how much came to the standby
// in a second, Baseline what was written to the active during the cut. It ends with both logs compared byte by byte.
func runCut(ctx context.Context, o options, r *report, p *sitePair, name string) error {
	lanes, err := producers(p.sites[0].addr, sitesTopic, sitesPartitions, 1, sitesPartitions, makeBatch(cutBatch, 1))
	if err != nil {
		return err
	}
	defer closeLanes(lanes)
	loadEnded := make(chan struct{})
	ctxLoad, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	var made outcome
	var loadErr error
	go func() { // awaited below
		defer close(loadEnded)
		made, loadErr = drive(lanes, atRate(ctxLoad, cutRate/cutBatch))
	}()
	s, err := p.cutAndCatchUp(ctx, o.sites.cut)
	stopLoad()
	<-loadEnded
	if err := errors.Join(err, loadErr); err != nil {
		return err
	}
	acked := made.requests*int64(recordsOf(cutBatch)) + sitesPartitions
	if err := p.awaitRecords(ctx, acked, nil); err != nil {
		return err
	}
	if err := errors.Join(p.sites[0].stop(), p.sites[1].stop()); err != nil {
		return err
	}
	found, err := compareLogs(p.sites[0].dir, p.sites[1].dir, false)
	if err != nil {
		return err
	}
	if found.records != acked {
		return fmt.Errorf("%d records were acknowledged, both logs have %d", acked, found.records)
	}
	s.Figure, s.Case, s.Round = "sites", fmt.Sprintf("catching up behind a cut of %v, against what comes in", o.sites.cut), 1
	s.Extra["records_equal"], s.Extra["produce_p99_ms"] = float64(found.records), ms(made.p99)
	r.add(s, target{atLeast: 2})
	return nil
}

// recordsOf is how many records a batch of so many bytes has.
func recordsOf(batch int) int { return max((batch-batchHeaderLen)/recordLen, 1) }

// atRate returns a more for drive that says yes so many times a second, until ctx is done. What is late is made up for.
func atRate(ctx context.Context, perSecond float64) func() bool {
	tickets := make(chan struct{})
	go func() { // ends with ctx
		defer close(tickets)
		every := time.Duration(float64(time.Second) / perSecond)
		for next := time.Now(); ; next = next.Add(every) {
			select {
			case <-time.After(time.Until(next)):
			case <-ctx.Done():
				return
			}
			select {
			case tickets <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() bool {
		_, ok := <-tickets
		return ok
	}
}

// cutAndCatchUp cuts the link for d while a load runs, and measures until the standby has what the active has.
func (p *sitePair) cutAndCatchUp(ctx context.Context, d time.Duration) (sample, error) {
	select {
	case <-time.After(time.Second): // of load with the link up
	case <-ctx.Done():
		return sample{}, ctx.Err()
	}
	before, err := p.standAt()
	if err != nil {
		return sample{}, err
	}
	p.cut()
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return sample{}, ctx.Err()
	}
	began, err := p.standAt()
	if err != nil {
		return sample{}, err
	}
	p.heal()
	first := began
	for now := began; ; {
		if now, err = p.standAt(); err != nil {
			return sample{}, err
		}
		if first.standby == began.standby {
			first = now
		}
		// Two looks at two brokers: what is written between them, and what is on its way, is not behind.
		if now.active-now.standby < cutNear {
			took := now.at.Sub(began.at).Seconds()
			mb := float64(recordLen) / 1e6
			return sample{Broker: float64(now.standby-began.standby) * mb / took, Baseline: float64(began.active-before.active) * mb / began.at.Sub(before.at).Seconds(), Unit: "MB/s",
				Extra: map[string]float64{"behind_MB": float64(began.active-began.standby) * mb, "seconds": took, "meanwhile_MB_per_s": float64(now.active-began.active) * mb / took, "begin_ms": ms(first.at.Sub(began.at))}}, nil
		}
		if now.at.Sub(began.at) > greenMax {
			return sample{}, fmt.Errorf("the standby has %d of %d records after %v", now.standby, now.active, greenMax)
		}
		select {
		case <-time.After(pollLag): // polling is all that a client can do
		case <-ctx.Done():
			return sample{}, ctx.Err()
		}
	}
}

// stand is how many records both sites have.
type stand struct {
	active, standby int64
	at              time.Time
}

func (p *sitePair) standAt() (s stand, err error) {
	for i, n := range []*int64{&s.active, &s.standby} {
		ends, err := p.endsOf(i)
		if err != nil {
			return s, err
		}
		for _, end := range ends {
			*n += end
		}
	}
	s.at = time.Now()
	return s, nil
}
