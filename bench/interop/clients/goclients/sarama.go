package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/IBM/sarama"
)

var saramaCodecs = map[string]sarama.CompressionCodec{
	"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
	"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
}

func saramaProduce(_ context.Context, job produceJob) error {
	codec, ok := saramaCodecs[job.codec]
	if !ok {
		return fmt.Errorf("no codec %q", job.codec)
	}
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Compression = codec
	config.Producer.Idempotent = job.idempotent
	config.Producer.Return.Successes = true // a SyncProducer needs it
	config.Net.MaxOpenRequests = 1          // idempotence, and order without it, need it
	producer, err := sarama.NewSyncProducer([]string{job.address}, config)
	if err != nil {
		return err
	}
	defer producer.Close()
	var messages []*sarama.ProducerMessage
	for _, r := range job.records {
		message := &sarama.ProducerMessage{Topic: job.topic, Headers: []sarama.RecordHeader{{Key: []byte("client"), Value: []byte(job.client)}}}
		if r.key != nil {
			message.Key = sarama.ByteEncoder(r.key)
		}
		if r.value != nil {
			message.Value = sarama.ByteEncoder(r.value)
		}
		messages = append(messages, message)
	}
	return producer.SendMessages(messages)
}

// saramaPatience: all three are 30 s by default.
func saramaPatience(config *sarama.Config) {
	if impatient() {
		config.Net.DialTimeout, config.Net.ReadTimeout, config.Net.WriteTimeout = dialTimeout, answerTimeout, answerTimeout
	}
}

func saramaFlow(_ context.Context, job flowJob) error {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Idempotent = job.idempotent
	config.Producer.Return.Successes = true
	config.Producer.Retry.Max = 600 // its own 3 are over in 300 ms
	config.Net.MaxOpenRequests = 1
	saramaPatience(config)
	producer, err := sarama.NewAsyncProducer(job.addresses, config)
	if err != nil {
		return err
	}
	var answers sync.WaitGroup
	answers.Go(func() {
		for m := range producer.Successes() {
			job.answered(m.Key.(sarama.ByteEncoder), nil)
		}
	})
	answers.Go(func() {
		for e := range producer.Errors() {
			job.answered(e.Msg.Key.(sarama.ByteEncoder), e.Err)
		}
	})
	for r, readErr := range job.records {
		if err = readErr; err != nil {
			break
		}
		producer.Input() <- &sarama.ProducerMessage{Topic: job.topic, Key: sarama.ByteEncoder(r.key), Value: sarama.ByteEncoder(r.value)}
	}
	producer.AsyncClose() // sends what it has, and then closes both channels
	answers.Wait()
	return err
}

func saramaReading(job consumeJob) *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.ClientID = job.clientID
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.MaxWaitTime = fetchWait
	saramaPatience(config)
	return config
}

func saramaRead(ctx context.Context, job consumeJob) error {
	consumer, err := sarama.NewConsumer(job.addresses, saramaReading(job))
	if err != nil {
		return err
	}
	defer consumer.Close()
	partition, err := consumer.ConsumePartition(job.topics[0], 0, sarama.OffsetOldest)
	if err != nil {
		return err
	}
	defer partition.Close()
	for {
		select {
		case m, ok := <-partition.Messages():
			if !ok {
				return errors.New("it has stopped")
			}
			if err := job.out.message(m); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func saramaConsume(ctx context.Context, job consumeJob) error {
	config := saramaReading(job)
	config.Consumer.Offsets.AutoCommit.Interval = commitInterval
	config.Consumer.Group.Session.Timeout = sessionTimeout
	config.Consumer.Group.Heartbeat.Interval = heartbeatInterval
	config.Consumer.Group.Rebalance.Timeout = rebalanceTimeout
	if job.rangeOnly {
		config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyRange()}
	}
	group, err := sarama.NewConsumerGroup(job.addresses, job.group, config)
	if err != nil {
		return err
	}
	defer group.Close()
	for ctx.Err() == nil {
		if err := group.Consume(ctx, job.topics, saramaHandler{job.out}); err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "consume:", err) // its users try again, too
		}
	}
	return nil
}

// saramaHandler prints what is claimed, and marks it for the next commit.
type saramaHandler struct{ out *output }

func (saramaHandler) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (saramaHandler) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (h saramaHandler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case <-session.Context().Done():
			return nil
		case m, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			if err := h.out.message(m); err != nil {
				return err
			}
			session.MarkMessage(m, "")
		}
	}
}

// message prints one, and returns when that is out.
func (o *output) message(m *sarama.ConsumerMessage) error {
	var headers []header
	for _, item := range m.Headers {
		headers = append(headers, header{string(item.Key), item.Value})
	}
	o.print(m.Topic, m.Partition, m.Offset, m.Timestamp, m.Key, m.Value, headers)
	return o.flush()
}
