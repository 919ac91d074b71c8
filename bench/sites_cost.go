package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Where things run while the cost is measured: the standby of a real pair has a machine of its own.
const (
	cpuActive  cpu = 1 // with the producers
	cpuStandby cpu = 2
)

// burden is what a load achieved, and what that took.
type burden struct {
	outcome
	cpu  float64   // seconds of the active process
	disk diskShare // of the standby
}

// diskShare is what a broker has done to the disk.
type diskShare struct{ journal, segments written }

func (d diskShare) minus(before diskShare) diskShare {
	return diskShare{d.journal.minus(before.journal), d.segments.minus(before.segments)}
}

func (b *broker) diskShare(ctx context.Context) (diskShare, error) {
	m, err := b.scrape(ctx)
	return diskShare{written{m[`tandem_fsync_total{what="journal"}`], m["tandem_journal_bytes_total"]},
		written{m[`tandem_fsync_total{what="segments"}`], m["tandem_segment_bytes_total"]}}, err
}

// costCase is what shipping costs the active's producers. The active and the producers have one processor, the standby has the other; the
// link has no proxy and no delay. In turn the link is up, and the standby is stopped while loops on its processor do what it did to
// the disk that both share: they write and sync as many bytes, as often, to as many files. So the ratio has what the active itself does for the
// link, and neither the other's processor time nor the disk.
func costCase(l load) siteCase {
	return costOf(fmt.Sprintf("producers, %v", l), l.batch, func(o options, p *sitePair) (outcome, error) {
		lanes, err := producers(p.sites[0].addr, sitesTopic, sitesPartitions, 1, l.inFlight, makeBatch(l.batch, 1))
		if err != nil {
			return outcome{}, err
		}
		defer closeLanes(lanes)
		return drive(lanes, during(o.round))
	}, func(b burden, mb float64) float64 { return b.perSecond() * mb }, "MB/s", target{atLeast: 0.95})
}

// slowCostCase is the same at the rate of the lag, where nothing is short: what shipping does to an acknowledgement.
func slowCostCase() siteCase {
	return costOf("producers at 5 MB/s, p50", lagBatch, func(o options, p *sitePair) (outcome, error) {
		var wg sync.WaitGroup
		took, errs := make([][]time.Duration, sitesPartitions), make([]error, sitesPartitions)
		start := time.Now()
		for i := range sitesPartitions {
			wg.Go(func() { _, took[i], errs[i] = p.produceAtRate(int32(i), start, start.Add(o.round)) })
		}
		wg.Wait()
		return summarizeTimes(took, errs, time.Since(start))
	}, func(b burden, _ float64) float64 { return ms(b.p50) }, "ms", target{below: 1.05})
}

func costOf(name string, batch int, load func(options, *sitePair) (outcome, error), value func(b burden, mb float64) float64, unit string, t target) siteCase {
	return siteCase{name, func(ctx context.Context, o options, r *report, p *sitePair, name string) error {
		if err := p.separate(ctx); err != nil {
			return err
		}
		defer func() { _ = stayOn(anyCPU) }() // what follows is slower where that fails
		for round := 0; round <= o.rounds && ctx.Err() == nil; round++ {
			up, err := p.burdened(ctx, func() (outcome, error) { return load(o, p) })
			if err != nil {
				return err
			}
			alone, err := p.alone(ctx, up.disk, up.elapsed, func() (outcome, error) { return load(o, p) })
			if err != nil {
				return err
			}
			if round == 0 {
				continue // warm-up
			}
			mb := float64(batch) / 1e6
			all := func(b burden) float64 { return float64(b.requests) * mb }
			r.add(sample{Figure: "sites", Case: name, Round: round, Broker: value(up, mb), Baseline: value(alone, mb), Unit: unit, Extra: map[string]float64{
				"p99_ms": ms(up.p99), "alone_p99_ms": ms(alone.p99), "cpu_ms_per_MB": up.cpu * 1000 / all(up), "alone_cpu_ms_per_MB": alone.cpu * 1000 / all(alone),
				"standby_wrote":       (up.disk.journal.bytes + up.disk.segments.bytes) / 1e6 / all(up),
				"standby_syncs_per_s": (up.disk.journal.syncs + up.disk.segments.syncs) / up.elapsed.Seconds()}}, t)
		}
		return ctx.Err()
	}}
}

// separate starts both sites again, each on a processor of its own and without the proxy between them.
func (p *sitePair) separate(ctx context.Context) error {
	p.configure(p.own)
	p.sites[0].cpu, p.sites[1].cpu = cpuActive, cpuStandby
	err := errors.Join(p.sites[0].stop(), p.sites[1].stop())
	if err == nil {
		err = errors.Join(p.start(0), p.start(1))
	}
	if err == nil {
		err = p.green(ctx)
	}
	if err == nil {
		err = stayOn(cpuActive)
	}
	return err
}

