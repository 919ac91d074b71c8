package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// load is one case of the produce figures.
type load struct {
	batch    int // bytes
	inFlight int // producers, each on a connection of its own with one request in flight
}

func (l load) String() string { return fmt.Sprintf("%d KiB, %d in flight", l.batch>>10, l.inFlight) }

func loads(o options) []load {
	all := []load{{64 << 10, 1}, {64 << 10, 16}, {1 << 20, 1}, {1 << 20, 16}}
	if o.quick {
		all = all[:1]
	}
	return chosen(o, all)
}

// chosen are the cases that -case asks for.
func chosen[T fmt.Stringer](o options, all []T) []T {
	return slices.DeleteFunc(all, func(c T) bool { return !strings.Contains(c.String(), o.only) })
}

// runProduce is figure (a): one partition, acks=all, synced before the ack.
func runProduce(ctx context.Context, o options, r *report) error {
	for _, l := range loads(o) {
		if err := produceCase(ctx, o, r, l); err != nil {
			return fmt.Errorf("%v: %w", l, err)
		}
	}
	return nil
}

func produceCase(ctx context.Context, o options, r *report, l load) error {
	b, err := startBroker(ctx, o)
	if err != nil {
		return err
	}
	defer b.discard()
	lanes, err := b.topicProducers(ctx, "bench", nil, l)
	if err != nil {
		return err
	}
	defer closeLanes(lanes)
	batch := makeBatch(l.batch, 1)
	for round := 0; round <= o.rounds && ctx.Err() == nil; round++ {
		got, did, err := b.driveFor(ctx, lanes, o.round)
		if err != nil {
			return err
		}
		base, err := writeAndSync(o.dir, batch, got.requests, did)
		if err != nil {
			return err
		}
		if round == 0 {
			continue // warm-up
		}
		mb := float64(len(batch)) / 1e6
		extra := got.extra()
		extra["syncs"] = did.syncs / float64(got.requests)
		extra["bytes"] = did.bytes / float64(got.requests) / float64(len(batch))
		r.add(sample{Figure: "produce", Case: l.String(), Round: round, Broker: got.perSecond() * mb, Unit: "MB/s",
			Baseline: float64(got.requests) * mb / base.Seconds(), Extra: extra}, target{atLeast: 0.7})
	}
	return ctx.Err()
}

// topicProducers creates a topic of one partition and opens the load's connections to it.
func (b *broker) topicProducers(ctx context.Context, topic string, configs map[string]string, l load) ([]*lane, error) {
	c, err := b.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.close()
	if err := c.create(ctx, topic, 1, configs); err != nil {
		return nil, err
	}
	return producers(b.addr, topic, 1, 1, l.inFlight, makeBatch(l.batch, 1))
}

// writeAndSync is the baseline of synced produces: a plain loop that writes the batch count times to a new file, padded to as
// many bytes as the broker wrote, with as many fdatasyncs as it made, at even distances in bytes. It returns the time taken.
func writeAndSync(dir string, batch []byte, count int64, did written) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "baseline"))
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	total := max(int64(did.bytes), count*int64(len(batch)))
	padded := append(append([]byte(nil), batch...), make([]byte, total/count-int64(len(batch)))...)
	chunk := int64(len(padded))
	if did.syncs > 0 {
		chunk = max(total/int64(did.syncs), 1)
	}
	start := time.Now()
	for written, at := int64(0), 0; written < total; {
		// up to the end of the batch or the next sync, whichever is nearer
		n := min(int64(len(padded)-at), chunk-written%chunk, total-written)
		if _, err := f.Write(padded[at : at+int(n)]); err != nil {
			return 0, err
		}
		written, at = written+n, (at+int(n))%len(padded)
		if did.syncs > 0 && (written%chunk == 0 || written == total) {
			if err := unix.Fdatasync(int(f.Fd())); err != nil {
				return 0, err
			}
		}
	}
	return time.Since(start), nil
}
