package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var franzCodecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func franzProduce(ctx context.Context, job produceJob) error {
	codec, ok := franzCodecs[job.codec]
	if !ok {
		return fmt.Errorf("no codec %q", job.codec)
	}
	options := []kgo.Opt{kgo.SeedBrokers(job.address), kgo.DefaultProduceTopic(job.topic), kgo.ProducerBatchCompression(codec)}
	if !job.idempotent {
		options = append(options, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))
	}
	c, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer c.Close()
	var failed kgo.FirstErrPromise
	for _, r := range job.records {
		c.Produce(ctx, &kgo.Record{Key: r.key, Value: r.value, Headers: []kgo.RecordHeader{{Key: "client", Value: []byte(job.client)}}}, failed.Promise())
	}
	return failed.Err()
}

func franzFlow(ctx context.Context, job flowJob) error {
	options := append(franzPatience(), kgo.SeedBrokers(job.addresses...), kgo.DefaultProduceTopic(job.topic))
	if !job.idempotent {
		options = append(options, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))
	}
	c, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer c.Close()
	for r, err := range job.records {
		if err != nil {
			return err
		}
		c.Produce(ctx, &kgo.Record{Key: r.key, Value: r.value}, func(r *kgo.Record, err error) { job.answered(r.Key, err) })
	}
	return c.Flush(ctx)
}

// franzPatience: it waits for a produce for ProduceRequestTimeout and RequestTimeoutOverhead together, 10 s each by default.
func franzPatience() []kgo.Opt {
	if !impatient() {
		return nil
	}
	return []kgo.Opt{
		kgo.DialTimeout(dialTimeout), kgo.ProduceRequestTimeout(answerTimeout / 3), kgo.RequestTimeoutOverhead(answerTimeout * 2 / 3),
		kgo.MetadataMinAge(250 * time.Millisecond),
	}
}

func franzConsume(ctx context.Context, job consumeJob) error {
	options := append(franzPatience(),
		kgo.SeedBrokers(job.addresses...), kgo.ClientID(job.clientID), kgo.ConsumerGroup(job.group), kgo.ConsumeTopics(job.topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(sessionTimeout), kgo.HeartbeatInterval(heartbeatInterval),
		kgo.RebalanceTimeout(rebalanceTimeout), kgo.FetchMaxWait(fetchWait), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsRevoked(func(ctx context.Context, c *kgo.Client, _ map[string][]int32) { franzCommit(ctx, c) }),
	)
	if job.rangeOnly {
		options = append(options, kgo.Balancers(kgo.RangeBalancer()))
	}
	c, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer c.CloseAllowingRebalance()
	for {
		fetches := c.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		for _, e := range fetches.Errors() {
			// It says so when its coordinator does not know it any more, and joins again by itself.
			if session := (*kgo.ErrGroupSession)(nil); !errors.As(e.Err, &session) {
				return e.Err
			}
			fmt.Fprintln(os.Stderr, "consume:", e.Err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			var headers []header
			for _, h := range r.Headers {
				headers = append(headers, header{h.Key, h.Value})
			}
			job.out.print(r.Topic, r.Partition, r.Offset, r.Timestamp, r.Key, r.Value, headers)
		})
		if err := job.out.flush(); err != nil {
			return err
		}
		franzCommit(ctx, c)
		c.AllowRebalance()
	}
}

// franzCommit commits what has been read. What cannot be committed while a group waits for its assignment is committed with the next records, or
// before the partition is given away.
func franzCommit(ctx context.Context, c *kgo.Client) {
	if err := c.CommitUncommittedOffsets(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "commit:", err)
	}
}
