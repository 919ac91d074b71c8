package sites

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/replication/site"
)

// role drives the site's site.Site. Safe for concurrent use.
type role struct {
	records Records
	network Network
	now     func() time.Duration
	logger  *slog.Logger
	changed func() // the View has changed; must not wait

	mu struct {
		sync.Mutex
		site  *site.Site
		ended bool // nothing is stored any more
	}
	view  atomic.Pointer[site.View]
	tasks sync.WaitGroup // Stores under way
	ctx   context.Context
}

// errEnded is an input that came behind the end of the run.
var errEnded = errors.New("sites: the broker stops")

// end takes no more inputs, and waits for the Stores under way; ctx must have ended.
func (r *role) end() {
	r.mu.Lock()
	r.mu.ended = true
	r.mu.Unlock()
	r.tasks.Wait()
}

// storeRetry is how long a Record that could not be stored waits before it is tried again.
const storeRetry = 200 * time.Millisecond

// step gives the Site an input and carries out its effects.
func (r *role) step(in site.Input) error {
	r.mu.Lock()
	if r.mu.ended {
		r.mu.Unlock()
		return errEnded
	}
	before := r.view.Load()
	effects, err := r.mu.site.Step(r.now(), in)
	view := r.mu.site.View()
	moved := before == nil || *before != view
	if moved {
		r.view.Store(&view)
	}
	for _, e := range effects {
		if _, ok := e.(site.Store); ok {
			r.tasks.Add(1) // not behind end's Wait
		}
	}
	r.mu.Unlock()
	if err != nil {
		return err
	}
	if moved {
		r.log(before, &view)
		r.changed()
	}
	for _, e := range effects {
		switch e := e.(type) {
		case site.Send:
			r.network.Send(e.Message, nil)
		case site.Store:
			go r.store(e.Record)
		}
	}
	return nil
}

// store makes rec durable, however long that takes, and then tells the Site, or that it was refused for good. There is one at a time.
func (r *role) store(rec site.Record) {
	defer r.tasks.Done()
	for first := true; ; first = false {
		err := r.records.StoreSite(r.ctx, rec)
		if err == nil {
			break
		}
		if r.ctx.Err() != nil {
			return
		}
		r.logger.Warn("site record is not stored yet", "role", rec.Role, "epoch", rec.Epoch, "error", err)
		if first && errors.Is(err, controller.ErrHalfCopy) { // behind another error the one before might still be on its way
			_ = r.step(site.NotStored{})
			return
		}
		select {
		case <-r.ctx.Done():
			return
		case <-time.After(storeRetry):
		}
	}
	_ = r.step(site.Stored{}) // only orders of an operator have errors
}

func (r *role) log(before, v *site.View) {
	if before != nil && before.Role == v.Role && before.Epoch == v.Epoch && before.Serving == v.Serving && before.Fencing == v.Fencing {
		return
	}
	r.logger.Info("site", "role", v.Role, "epoch", v.Epoch, "serving", v.Serving, "fencing", v.Fencing)
}

// record is the durable state.
func (r *role) record() site.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.site.Record()
}

func (r *role) leased() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.site.PeerLeased()
}

// mayAcknowledge says whether a write may be acknowledged at this moment.
func (r *role) mayAcknowledge() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.site.MayAcknowledge(r.now())
}
