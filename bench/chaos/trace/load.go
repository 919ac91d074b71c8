//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sort"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// lane is the load of one partition: one idempotent producer, whose records are numbered from 0, so that the log must hold
// number n at offset n.
type lane struct {
	Topic     string
	Partition int32
	Cached    bool // write.caching: a power loss may take acknowledged records
	ValueMin  int
	ValueMax  int
	Bursts    int
	BurstMax  int // records in flight

	Sent  int64
	Acked []ack // in the order of time
	// Of a topic that is deleted: the time before the request; 0 = never.
	DeletedFrom int64
	// DeletedAt is the time behind the answer; 0 = none came.
	DeletedAt int64
	mu        sync.Mutex
	gone      chan struct{} // closed before the topic is deleted
	once      sync.Once     // closes gone
}

// ack is an answer to a produce.
type ack struct {
	At int64 // ns since 1970, by the client's clock, which is the tracer's
	To int64 // all records below are acknowledged
}

// newLanes are small batches, which ride in the journal, large ones, which are referred to, and both; rolls and retention;
// topics made by the first produce and by request; one that is deleted.
func newLanes(bursts int) []*lane {
	lanes := []*lane{
		{Topic: "small", Partition: 0, ValueMin: 10, ValueMax: 400, BurstMax: 12},
		{Topic: "small", Partition: 1, ValueMin: 10, ValueMax: 3000, BurstMax: 4},
		{Topic: "mixed", Partition: 0, ValueMin: 100, ValueMax: 40_000, BurstMax: 4},
		{Topic: "mixed", Partition: 1, ValueMin: 1000, ValueMax: 20_000, BurstMax: 3},
		{Topic: "large", Partition: 0, ValueMin: 20_000, ValueMax: 150_000, BurstMax: 2},
		{Topic: "cached", Partition: 0, ValueMin: 100, ValueMax: 30_000, BurstMax: 6, Cached: true},
		{Topic: "doomed", Partition: 0, ValueMin: 100, ValueMax: 30_000, BurstMax: 4},
	}
	for _, l := range lanes {
		l.Bursts, l.gone = bursts, make(chan struct{})
	}
	return lanes
}

// value is record n of the lane.
func (l *lane) value(n int64) []byte {
	var seed [32]byte
	copy(seed[:], fmt.Sprintf("%s-%d", l.Topic, l.Partition))
	binary.LittleEndian.PutUint64(seed[24:], uint64(n))
	source := rand.NewChaCha8(seed)
	size := l.ValueMin + int(source.Uint64()%uint64(l.ValueMax-l.ValueMin))
	value := make([]byte, size)
	_, _ = source.Read(value) // never fails
	copy(value, fmt.Sprintf("%d ", n))
	return value
}

// key is where the number stands for whoever reads a log by eye.
func key(n int64) []byte { return fmt.Appendf(nil, "%d", n) }

// ackedAt is how many records a client had been told of strictly before an instant.
func (l *lane) ackedAt(ns int64) int64 {
	i := sort.Search(len(l.Acked), func(i int) bool { return l.Acked[i].At >= ns })
	if i == 0 {
		return 0
	}
	return l.Acked[i-1].To
}

func newClient(address string, more ...kgo.Opt) (*kgo.Client, error) {
	backoff := func(int) time.Duration { return 50 * time.Millisecond }
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(address), kgo.MetadataMinAge(50 * time.Millisecond), kgo.RetryBackoffFn(backoff),
		kgo.RequestRetries(1 << 30), kgo.RetryTimeout(loadLimit), kgo.AlwaysRetryEOF()}, more...)...)
}

// run produces until the lane's bursts are done, whatever happens to the broker meanwhile.
func (l *lane) run(ctx context.Context, address string, seed uint64) error {
	client, err := newClient(address, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(-1), kgo.ProducerBatchMaxBytes(400_000), kgo.DefaultProduceTopic(l.Topic))
	if err != nil {
		return err
	}
	defer client.Close()
	r := rand.New(rand.NewPCG(seed, uint64(l.Partition)+uint64(l.ValueMax)))
	for range l.Bursts {
		select {
		case <-l.gone:
			return nil
		default:
		}
		var mu sync.Mutex
		var failures []error
		for range 1 + r.IntN(l.BurstMax) {
			n := l.Sent
			l.Sent++
			client.Produce(ctx, &kgo.Record{Partition: l.Partition, Key: key(n), Value: l.value(n)}, func(record *kgo.Record, err error) {
				at := time.Now().UnixNano()
				mu.Lock()
				defer mu.Unlock()
				if err == nil && record.Offset != n {
					err = fmt.Errorf("%s-%d: record %d was acknowledged at offset %d", l.Topic, l.Partition, n, record.Offset)
				}
				if err != nil {
					failures = append(failures, err)
					return
				}
				l.mu.Lock()
				defer l.mu.Unlock()
				l.Acked = append(l.Acked, ack{at, n + 1})
			})
		}
		if err := client.Flush(ctx); err != nil {
			return err
		}
		if err := errors.Join(failures...); err != nil {
			return fmt.Errorf("%s-%d: %w", l.Topic, l.Partition, err)
		}
		if r.IntN(8) == 0 { // an idle journal writes its mark
			time.Sleep(time.Duration(r.IntN(150)) * time.Millisecond)
		}
	}
	return nil
}

// createTopics makes the topics that are not made by their first produce.
func createTopics(ctx context.Context, address string) error {
	client, err := newClient(address)
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	yes, retention := "true", fmt.Sprint(largeRetentionBytes)
	for topic, configs := range map[string]map[string]*string{
		"large": {"retention.bytes": &retention}, "cached": {"write.caching": &yes}, "doomed": nil,
	} {
		if _, err := admin.CreateTopic(ctx, 1, 1, configs, topic); err != nil {
			return fmt.Errorf("create %s: %w", topic, err)
		}
	}
	return nil
}

// delete deletes the topic of a lane whose producer has ended, whatever happens to the broker meanwhile.
func (l *lane) delete(ctx context.Context, address string) error {
	client, err := newClient(address)
	if err != nil {
		return err
	}
	defer client.Close()
	l.DeletedFrom = time.Now().UnixNano()
	for {
		_, err := kadm.NewClient(client).DeleteTopic(ctx, l.Topic)
		if err == nil || errors.Is(err, kerr.UnknownTopicOrPartition) { // deleted, but the answer was lost
			l.DeletedAt = time.Now().UnixNano()
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("delete %s: %w", l.Topic, errors.Join(err, ctx.Err()))
		}
	}
}
