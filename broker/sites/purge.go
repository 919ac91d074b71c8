package sites

import (
	"context"
	"errors"
	"time"

	"github.com/tandembroker/tandem/broker/controller"
)

// purge deletes the data of topics that were deleted longer than dr.delete.delay.ms ago, until the Pair is closed. What only this site had,
// and an active that it followed had not, stays: its records are at no other place.
func (p *Pair) purge() {
	ticker := time.NewTicker(min(max(p.options.Config.DeleteDelay/10, purgeIntervalMin), purgeIntervalMax))
	defer ticker.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-ticker.C:
		}
		ctx, cancel := context.WithTimeout(p.ctx, recordTimeout)
		n, err := p.options.Controller.PurgeHidden(ctx, func(h controller.HiddenTopic) bool { return !h.Lost })
		cancel()
		switch {
		case err != nil && p.ctx.Err() == nil && !errors.Is(err, controller.ErrNotController):
			p.logger.Warn("data of deleted topics is not removed yet", "error", err)
		case n > 0:
			p.logger.Info("data of deleted topics removed", "topics", n)
		}
	}
}

// How often purge looks.
const (
	purgeIntervalMin = 100 * time.Millisecond
	purgeIntervalMax = time.Minute
)
