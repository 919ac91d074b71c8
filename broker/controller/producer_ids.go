package controller

import (
	"context"
	"fmt"
	"sync"
)

const (
	// ProducerIDBlock is how many producer ids a broker takes at a time; those that it has not given out when it stops are
	// lost. Source: Kafka ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE.
	ProducerIDBlock    = 1000
	producerIDBlockMax = 1 << 20
)

// ProducerIDs gives out the ids of the current block. Safe for concurrent use.
type ProducerIDs struct {
	// Allocate takes the next block and returns its first id. It is called by one goroutine at a time.
	Allocate func(ctx context.Context) (first int64, err error)

	mu struct {
		sync.Mutex
		next, end int64
		fetching  chan struct{} // closed when the block that is being fetched is there, or not to be had; nil = none is
	}
}

// ProducerID returns an id that nobody ever had, also not before a restart. Errors: ErrNotController, ErrTimeout, ErrPolicy.
func (c *Controller) ProducerID(ctx context.Context) (int64, error) { return c.ids.Next(ctx) }

// Next returns an id that nobody ever had. Errors: ErrTimeout, and those of Allocate.
func (p *ProducerIDs) Next(ctx context.Context) (int64, error) {
	for {
		p.mu.Lock()
		if p.mu.next < p.mu.end {
			id := p.mu.next
			p.mu.next++
			p.mu.Unlock()
			return id, nil
		}
		fetching := p.mu.fetching
		if fetching == nil {
			fetching = make(chan struct{})
			p.mu.fetching = fetching
			p.mu.Unlock()
			if err := p.fetch(ctx, fetching); err != nil {
				return 0, err
			}
			continue
		}
		p.mu.Unlock()
		select {
		case <-fetching:
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: %w", ErrTimeout, ctx.Err())
		}
	}
}

// fetch gets the next block for all who wait; one that fails leaves the next waiter to try.
func (p *ProducerIDs) fetch(ctx context.Context, done chan struct{}) error {
	first, err := p.Allocate(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.mu.next, p.mu.end = first, first+ProducerIDBlock
	}
	p.mu.fetching = nil
	close(done)
	return err
}

// AllocateProducerIDs takes a block of ProducerIDBlock ids for good and returns its first one. Errors: those of ProducerID.
func (c *Controller) AllocateProducerIDs(ctx context.Context) (first int64, err error) {
	f, err := c.propose(commandAllocateProducerIDs, allocateProducerIDs{Count: ProducerIDBlock})
	if err != nil {
		return 0, err
	}
	return outcome[int64](ctx, f)
}
