package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	restartRounds  = 5
	restartBackoff = 50 * time.Millisecond // of clients that look for the broker
)

// runRestart measures what a restart costs a group of a client library's members, which commit all the time: generations, and
// offsets whose commit was acknowledged.
func runRestart(ctx context.Context, o options, r *report) error {
	o.sets = append(append([]string(nil), o.sets...), "group.initial.rebalance.delay.ms=0")
	b, err := startBroker(ctx, o)
	if err != nil {
		return err
	}
	defer func() { b.discard() }()
	if err := (rival{"tandem", b}).prepare(ctx, groupPartitions); err != nil {
		return err
	}
	g := newClientGroup(b.addr, "restarted")
	defer g.close()
	for i := range groupMembers {
		if err := g.start(i, kgo.RetryBackoffFn(func(int) time.Duration { return restartBackoff }), kgo.MetadataMinAge(restartBackoff), kgo.AlwaysRetryEOF()); err != nil {
			return err
		}
	}
	if err := g.whole(ctx, groupMembers, nil); err != nil {
		return err
	}
	c := &committers{g: g, acked: map[int32]int64{}}
	for round := range 2 * restartRounds {
		how, name := (*broker).stop, "after a clean stop"
		if round%2 == 1 {
			how, name = func(b *broker) error { b.kill(); return nil }, "after kill -9"
		}
		if err := c.all(ctx); err != nil {
			return fmt.Errorf("before the restart: %w", err)
		}
		generation := g.generation()
		under, stop := context.WithCancel(ctx)
		c.begin(under)
		time.Sleep(rand.N(300 * time.Millisecond)) // commits are under way
		err := how(b)
		stop()
		c.wait.Wait()
		if err != nil {
			return err
		}
		start := time.Now()
		if b, err = launchAt(o, b.dir, b.addr, b.admin); err != nil {
			return err
		}
		lost, err := c.lost(ctx)
		if err != nil {
			return err
		}
		if err := c.all(ctx); err != nil {
			return fmt.Errorf("after the restart: %w", err)
		}
		took := time.Since(start)
		time.Sleep(2 * time.Second) // a rebalance that came late would be seen
		if err := c.all(ctx); err != nil {
			return fmt.Errorf("some time after the restart: %w", err)
		}
		r.add(sample{Figure: "groups", Case: "restart, " + name + ": rebalances", Round: round/2 + 1, Broker: float64(g.generation() - generation), Unit: "",
			Extra: map[string]float64{"s_until_all_commit": took.Seconds()}}, target{below: 2})
		r.add(sample{Figure: "groups", Case: "restart, " + name + ": commits lost", Round: round/2 + 1, Broker: float64(lost), Unit: "of 900"}, target{below: 1})
	}
	return ctx.Err()
}

// generation is the latest that a member knows.
func (g *clientGroup) generation() int32 {
	latest := int32(-1)
	for _, c := range g.clients {
		_, generation := c.GroupMetadata()
		latest = max(latest, generation)
	}
	return latest
}

// committers commit rising offsets for the partitions of each member.
type committers struct {
	g     *clientGroup
	wait  sync.WaitGroup
	mu    sync.Mutex
	acked map[int32]int64
	next  int64
}

// all has each member commit once, and waits until that is acknowledged.
func (c *committers) all(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, clientWaitMax)
	defer cancel()
	failures := make(chan error, groupMembers)
	for i := range c.g.clients {
		c.wait.Go(func() {
			err := errors.New("not tried")
			for err != nil && ctx.Err() == nil {
				if err = c.commit(ctx, i); err != nil {
					time.Sleep(restartBackoff)
				}
			}
			if err != nil {
				failures <- err
			}
		})
	}
	c.wait.Wait()
	close(failures)
	return <-failures
}

// begin has all members commit until ctx ends.
func (c *committers) begin(ctx context.Context) {
	for i := range c.g.clients {
		c.wait.Go(func() {
			for ctx.Err() == nil {
				_ = c.commit(ctx, i) // what is not acknowledged may be lost
			}
		})
	}
}

// commit commits the next offset for the partitions of member i.
func (c *committers) commit(ctx context.Context, i int) error {
	c.mu.Lock()
	c.next++
	next := c.next
	c.mu.Unlock()
	held := map[int32]kgo.EpochOffset{}
	c.g.mu.Lock()
	for p := range c.g.holds[i] {
		held[p] = kgo.EpochOffset{Epoch: -1, Offset: next}
	}
	c.g.mu.Unlock()
	if len(held) == 0 {
		return errors.New("a member has no partitions")
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var failed error
	c.g.clients[i].CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{groupTopic: held},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
			if failed = err; err != nil {
				return
			}
			for _, t := range resp.Topics {
				for _, p := range t.Partitions {
					if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
						failed = err
						continue
					}
					c.mu.Lock()
					c.acked[p.Partition] = max(c.acked[p.Partition], next)
					c.mu.Unlock()
				}
			}
		})
	return failed
}

// lost is how many partitions have a committed offset below one that was acknowledged.
func (c *committers) lost(ctx context.Context) (int, error) {
	admin := kadm.NewClient(c.g.clients[0])
	for {
		got, err := admin.FetchOffsets(ctx, c.g.group)
		if err == nil {
			err = got.Error()
		}
		if err == nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			n := 0
			for p, offset := range c.acked {
				if o, ok := got.Lookup(groupTopic, p); !ok || o.At < offset {
					n++
				}
			}
			return n, nil
		}
		select {
		case <-ctx.Done():
			return 0, err
		case <-time.After(restartBackoff):
		}
	}
}
