package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	topic      = "chaos"
	group      = "chaos-group"
	partitions = 4
	valueBytes = 600 // at most
	// bufferedMax is how many records of a partition wait for their acknowledgement.
	bufferedMax = 1000
	// backoff is how long clients wait before they try again; their defaults are made for gentler networks.
	backoff = 50 * time.Millisecond
	// flushLimit bounds the wait for the last acknowledgements.
	flushLimit = time.Minute
	// members are how many consumers the group has.
	members = 2
)

// load is stock clients at work: an idempotent producer for each partition, and a group that commits.
type load struct {
	addresses []string
	histories []*history
	seed      uint64
	rate      int // records per second of each partition
	dir       string
	level     kgo.LogLevel // of the clients' logs in dir

	stopProducers, stopMembers context.CancelFunc
	producers, group           sync.WaitGroup
	mu                         struct {
		sync.Mutex
		dataLoss int            // how often a member was told that its position was gone
		oddities map[string]int // other errors that members met
	}
}

func (l *load) client(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(l.addresses...), kgo.MetadataMinAge(100 * time.Millisecond), kgo.MetadataMaxAge(5 * time.Second),
		kgo.RetryBackoffFn(func(int) time.Duration { return backoff }), kgo.RequestRetries(1 << 30), kgo.RetryTimeout(flushLimit),
		kgo.AlwaysRetryEOF(), kgo.DialTimeout(2 * time.Second), kgo.RequestTimeoutOverhead(5 * time.Second), kgo.UnknownTopicRetries(-1)}, options...)...)
}

// log is where a client tells what it does; the file is closed with the process.
func (l *load) log(name string) (kgo.Opt, error) {
	if l.level == kgo.LogLevelNone {
		return kgo.WithLogger(nil), nil
	}
	f, err := os.Create(filepath.Join(l.dir, name))
	if err != nil {
		return nil, err
	}
	return kgo.WithLogger(kgo.BasicLogger(f, l.level, func() string { return time.Now().UTC().Format("15:04:05.000 ") })), nil
}

// createTopic makes the topic at the active site.
func (l *load) createTopic(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client, err := l.client()
	if err != nil {
		return err
	}
	defer client.Close()
	last := ""
	return poll(ctx, 100*time.Millisecond, func() (bool, error) {
		r, err := kadm.NewClient(client).CreateTopic(ctx, partitions, 1, nil, topic)
		last = fmt.Sprint(err, r.Err)
		return err == nil && r.Err == nil || errors.Is(r.Err, kerr.TopicAlreadyExists), nil
	}, func() string { return "create the topic: " + last })
}

// start begins the load.
func (l *load) start(ctx context.Context) error {
	l.mu.oddities = map[string]int{}
	var producing, consuming context.Context
	producing, l.stopProducers = context.WithCancel(ctx)
	consuming, l.stopMembers = context.WithCancel(ctx)
	for _, h := range l.histories {
		log, err := l.log(fmt.Sprintf("producer-%d.log", h.partition))
		if err != nil {
			return err
		}
		client, err := l.client(log, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(2*bufferedMax), kgo.ProducerLinger(2*time.Millisecond))
		if err != nil {
			return err
		}
		l.producers.Go(func() { l.produce(producing, ctx, client, h) })
	}
	for i := range members {
		log, err := l.log(fmt.Sprintf("member-%d.log", i))
		if err != nil {
			return err
		}
		client, err := l.client(log, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ClientID(fmt.Sprintf("member-%d", i)),
			kgo.DisableAutoCommit(), kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(time.Second), kgo.BlockRebalanceOnPoll(),
			kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchMaxWait(100*time.Millisecond))
		if err != nil {
			return err
		}
		l.group.Go(func() { l.consume(consuming, client) })
	}
	return nil
}

// produce sends numbered records until load is done, and waits for the answers to all of them.
func (l *load) produce(load, ctx context.Context, client *kgo.Client, h *history) {
	defer client.Close()
	random := rand.New(rand.NewPCG(l.seed, 100+uint64(h.partition)))
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	due := 0.0
	for {
		select {
		case <-load.Done():
			flush, cancel := context.WithTimeout(ctx, flushLimit)
			defer cancel()
			if err := client.Flush(flush); err != nil {
				h.fault(fmt.Errorf("partition %d: producer: the last acknowledgements do not come: %w", h.partition, err))
			}
			return
		case <-tick.C:
		}
		for due += float64(l.rate) / 100; due >= 1; due-- {
			if client.BufferedProduceRecords() >= bufferedMax {
				due = 0 // nobody catches up with what was not sent during an outage
				break
			}
			number := h.sent
			h.sent++
			client.Produce(ctx, &kgo.Record{Topic: topic, Partition: h.partition, Key: []byte(key(h.partition, number)),
				Value: make([]byte, random.IntN(valueBytes))}, func(r *kgo.Record, err error) {
				if err != nil {
					h.fault(fmt.Errorf("partition %d: producer: number %d: %w", h.partition, number, err))
					return
				}
				h.acknowledged(number, r.Offset)
			})
		}
	}
}

// consume takes records as a member of the group, and commits them.
func (l *load) consume(ctx context.Context, client *kgo.Client) {
	defer client.CloseAllowingRebalance()
	for ctx.Err() == nil {
		fetches := client.PollRecords(ctx, 1000)
		for _, e := range fetches.Errors() {
			l.odd(ctx, e)
		}
		for _, r := range fetches.Records() {
			l.histories[r.Partition].took(r.Offset, r.Key)
		}
		commit, cancel := context.WithTimeout(ctx, 5*time.Second)
		_ = client.CommitRecords(commit, fetches.Records()...) // then they come again
		cancel()
		client.AllowRebalance()
	}
}

// odd counts an error that a member met.
func (l *load) odd(ctx context.Context, e kgo.FetchError) {
	if ctx.Err() != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if loss := (*kgo.ErrDataLoss)(nil); errors.As(e.Err, &loss) {
		l.mu.dataLoss++
		return
	}
	l.mu.oddities[e.Err.Error()]++
	if errors.Is(e.Err, kerr.OffsetOutOfRange) && e.Partition >= 0 && int(e.Partition) < len(l.histories) {
		l.histories[e.Partition].fault(fmt.Errorf("partition %d: a member of the group has stopped: %w", e.Partition, e.Err))
	}
}

// watch begins to measure the pause of all producers.
func (l *load) watch() {
	for _, h := range l.histories {
		h.watch()
	}
}

// awaitAcks waits until every partition has acknowledged something since a time, and returns the longest pause since watch.
func (l *load) awaitAcks(ctx context.Context, since time.Time, limit time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var longest time.Duration
	var silent []int32
	err := poll(ctx, 10*time.Millisecond, func() (bool, error) {
		silent, longest = nil, 0
		for _, h := range l.histories {
			ok, gap := h.resumed(since)
			if !ok {
				silent = append(silent, h.partition)
			}
			longest = max(longest, gap)
		}
		return len(silent) == 0, nil
	}, func() string {
		return fmt.Sprintf("stock producers of partitions %v got no acknowledgement in %s", silent, limit)
	})
	return longest, err
}
