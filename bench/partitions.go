package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	manyPartitions = 100
	smallBatch     = 1 << 10
)

// partitionsLoad is how the batches of one figure reach the broker.
type partitionsLoad struct {
	each   int32 // batches of 1 KiB a request, for as many partitions
	window int   // requests in flight a connection, as max.in.flight.requests.per.connection
}

func (l partitionsLoad) String() string {
	return fmt.Sprintf("%d x 1 KiB, %d a request, %d in flight", manyPartitions, l.each, l.window)
}

// runPartitions is figure (c): 100 partitions, batches of 1 KiB, synced before the ack. A request carries one batch, or several
// as a stock producer's does when it has batches for several partitions: with one each, the system calls of the client take
// most of a small machine's processors. A stock producer keeps up to five requests in flight.
func runPartitions(ctx context.Context, o options, r *report) error {
	b, err := startBroker(ctx, o)
	if err != nil {
		return err
	}
	defer b.discard()
	c, err := b.dial(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.create(ctx, "bench", manyPartitions, nil); err != nil {
		return err
	}
	loads := []partitionsLoad{{1, 1}, {25, 1}, {25, 5}, {100, 5}}
	if o.quick {
		loads = loads[2:3]
	}
	for _, l := range chosen(o, loads) {
		if err := partitionsCase(ctx, o, r, b, l); err != nil {
			return fmt.Errorf("%v: %w", l, err)
		}
	}
	return nil
}

func partitionsCase(ctx context.Context, o options, r *report, b *broker, l partitionsLoad) error {
	batch := makeBatch(smallBatch, 1)
	lanes, err := producers(b.addr, "bench", manyPartitions, l.each, manyPartitions/int(l.each), batch)
	if err != nil {
		return err
	}
	defer closeLanes(lanes)
	for _, lane := range lanes {
		lane.window = l.window
	}
	for round := 0; round <= o.rounds && ctx.Err() == nil; round++ {
		got, did, err := b.driveFor(ctx, lanes, o.round)
		if err != nil {
			return err
		}
		base, err := appendEach(o.dir, batch, o.round)
		if err != nil {
			return err
		}
		if round == 0 {
			continue // warm-up
		}
		appends := float64(got.requests) * float64(l.each)
		extra := got.extra()
		extra["syncs"] = did.syncs / appends
		r.add(sample{Figure: "partitions", Case: l.String(), Round: round,
			Broker: appends / got.elapsed.Seconds(), Baseline: base, Unit: "appends/s", Extra: extra}, target{atLeast: 3})
	}
	return ctx.Err()
}

// appendEach is the baseline of many partitions: a goroutine for each appends the batch to a file of its own, with one
// fdatasync an append, for d. It returns the appends per second of all together.
func appendEach(dir string, batch []byte, d time.Duration) (float64, error) {
	folder, err := os.MkdirTemp(dir, "files-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(folder)
	files := make([]*os.File, manyPartitions)
	for i := range files {
		if files[i], err = os.Create(filepath.Join(folder, fmt.Sprint(i))); err != nil {
			return 0, err
		}
		defer files[i].Close()
	}
	var appends atomic.Int64
	errs := make([]error, len(files))
	var wg sync.WaitGroup
	start := time.Now()
	for i, f := range files {
		wg.Go(func() {
			for time.Since(start) < d && errs[i] == nil {
				if _, errs[i] = f.Write(batch); errs[i] == nil {
					errs[i] = unix.Fdatasync(int(f.Fd()))
					appends.Add(1)
				}
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return float64(appends.Load()) / elapsed.Seconds(), nil
}
