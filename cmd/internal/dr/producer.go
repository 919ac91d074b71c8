package dr

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	produceTimeout  = time.Minute // of what Produce is given at once
	produceBytesMax = 1 << 30     // of a batch: no record of an archive is larger, and it is the broker who says what is too large
)

// NewProducer is a Producer of a Kafka client, idempotent. It has no RecordDeliveryTimeout: that counts from a record's timestamp, and lost
// records have old ones. What is flushed together is one batch.
func NewProducer(addresses []string) (Producer, error) {
	c, err := kgo.NewClient(kgo.SeedBrokers(addresses...), kgo.ClientID("tandem-dr"), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ManualFlushing(), kgo.ProducerBatchMaxBytes(produceBytesMax), kgo.BrokerMaxWriteBytes(produceBytesMax))
	if err != nil {
		return nil, err
	}
	return producer{c}, nil
}

type producer struct{ client *kgo.Client }

func (p producer) Close() { p.client.Close() }

// Partitions implements Producer. It creates no topic.
func (p producer) Partitions(ctx context.Context, topic string) (int32, error) {
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &topic
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, p.client)
	if err != nil {
		return 0, fmt.Errorf("metadata: %w", err)
	}
	if len(resp.Topics) != 1 {
		return 0, fmt.Errorf("metadata of %d topics instead of one", len(resp.Topics))
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		return 0, err
	}
	n := len(resp.Topics[0].Partitions)
	if n == 0 {
		return 0, kerr.UnknownTopicOrPartition
	}
	return int32(n), nil
}

// Produce implements Producer. What is too large as a batch goes in halves: how much a topic takes is only known to its broker.
func (p producer) Produce(ctx context.Context, records []Record) (int, error) {
	err := p.batch(ctx, records)
	if n := len(records); n > 1 && tooLarge(err) {
		first, err := p.Produce(ctx, records[:n/2])
		if err != nil {
			return first, err
		}
		second, err := p.Produce(ctx, records[n/2:])
		return first + second, err
	}
	if err != nil {
		return 0, err
	}
	return len(records), nil
}

// tooLarge says that a broker takes no batch of that size.
func tooLarge(err error) bool {
	return errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge)
}

// batch writes records of one partition, all or none of them.
func (p producer) batch(ctx context.Context, records []Record) error {
	ctx, cancel := context.WithTimeout(ctx, produceTimeout)
	defer cancel()
	var mu sync.Mutex
	var failed error
	for i := range records {
		p.client.Produce(ctx, clientRecord(&records[i]), func(_ *kgo.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			failed = cmp.Or(failed, err)
		})
	}
	err := p.client.Flush(ctx)
	mu.Lock()
	defer mu.Unlock()
	return cmp.Or(failed, err)
}

func clientRecord(r *Record) *kgo.Record {
	out := &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value}
	if r.Timestamp >= 0 { // -1 = it had none
		out.Timestamp = time.UnixMilli(r.Timestamp)
	}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return out
}
