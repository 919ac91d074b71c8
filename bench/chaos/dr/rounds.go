package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// refusedLimit is how long a site that does not answer may count as reachable.
const refusedLimit = 20 * time.Second

// cutPauseMax is how long a producer may wait while only the link is cut.
const cutPauseMax = 3 * time.Second

// round is one fault or order under load. The suite heals everything behind it, and checks.
type round struct {
	*suite
	kind     *kind
	random   *rand.Rand
	active   *site // as the round begins
	standby  *site
	figures  figures
	reports  []*report // of the failovers that the round has ordered, in their order
	untold   bool      // there was a failover whose report nobody has got
	stays    *site     // has to be the active one in the end; nil = any
	equalAt  int64     // what had gone over the link when both sites were equal
	returned int64     // what had gone over the link when the lost site was started anew; -1 = none was
}

// figures are what a round has measured; negative = not measured.
type figures struct {
	switchover, failover time.Duration // from the order to the last partition's first acknowledgement
	held                 time.Duration // how long the failover was refused, because the silent site still counted as reachable
	green                time.Duration // from the end of the faults
	group                time.Duration // then, until the group had got all that was in the log
	lost                 int           // acknowledged, and in an archive
	acked                int           // acknowledged since the round before
	moved                int64         // bytes over the link, from the return of the lost site until both were equal
	note                 string
}

// kind is what can happen.
type kind struct {
	name    string
	failure bool // of a site; else planned
	run     func(*round, context.Context) error
}

var kinds = []kind{
	{"switchover", false, (*round).switchover},
	{"kill", true, (*round).kill},
	{"cut-kill", true, (*round).cutKill},
	{"half-open-kill", true, (*round).halfOpenKill},
	{"slow-kill", true, (*round).slowKill},
	{"isolated", true, (*round).isolated},
	{"cut-in-switchover", true, (*round).cutInSwitchover},
	{"kill-active-in-switchover", true, (*round).killActiveInSwitchover},
	{"kill-standby-in-switchover", true, (*round).killStandbyInSwitchover},
	{"both-restart", true, (*round).bothRestart},
	{"return-before-promotion", true, (*round).returnBefore},
	{"return-in-promotion", true, (*round).returnDuring},
	{"kill-in-promotion", true, (*round).killInPromotion},
	{"kill-twice", true, (*round).killTwice},
	{"standby-kill", true, (*round).standbyKill},
	{"cut", true, (*round).cut},
	{"abort", true, (*round).abort},
	{"lose-standby-in-switchover", true, (*round).loseStandbyInSwitchover},
	{"both-restart-in-switchover", true, (*round).bothRestartInSwitchover},
	{"failover-in-switchover", true, (*round).failoverInSwitchover},
	{"failover-twice", true, (*round).failoverTwice},
	{"kill-returning", true, (*round).killReturning},
	{"stop", true, (*round).stop},
	{"lease", true, (*round).lease},
	{"bounded", true, (*round).bounded},
}

// wait lets things happen for a random time.
func (r *round) wait(ctx context.Context, from, to time.Duration) {
	select {
	case <-time.After(from + time.Duration(r.random.Int64N(int64(to-from)))):
	case <-ctx.Done():
	}
}

// bring starts a site that was killed, and counts what moves from now on.
func (r *round) bring(s *site) error {
	if r.returned < 0 {
		r.returned = r.pair.moved()
	}
	return s.start()
}

// switchover hands over, without a fault.
func (r *round) switchover(ctx context.Context) error {
	r.load.watch()
	o, err := r.standby.order(ctx, "switchover", "--to", r.standby.name)
	if err != nil {
		return err
	}
	if o.State != "done" {
		return fmt.Errorf("switchover: %s", o.output)
	}
	r.figures.switchover, err = r.load.awaitAcks(ctx, time.Now(), 15*time.Second)
	return err
}

// promote orders a failover, again and again while it is refused: the other site counts as reachable until it has been silent for a while.
func (r *round) promote(ctx context.Context, to *site, more ...string) (*order, error) {
	return r.order(ctx, to, append([]string{"failover", "--to", to.name, "--active-is-down"}, more...)...)
}

// order gives an order again and again while it is refused.
func (r *round) order(ctx context.Context, to *site, args ...string) (*order, error) {
	began := time.Now()
	for {
		r.load.watch()
		o, err := to.order(ctx, args...)
		switch {
		case err != nil:
			return nil, err
		case o.State == "done" && o.Report == nil:
			return nil, fmt.Errorf("%v: no report: %s", args, o.output)
		case o.State == "done":
			return o, nil
		case o.code != refused || time.Since(began) > refusedLimit:
			return nil, fmt.Errorf("%v, refused for %s: %s", args, time.Since(began).Round(time.Millisecond), o.output)
		}
		r.wait(ctx, 100*time.Millisecond, 200*time.Millisecond)
		r.figures.held = time.Since(began)
	}
}

