package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	groupKillPartitions = 6
	groupKillMembers    = 3
	// groupPause is between two records of one partition.
	groupPause = 2 * time.Millisecond
	// groupHeartbeat makes members learn soon of a rebalance, so that kills meet one.
	groupHeartbeat = 100 * time.Millisecond
	// groupKillMax is how long after the start of a rebalance, or after a commit, the broker is killed at most.
	groupKillMax = 30 * time.Millisecond
)

// groupHistory is what the group-kills step knows. Records are numbered in each partition, as in history.
type groupHistory struct {
	topic, group, alone string
	mu                  struct {
		sync.Mutex
		acked     map[int32]map[int]bool // records
		seen      map[int32]map[int]int  // how often the group got them
		committed map[int32]int64        // acknowledged commits of the group
		single    int64                  // acknowledged commit of the group that has no members
		tried     int64                  // the latest that it may have committed
		commits   int                    // of both that were acknowledged
		assigned  int                    // how often members were given partitions
		checks    int
		wrong     []error
	}
}

func newGroupHistory(s *suite, topic string) *groupHistory {
	h := &groupHistory{topic: topic, group: s.prefix + "group", alone: s.prefix + "alone"}
	h.mu.acked, h.mu.seen, h.mu.committed = map[int32]map[int]bool{}, map[int32]map[int]int{}, map[int32]int64{}
	for p := range int32(groupKillPartitions) {
		h.mu.acked[p], h.mu.seen[p] = map[int]bool{}, map[int]int{}
	}
	return h
}

// groupKills kills the broker inside rebalances and commits. A committed offset that was acknowledged is never lost, and none is
// past the end of the data; each acknowledged record reaches the group.
func (s *suite) groupKills(ctx context.Context) error {
	topic, err := s.topic(ctx, "group-kills", groupKillPartitions)
	if err != nil {
		return err
	}
	fmt.Printf("    seed %d\n", s.seed)
	h := newGroupHistory(s, topic)
	g := &groupRun{suite: s, h: h, random: rand.New(rand.NewPCG(s.seed, 2)), failures: make(chan error, 100)}
	load, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	watch, stopWatch := context.WithCancel(ctx)
	defer stopWatch()
	var producers, watchers sync.WaitGroup
	for p := range int32(groupKillPartitions) {
		producers.Go(func() { g.failed(g.produce(load, ctx, p)) })
	}
	watchers.Go(func() { g.failed(g.commitAlone(watch)) })
	watchers.Go(func() { g.failed(g.check(watch)) })
	for range groupKillMembers {
		g.join(watch)
	}
	worst, err := g.killAgain(ctx, watch)
	stopLoad()
	producers.Wait()
	if err == nil {
		err = g.drained(ctx)
	}
	stopWatch()
	watchers.Wait()
	g.members.Wait()
	close(g.failures)
	for failure := range g.failures {
		err = errors.Join(err, failure)
	}
	if err = errors.Join(append(h.mu.wrong, err)...); err != nil {
		return fmt.Errorf("seed %d: %w", s.seed, err)
	}
	records, again := 0, 0
	for p := range int32(groupKillPartitions) {
		records += len(h.mu.acked[p])
		for _, n := range h.mu.seen[p] {
			again += n - 1
		}
	}
	fmt.Printf("    %d kills, %d assignments, %d commits acknowledged, %d times compared; the group got all of %d records, %d again; slowest restart %s\n",
		s.groupKillCount, h.mu.assigned, h.mu.commits, h.mu.checks, records, again, worst.Round(time.Millisecond))
	return nil
}

// groupRun is one run of the step.
type groupRun struct {
	*suite
	h        *groupHistory
	random   *rand.Rand
	failures chan error
	members  sync.WaitGroup
	leave    []context.CancelFunc // of the members, oldest first
	clients  []*kgo.Client
}

func (g *groupRun) failed(err error) {
	if err == nil {
		return
	}
	select {
	case g.failures <- err:
	default: // there are enough
	}
}

// produce sends numbered records to one partition, slowly enough for the group to keep up.
func (g *groupRun) produce(load, ctx context.Context, partition int32) error {
	client, err := g.impatient(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RequestRetries(1<<30), kgo.RetryTimeout(killLimit))
	if err != nil {
		return err
	}
	defer client.Close()
	var failed firstError
	tick := time.NewTicker(groupPause)
	defer tick.Stop()
	for number := 0; load.Err() == nil; number++ {
		select {
		case <-tick.C:
		case <-load.Done():
		}
		record := &kgo.Record{Topic: g.h.topic, Partition: partition, Value: fmt.Appendf(nil, "%d ", number)}
		client.Produce(ctx, record, func(_ *kgo.Record, err error) {
			if err == nil {
				g.h.mu.Lock()
				g.h.mu.acked[partition][number] = true
				g.h.mu.Unlock()
			}
			failed.add(err)
		})
	}
	flush, cancel := context.WithTimeout(ctx, killLimit)
	defer cancel()
	if err := client.Flush(flush); err != nil {
		return fmt.Errorf("producer of partition %d: waiting for the last acknowledgements: %w", partition, err)
	}
	return failed.get()
}

