package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/segmentio/kafka-go"
)

var kafkaGoCodecs = map[string]kafka.Compression{
	"none": 0, "gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd,
}

func kafkaGoProduce(ctx context.Context, job produceJob) error {
	codec, ok := kafkaGoCodecs[job.codec]
	if !ok || job.idempotent {
		return fmt.Errorf("no codec %q, or idempotence %v", job.codec, job.idempotent)
	}
	writer := &kafka.Writer{
		Addr: kafka.TCP(job.address), Topic: job.topic, Balancer: kafka.Murmur2Balancer{}, RequiredAcks: kafka.RequireAll, Compression: codec,
		BatchTimeout: 20 * time.Millisecond,
	}
	defer writer.Close()
	var messages []kafka.Message
	for _, r := range job.records {
		messages = append(messages, kafka.Message{Key: r.key, Value: r.value, Headers: []kafka.Header{{Key: "client", Value: []byte(job.client)}}})
	}
	return writer.WriteMessages(ctx, messages...)
}

func kafkaGoFlow(ctx context.Context, job flowJob) error {
	if job.idempotent {
		return errors.New("it has no idempotent producer")
	}
	writer := &kafka.Writer{
		Addr: kafka.TCP(job.addresses...), Topic: job.topic, Balancer: kafka.Murmur2Balancer{}, RequiredAcks: kafka.RequireAll,
		BatchTimeout: 20 * time.Millisecond, Async: true, MaxAttempts: 100,
		Completion: func(messages []kafka.Message, err error) {
			for _, m := range messages {
				job.answered(m.Key, err)
			}
		},
	}
	if impatient() {
		writer.ReadTimeout, writer.WriteTimeout = answerTimeout, answerTimeout
		writer.Transport = &kafka.Transport{DialTimeout: dialTimeout, MetadataTTL: time.Second}
	}
	for r, err := range job.records {
		if err == nil {
			err = writer.WriteMessages(ctx, kafka.Message{Key: r.key, Value: r.value})
		}
		for tries := 1; err != nil && tries < writer.MaxAttempts; tries++ { // it does not know the partitions yet, and asked a broker that is not there
			fmt.Fprintln(os.Stderr, "produce:", err)
			time.Sleep(100 * time.Millisecond)
			err = writer.WriteMessages(ctx, kafka.Message{Key: r.key, Value: r.value})
		}
		if err != nil {
			return err
		}
	}
	return writer.Close() // sends what it has
}

func kafkaGoRead(ctx context.Context, job consumeJob) error {
	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: job.addresses, Topic: job.topics[0], MaxWait: fetchWait})
	defer reader.Close()
	for {
		m, err := reader.FetchMessage(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := job.out.kafkaGoMessage(m); err != nil {
			return err
		}
	}
}

// kafkaGoMessage prints one, and returns when that is out.
func (o *output) kafkaGoMessage(m kafka.Message) error {
	var headers []header
	for _, h := range m.Headers {
		headers = append(headers, header{h.Key, h.Value})
	}
	o.print(m.Topic, int32(m.Partition), m.Offset, m.Time, m.Key, m.Value, headers)
	return o.flush()
}

func kafkaGoConsume(ctx context.Context, job consumeJob) error {
	config := kafka.ReaderConfig{
		Brokers: job.addresses, GroupID: job.group, GroupTopics: job.topics, StartOffset: kafka.FirstOffset,
		Dialer:         &kafka.Dialer{ClientID: job.clientID, Timeout: 10 * time.Second, DualStack: true},
		SessionTimeout: sessionTimeout, HeartbeatInterval: heartbeatInterval, RebalanceTimeout: rebalanceTimeout,
		CommitInterval: commitInterval, MaxWait: fetchWait, JoinGroupBackoff: time.Second,
		GroupBalancers: []kafka.GroupBalancer{kafka.RangeGroupBalancer{}},
	}
	if !job.rangeOnly {
		config.GroupBalancers = nil
	}
	if impatient() {
		config.Dialer.Timeout, config.ReadBatchTimeout = dialTimeout, answerTimeout
	}
	reader := kafka.NewReader(config)
	for {
		m, err := reader.FetchMessage(ctx)
		if ctx.Err() != nil {
			return reader.Close()
		}
		if err != nil {
			return err
		}
		if err := job.out.kafkaGoMessage(m); err != nil {
			return err
		}
		if err := reader.CommitMessages(ctx, m); err != nil && ctx.Err() == nil {
			return err
		}
	}
}
