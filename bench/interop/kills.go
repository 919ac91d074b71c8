package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	killPartitions = 4
	killValueBytes = 2000 // at most; some records ride in the journal, batches of many do not
	// killPauseMax is how long the broker serves at most before it is killed again, once it has acknowledged something.
	killPauseMax = 300 * time.Millisecond
	// killBackoff is how long clients wait before they try again; their defaults are made for gentler brokers.
	killBackoff = 20 * time.Millisecond
	// killLimit bounds the wait for the last acknowledgements and for the final reading.
	killLimit = 3 * time.Minute
)

// history is what the kills step knows about one partition. The producer numbers records from 0 and never sends a number
// twice, so the log must hold each acknowledged number exactly once, at its offset, in rising order.
type history struct {
	mu struct {
		sync.Mutex
		acked map[int]int64 // number -> offset
		seen  map[int64]int // offset -> number, read while the broker was being killed
	}
	sent int // by the producer's goroutine; read after it ended
}

// killLoop kills the broker with SIGKILL again and again while idempotent producers write and consumers read, then compares
// the log with what was acknowledged and with what had been read.
func (s *suite) killLoop(ctx context.Context) error {
	topic, err := s.topic(ctx, "kills", killPartitions)
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(s.seed, 1))
	fmt.Printf("    seed %d\n", s.seed)
	histories := make([]*history, killPartitions)
	for i := range histories {
		histories[i] = &history{}
		histories[i].mu.acked, histories[i].mu.seen = map[int]int64{}, map[int64]int{}
	}
	load, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	var workers sync.WaitGroup
	failures := make(chan error, 2*killPartitions)
	for i, h := range histories {
		workers.Go(func() { failures <- s.killProducer(load, ctx, topic, int32(i), h) })
		workers.Go(func() { failures <- s.killReader(load, topic, int32(i), h) })
	}
	worst, err := s.killAgain(ctx, random, histories)
	stopLoad()
	workers.Wait()
	close(failures)
	for failure := range failures {
		err = errors.Join(err, failure)
	}
	if err != nil {
		return fmt.Errorf("seed %d: %w", s.seed, err)
	}
	acked := 0
	for i, h := range histories {
		if err := s.checkHistory(ctx, topic, int32(i), h); err != nil {
			return fmt.Errorf("seed %d, partition %d: %w", s.seed, i, err)
		}
		acked += len(h.mu.acked)
	}
	fmt.Printf("    %d kills, %d records acknowledged, all found once, in order, at their offsets; slowest restart %s\n",
		s.kills, acked, worst.Round(time.Millisecond))
	return nil
}

// progress counts what was acknowledged and read so far.
func progress(histories []*history) (acked, seen int) {
	for _, h := range histories {
		h.mu.Lock()
		acked, seen = acked+len(h.mu.acked), seen+len(h.mu.seen)
		h.mu.Unlock()
	}
	return acked, seen
}

// awaitProgress waits until something was acknowledged and something read since the last restart, so that every kill hits a
// broker at work.
func awaitProgress(ctx context.Context, histories []*history) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	ackedBefore, seenBefore := progress(histories)
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			acked, seen := progress(histories)
			return fmt.Errorf("no progress since the start: %d records acknowledged, %d read, then %d and %d: %w",
				ackedBefore, seenBefore, acked, seen, ctx.Err())
		}
		if acked, seen := progress(histories); acked > ackedBefore && seen > seenBefore {
			return nil
		}
	}
}

// killAgain kills and restarts the broker and returns the longest time a start took.
func (s *suite) killAgain(ctx context.Context, random *rand.Rand, histories []*history) (worst time.Duration, err error) {
	for n := range s.kills {
		if err := awaitProgress(ctx, histories); err != nil {
			return worst, fmt.Errorf("before kill %d: %w", n+1, err)
		}
		select {
		case <-time.After(time.Duration(random.Int64N(int64(killPauseMax)))):
		case <-ctx.Done():
			return worst, ctx.Err()
		}
		s.broker.kill()
		began := time.Now()
		if err := s.broker.start(ctx); err != nil {
			return worst, fmt.Errorf("start after kill %d: %w", n+1, err)
		}
		worst = max(worst, time.Since(began))
	}
	return worst, nil
}

// impatient makes a client that finds a restarted broker at once.
func (s *suite) impatient(options ...kgo.Opt) (*kgo.Client, error) {
	return s.client(append(options, kgo.MetadataMinAge(killBackoff), kgo.RetryBackoffFn(func(int) time.Duration { return killBackoff }),
		kgo.AlwaysRetryEOF())...) // a broker that dies between a connection and its first answer looks like a wrong port
}

