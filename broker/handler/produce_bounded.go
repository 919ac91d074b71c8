package handler

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/tandembroker/tandem/broker/partition"
	"github.com/tandembroker/tandem/replication/site"
)

const (
	boundedPoll = 5 * time.Millisecond // how often the lag of a produce that is held is looked at
	boundedMax  = 30 * time.Second     // the longest that a produce is held, whatever its timeout
)

// bounded counts what dr.mode=bounded has done to produces.
type bounded struct{ held, refused atomic.Int64 }

// Bounded is how many batches dr.mode=bounded has held, and how many of them it has refused, since the start.
func (h *Handler) Bounded() (held, refused int64) {
	return h.bounded.held.Load(), h.bounded.refused.Load()
}

// errBehind is what a produce is refused with.
var errBehind = errors.New("dr.mode=bounded: the other site is further behind than dr.max.lag.ms, or nothing is known of it")

// bound holds a produce to a topic of dr.mode=bounded while the other site is, or may be, more than dr.max.lag.ms behind; it is refused when
// its time is up. What comes behind it on the connection waits as well, so that the order stays. Errors: errBehind.
func (h *Handler) bound(ctx context.Context, p *partition.Partition, arrived time.Time, timeout time.Duration) error {
	c := p.Config()
	if !c.DRBounded || h.sites == nil {
		return nil
	}
	id, limit := site.PartitionID{Topic: p.TopicID(), Partition: p.ID()}, time.Duration(c.DRLagMaxMs)*time.Millisecond
	if !h.sites.Exceeds(id, limit) {
		return nil
	}
	h.bounded.held.Add(1)
	end := time.NewTimer(min(max(timeout, 0), boundedMax) - h.now().Sub(arrived))
	defer end.Stop()
	look := time.NewTicker(boundedPoll)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			if !h.sites.Exceeds(id, limit) {
				return nil
			}
			continue
		case <-ctx.Done():
		case <-end.C:
		}
		h.bounded.refused.Add(1)
		return errBehind
	}
}