// burdened runs load while the link is up, and waits until the standby has all.
func (p *sitePair) burdened(ctx context.Context, load func() (outcome, error)) (burden, error) {
	before, err := p.sites[1].diskShare(ctx)
	if err != nil {
		return burden{}, err
	}
	b, err := p.measured(load)
	if err != nil {
		return burden{}, err
	}
	after, err := p.sites[1].diskShare(ctx)
	if err != nil {
		return burden{}, err
	}
	b.disk = after.minus(before)
	return b, p.equal(ctx)
}

// equal waits until the standby has what the active has.
func (p *sitePair) equal(ctx context.Context) error {
	want, err := p.records(ctx, 0)
	if err != nil {
		return err
	}
	return p.awaitRecords(ctx, want, nil)
}

// measured runs load and counts the active's processor time.
func (p *sitePair) measured(load func() (outcome, error)) (burden, error) {
	before, err := p.sites[0].cpuSeconds()
	if err != nil {
		return burden{}, err
	}
	got, err := load()
	if err != nil {
		return burden{}, err
	}
	after, err := p.sites[0].cpuSeconds()
	return burden{outcome: got, cpu: after - before}, err
}

// alone runs load with the standby stopped and loops in its place that do what did says in as long as that took. Behind it the
// standby is there again and has all.
func (p *sitePair) alone(ctx context.Context, did diskShare, took time.Duration, load func() (outcome, error)) (burden, error) {
	if err := p.sites[1].stop(); err != nil {
		return burden{}, err
	}
	b, err := p.besideLoops(did, took, load)
	if err != nil {
		return burden{}, err
	}
	if err := p.start(1); err != nil {
		return burden{}, err
	}
	return b, p.equal(ctx)
}

func (p *sitePair) besideLoops(did diskShare, took time.Duration, load func() (outcome, error)) (burden, error) {
	args := []string{p.o.dir}
	for _, v := range []float64{did.journal.bytes, did.journal.syncs, did.segments.bytes, did.segments.syncs} {
		args = append(args, strconv.FormatFloat(v/took.Seconds(), 'f', 3, 64))
	}
	loops, _, err := startChildOn(cpuStandby, "_disk", args...)
	if err != nil {
		return burden{}, err
	}
	defer loops.stop()
	return p.measured(load)
}

// burdenDisk is the loops: in the folder args[0] it writes args[1] bytes and makes args[2] syncs a second in one file, as a journal, and args[3]
// and args[4] in as many files as there are partitions, until standard input closes.
func burdenDisk(args []string) {
	if len(args) != 5 {
		childFailed(errors.New("_disk DIR BYTES SYNCS BYTES SYNCS"))
	}
	var per [4]float64
	for i := range per {
		var err error
		if per[i], err = strconv.ParseFloat(args[1+i], 64); err != nil || per[i] < 0 {
			childFailed(fmt.Errorf("_disk %v: %w", args, err))
		}
	}
	dir, err := os.MkdirTemp(args[0], "loops-")
	if err != nil {
		childFailed(err)
	}
	ended := make(chan struct{})
	fmt.Println(dir)
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	errs := make([]error, 1+sitesPartitions)
	var wg sync.WaitGroup
	for i := range errs {
		bytes, syncs := per[0], per[1]
		if i > 0 {
			bytes, syncs = per[2]/sitesPartitions, per[3]/sitesPartitions
		}
		if syncs > 0 {
			wg.Go(func() { errs[i] = writeAtRate(filepath.Join(dir, strconv.Itoa(i)), bytes, syncs, ended) })
		}
	}
	wg.Wait()
	if err := errors.Join(append(errs, os.RemoveAll(dir))...); err != nil {
		childFailed(err)
	}
}

// loopFileMax is where a loop begins its file anew.
const loopFileMax = 256 << 20

// writeAtRate appends to a file and syncs it so many times a second, at random distances; where the disk is late it goes on at once, as a
// standby does.
func writeAtRate(name string, bytes, syncs float64, ended <-chan struct{}) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close() // what it has is deleted
	chunk, size := make([]byte, int(bytes/syncs)), 0
	for next := time.Now(); ; {
		next = next.Add(time.Duration(2 * rand.Float64() / syncs * float64(time.Second)))
		select {
		case <-ended:
			return nil
		case <-time.After(time.Until(next)):
		}
		if size += len(chunk); size > loopFileMax {
			size = len(chunk)
			if err := f.Truncate(0); err != nil {
				return err
			}
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				return err
			}
		}
		if _, err := f.Write(chunk); err != nil {
			return err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return err
		}
	}
}
