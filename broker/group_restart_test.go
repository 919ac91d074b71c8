package broker_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/brokertest"
)

const (
	restartMembers    = 3
	restartPartitions = 6
	restartPoll       = 10 * time.Millisecond
)

// restartedGroup is a client library's members of one group, which find the broker again whatever port it listens on.
type restartedGroup struct {
	clients []*kgo.Client
	address atomic.Value // string
	mu      sync.Mutex
	holds   []map[int32]bool // partitions, by member
	acked   map[int32]int64  // committed offsets
}

func (g *restartedGroup) join(t *testing.T, i int) {
	t.Helper()
	take := func(_ context.Context, _ *kgo.Client, given map[string][]int32) {
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, p := range given["t"] {
			g.holds[i][p] = true
		}
	}
	let := func(_ context.Context, _ *kgo.Client, given map[string][]int32) {
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, p := range given["t"] {
			delete(g.holds[i], p)
		}
	}
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, g.address.Load().(string))
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(g.address.Load().(string)), kgo.Dialer(dial), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"),
		kgo.Balancers(kgo.RangeBalancer()), kgo.DisableAutoCommit(), kgo.HeartbeatInterval(restartPoll), kgo.MetadataMinAge(restartPoll),
		kgo.RetryBackoffFn(func(int) time.Duration { return restartPoll }), kgo.AlwaysRetryEOF(),
		kgo.OnPartitionsAssigned(take), kgo.OnPartitionsRevoked(let), kgo.OnPartitionsLost(let))
	if err != nil {
		t.Fatal(err)
	}
	g.clients[i], g.holds[i] = c, map[int32]bool{}
}

// commit commits offset for what member i has, and notes what was acknowledged.
func (g *restartedGroup) commit(ctx context.Context, i int, offset int64) error {
	mine := map[int32]kgo.EpochOffset{}
	g.mu.Lock()
	for p := range g.holds[i] {
		mine[p] = kgo.EpochOffset{Epoch: -1, Offset: offset}
	}
	g.mu.Unlock()
	if len(mine) == 0 {
		return errors.New("no partitions")
	}
	var failed error
	g.clients[i].CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{"t": mine},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
			if failed = err; err != nil {
				return
			}
			g.mu.Lock()
			defer g.mu.Unlock()
			for _, p := range resp.Topics[0].Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					failed = err
				} else {
					g.acked[p.Partition] = max(g.acked[p.Partition], offset)
				}
			}
		})
	return failed
}

// settled waits until the members share all partitions and each has committed offset.
func (g *restartedGroup) settled(t *testing.T, offset int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), brokertest.Limit)
	defer cancel()
	for i := 0; i < restartMembers; {
		g.mu.Lock()
		sum := 0
		for _, h := range g.holds {
			sum += len(h)
		}
		g.mu.Unlock()
		err := errors.New("the group is not whole")
		if sum == restartPartitions {
			if err = g.commit(ctx, i, offset); err == nil {
				i++
				continue
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("member %d: %v", i, err)
		case <-time.After(restartPoll):
		}
	}
}

func (g *restartedGroup) generation() int32 {
	latest := int32(-1)
	for _, c := range g.clients {
		_, generation := c.GroupMetadata()
		latest = max(latest, generation)
	}
	return latest
}

// TestARestartCostsAGroupOneRebalanceAtMost: members of a client library go on after a restart of the broker, in the generation
// that they had or the next, and find what they had committed.
func TestARestartCostsAGroupOneRebalanceAtMost(t *testing.T) {
	b := brokertest.Start(t, "group.initial.rebalance.delay.ms=0", "offsets.topic.num.partitions=2")
	b.CreateTopic("t", restartPartitions)
	g := &restartedGroup{clients: make([]*kgo.Client, restartMembers), holds: make([]map[int32]bool, restartMembers), acked: map[int32]int64{}}
	g.address.Store(b.Address())
	for i := range restartMembers {
		g.join(t, i)
	}
	defer func() {
		var wait sync.WaitGroup
		for _, c := range g.clients {
			wait.Go(c.Close)
		}
		wait.Wait()
	}()
	g.settled(t, 1)
	for round := range int64(2) {
		g.settled(t, 10*round+5) // the rebalances of the start are over
		before := g.generation()
		b.Restart()
		g.address.Store(b.Address())
		committed := b.Client()
		for ctx := b.Context(); ; {
			got, err := kadm.NewClient(committed).FetchOffsets(ctx, "g")
			if err == nil {
				err = got.Error()
			}
			if err == nil {
				for p, offset := range g.acked {
					if o, ok := got.Lookup("t", p); !ok || o.At < offset {
						t.Errorf("partition %d: %d is committed, %d was acknowledged", p, o.At, offset)
					}
				}
				break
			}
			select {
			case <-ctx.Done():
				t.Fatal(err)
			case <-time.After(restartPoll):
			}
		}
		g.settled(t, 10*round+6)
		if after := g.generation(); after > before+1 {
			t.Errorf("generation %d before the restart, %d after it", before, after)
		}
	}
}