// failover makes to active, which the operator says the other is not, and waits for acknowledgements.
func (r *round) failover(ctx context.Context, to *site, more ...string) error {
	o, err := r.promote(ctx, to, more...)
	if err != nil {
		return err
	}
	r.reports = append(r.reports, o.Report)
	r.figures.failover, err = r.load.awaitAcks(ctx, time.Now(), 20*time.Second)
	return err
}

// kill loses the active site, and its return finds the link whole.
func (r *round) kill(ctx context.Context) error {
	r.active.kill()
	r.wait(ctx, 0, time.Second)
	if err := r.failover(ctx, r.standby); err != nil {
		return err
	}
	r.wait(ctx, 0, time.Second)
	return r.bring(r.active)
}

// backTo starts the lost site, with the link or some time before the link is whole.
func (r *round) backTo(ctx context.Context) error {
	r.wait(ctx, 0, time.Second)
	if r.random.IntN(2) == 0 {
		r.figures.note = "returns without the link"
		if err := r.bring(r.active); err != nil {
			return err
		}
		r.wait(ctx, 0, 2*time.Second)
		r.pair.heal()
		return nil
	}
	r.pair.heal()
	return r.bring(r.active)
}

func (r *round) cutKill(ctx context.Context) error {
	r.pair.cut()
	r.wait(ctx, 0, 2*time.Second)
	r.active.kill()
	if err := r.failover(ctx, r.standby); err != nil {
		return err
	}
	return r.backTo(ctx)
}

func (r *round) halfOpenKill(ctx context.Context) error {
	r.pair.halfOpen()
	r.wait(ctx, 0, 2*time.Second)
	r.active.kill()
	if err := r.failover(ctx, r.standby); err != nil {
		return err
	}
	return r.backTo(ctx)
}

func (r *round) slowKill(ctx context.Context) error {
	r.pair.slow(time.Duration(10+r.random.IntN(90))*time.Millisecond, int64(20_000+r.random.IntN(100_000)))
	r.wait(ctx, 0, 2*time.Second)
	r.active.kill()
	if err := r.failover(ctx, r.standby); err != nil {
		return err
	}
	return r.backTo(ctx)
}

// isolated lets both sites be active for a while, as nothing can prevent without a lease.
func (r *round) isolated(ctx context.Context) error {
	if r.random.IntN(2) == 0 {
		r.pair.cut()
	} else {
		r.pair.halfOpen()
	}
	r.wait(ctx, 0, 2*time.Second)
	// The producers may go on at the old site, so nothing says when the new one takes their records.
	o, err := r.promote(ctx, r.standby)
	if err != nil {
		return err
	}
	r.reports = append(r.reports, o.Report)
	r.wait(ctx, 0, 2*time.Second)
	r.returned = r.pair.moved()
	r.pair.heal()
	return nil
}

// inSwitchover does something at a random moment of a switchover, and waits for the end of both. However that ends is well.
func (r *round) inSwitchover(ctx context.Context, at *site, fn func()) {
	ended := make(chan string, 1)
	began := time.Now()
	go func() { // awaited below
		o, err := at.order(ctx, "switchover", "--to", r.standby.name)
		switch {
		case err != nil:
			ended <- "unknown"
		case o.State == "":
			ended <- fmt.Sprintf("exit %d after %.1fs", o.code, time.Since(began).Seconds())
		default:
			ended <- o.State
		}
	}()
	r.wait(ctx, 0, 400*time.Millisecond)
	fn()
	r.figures.note = "switchover " + <-ended
}

func (r *round) cutInSwitchover(ctx context.Context) error {
	at := r.pair.sites[r.random.IntN(2)]
	r.inSwitchover(ctx, at, func() {
		r.pair.cut()
		r.wait(ctx, 100*time.Millisecond, 2*time.Second)
		r.pair.heal()
	})
	return nil
}

func (r *round) killActiveInSwitchover(ctx context.Context) error {
	at := r.standby
	if r.random.IntN(4) == 0 {
		at = r.active
	}
	r.inSwitchover(ctx, at, r.active.kill)
	st, err := r.standby.status(ctx)
	if st == nil {
		return err
	}
	if r.random.IntN(2) == 0 { // the operator waits for it
		return r.bring(r.active)
	}
	if !st.serves(r.standby.name) {
		r.figures.note += ", failover"
		if err := r.failover(ctx, r.standby); err != nil {
			return err
		}
	}
	return r.bring(r.active)
}

