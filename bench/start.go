package main

import (
	"context"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	thousand    = 1000
	idleSettled = 5 * time.Second // after start, before memory is read
)

// runStart is figure (f): idle memory, start to the first acknowledged record, start with many partitions.
func runStart(ctx context.Context, o options, r *report) error {
	if err := idleMemory(ctx, o, r); err != nil {
		return err
	}
	if err := firstAck(ctx, o, r); err != nil {
		return err
	}
	return manyStart(ctx, o, r)
}

func idleMemory(ctx context.Context, o options, r *report) error {
	b, err := startBroker(ctx, o)
	if err != nil {
		return err
	}
	defer b.discard()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(idleSettled):
	}
	bytes, err := b.residentBytes()
	if err != nil {
		return err
	}
	r.add(sample{Figure: "start", Case: "idle memory, empty data directory", Round: 1, Broker: bytes / 1e6, Unit: "MB"}, target{below: 60})
	return nil
}

// firstAck measures from exec to the ack of one record, acks=all: on an empty directory (topic created by the client's
// Metadata), after a clean stop, and after a kill.
func firstAck(ctx context.Context, o options, r *report) error {
	for round := 0; round <= o.rounds && ctx.Err() == nil; round++ {
		dir, err := os.MkdirTemp(o.dir, "data-")
		if err != nil {
			return err
		}
		for _, name := range []string{"empty directory", "after a clean stop", "after kill -9"} {
			start := time.Now()
			b, err := launch(o, dir)
			if err != nil {
				return err
			}
			err = b.firstRecord(ctx)
			took := time.Since(start)
			if name == "after a clean stop" || err != nil {
				b.kill()
			} else if e := b.stop(); e != nil {
				err = e
			}
			if err != nil {
				return err
			}
			if round > 0 {
				r.add(sample{Figure: "start", Case: "first ack, " + name, Round: round, Broker: took.Seconds() * 1000, Unit: "ms"}, target{below: 150})
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// firstRecord produces one record to a topic that its own Metadata request creates, as a stock producer does.
func (b *broker) firstRecord(ctx context.Context) error {
	c, err := b.dial(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	topic := "first"
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &topic
	metadata := kmsg.NewPtrMetadataRequest()
	metadata.Version, metadata.AllowAutoTopicCreation, metadata.Topics = metadataVersion, true, append(metadata.Topics, t)
	produce := produceRequest(topic, makeBatch(200, 1), 0)
	frame := c.frame(produce)
	return c.await(ctx, func() error {
		if err := c.request(metadata, kmsg.NewPtrMetadataResponse()); err != nil {
			return err
		}
		if err := c.send(frame); err != nil {
			return err
		}
		body, err := c.receive(c.correlation)
		if err != nil {
			return err
		}
		return produced(body, produce)
	})
}

// manyStart measures from exec until each of 1,000 partitions, all with data, answers ListOffsets.
func manyStart(ctx context.Context, o options, r *report) error {
	b, err := startBroker(ctx, o)
	if err != nil {
		return err
	}
	c, err := b.dial(ctx)
	if err != nil {
		return err
	}
	if err := c.create(ctx, "many", thousand, nil); err != nil {
		b.kill()
		return err
	}
	c.close()
	dir, opened := b.dir, b
	defer os.RemoveAll(dir)
	if err := opened.fillPartitions(); err != nil {
		opened.kill()
		return err
	}
	rounds := min(o.rounds, 3)
	for round := range 2 * rounds {
		name := "after a clean stop"
		if round%2 == 1 {
			name = "after kill -9"
			opened.kill()
		} else if err := opened.stop(); err != nil {
			return err
		}
		start := time.Now()
		if opened, err = launch(o, dir); err != nil {
			return err
		}
		if err := opened.allServing(ctx); err != nil {
			opened.kill()
			return err
		}
		took := time.Since(start)
		bytes, err := opened.residentBytes()
		if err != nil {
			return err
		}
		r.add(sample{Figure: "start", Case: "1,000 partitions, " + name, Round: round/2 + 1, Broker: took.Seconds(), Unit: "s",
			Extra: map[string]float64{"resident_MB": bytes / 1e6}}, target{below: 3})
	}
	return opened.stop()
}

func (b *broker) fillPartitions() error {
	lanes, err := producers(b.addr, "many", thousand, 50, 4, makeBatch(smallBatch, 1))
	if err != nil {
		return err
	}
	defer closeLanes(lanes)
	_, err = drive(lanes, times(2*thousand/50))
	return err
}

func (b *broker) allServing(ctx context.Context) error {
	c, err := b.dial(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	return c.await(ctx, func() error { return c.serving("many", thousand) })
}
