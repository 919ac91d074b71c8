//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// startBroker starts the broker in a state, reads everything, sends the last batch of each partition once more, which must be
// recognised, produces something new, and stops.
func (s *search) startBroker(ctx context.Context, dir string, st *state) error {
	if err := materialise(st.files, dir); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	defer os.Remove(dir + ".log")
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	b, err := startBroker(ctx, s.tandem, filepath.Join(dir, "data"), nil)
	if err != nil {
		return err
	}
	defer b.kill()
	if err := st.askBroker(ctx, b); err != nil {
		return fmt.Errorf("%w\n%s", err, b.process.LogTail())
	}
	return b.stop()
}

func (st *state) askBroker(ctx context.Context, b *broker) error {
	client, err := newClient(b.address, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return err
	}
	defer client.Close()
	topics, err := kadm.NewClient(client).ListTopics(ctx)
	if err != nil {
		return err
	}
	for _, topic := range st.deleted {
		if topics.Has(topic) {
			return fmt.Errorf("topic %s is back, its deletion was acknowledged", topic)
		}
	}
	for _, p := range st.promises {
		topic := topics[p.lane.Topic]
		if topic.Err != nil || topic.Topic == "" {
			if p.acked > 0 {
				return fmt.Errorf("topic %s is gone, %d records of it were acknowledged: %w", p.lane.Topic, p.acked, topic.Err)
			}
			continue
		}
		if err := p.askBroker(ctx, client, topic.ID); err != nil {
			return fmt.Errorf("%s: %w", p.folder(), err)
		}
	}
	return nil
}

func (p promise) askBroker(ctx context.Context, client *kgo.Client, id [16]byte) error {
	start, end, records, err := p.fetchAll(ctx, client, id)
	if err != nil {
		return err
	}
	p.startMax = math.MaxInt64 // retention goes on
	if err := p.check(start, end, records); err != nil {
		return err
	}
	if err := p.repeat(ctx, client, id, records); err != nil {
		return err
	}
	record := &kgo.Record{Topic: p.lane.Topic, Partition: p.lane.Partition, Value: []byte("new")}
	if err := client.ProduceSync(ctx, record).FirstErr(); err != nil {
		return fmt.Errorf("a new record: %w", err)
	}
	if record.Offset != end {
		return fmt.Errorf("a new record has offset %d in a log that ended at %d", record.Offset, end)
	}
	return nil
}

// fetchAll reads the record batches of a partition as they are.
func (p promise) fetchAll(ctx context.Context, client *kgo.Client, id [16]byte) (start, end int64, records []byte, err error) {
	admin := kadm.NewClient(client)
	starts, err := admin.ListStartOffsets(ctx, p.lane.Topic)
	if err != nil {
		return 0, 0, nil, err
	}
	ends, err := admin.ListEndOffsets(ctx, p.lane.Topic)
	if err != nil {
		return 0, 0, nil, err
	}
	from, ok := starts.Lookup(p.lane.Topic, p.lane.Partition)
	to, ok2 := ends.Lookup(p.lane.Topic, p.lane.Partition)
	if err := errors.Join(from.Err, to.Err); err != nil || !ok || !ok2 {
		return 0, 0, nil, fmt.Errorf("list offsets (known: %v, %v): %w", ok, ok2, err)
	}
	for at := from.Offset; at < to.Offset; {
		b, err := p.fetch(ctx, client, id, at)
		if err != nil {
			return 0, 0, nil, fmt.Errorf("fetch at offset %d: %w", at, err)
		}
		records = append(records, b...)
		for len(b) > 0 {
			at = int64(binary.BigEndian.Uint64(b)) + int64(binary.BigEndian.Uint32(b[23:])) + 1
			b = b[12+binary.BigEndian.Uint32(b[8:]):]
		}
	}
	return from.Offset, to.Offset, records, nil
}

// fetch returns whole batches from an offset on, at least one.
func (p promise) fetch(ctx context.Context, client *kgo.Client, id [16]byte, at int64) ([]byte, error) {
	request := kmsg.NewPtrFetchRequest()
	request.MaxWaitMillis, request.MinBytes, request.MaxBytes = 1000, 1, 8<<20
	partition := kmsg.NewFetchRequestTopicPartition()
	partition.Partition, partition.FetchOffset, partition.PartitionMaxBytes, partition.CurrentLeaderEpoch = p.lane.Partition, at, 8<<20, -1
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID, topic.Partitions = p.lane.Topic, id, []kmsg.FetchRequestTopicPartition{partition}
	request.Topics = []kmsg.FetchRequestTopic{topic}
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return nil, err
	}
	if len(response.Topics) != 1 || len(response.Topics[0].Partitions) != 1 {
		return nil, fmt.Errorf("an answer without the partition: %w", kerr.ErrorForCode(response.ErrorCode))
	}
	answer := response.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(answer.ErrorCode); err != nil {
		return nil, err
	}
	if len(answer.RecordBatches) < 61 {
		return nil, fmt.Errorf("%d bytes below the end of the log", len(answer.RecordBatches))
	}
	return answer.RecordBatches, nil
}

// repeat sends the last batch once more, as a producer does that has not seen the answer.
func (p promise) repeat(ctx context.Context, client *kgo.Client, id [16]byte, records []byte) error {
	if len(records) == 0 {
		return nil
	}
	for rest := records; len(rest) > 0; rest = rest[12+binary.BigEndian.Uint32(rest[8:]):] {
		records = rest
	}
	base := int64(binary.BigEndian.Uint64(records))
	batch := append([]byte(nil), records...)
	binary.BigEndian.PutUint64(batch, 0)
	request := kmsg.NewPtrProduceRequest()
	request.Acks, request.TimeoutMillis = -1, 10_000
	partition := kmsg.NewProduceRequestTopicPartition()
	partition.Partition, partition.Records = p.lane.Partition, batch
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic, topic.TopicID, topic.Partitions = p.lane.Topic, id, []kmsg.ProduceRequestTopicPartition{partition}
	request.Topics = []kmsg.ProduceRequestTopic{topic}
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return fmt.Errorf("repeated batch: %w", err)
	}
	if len(response.Topics) != 1 || len(response.Topics[0].Partitions) != 1 {
		return errors.New("repeated batch: an answer without the partition")
	}
	answer := response.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(answer.ErrorCode); err != nil || answer.BaseOffset != base {
		return fmt.Errorf("the batch at offset %d, sent once more, got offset %d: %w", base, answer.BaseOffset, err)
	}
	return nil
}