// join starts a member, which reads and commits until its leave function is called.
func (g *groupRun) join(ctx context.Context) {
	ctx, leave := context.WithCancel(ctx)
	client, err := g.impatient(kgo.ConsumerGroup(g.h.group), kgo.ConsumeTopics(g.h.topic), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(6*time.Second), kgo.RebalanceTimeout(6*time.Second),
		kgo.HeartbeatInterval(groupHeartbeat), kgo.FetchMaxWait(50*time.Millisecond), kgo.Balancers(kgo.RangeBalancer()),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) {
			g.h.mu.Lock()
			g.h.mu.assigned++
			g.h.mu.Unlock()
		}))
	if err != nil {
		leave()
		g.failed(err)
		return
	}
	g.leave, g.clients = append(g.leave, leave), append(g.clients, client)
	g.members.Go(func() { // ended by leave
		defer client.CloseAllowingRebalance()
		for ctx.Err() == nil {
			g.failed(g.consume(ctx, client))
			client.AllowRebalance()
		}
	})
}

// consume notes what a poll has brought, then commits it, as a consumer does that loses nothing.
func (g *groupRun) consume(ctx context.Context, client *kgo.Client) error {
	fetches := client.PollRecords(ctx, 200)
	upTo := map[int32]int64{}
	g.h.mu.Lock()
	for _, r := range fetches.Records() {
		number, err := killNumber(r.Value)
		if err != nil {
			g.h.mu.Unlock()
			return err
		}
		g.h.mu.seen[r.Partition][number]++
		upTo[r.Partition] = r.Offset + 1
	}
	g.h.mu.Unlock()
	if len(upTo) == 0 {
		return nil
	}
	limit, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if client.CommitRecords(limit, fetches.Records()...) != nil {
		return nil // not acknowledged: it may count or not
	}
	g.h.mu.Lock()
	defer g.h.mu.Unlock()
	g.h.mu.commits++
	for p, offset := range upTo {
		if offset < g.h.mu.committed[p] {
			g.h.mu.wrong = append(g.h.mu.wrong, fmt.Errorf("partition %d: a member went back to %d, after %d had been committed", p, offset, g.h.mu.committed[p]))
		}
		g.h.mu.committed[p] = offset
	}
	return nil
}

// commitAlone commits one number after the other for a group without members.
func (g *groupRun) commitAlone(ctx context.Context) error {
	client, err := g.impatient()
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	for number := int64(1); ctx.Err() == nil; number++ {
		g.h.mu.Lock()
		g.h.mu.tried = number
		g.h.mu.Unlock()
		var offsets kadm.Offsets
		offsets.AddOffset(g.h.topic, 0, number, -1)
		limit, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := admin.CommitAllOffsets(limit, g.h.alone, offsets)
		cancel()
		if err == nil {
			g.h.mu.Lock()
			g.h.mu.single, g.h.mu.commits = number, g.h.mu.commits+1
			g.h.mu.Unlock()
		}
	}
	return nil
}

// check compares what is committed with what was acknowledged, again and again.
func (g *groupRun) check(ctx context.Context) error {
	client, err := g.impatient()
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	before := map[int32]int64{}
	for ctx.Err() == nil {
		if err := g.compare(ctx, admin, before); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	return nil
}

// compare is one comparison; a broker that does not answer is asked again later. before is what was answered last.
func (g *groupRun) compare(ctx context.Context, admin *kadm.Client, before map[int32]int64) error {
	limit, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	g.h.mu.Lock()
	acked, single := maps.Clone(g.h.mu.committed), g.h.mu.single
	g.h.mu.Unlock()
	got, err := admin.FetchOffsets(limit, g.h.group)
	if err != nil || got.Error() != nil {
		return nil
	}
	one, err := admin.FetchOffsets(limit, g.h.alone)
	if err != nil || one.Error() != nil {
		return nil
	}
	ends, err := admin.ListEndOffsets(limit, g.h.topic) // afterwards: the end only grows
	if err != nil || ends.Error() != nil {
		return nil
	}
	g.h.mu.Lock()
	defer g.h.mu.Unlock()
	g.h.mu.checks++
	wrong := func(format string, args ...any) { g.h.mu.wrong = append(g.h.mu.wrong, fmt.Errorf(format, args...)) }
	for p := range int32(groupKillPartitions) {
		at := int64(0)
		if o, ok := got.Lookup(g.h.topic, p); ok && o.At >= 0 {
			at = o.At
		}
		end, ok := ends.Lookup(g.h.topic, p)
		switch {
		case at < acked[p]:
			wrong("partition %d: offset %d is committed, %d was acknowledged", p, at, acked[p])
		case at < before[p]:
			wrong("partition %d: the committed offset went back from %d to %d", p, before[p], at)
		case ok && at > end.Offset:
			wrong("partition %d: offset %d is committed, the log ends at %d", p, at, end.Offset)
		}
		before[p] = at
	}
	if o, ok := one.Lookup(g.h.topic, 0); single > 0 && (!ok || o.At < single || o.At > g.h.mu.tried) {
		wrong("the group without members has offset %d, %d was acknowledged, %d sent", o.At, single, g.h.mu.tried)
	}
	return nil
}