func (r *round) killStandbyInSwitchover(ctx context.Context) error {
	var err error
	var down, up time.Time
	r.load.watch()
	r.inSwitchover(ctx, r.active, func() { // which then goes on, or is given up
		r.standby.kill()
		down = time.Now()
		r.wait(ctx, 0, 2*time.Second)
		up = time.Now()
		err = r.bring(r.standby)
	})
	if err != nil {
		return err
	}
	pause, err := r.load.awaitAcks(ctx, up, 20*time.Second)
	r.figures.note += fmt.Sprintf(", down for %.1fs, no write for %.1fs", up.Sub(down).Seconds(), pause.Seconds())
	return err
}

// cut takes the link away for a while, and nothing else: the producers and the group go on at the active site.
func (r *round) cut(ctx context.Context) error {
	r.load.watch()
	if r.random.IntN(2) == 0 {
		r.pair.cut()
	} else {
		r.pair.halfOpen()
	}
	since := time.Now()
	r.wait(ctx, 3*time.Second, 8*time.Second)
	pause, err := r.load.awaitAcks(ctx, since, 0)
	if err != nil {
		return err
	}
	if pause > cutPauseMax {
		return fmt.Errorf("a producer waited for %s while only the link was cut", pause)
	}
	r.returned = r.pair.moved()
	return nil
}

// bothRestart loses both sites at once.
func (r *round) bothRestart(ctx context.Context) error {
	r.load.watch()
	r.active.kill()
	r.standby.kill()
	first, second := r.active, r.standby
	if r.random.IntN(2) == 0 {
		first, second = second, first
	}
	if err := first.start(); err != nil {
		return err
	}
	r.wait(ctx, 0, time.Second)
	return second.start()
}

// returnBefore has the lost site back before the other is promoted, without the link.
func (r *round) returnBefore(ctx context.Context) error {
	r.pair.cut()
	r.active.kill()
	if err := r.active.start(); err != nil {
		return err
	}
	r.wait(ctx, 0, 2*time.Second)
	if err := r.failover(ctx, r.standby); err != nil {
		return err
	}
	r.wait(ctx, 0, time.Second)
	r.returned = r.pair.moved()
	return nil
}

// returnDuring has the lost site back at the moment of the promotion, with the link: either may come first.
func (r *round) returnDuring(ctx context.Context) error {
	r.active.kill()
	r.wait(ctx, 0, time.Second)
	started := make(chan error, 1)
	pause := time.Duration(r.random.Int64N(int64(200 * time.Millisecond)))
	go func() { // awaited below
		time.Sleep(pause)
		started <- r.bring(r.active)
	}()
	r.wait(ctx, 0, 400*time.Millisecond)
	o, err := r.standby.order(ctx, "failover", "--to", r.standby.name, "--active-is-down")
	if err := <-started; err != nil {
		return err
	}
	if err != nil {
		return err
	}
	switch {
	case o.State == "done" && o.Report != nil:
		r.reports = append(r.reports, o.Report)
	case o.code == refused:
		r.figures.note = "refused"
	default:
		return fmt.Errorf("failover to %s: %s", r.standby.name, o.output)
	}
	return nil
}

// killInPromotion kills the site that is being promoted, and orders it again.
func (r *round) killInPromotion(ctx context.Context) error {
	r.active.kill()
	ended := make(chan struct{})
	go func() { // awaited below
		defer close(ended)
		_, _ = r.standby.order(ctx, "failover", "--to", r.standby.name, "--active-is-down", "--timeout", "5s") // nobody knows
	}()
	r.wait(ctx, 0, 150*time.Millisecond)
	r.standby.kill()
	if err := r.standby.start(); err != nil {
		return err
	}
	<-ended
	if err := r.standby.waitReady(ctx); err != nil {
		return err
	}
	st, err := r.standby.status(ctx)
	if st == nil {
		return err
	}
	r.untold = true
	if !st.serves(r.standby.name) {
		r.figures.note = "ordered again"
		// It has lost what it knew of the other site.
		if err := r.failover(ctx, r.standby, "--accept-data-loss"); err != nil {
			return err
		}
	}
	return r.bring(r.active)
}

// killTwice loses the new active site while the old one returns.
func (r *round) killTwice(ctx context.Context) error {
	if err := r.kill(ctx); err != nil {
		return err
	}
	if err := r.active.waitReady(ctx); err != nil {
		return err
	}
	r.wait(ctx, 0, time.Second)
	r.standby.kill()
	if err := r.failover(ctx, r.active, "--accept-data-loss"); err != nil {
		return err
	}
	r.wait(ctx, 0, time.Second)
	return r.standby.start()
}

func (r *round) standbyKill(ctx context.Context) error {
	r.standby.kill()
	r.wait(ctx, 0, 2*time.Second)
	return r.bring(r.standby)
}

// stalled says that a switchover is going on.
func (st *status) stalled() bool { return st.Order != nil && st.Order.State == "running" }

// serves says whether the site is active and takes writes.
func (st *status) serves(name string) bool {
	for _, s := range st.Sites {
		if s.Name == name {
			return s.Role == "active" && s.Serving
		}
	}
	return false
}
