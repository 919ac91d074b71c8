package controller

import (
	"context"
	"fmt"
	"sync"
)

const (
	// producerIDBlock is how many producer ids a broker takes at a time; those that it has not given out when it stops are
	// lost. Source: Kafka ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE.
	producerIDBlock    = 1000
	producerIDBlockMax = 1 << 20
)

// producerIDs gives out the ids of the current block.
type producerIDs struct {
	controller *Controller
	mu         struct {
		sync.Mutex
		next, end int64
		fetching  chan struct{} // closed when the block that is being fetched is there, or not to be had; nil = none is
	}
}

// ProducerID returns an id that nobody ever had, also not before a restart. Errors: ErrNotController, ErrTimeout, ErrPolicy.
func (c *Controller) ProducerID(ctx context.Context) (int64, error) {
	p := &c.ids
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
func (p *producerIDs) fetch(ctx context.Context, done chan struct{}) error {
	first, err := p.allocate(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.mu.next, p.mu.end = first, first+producerIDBlock
	}
	p.mu.fetching = nil
	close(done)
	return err
}

func (p *producerIDs) allocate(ctx context.Context) (int64, error) {
	f, err := p.controller.propose(commandAllocateProducerIDs, allocateProducerIDs{Count: producerIDBlock})
	if err != nil {
		return 0, err
	}
	return outcome[int64](ctx, f)
}
