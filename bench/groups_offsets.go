package main

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	offsetsGroups     = 10
	offsetsPartitions = 100   // of the topic, all in each commit
	offsetsRequests   = 1_200 // of each group: 1.2 million offsets in all
	// offsetsSettled is how long the cleaner may take after the last commit.
	offsetsSettled = 60 * time.Second
	// offsetsLeft is what compaction may leave of __consumer_offsets, as a part of what was written: the active segments, and as
	// much garbage as min.cleanable.dirty.ratio allows.
	offsetsLeft = 0.2
)

// runOffsets commits more than a million offsets, while members of a group send heartbeats, and looks at what compaction leaves of
// __consumer_offsets, how long a new start reads it, and whether the offsets are right.
func runOffsets(ctx context.Context, o options, r *report) error {
	for _, compacted := range []bool{true, false} {
		if err := offsetsRound(ctx, o, r, compacted); err != nil {
			return err
		}
	}
	return nil
}

func offsetsRound(ctx context.Context, o options, r *report, compacted bool) error {
	o.sets = append(append([]string(nil), o.sets...), "offsets.topic.num.partitions=4", "offsets.topic.segment.bytes=1048576",
		"log.cleaner.backoff.ms=1000", "group.initial.rebalance.delay.ms=0", fmt.Sprintf("log.cleaner.enable=%v", compacted))
	b, err := startBroker(ctx, o)
	if err != nil {
		return err
	}
	defer func() { b.discard() }()
	if err := (rival{"tandem", b}).prepare(ctx, idlePartitions); err != nil {
		return err
	}
	h := &herd{addr: b.addr, groups: 10, perConn: 1}
	if err := h.join(100); err != nil {
		return err
	}
	h.beat(ctx)
	err = commitsMeasured(ctx, b, r, compacted)
	if err == nil {
		err = h.failed()
	}
	h.close()
	if err != nil {
		return err
	}
	name := ", not compacted, "
	if compacted {
		name = ", "
	}
	for round := range 2 {
		how := "after a clean stop"
		if round == 1 {
			how = "after kill -9"
			b.kill()
		} else if err := b.stop(); err != nil {
			return err
		}
		start := time.Now()
		if b, err = launchAt(o, b.dir, b.addr, b.admin); err != nil {
			return err
		}
		wrong, err := wrongOffsets(ctx, b)
		if err != nil {
			return err
		}
		took := time.Since(start)
		m, err := b.scrape(ctx)
		if err != nil {
			return err
		}
		r.add(sample{Figure: "groups", Case: "commits, start to all offsets" + name + how, Round: 1, Broker: took.Seconds(), Unit: "s",
			Extra: map[string]float64{"load_s": m["tandem_offsets_load_seconds_total"], "wrong": float64(wrong)}}, target{below: 3})
		if wrong > 0 {
			return fmt.Errorf("%s: %d offsets are not what was committed", how, wrong)
		}
	}
	return nil
}

// commitsMeasured commits, and waits for compaction where there is one.
func commitsMeasured(ctx context.Context, b *broker, r *report, compacted bool) error {
	before, err := b.written(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := commitMany(b.addr); err != nil {
		return err
	}
	took := time.Since(start)
	after, err := b.written(ctx)
	if err != nil || !compacted {
		return err
	}
	wrote := after.minus(before).bytes
	const count = offsetsGroups * offsetsPartitions * offsetsRequests
	r.add(sample{Figure: "groups", Case: "commits, 100 offsets each, 10 at a time", Round: 1, Broker: count / took.Seconds(), Unit: "offsets/s",
		Extra: map[string]float64{"offsets": count, "MB": wrote / 1e6}}, target{})
	left, waited := 0.0, time.Now()
	for left == 0 || left > offsetsLeft/4*wrote && time.Since(waited) < offsetsSettled && ctx.Err() == nil {
		time.Sleep(500 * time.Millisecond)
		if left, err = offsetsBytes(b.dir); err != nil {
			return err
		}
	}
	r.add(sample{Figure: "groups", Case: "commits, left by compaction", Round: 1, Broker: left / wrote, Unit: "of what was written",
		Extra: map[string]float64{"MB": left / 1e6, "s_after_the_last_commit": time.Since(waited).Seconds()}}, target{below: offsetsLeft})
	return ctx.Err()
}

func committer(addr string, i int) (*member, error) {
	return newMember(addr, fmt.Sprintf("commits-%d", i), offsetsPartitions)
}

// commitMany has each group commit rising offsets.
func commitMany(addr string) error {
	var wait sync.WaitGroup
	failures := make(chan error, offsetsGroups)
	for i := range offsetsGroups {
		wait.Go(func() {
			m, err := committer(addr, i)
			if err != nil {
				failures <- err
				return
			}
			defer m.c.close()
			for n := range int64(offsetsRequests) {
				if err := m.commit(n + 1); err != nil {
					failures <- fmt.Errorf("commit %d: %w", n+1, err)
					return
				}
			}
		})
	}
	wait.Wait()
	close(failures)
	return <-failures
}

// wrongOffsets counts the offsets that are not those of the last commits, once the broker has read them.
func wrongOffsets(ctx context.Context, b *broker) (int, error) {
	wrong := 0
	for i := range offsetsGroups {
		c, err := b.dial(ctx)
		if err != nil {
			return 0, err
		}
		c.close()
		m, err := committer(b.addr, i)
		if err != nil {
			return 0, err
		}
		var got map[int32]int64
		err = m.c.await(ctx, func() (err error) {
			got, err = m.committed(nil)
			return err
		})
		m.c.close()
		if err != nil {
			return 0, err
		}
		for p := range int32(offsetsPartitions) {
			if got[p] != offsetsRequests {
				wrong++
			}
		}
	}
	return wrong, nil
}

// offsetsBytes is the size of the segments of __consumer_offsets.
func offsetsBytes(dir string) (float64, error) {
	sum := 0.0
	folders, err := filepath.Glob(filepath.Join(dir, "__consumer_offsets-*"))
	if err != nil {
		return 0, err
	}
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".log") {
				return nil //nolint:nilerr // a segment that compaction has just removed
			}
			if info, err := d.Info(); err == nil {
				sum += float64(info.Size())
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return sum, nil
}
