package main

import (
	"context"
	"fmt"
	"strings"
)

// runGroups is the figures of consumer groups, each with a broker of its own.
func runGroups(ctx context.Context, o options, r *report) error {
	for _, c := range []struct {
		name string
		run  func(ctx context.Context, o options, r *report) error
	}{
		{"rebalance", runRebalance},
		{"restart", runRestart},
		{"commits", runOffsets},
		{"idle", runIdle},
		{"flood", runFlood},
	} {
		if !strings.Contains(c.name, o.only) && !strings.HasPrefix(o.only, c.name) {
			continue
		}
		if err := c.run(ctx, o, r); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}
