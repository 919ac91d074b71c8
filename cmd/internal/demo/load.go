package demo

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	topic      = "orders"
	group      = "shippers"
	partitions = 4
	rate       = 2000 // records a second
	valueBytes = 1000
)

// load is a stock client that writes and reads all the time, with the addresses of both sites.
type load struct {
	producer, consumer *kgo.Client
	stopWriting, stop  context.CancelFunc
	writing, reading   sync.WaitGroup

	mu       sync.Mutex
	acked    map[string]time.Time // by key
	failed   int
	read     map[string]bool
	lastAck  time.Time
	gap      time.Duration // longest time without an acknowledgement since resetGap
	lastRead time.Time
}

func newLoad(ctx context.Context, addresses []string) (*load, error) {
	l := &load{acked: map[string]time.Time{}, read: map[string]bool{}}
	var err error
	l.producer, err = kgo.NewClient(kgo.SeedBrokers(addresses...), kgo.ClientID("demo"), kgo.MetadataMinAge(250*time.Millisecond),
		kgo.ProducerLinger(5*time.Millisecond), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordDeliveryTimeout(time.Minute), kgo.DefaultProduceTopic(topic))
	if err != nil {
		return nil, err
	}
	if _, err := kadm.NewClient(l.producer).CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
		l.producer.Close()
		return nil, fmt.Errorf("create topic %s: %w", topic, err)
	}
	l.consumer, err = kgo.NewClient(kgo.SeedBrokers(addresses...), kgo.ClientID("demo"), kgo.MetadataMinAge(250*time.Millisecond),
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.AutoCommitInterval(time.Second))
	if err != nil {
		l.producer.Close()
		return nil, err
	}
	ctx, l.stop = context.WithCancel(ctx)
	writing, stop := context.WithCancel(ctx)
	l.stopWriting = stop
	l.writing.Go(func() { l.write(writing) })
	l.reading.Go(func() { l.consume(ctx) })
	return l, nil
}

// write produces at the rate until ctx ends.
func (l *load) write(ctx context.Context) {
	value := make([]byte, valueBytes)
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for range rate / 100 {
			key := strconv.Itoa(n)
			n++
			l.producer.TryProduce(context.WithoutCancel(ctx), &kgo.Record{Key: []byte(key), Value: value}, func(_ *kgo.Record, err error) { l.done(key, err) })
		}
	}
}

func (l *load) done(key string, err error) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed++
		return
	}
	l.acked[key] = now
	if !l.lastAck.IsZero() {
		l.gap = max(l.gap, now.Sub(l.lastAck))
	}
	l.lastAck = now
}

func (l *load) consume(ctx context.Context) {
	for ctx.Err() == nil {
		fetches := l.consumer.PollFetches(ctx)
		l.mu.Lock()
		fetches.EachRecord(func(r *kgo.Record) {
			l.read[string(r.Key)] = true
			l.lastRead = time.Now()
		})
		l.mu.Unlock()
	}
}

// resetGap begins to look for the longest pause anew.
func (l *load) resetGap() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gap = 0
}

// pause is the longest time without an acknowledgement since resetGap.
func (l *load) pause() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.gap, time.Since(l.lastAck))
}

func (l *load) count() (acked, read int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked), len(l.read)
}

// awaitAck waits until something that was written after this call began is acknowledged.
func (l *load) awaitAck(ctx context.Context) error {
	before, _ := l.count()
	for {
		if now, _ := l.count(); now > before {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nothing is acknowledged: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// end stops writing, waits for what is in flight, lets the consumer catch up, and closes both.
func (l *load) end(ctx context.Context, enough func() bool) {
	l.stopWriting()
	l.writing.Wait()
	_ = l.producer.Flush(ctx)
	for !enough() && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	l.stop()
	l.reading.Wait()
	l.producer.Close()
	l.consumer.Close()
}
