package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// groupsAtOnce families play their groups at a time: they wait more than they work.
const groupsAtOnce = 4

// cast is who plays in a group, in the order of the play.
type cast struct {
	name        string
	initial     []player // at least two
	joiner      player
	replacement player
	last        player
	rangeOnly   bool
	liveOnly    bool // they subscribe to the live topic alone
}

// alone is a group of members of one kind.
func alone(p player, liveOnly bool) cast {
	return cast{name: p.name, initial: []player{p, p}, joiner: p, replacement: p, last: p, liveOnly: liveOnly}
}

// groupsStep plays one group for each family, one in which all families are members together, and one for each of Kafka's tools
// that can be a member.
func (s *suite) groupsStep(ctx context.Context) error {
	if err := s.writeMatrix(ctx); err != nil {
		return err
	}
	casts, err := s.casts(ctx)
	if err != nil {
		return err
	}
	errs := make([]error, len(casts))
	var running sync.WaitGroup
	turns := make(chan struct{}, groupsAtOnce)
	for i, c := range casts {
		running.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			began := time.Now()
			summary, err := s.play(ctx, c)
			if err != nil {
				errs[i] = fmt.Errorf("group of %s: %w", c.name, err)
				return
			}
			fmt.Printf("    group of %s: %s (%.1fs)\n", c.name, summary, time.Since(began).Seconds())
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

func (s *suite) casts(ctx context.Context) ([]cast, error) {
	clients, err := s.clients(ctx)
	if err != nil {
		return nil, err
	}
	var all []cast
	mixed := cast{name: "all clients with a range assignor", rangeOnly: true}
	for _, c := range clients {
		p := player{c.family, c.program}
		all = append(all, alone(p, false))
		if c.ranged {
			mixed.initial = append(mixed.initial, p)
		}
	}
	if n := len(mixed.initial); n > 2 {
		mixed.joiner, mixed.replacement, mixed.last = mixed.initial[n-1], mixed.initial[0], mixed.initial[1]
		mixed.initial = mixed.initial[:n-1]
		all = append(all, mixed)
	}
	if s.java != nil {
		for _, p := range s.toolPlayers() {
			all = append(all, alone(p, true))
		}
	}
	return all, nil
}

// play lets members join, leave and die while records flow, and checks that the group as a whole reads every record of the
// matrix and of its own topic, that nothing is read twice but for a reason, and that the offsets it leaves behind are the ends.
func (s *suite) play(ctx context.Context, c cast) (string, error) {
	g, err := s.newGroup(ctx, c)
	if err != nil {
		return "", err
	}
	defer g.close()
	for _, c := range c.initial {
		if err := g.join(c); err != nil {
			return "", err
		}
	}
	stopFeed := g.feed(ctx)
	defer func() { _ = stopFeed() }() // stopped below, unless an error comes first
	type doing = func(context.Context) error
	for _, act := range []struct {
		what string
		do   []doing
	}{
		{"first members", []doing{g.settle}},
		{"a member joins", []doing{func(context.Context) error { return g.join(c.joiner) }, g.settle}},
		{"a member leaves", []doing{func(ctx context.Context) error { return g.leave(ctx, 1) }, g.settle}},
		{"a member dies", []doing{func(context.Context) error { return g.kill(len(g.active) - 1) }, g.settle}},
		{"another takes its place", []doing{func(context.Context) error { return g.join(c.replacement) }, g.settle}},
		{"all is read", []doing{func(context.Context) error { return stopFeed() }, g.readAll, g.catchUp}},
		{"the others leave", []doing{g.leaveAll, g.ended}},
		{"a later member goes on", []doing{func(ctx context.Context) error { return g.goesOn(ctx, c.last) }, g.leaveAll, g.ended}},
	} {
		for _, do := range act.do {
			if err := do(ctx); err != nil {
				return "", fmt.Errorf("%s: %w", act.what, err)
			}
		}
	}
	return g.summary(), nil
}
