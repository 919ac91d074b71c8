package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	lagRate    = 5e6 // bytes per second, of all partitions
	lagBatch   = batchHeaderLen + 3*recordLen
	lagAllowed = 20 * time.Millisecond
	lagWarmUp  = time.Second
	pollLag    = 50 * time.Millisecond // how often the product is asked for its own lag
)

// mark says that a log was seen to reach an offset at a time.
type mark struct {
	end int64
	at  time.Time
}

// lagCase is the time from the active's acknowledgement of a batch until a consumer of the standby, which shows only what is durable there, has
// it; both read off one clock, in this process. 5 MB/s of 1 KiB records, three a batch, as a producer with linger.ms=5 sends to eight partitions.
func lagCase(rtt time.Duration) siteCase {
	name := fmt.Sprintf("lag at 5 MB/s, RTT %d ms", rtt.Milliseconds())
	return siteCase{name, func(ctx context.Context, o options, r *report, p *sitePair, name string) error {
		p.setRTT(rtt)
		limit := rtt/2 + lagAllowed
		for round := 1; round <= o.rounds && ctx.Err() == nil; round++ {
			s, err := lagRound(ctx, p, max(o.round, 5*time.Second))
			if err != nil {
				return err
			}
			s.Figure, s.Case, s.Round = "sites", name, round
			r.add(s, target{below: ms(limit)})
		}
		return ctx.Err()
	}}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// lagRound measures once, for d behind a second that does not count.
func lagRound(ctx context.Context, p *sitePair, d time.Duration) (sample, error) {
	before, err := p.endsOf(0)
	if err != nil {
		return sample{}, err
	}
	var wg sync.WaitGroup
	acks, seen := make([][]mark, sitesPartitions), make([][]mark, sitesPartitions)
	errs := make([]error, 2*sitesPartitions)
	start := time.Now()
	stop := start.Add(lagWarmUp + d)
	sends := make([][]time.Duration, sitesPartitions)
	for i := range sitesPartitions {
		done := make(chan int64, 1)
		wg.Go(func() {
			acks[i], sends[i], errs[i] = p.produceAtRate(int32(i), start, stop)
			end := before[i]
			if n := len(acks[i]); n > 0 {
				end = acks[i][n-1].end
			}
			done <- end
		})
		wg.Go(func() { seen[i], errs[sitesPartitions+i] = p.watch(ctx, int32(i), before[i], done) })
	}
	var late []time.Duration
	wg.Go(func() { late = lateness(stop) })
	own, err := p.ownLag(ctx, stop)
	wg.Wait()
	if err := errors.Join(append(errs, err)...); err != nil {
		return sample{}, err
	}
	var all, asked []time.Duration
	batches := 0
	for i := range acks {
		lags, err := lagsOf(acks[i], seen[i], start.Add(lagWarmUp))
		if err != nil {
			return sample{}, fmt.Errorf("partition %d: %w", i, err)
		}
		all, asked, batches = append(all, lags...), append(asked, sends[i]...), batches+len(acks[i])
	}
	slices.Sort(all)
	slices.Sort(asked)
	if len(all) == 0 {
		return sample{}, errors.New("nothing was acknowledged")
	}
	return sample{Broker: ms(all[len(all)*99/100]), Unit: "ms", Extra: map[string]float64{
		"p50_ms": ms(all[len(all)/2]), "max_ms": ms(all[len(all)-1]), "batches": float64(len(all)),
		"MB_per_s":          float64(batches) * lagBatch / 1e6 / (lagWarmUp + d).Seconds(),
		"timer_late_p99_ms": ms(late[len(late)*99/100]),
		"produce_p50_ms":    ms(asked[len(asked)/2]), "produce_p99_ms": ms(asked[len(asked)*99/100]),
		"active_says_p50_ms": own[0].p50, "active_says_p99_ms": own[0].p99,
		"standby_says_p50_ms": own[1].p50, "standby_says_p99_ms": own[1].p99,
	}}, nil
}

func (p *sitePair) endsOf(i int) ([]int64, error) {
	c, err := dialConn(p.sites[i].addr)
	if err != nil {
		return nil, err
	}
	defer c.close()
	return c.ends(sitesTopic, sitesPartitions)
}

// produceAtRate sends a partition's share of the rate. Where an answer is late the next ones follow at once, so that the rate stays.
func (p *sitePair) produceAtRate(partition int32, start, stop time.Time) (acks []mark, took []time.Duration, err error) {
	c, err := dialConn(p.sites[0].addr)
	if err != nil {
		return nil, nil, err
	}
	defer c.close()
	req := produceRequest(sitesTopic, makeBatch(lagBatch, uint64(partition)), partition)
	frame := c.frame(req)
	every := time.Duration(float64(lagBatch*sitesPartitions) / lagRate * float64(time.Second))
	next := start.Add(every * time.Duration(partition) / sitesPartitions) // not all at once
	for ; next.Before(stop); next = next.Add(every) {
		time.Sleep(time.Until(next)) // the load's own clock
		sent := time.Now()
		if err := c.send(frame); err != nil {
			return nil, nil, err
		}
		body, err := c.receive(c.correlation)
		now := time.Now()
		if err != nil {
			return nil, nil, err
		}
		base, err := producedAt(body, req)
		if err != nil {
			return nil, nil, err
		}
		acks, took = append(acks, mark{base + lagBatch/recordLen, now}), append(took, now.Sub(sent))
	}
	return acks, took, nil
}

// producedAt is the offset of the one batch that was produced.
func producedAt(body []byte, req *kmsg.ProduceRequest) (int64, error) {
	resp := kmsg.NewPtrProduceResponse()
	if err := decode(body, req, resp); err != nil {
		return 0, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return 0, errors.New("produce was not answered")
	}
	part := &resp.Topics[0].Partitions[0]
	return part.BaseOffset, kerr.ErrorForCode(part.ErrorCode)
}

// watch consumes a partition at the standby, as a client whose rack it is does, until it has what done says.
func (p *sitePair) watch(ctx context.Context, partition int32, offset int64, done chan int64) (seen []mark, err error) {
	c, err := dialConn(p.sites[1].addr)
	if err != nil {
		return nil, err
	}
	defer c.close()
	last, deadline := int64(-1), time.Time{}
	for last < 0 || offset < last {
		select {
		case last = <-done:
			deadline = time.Now().Add(readyMax)
			continue
		case <-ctx.Done():
			return nil, ctx.Err()
		default:
		}
		if last >= 0 && time.Now().After(deadline) {
			return nil, fmt.Errorf("the standby has partition %d up to %d of %d", partition, offset, last)
		}
		req := fetchFrom(sitesTopic, partition, offset, 1<<20)
		req.Rack, req.MaxWaitMillis = siteNames[1], 100
		if err := c.send(c.frame(req)); err != nil {
			return nil, err
		}
		body, err := c.receive(c.correlation)
		if err != nil {
			return nil, err
		}
		records, err := fetched(body, req)
		if err != nil {
			return nil, err
		}
		if len(records) == 0 {
			continue
		}
		if offset, _, err = endOffset(records); err != nil {
			return nil, err
		}
		seen = append(seen, mark{offset, time.Now()})
	}
	return seen, nil
}

// lagsOf is how long after each ack from a time on its records were seen; none is negative: one that is seen first has no lag.
func lagsOf(acks, seen []mark, from time.Time) ([]time.Duration, error) {
	var lags []time.Duration
	k := 0
	for _, a := range acks {
		for k < len(seen) && seen[k].end < a.end {
			k++
		}
		if k == len(seen) {
			return nil, fmt.Errorf("offset %d was acknowledged and never seen", a.end-1)
		}
		if !a.at.Before(from) {
			lags = append(lags, max(seen[k].at.Sub(a.at), 0))
		}
	}
	return lags, nil
}

// lateness is how much later than asked a timer of this process goes off, sorted: what the machine adds to each step of a lag, whoever
// takes it.
func lateness(stop time.Time) []time.Duration {
	const nap = 2 * time.Millisecond
	late := []time.Duration{0}
	for now := time.Now(); now.Before(stop); {
		time.Sleep(nap) // this is what is measured
		woken := time.Now()
		late = append(late, woken.Sub(now)-nap)
		now = woken
	}
	slices.Sort(late)
	return late
}

// said is what a site says of the lag, in ms.
type said struct{ p50, p99 float64 }

// ownLag asks both sites for their own lag until stop.
func (p *sitePair) ownLag(ctx context.Context, stop time.Time) (out [2]said, err error) {
	var heard [2][]float64
	for time.Now().Before(stop) {
		for i, b := range p.sites {
			m, err := b.scrape(ctx)
			if err != nil {
				return out, err
			}
			if lag, ok := m["tandem_site_lag_seconds"]; ok {
				heard[i] = append(heard[i], lag*1000)
			}
		}
		time.Sleep(pollLag) // polling is all that a monitor can do
	}
	for i, h := range heard {
		if len(h) == 0 {
			return out, fmt.Errorf("%s told no lag", siteNames[i])
		}
		slices.Sort(h)
		out[i] = said{h[len(h)/2], h[len(h)*99/100]}
	}
	return out, nil
}
