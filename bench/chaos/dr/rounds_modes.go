package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Rounds under settings that are not the default: the lease, and dr.mode=bounded.

const (
	leaseMs     = 2000
	boundedLag  = 1000 * time.Millisecond
	boundedLate = 1500 * time.Millisecond // on top: for what was under way, on a busy machine
)

// restart ends both sites with SIGTERM and starts them with more settings, for as long as those of the next restart.
func (r *round) restart(ctx context.Context, more ...string) error {
	for _, s := range r.pair.sites {
		if err := s.terminate(); err != nil {
			return err
		}
		s.more = more
	}
	for _, s := range r.pair.sites {
		if err := s.start(); err != nil {
			return err
		}
	}
	return r.green(ctx)
}

// lease fails over by waiting: nobody says that the active is down, and it is not. It acknowledges nothing any more once the other one is
// promoted. Or the wait is given up, and it goes on.
func (r *round) lease(ctx context.Context) error {
	if err := r.restart(ctx, fmt.Sprintf("dr.fence.after.ms=%d", leaseMs)); err != nil {
		return err
	}
	giveUp := r.random.IntN(3) == 0
	switch r.random.IntN(3) {
	case 0:
		r.pair.cut()
	case 1:
		r.pair.halfOpen()
	case 2:
		r.active.kill()
		r.figures.note = "killed"
	}
	r.wait(ctx, 0, 2*time.Second)
	if giveUp {
		if err := r.giveUpWait(ctx); err != nil {
			return err
		}
	} else if err := r.waitOut(ctx); err != nil {
		return err
	}
	if !r.active.process.Running() {
		if err := r.bring(r.active); err != nil {
			return err
		}
	}
	r.pair.heal()
	if err := r.green(ctx); err != nil {
		return err
	}
	return r.restart(ctx)
}

// waitOut orders the failover, and holds what was acknowledged against its report.
func (r *round) waitOut(ctx context.Context) error {
	o, err := r.order(ctx, r.standby, "failover", "--to", r.standby.name)
	if err != nil {
		return err
	}
	r.reports = append(r.reports, o.Report)
	if r.figures.failover, err = r.load.awaitAcks(ctx, time.Now(), 20*time.Second); err != nil {
		return err
	}
	for _, h := range r.histories {
		for _, p := range o.Report.Partitions {
			if p.Topic != topic || p.Partition != h.partition || p.Resumes == nil {
				continue
			}
			if err := h.nothingBelow(*p.Resumes, o.Report.Promoted); err != nil {
				return err
			}
		}
	}
	return nil
}

// nothingBelow says whether something below an offset was acknowledged after a time.
func (h *history) nothingBelow(offset int64, after time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for at, a := range h.mu.pending {
		if at < offset && a.at.After(after) {
			return fmt.Errorf("partition %d: the old active acknowledged offset %d, %s after the other one was promoted", h.partition, at, a.at.Sub(after))
		}
	}
	return nil
}

// giveUpWait aborts a failover while it waits for the end of the lease.
func (r *round) giveUpWait(ctx context.Context) error {
	ended := make(chan *order, 1)
	go func() { // awaited below
		o, err := r.order(ctx, r.standby, "failover", "--to", r.standby.name)
		if err != nil {
			o = &order{State: err.Error()}
		}
		ended <- o
	}()
	r.wait(ctx, 0, leaseMs*time.Millisecond)
	given, err := r.standby.order(ctx, "abort")
	if err != nil {
		return err
	}
	o := <-ended
	r.figures.note += fmt.Sprintf(" failover %s, abort: exit %d", o.State, given.code)
	switch {
	case o.State == "done":
		r.reports = append(r.reports, o.Report)
	case given.code == 0:
		r.stays = r.active
	}
	return nil
}

// bounded has a topic whose producers wait while the standby is more than a second behind, and cuts the link.
func (r *round) bounded(ctx context.Context) error {
	mode, lag := "bounded", fmt.Sprint(boundedLag.Milliseconds())
	if err := r.alter(ctx, kadm.AlterConfig{Op: kadm.SetConfig, Name: "dr.mode", Value: &mode}, kadm.AlterConfig{Op: kadm.SetConfig, Name: "dr.max.lag.ms", Value: &lag}); err != nil {
		return err
	}
	if _, err := r.load.awaitAcks(ctx, time.Now(), 10*time.Second); err != nil {
		return fmt.Errorf("dr.mode=bounded beside a standby that follows: %w", err)
	}
	if r.random.IntN(2) == 0 {
		r.pair.cut()
	} else {
		r.pair.halfOpen()
	}
	cut := time.Now()
	r.wait(ctx, 3*time.Second, 7*time.Second)
	for _, h := range r.histories {
		if last := h.lastAck(); last.Sub(cut) > boundedLag+boundedLate {
			return fmt.Errorf("partition %d: acknowledged %s after the link was cut, with dr.mode=bounded and dr.max.lag.ms=%s", h.partition, last.Sub(cut), lag)
		}
	}
	r.figures.note = fmt.Sprintf("held for %.1fs", time.Since(cut).Seconds())
	r.pair.heal()
	if _, err := r.load.awaitAcks(ctx, time.Now(), 15*time.Second); err != nil {
		return fmt.Errorf("once the standby follows again: %w", err)
	}
	r.stays = r.active
	return r.alter(ctx, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: "dr.mode"}, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: "dr.max.lag.ms"})
}

func (h *history) lastAck() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.last
}

// alter changes settings of the topic.
func (r *round) alter(ctx context.Context, change ...kadm.AlterConfig) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(r.active.address))
	if err != nil {
		return err
	}
	defer client.Close()
	answers, err := kadm.NewClient(client).AlterTopicConfigs(ctx, change, topic)
	for _, a := range answers {
		err = errors.Join(err, a.Err)
	}
	if err != nil {
		return fmt.Errorf("settings of the topic: %w", err)
	}
	return nil
}
