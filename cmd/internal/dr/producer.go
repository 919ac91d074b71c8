package dr

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	produceTimeout  = time.Minute // of one record
	produceBytesMax = 1 << 30     // of a batch: no record of an archive is larger, and it is the broker who says what is too large
)

// NewProducer is a Producer of a Kafka client, idempotent.
func NewProducer(addresses []string) (Producer, error) {
	c, err := kgo.NewClient(kgo.SeedBrokers(addresses...), kgo.ClientID("tandem-dr"), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytes(produceBytesMax), kgo.BrokerMaxWriteBytes(produceBytesMax), kgo.RecordDeliveryTimeout(produceTimeout))
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

// Produce implements Producer. All records are of one partition, so those in front of the first that failed are written.
func (p producer) Produce(ctx context.Context, records []Record) (int, error) {
	batch := make([]*kgo.Record, len(records))
	for i := range records {
		batch[i] = clientRecord(&records[i])
	}
	failed := map[*kgo.Record]error{}
	for _, r := range p.client.ProduceSync(ctx, batch...) {
		if r.Err != nil {
			failed[r.Record] = r.Err
		}
	}
	for i, r := range batch {
		if err := failed[r]; err != nil {
			return i, err
		}
	}
	return len(batch), nil
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
