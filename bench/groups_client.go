package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// clientHeartbeat is far below the default of 3 s, which would hide the broker.
	clientHeartbeat = 50 * time.Millisecond
	clientWaitMax   = time.Minute
)

// clientGroup is members of a real client library in one process. What they hold is counted as it is assigned and revoked.
type clientGroup struct {
	addr, group string
	clients     []*kgo.Client
	mu          sync.Mutex
	holds       map[int]map[int32]bool // partitions by member
	assigned    map[int]int            // how often, by member
	changed     chan struct{}
}

func newClientGroup(addr, group string) *clientGroup {
	return &clientGroup{addr: addr, group: group, clients: make([]*kgo.Client, groupMembers), holds: map[int]map[int32]bool{},
		assigned: map[int]int{}, changed: make(chan struct{}, 1)}
}

// start starts member i.
func (g *clientGroup) start(i int, more ...kgo.Opt) error {
	g.mu.Lock()
	g.holds[i] = map[int32]bool{}
	g.mu.Unlock()
	count := func(taken bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, given map[string][]int32) {
			g.mu.Lock()
			defer g.mu.Unlock()
			for _, p := range given[groupTopic] {
				if taken {
					g.holds[i][p] = true
				} else {
					delete(g.holds[i], p)
				}
			}
			if taken {
				g.assigned[i]++
			}
			select {
			case g.changed <- struct{}{}:
			default:
			}
		}
	}
	c, err := kgo.NewClient(append(more, kgo.SeedBrokers(g.addr), kgo.ConsumerGroup(g.group), kgo.ConsumeTopics(groupTopic),
		kgo.Balancers(kgo.RangeBalancer()), kgo.HeartbeatInterval(clientHeartbeat), kgo.DisableAutoCommit(), kgo.OnPartitionsAssigned(count(true)),
		kgo.OnPartitionsRevoked(count(false)), kgo.OnPartitionsLost(count(false)))...)
	if err != nil {
		return err
	}
	g.clients[i] = c
	return nil
}

// whole waits until members have all partitions between them, each of them some of its own since before.
func (g *clientGroup) whole(ctx context.Context, members int, before map[int]int) error {
	limit := time.NewTimer(clientWaitMax)
	defer limit.Stop()
	for {
		g.mu.Lock()
		sum, holding := 0, 0
		for i := range members {
			if sum += len(g.holds[i]); len(g.holds[i]) > 0 && g.assigned[i] > before[i] {
				holding++
			}
		}
		g.mu.Unlock()
		if sum == groupPartitions && holding == members {
			return nil
		}
		select {
		case <-g.changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-limit.C:
			return fmt.Errorf("after %v %d of %d members hold %d of %d partitions", clientWaitMax, holding, members, sum, groupPartitions)
		}
	}
}

func (g *clientGroup) counts() map[int]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := map[int]int{}
	for i, n := range g.assigned {
		out[i] = n
	}
	return out
}

// clientRound is the four cases with franz-go's members.
func clientRound(ctx context.Context, addr, group string) ([]time.Duration, error) {
	g := newClientGroup(addr, group)
	defer g.close()
	last := groupMembers - 1
	var out []time.Duration
	for i, step := range []struct {
		members int
		run     func() error
	}{
		{groupMembers, func() error {
			for i := range groupMembers {
				if err := g.start(i); err != nil {
					return err
				}
			}
			return nil
		}},
		{last, func() error {
			g.clients[last].Close()
			return nil
		}},
		{groupMembers, func() error { return g.start(last) }},
		{groupMembers, func() error {
			for _, c := range g.clients {
				c.ForceRebalance()
			}
			return nil
		}},
	} {
		// After a rebalance all members send their heartbeats at the same time. Whether what follows comes just before or after
		// that must be chance, or a broker that is a little faster looks a heartbeat slower.
		time.Sleep(clientHeartbeat + rand.N(clientHeartbeat))
		before := g.counts()
		start := time.Now()
		err := step.run()
		if err == nil {
			err = g.whole(ctx, step.members, before)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", rebalanceCases("")[i], err)
		}
		out = append(out, time.Since(start))
	}
	return out, nil
}

func (g *clientGroup) close() {
	var wait sync.WaitGroup
	for _, c := range g.clients {
		if c != nil {
			wait.Go(c.Close)
		}
	}
	wait.Wait()
}
