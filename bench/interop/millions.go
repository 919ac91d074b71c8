package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// millionsLimit bounds the writing of the millions step.
const millionsLimit = 20 * time.Minute

// millions sends lines of real text into one partition through a restart of the broker half way, and reads them back: as many,
// in order, with the same hash.
func (s *suite) millions(ctx context.Context) error {
	topic, err := s.topic(ctx, "millions", 1)
	if err != nil {
		return err
	}
	want := newDigest()
	began := time.Now()
	if err := s.sendMillions(ctx, topic, want); err != nil {
		return err
	}
	fmt.Printf("    sent %s in %.1fs with a restart on the way\n", want, time.Since(began).Seconds())
	began = time.Now()
	got, err := s.read(ctx, topic, s.records)
	if err != nil {
		return err
	}
	if err := got.same("read by franz-go", want); err != nil {
		return err
	}
	fmt.Printf("    read in %.1fs\n", time.Since(began).Seconds())
	return nil
}

func (s *suite) sendMillions(ctx context.Context, topic string, want *digest) error {
	client, err := s.client(kgo.MaxBufferedRecords(50_000), kgo.ProducerLinger(5*time.Millisecond))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, millionsLimit)
	defer cancel()
	var failed firstError
	var disorder atomic.Int64
	half := make(chan struct{})
	restarted := make(chan error, 1)
	go func() { // ends with the restart, awaited below
		select {
		case <-half:
			restarted <- errors.Join(s.broker.stop(), s.broker.start(ctx))
		case <-ctx.Done():
			restarted <- ctx.Err()
		}
	}()
	n := int64(0)
	for line, err := range lines(0, s.records) {
		if err != nil {
			return err
		}
		want.add(line)
		at := n
		n++
		client.Produce(ctx, &kgo.Record{Topic: topic, Value: slices.Clone(line)}, func(r *kgo.Record, err error) {
			if err == nil && r.Offset != at {
				disorder.Add(1)
			}
			if err == nil && at == int64(s.records/2) {
				close(half)
			}
			failed.add(err)
		})
	}
	if err := errors.Join(client.Flush(ctx), failed.get()); err != nil {
		cancel()
		return errors.Join(err, <-restarted)
	}
	if err := <-restarted; err != nil {
		return err
	}
	if n := disorder.Load(); n > 0 {
		return fmt.Errorf("%d records were acknowledged at another offset than their number", n)
	}
	return nil
}
