package dr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/tandembroker/tandem/broker/sites/operator"
)

// How many records, and bytes of them as they are shown, are written at once: what most topics take as a batch. A larger record goes alone.
const (
	replayBatchMax      = 1000
	replayBatchBytesMax = 1 << 20
)

// Producer writes records to a Kafka cluster.
type Producer interface {
	// Partitions is how many partitions a topic has.
	Partitions(ctx context.Context, topic string) (int32, error)
	// Produce writes records of one partition in their order, and returns how many of the first of them are written.
	Produce(ctx context.Context, records []Record) (int, error)
	Close()
}

// Record is a record to be written.
type Record struct {
	Topic     string
	Partition int32
	operator.LostRecord
}

// replayed is what a replay has done to one archive.
type replayed struct {
	Archive string `json:"archive"`
	Topic   string `json:"topic"`
	Written int64  `json:"written"`
	// Skipped are records of transactions that were aborted, or not decided when the log was cut: no reader of committed data ever saw them.
	Skipped int64 `json:"skipped"`
}

// lostReplay writes archives back, one after the other, each in its order.
func (c *command) lostReplay(ctx context.Context) error {
	if c.from != 0 && len(c.args) != 1 {
		return &operator.Error{Code: operator.CodeUsage, Text: "--from is for one archive", Next: "tandem dr lost replay ID --from OFFSET"}
	}
	all, err := c.chosen(ctx)
	if err != nil {
		return err
	}
	records := int64(0)
	for i := range all {
		records += all[i].Records
	}
	if len(all) == 0 {
		return c.show([]replayed{}, func() { c.say("No records were lost.") })
	}
	to := "their topics"
	if c.topic != "" {
		to = c.topic
	}
	question := fmt.Sprintf("Write up to %d records of %d archives to %s? Records that were written already come twice.", records, len(all), to)
	if err := c.confirm(question); err != nil {
		return err
	}
	p, err := c.Produce(c.client.addresses)
	if err != nil {
		return fmt.Errorf("open a producer: %w", err)
	}
	defer p.Close()
	done := []replayed{}
	for i := range all {
		r, err := c.replay(ctx, p, &all[i])
		if err != nil {
			return err
		}
		done = append(done, r)
		c.say("%s: %d records written to %s, %d of aborted or undecided transactions left out", r.Archive, r.Written, r.Topic, r.Skipped)
	}
	return c.show(done, func() {})
}

// replay writes one archive back.
func (c *command) replay(ctx context.Context, p Producer, a *operator.LostArchive) (replayed, error) {
	r := replayed{Archive: a.ID, Topic: a.Topic}
	if c.topic != "" {
		r.Topic = c.topic
	}
	partitions, err := p.Partitions(ctx, r.Topic)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return r, &operator.Error{Code: operator.CodeFailed, Text: fmt.Sprintf("archive %s: there is no topic %s, and a replay makes none; nothing of the archive is written", a.ID, r.Topic),
			Next: fmt.Sprintf("create the topic, or tandem dr lost replay %s --topic OTHER", a.ID)}
	}
	if err != nil {
		return r, fmt.Errorf("replay to %s: %w", r.Topic, err)
	}
	b := batch{producer: p, archive: a.ID, done: &r}
	err = c.lines(ctx, a, c.from, func(line []byte) error {
		out := Record{Topic: r.Topic}
		if err := json.Unmarshal(line, &out.LostRecord); err != nil {
			return fmt.Errorf("archive %s: read a record: %w", a.ID, err)
		}
		if out.Transaction != "none" && out.Transaction != "committed" {
			r.Skipped++
			return nil
		}
		out.Partition = out.LostRecord.Partition % partitions // keys stay together, also where the topic has fewer
		return b.add(ctx, out, len(line))
	})
	if b.failed == nil { // what was read in front of a damage is written
		err = errors.Join(err, b.flush(ctx))
	}
	return r, err
}

// batch collects records for the producer.
type batch struct {
	producer Producer
	archive  string
	done     *replayed
	records  []Record
	bytes    int
	failed   error
}

func (b *batch) add(ctx context.Context, r Record, size int) error {
	if len(b.records) == replayBatchMax || b.bytes+size > replayBatchBytesMax {
		if err := b.flush(ctx); err != nil {
			return err
		}
	}
	b.records, b.bytes = append(b.records, r), b.bytes+size
	return nil
}

// flush writes what is collected. After an error nothing more is written: the order would be lost.
func (b *batch) flush(ctx context.Context) error {
	if len(b.records) == 0 {
		return nil
	}
	n, err := b.producer.Produce(ctx, b.records)
	b.done.Written += int64(n)
	if err != nil {
		stopped := b.records[min(n, len(b.records)-1)].Offset
		next := fmt.Sprintf("tandem dr lost replay %s --from %d", b.archive, stopped)
		if tooLarge(err) {
			next = fmt.Sprintf("raise max.message.bytes of %s, and then %s", b.done.Topic, next)
		}
		b.failed = &operator.Error{Code: operator.CodeFailed, Next: next,
			Text: fmt.Sprintf("archive %s: %d records are written to %s, the one of offset %d is not: %v", b.archive, b.done.Written, b.done.Topic, stopped, err)}
		return b.failed
	}
	b.records, b.bytes = b.records[:0], 0
	return nil
}
