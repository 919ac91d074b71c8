package handler_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

// consumer reads topic t until ctx ends and gives the offsets of what it gets; with a group as a member of g, else partition 0. It begins at
// the start, and goes to the start again where it is told that its position does not exist: then it gives offsets twice.
type consumer func(ctx context.Context, t *testing.T, address string, offsets chan<- int64)

var groupConsumers = map[string]consumer{
	"franz-go": func(ctx context.Context, t *testing.T, address string, offsets chan<- int64) {
		c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		for ctx.Err() == nil {
			c.PollFetches(ctx).EachRecord(func(r *kgo.Record) { offsets <- r.Offset })
		}
	},
	"sarama": func(ctx context.Context, t *testing.T, address string, offsets chan<- int64) {
		g, err := sarama.NewConsumerGroup([]string{address}, "g", saramaConfig())
		if err != nil {
			t.Error(err)
			return
		}
		defer g.Close()
		for ctx.Err() == nil {
			if err := g.Consume(ctx, []string{"t"}, claims(offsets)); err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
		}
	},
	"kafka-go": func(ctx context.Context, t *testing.T, address string, offsets chan<- int64) {
		readAll(ctx, t, kafka.ReaderConfig{Brokers: []string{address}, GroupID: "g", Topic: "t", StartOffset: kafka.FirstOffset,
			MaxWait: 50 * time.Millisecond, JoinGroupBackoff: 50 * time.Millisecond}, offsets)
	},
}

// partitionConsumers never compare epochs but for franz-go, which has no policy for resets.
var partitionConsumers = map[string]consumer{
	"franz-go": func(ctx context.Context, t *testing.T, address string, offsets chan<- int64) {
		c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
			kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"t": {0: kgo.NewOffset().At(0)}}), kgo.MetadataMinAge(10*time.Millisecond), kgo.FetchMaxWait(50*time.Millisecond))
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		for ctx.Err() == nil {
			f := c.PollFetches(ctx)
			f.EachError(func(_ string, _ int32, err error) {
				if ctx.Err() == nil {
					t.Error(err)
				}
			})
			f.EachRecord(func(r *kgo.Record) { offsets <- r.Offset })
		}
	},
	"sarama": func(ctx context.Context, t *testing.T, address string, offsets chan<- int64) {
		c, err := sarama.NewConsumer([]string{address}, saramaConfig())
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		p, err := c.ConsumePartition("t", 0, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer p.Close()
		for {
			select {
			case m := <-p.Messages():
				offsets <- m.Offset
			case err := <-p.Errors():
				if code := sarama.ErrNotLeaderForPartition; err != nil && !errors.Is(err, code) { // it asks for the leader, and goes on
					t.Error(err)
				}
			case <-ctx.Done():
				return
			}
		}
	},
	"kafka-go": func(ctx context.Context, t *testing.T, address string, offsets chan<- int64) {
		readAll(ctx, t, kafka.ReaderConfig{Brokers: []string{address}, Topic: "t", MaxWait: 50 * time.Millisecond}, offsets)
	},
}

func saramaConfig() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.MaxVersion
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.MaxWaitTime = 50 * time.Millisecond
	c.Consumer.Retry.Backoff = 10 * time.Millisecond
	c.Consumer.Group.Rebalance.Retry.Backoff = 50 * time.Millisecond
	c.Consumer.Return.Errors = true
	return c
}

// claims gives the offsets of what a member of a group gets.
type claims chan<- int64

func (claims) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (claims) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (c claims) ConsumeClaim(_ sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for m := range claim.Messages() {
		c <- m.Offset
	}
	return nil
}

// readAll reads with kafka-go.
func readAll(ctx context.Context, t *testing.T, config kafka.ReaderConfig, offsets chan<- int64) {
	r := kafka.NewReader(config)
	defer r.Close()
	for {
		m, err := r.ReadMessage(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		offsets <- m.Offset
	}
}