// killProducer sends numbered records until load is done, and waits for the answers to all of them.
func (s *suite) killProducer(load, ctx context.Context, topic string, partition int32, h *history) error {
	client, err := s.impatient(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(2000),
		kgo.ProducerBatchMaxBytes(64<<10), kgo.RequestRetries(1<<30), kgo.RetryTimeout(killLimit))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var failed firstError
	random := rand.New(rand.NewPCG(s.seed, 100+uint64(partition)))
	for load.Err() == nil {
		number := h.sent
		h.sent++
		client.Produce(ctx, &kgo.Record{Topic: topic, Partition: partition, Value: killValue(random, number)}, func(r *kgo.Record, err error) {
			if err == nil {
				h.mu.Lock()
				h.mu.acked[number] = r.Offset
				h.mu.Unlock()
			}
			failed.add(err)
		})
	}
	flush, cancelFlush := context.WithTimeout(ctx, killLimit)
	defer cancelFlush()
	if err := client.Flush(flush); err != nil {
		return fmt.Errorf("producer of partition %d: waiting for the last acknowledgements: %w", partition, err)
	}
	return failed.get()
}

func killValue(random *rand.Rand, number int) []byte {
	value := strconv.AppendInt(nil, int64(number), 10)
	value = append(value, ' ')
	return append(value, make([]byte, random.IntN(killValueBytes))...)
}

func killNumber(value []byte) (int, error) {
	for i, b := range value {
		if b == ' ' {
			return strconv.Atoi(string(value[:i]))
		}
	}
	return 0, fmt.Errorf("a record without a number: %.40q", value)
}

// killReader follows the partition while the broker is being killed: what a consumer has seen once must never change.
func (s *suite) killReader(load context.Context, topic string, partition int32, h *history) error {
	client, err := s.impatient(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().AtStart()}}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		return err
	}
	defer client.Close()
	for load.Err() == nil {
		fetches := client.PollFetches(load)
		for _, failure := range fetches.Errors() {
			if load.Err() == nil && !errors.Is(failure.Err, context.Canceled) {
				return fmt.Errorf("consumer of partition %d: %w", partition, failure.Err)
			}
		}
		for _, record := range fetches.Records() {
			number, err := killNumber(record.Value)
			if err != nil {
				return err
			}
			h.mu.Lock()
			before, again := h.mu.seen[record.Offset]
			h.mu.seen[record.Offset] = number
			h.mu.Unlock()
			if again && before != number {
				return fmt.Errorf("partition %d offset %d held number %d, then %d", partition, record.Offset, before, number)
			}
		}
	}
	return nil
}

// checkHistory reads the whole partition: acknowledged ⊆ read ⊆ sent, each once, in order, at its offset.
func (s *suite) checkHistory(ctx context.Context, topic string, partition int32, h *history) error {
	end := int64(-1)
	for _, offset := range h.mu.acked {
		end = max(end, offset)
	}
	for offset := range h.mu.seen {
		end = max(end, offset)
	}
	log, err := s.readNumbers(ctx, topic, partition, end)
	if err != nil {
		return err
	}
	last := -1
	for _, offset := range slices.Sorted(maps.Keys(log)) {
		number := log[offset]
		switch {
		case number <= last:
			return fmt.Errorf("offset %d holds number %d after number %d", offset, number, last)
		case number >= h.sent:
			return fmt.Errorf("offset %d holds number %d, which was never sent", offset, number)
		}
		last = number
	}
	for number, offset := range h.mu.acked {
		if got, ok := log[offset]; !ok || got != number {
			return fmt.Errorf("number %d was acknowledged at offset %d, which holds %d (present: %v)", number, offset, got, ok)
		}
	}
	for offset, number := range h.mu.seen {
		if got, ok := log[offset]; !ok || got != number {
			return fmt.Errorf("a consumer read number %d at offset %d, which holds %d (present: %v)", number, offset, got, ok)
		}
	}
	if len(h.mu.acked) == 0 || len(h.mu.seen) == 0 {
		return fmt.Errorf("%d records acknowledged, %d read on the way: nothing was tested", len(h.mu.acked), len(h.mu.seen))
	}
	return nil
}

// readNumbers reads a partition from its start up to offset end.
func (s *suite) readNumbers(ctx context.Context, topic string, partition int32, end int64) (map[int64]int, error) {
	client, err := s.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().AtStart()}}))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, killLimit)
	defer cancel()
	log := map[int64]int{}
	for next := int64(0); next <= end; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("read up to %d, at %d: %w", end, next, err)
		}
		for _, record := range fetches.Records() {
			number, err := killNumber(record.Value)
			if err != nil {
				return nil, err
			}
			log[record.Offset], next = number, record.Offset+1
		}
	}
	return log, nil
}
