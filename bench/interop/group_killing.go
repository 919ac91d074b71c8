package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// killAgain kills the broker in turn after a commit, after the start of a rebalance, and while a member leaves and another
// comes; members end with life. It returns the longest time a start took.
func (g *groupRun) killAgain(ctx, life context.Context) (worst time.Duration, err error) {
	for n := range g.groupKillCount {
		if err := g.atWork(ctx); err != nil {
			return worst, fmt.Errorf("before kill %d: %w", n+1, err)
		}
		switch n % 3 {
		case 1:
			for _, c := range g.clients {
				c.ForceRebalance()
			}
		case 2:
			g.leave[0]()
			g.leave, g.clients = slices.Delete(g.leave, 0, 1), slices.Delete(g.clients, 0, 1)
			g.join(life)
		}
		select {
		case <-time.After(time.Duration(g.random.Int64N(int64(groupKillMax)))):
		case <-ctx.Done():
			return worst, ctx.Err()
		}
		g.broker.kill()
		began := time.Now()
		if err := g.broker.start(ctx); err != nil {
			return worst, fmt.Errorf("start after kill %d: %w", n+1, err)
		}
		worst = max(worst, time.Since(began))
	}
	return worst, g.atWork(ctx)
}

// atWork waits until since the last restart the group has committed something in each partition.
func (g *groupRun) atWork(ctx context.Context) error {
	g.h.mu.Lock()
	commits, before := g.h.mu.commits, map[int32]int64{}
	for p := range int32(groupKillPartitions) {
		before[p] = g.h.mu.committed[p]
	}
	g.h.mu.Unlock()
	return g.until(ctx, "the group does not go on", func() bool {
		for p := range int32(groupKillPartitions) {
			if g.h.mu.committed[p] == before[p] {
				return false
			}
		}
		return g.h.mu.commits > commits
	})
}

// until waits for ok, which is called under the lock of the history.
func (g *groupRun) until(ctx context.Context, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		g.h.mu.Lock()
		done := ok() || len(g.h.mu.wrong) > 0
		g.h.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
	}
}

// drained waits until the group has got each acknowledged record and has committed the end of each partition.
func (g *groupRun) drained(ctx context.Context) error {
	client, err := g.impatient()
	if err != nil {
		return err
	}
	defer client.Close()
	ends, err := endOffsets(ctx, client, g.h.topic)
	if err != nil {
		return err
	}
	missing := 0
	err = g.until(ctx, "records or commits are missing", func() bool {
		missing = 0
		for p := range int32(groupKillPartitions) {
			for number := range g.h.mu.acked[p] {
				if g.h.mu.seen[p][number] == 0 {
					missing++
				}
			}
			if g.h.mu.committed[p] != ends[p] {
				return false
			}
		}
		return missing == 0
	})
	if err != nil {
		return fmt.Errorf("%w: %d records, committed %v of %v", err, missing, g.h.mu.committed, ends)
	}
	return nil
}

func endOffsets(ctx context.Context, client *kgo.Client, topic string) (map[int32]int64, error) {
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	out := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) { out[o.Partition] = o.Offset })
	return out, ends.Error()
}
