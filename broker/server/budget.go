package server

import (
	"context"

	"github.com/tandembroker/tandem/protocol/wire"
)

// budget bounds bytes in two classes, so that a few large holders which are slow to let go never keep the small ones out.
type budget struct {
	limit        int64 // the largest reservation that counts as small
	small, large *wire.Memory
}

func newBudget(bytesMax, limit int64) *budget {
	half := max(bytesMax/2, 1)
	return &budget{limit: limit, small: wire.NewMemory(bytesMax - half + 1), large: wire.NewMemory(half)}
}

// acquire waits for n bytes. Error: ctx's, and then nothing is reserved.
func (b *budget) acquire(ctx context.Context, n int64) error { return b.of(n).Acquire(ctx, n) }

// release gives back what acquire of the same n reserved.
func (b *budget) release(n int64) { b.of(n).Release(n) }

func (b *budget) used() int64 { return b.small.Used() + b.large.Used() }

func (b *budget) of(n int64) *wire.Memory {
	if n > b.limit {
		return b.large
	}
	return b.small
}
