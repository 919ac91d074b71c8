package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Rounds about orders that are given up, given twice, or stand still.

// stallLimit bounds how long a command may wait for a site that is gone.
const stallLimit = 15 * time.Second

// abort gives a switchover up at a random moment, over a good link, a slow one, or one that is cut meanwhile. It may come too late.
func (r *round) abort(ctx context.Context) error {
	how := r.random.IntN(3)
	if how > 0 { // it takes a while then
		r.pair.slow(time.Duration(150+r.random.IntN(250))*time.Millisecond, 0)
	}
	at := r.pair.sites[r.random.IntN(2)]
	var given *order
	var st *status
	var err error
	r.inSwitchover(ctx, at, func() {
		if how == 2 {
			r.pair.cut()
		}
		given, err = r.active.order(ctx, "abort")
		if how == 2 {
			r.wait(ctx, 0, time.Second)
			st, _ = r.standby.status(ctx)
			r.pair.heal()
		}
	})
	if err != nil {
		return err
	}
	if how == 2 && strings.Contains(given.output, "stands still") && st != nil && !st.serves(r.standby.name) {
		r.stays = r.active // the standby is asked when it is back, and had not taken over before
	}
	r.figures.note += fmt.Sprintf(", abort: exit %d %s", given.code, given.State)
	if given.code != 0 { // nothing was begun yet, it was too late, or the other site was not there: the fence is gone once it is
		return nil
	}
	if given.State != "aborted" {
		return fmt.Errorf("abort: %s", given.output)
	}
	r.stays = r.active
	return nil
}

// loseStandbyInSwitchover has the standby gone for good amid a switchover: the command says so soon, and what to do, and that works.
func (r *round) loseStandbyInSwitchover(ctx context.Context) error {
	r.pair.slow(150*time.Millisecond, 0) // time to kill it in
	r.load.watch()
	began := time.Now()
	ended := make(chan *order, 1)
	go func() { // awaited below
		o, err := r.active.order(ctx, "switchover", "--to", r.standby.name)
		if err != nil {
			o = &order{output: err.Error()}
		}
		ended <- o
	}()
	r.wait(ctx, 50*time.Millisecond, 700*time.Millisecond)
	r.standby.kill()
	o := <-ended
	if took := time.Since(began); took > stallLimit {
		return fmt.Errorf("the switchover's command ended after %s: %s", took, o.output)
	}
	r.figures.note = fmt.Sprintf("switchover %s%s after %.1fs", o.State, exit(o.code), time.Since(began).Seconds())
	st, err := r.active.status(ctx)
	if st == nil {
		return err
	}
	if !st.serves(r.active.name) || st.stalled() {
		next := "failover --to " + r.active.name + " --active-is-down"
		if o.State != "done" && !strings.Contains(o.output, next) {
			return fmt.Errorf("the switchover's command does not say %q: %s", next, o.output)
		}
		if err := r.failover(ctx, r.active); err != nil {
			return err
		}
	}
	r.pair.heal()
	return r.bring(r.standby)
}

// exit is an exit code as a note tells it.
func exit(code int) string {
	if code == 0 {
		return ""
	}
	return fmt.Sprintf(" exit %d", code)
}

// bothRestartInSwitchover loses both sites at a random moment of a switchover, and has both back.
func (r *round) bothRestartInSwitchover(ctx context.Context) error {
	r.pair.slow(time.Duration(1+r.random.IntN(200))*time.Millisecond, 0)
	var errs []error
	r.inSwitchover(ctx, r.active, func() {
		both := []*site{r.active, r.standby}
		i := r.random.IntN(2)
		both[i].kill()
		both[1-i].kill()
		i = r.random.IntN(2)
		errs = append(errs, both[i].start())
		r.wait(ctx, 0, 500*time.Millisecond)
		errs = append(errs, both[1-i].start())
	})
	return errors.Join(errs...)
}

// failoverInSwitchover has the network gone amid a switchover, and the operator fails over instead, while the old active is still there.
func (r *round) failoverInSwitchover(ctx context.Context) error {
	r.pair.slow(time.Duration(50+r.random.IntN(200))*time.Millisecond, 0)
	var err error
	r.inSwitchover(ctx, r.active, func() {
		if r.random.IntN(2) == 0 {
			r.pair.cut()
		} else {
			r.pair.halfOpen()
		}
		r.wait(ctx, 0, time.Second)
		var st *status
		if st, err = r.standby.status(ctx); st == nil || st.serves(r.standby.name) {
			return // it has gone over
		}
		var o *order
		if o, err = r.promote(ctx, r.standby); err == nil {
			r.reports = append(r.reports, o.Report)
		}
		r.wait(ctx, 0, time.Second)
	})
	if len(r.reports) > 0 {
		r.figures.note += ", failover"
	}
	return err
}

// failoverTwice has two operators order the same.
func (r *round) failoverTwice(ctx context.Context) error {
	r.active.kill()
	began := time.Now()
	for {
		r.load.watch()
		second := make(chan *order, 1)
		go func() { // awaited below
			o, err := r.standby.order(ctx, "failover", "--to", r.standby.name, "--active-is-down")
			if err != nil {
				o = &order{output: err.Error()}
			}
			second <- o
		}()
		r.wait(ctx, 0, 100*time.Millisecond)
		a, err := r.standby.order(ctx, "failover", "--to", r.standby.name, "--active-is-down")
		b := <-second
		if err != nil {
			return err
		}
		if b.State == "done" {
			a, b = b, a
		}
		switch {
		case a.State == "done" && b.code == refused:
			r.reports = append(r.reports, a.Report)
			if r.figures.failover, err = r.load.awaitAcks(ctx, time.Now(), 20*time.Second); err != nil {
				return err
			}
			return r.bring(r.active)
		case a.code != refused || b.code != refused || time.Since(began) > refusedLimit:
			return fmt.Errorf("two failovers at once: %s\nand: %s", a.output, b.output)
		}
	}
}

// killReturning kills the lost site again and again while it returns: as it starts, cuts its tails, archives them, follows.
func (r *round) killReturning(ctx context.Context) error {
	r.pair.slow(0, int64(50_000+r.random.IntN(200_000))) // so that there is a tail to cut
	r.wait(ctx, 500*time.Millisecond, 2*time.Second)
	r.active.kill()
	r.pair.heal()
	if err := r.failover(ctx, r.standby); err != nil {
		return err
	}
	times := 1 + r.random.IntN(4)
	for range times {
		if err := r.bring(r.active); err != nil {
			return err
		}
		r.wait(ctx, 0, 700*time.Millisecond)
		r.active.kill()
	}
	r.figures.note = fmt.Sprintf("killed %d times", times)
	return r.bring(r.active)
}

// stop ends sites with SIGTERM, under load, and starts them again: nothing is lost by it, and nobody takes over.
func (r *round) stop(ctx context.Context) error {
	which := [][]*site{{r.active}, {r.standby}, {r.active, r.standby}, {r.standby, r.active}}[r.random.IntN(4)]
	r.stays = r.active
	for _, s := range which {
		r.figures.note += " " + s.name
		if err := s.terminate(); err != nil {
			return err
		}
		r.wait(ctx, 0, 500*time.Millisecond)
	}
	for _, s := range which {
		if err := s.start(); err != nil {
			return err
		}
		r.wait(ctx, 0, 500*time.Millisecond)
	}
	return nil
}
