package sites

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"time"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/replication/site"
)

// follower keeps the metadata of a standby what the active's is, and what both know of each other.
type follower struct {
	pair *Pair
	wake chan struct{}

	mu struct {
		sync.Mutex
		frame   []byte // newest that came and was not applied
		refused error  // why the active's metadata is not this site's; nil = it is, or may become it
		anew    bool   // there is another session: nobody answers what was asked in the one before
	}

	// Of run.
	asks   asks
	whole  bool   // changes are not enough
	target uint32 // of the switchover whose partitions the Site knows; 0 = none
	warned string
}

const (
	// askInterval is how long an answer may take, at first.
	askInterval    = 2 * time.Second
	askIntervalMax = 32 * time.Second
)

// asks is when to ask again. On a narrow line an answer may take long, and one for each question would take longer still: the answers would
// go out one behind the other, with nothing in between.
type asks struct {
	last     time.Time // zero = at once
	patience time.Duration
}

// due says that it is time to ask, and takes note that it is done.
func (a *asks) due(now time.Time) bool {
	if now.Sub(a.last) < max(a.patience, askInterval) {
		return false
	}
	if a.last.IsZero() {
		a.patience = 0
	}
	a.last, a.patience = now, min(2*max(a.patience, askInterval/2), askIntervalMax)
	return true
}

// answered says that an answer has come, or that none will: the next question, if there is one, goes at once.
func (a *asks) answered() { *a = asks{} }

// look has run look at what there is to do; it never waits.
func (f *follower) look() {
	if f != nil {
		nudge(f.wake)
	}
}

// again has run ask at once what the other site has not answered: there is another session.
func (f *follower) again() {
	if f == nil {
		return
	}
	f.mu.Lock()
	f.mu.anew = true
	f.mu.Unlock()
	f.look()
}

// take hands in metadata of the active.
func (f *follower) take(frame []byte) {
	f.mu.Lock()
	f.mu.frame = frame
	f.mu.Unlock()
	f.look()
}

// run follows until the Pair is closed.
func (f *follower) run() {
	ticker := time.NewTicker(headInterval)
	defer ticker.Stop()
	for {
		select {
		case <-f.pair.ctx.Done():
			return
		case <-ticker.C:
		case <-f.wake:
		}
		f.meet()
		f.follow()
	}
}

// meet stores what the other site has told of itself, where that is new.
func (f *follower) meet() {
	p := f.pair
	p.remote.mu.Lock()
	facts, cluster := p.remote.mu.facts, p.remote.mu.cluster
	p.remote.mu.Unlock()
	r, _ := p.options.Controller.SiteRecord()
	if r.Peer != nil {
		p.met.Store(true) // also where storing it seemed to fail
	}
	next := r.SiteFacts
	if facts != nil {
		next.Peer = facts
	}
	if next.Cluster == "" {
		next.Cluster = cluster
	}
	if next.Cluster == "" && p.driver.View().Role == site.Active {
		next.Cluster = p.options.Identity.ClusterID // made active before it met anybody: the cluster is what it has
	}
	if reflect.DeepEqual(next, r.SiteFacts) {
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, recordTimeout)
	defer cancel()
	if err := p.options.Controller.StoreSite(ctx, nil, &next); err != nil {
		f.warn("what the other site says of itself is not stored", err)
		return
	}
	if next.Peer == nil {
		return
	}
	p.met.Store(true)
	_ = p.driver.Order(site.Met{Index: next.Peer.Index})
}

// follow asks for what is missing of the active's metadata, and tells the Site of the partitions that a switchover has to drain.
func (f *follower) follow() {
	p := f.pair
	view := p.driver.View()
	if view.Role != site.Standby {
		f.whole, f.target = false, 0
		f.refuse(nil)
		return
	}
	f.apply()
	h := p.remote.active(view.Epoch)
	have, ok := p.options.Controller.FollowedVersion()
	if ok {
		p.driver.Followed(have)
	}
	current := h != nil && ok && have == h.Version
	if target := p.fenced(h, current); target != f.target {
		f.target = target
		_ = p.driver.Order(site.Partitions{Target: target, IDs: p.switched(target != 0)})
	}
	if h == nil || current {
		return
	}
	if !f.asks.due(p.options.Now()) {
		return
	}
	question := ask{Since: &have}
	if !ok || f.whole {
		question.Since = nil
	}
	if m, err := p.codec.pack(messageAsk, question); err == nil {
		p.broadcast(m)
	}
}

// fenced is the target of the switchover whose partitions are all known here; 0 = there is none. Once an active says that it hands over its
// metadata stands still. A topic that is left out, because another one has its name here, cannot be handed over, nor can a partition that is being copied
// anew: the switchover waits.
func (p *Pair) fenced(h *head, current bool) (target uint32) {
	if !current || len(p.options.Controller.Conflicts()) > 0 || recopying(p.options.Controller.Image()) {
		return 0
	}
	return h.Fencing
}

// switched are the partitions that a switchover drains: all that are shipped, as the active has them.
func (p *Pair) switched(complete bool) (ids []site.PartitionID) {
	if !complete {
		return nil
	}
	for _, t := range p.options.Controller.Image().Topics() {
		if !p.options.Config.Ships(t.Name) {
			continue
		}
		for i := range t.Partitions {
			ids = append(ids, site.PartitionID{Topic: t.ID, Partition: int32(i)})
		}
	}
	return ids
}

// apply makes metadata that came this site's.
func (f *follower) apply() {
	f.mu.Lock()
	frame := f.mu.frame
	if f.mu.anew {
		f.asks.answered()
	}
	f.mu.frame, f.mu.anew = nil, false
	f.mu.Unlock()
	if frame == nil {
		return
	}
	ctx, cancel := context.WithTimeout(f.pair.ctx, recordTimeout)
	defer cancel()
	done, err := f.pair.options.Controller.ApplyLogical(ctx, frame)
	f.asks.answered()
	switch {
	case err == nil:
		f.refuse(nil)
		f.whole = false
		f.warned = ""
		f.pair.setAside()
		for _, c := range done.Conflicts {
			f.pair.logger.Warn("topic is not shipped: there is another one of its name", "topic", c.Topic, "ours", c.Ours, "theirs", c.Theirs)
		}
	case errors.Is(err, controller.ErrNeedWhole):
		f.whole = true
	case errors.Is(err, controller.ErrOldMetadata), errors.Is(err, controller.ErrMetadataMoved), errors.Is(err, controller.ErrNotFollowing):
	default:
		f.asks.due(f.pair.options.Now()) // a while later
		f.refuse(err)
		f.warn("metadata of the active is not applied", err)
	}
}

func (f *follower) refuse(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.refused = err
}

// refused is why the active's metadata is not this site's; nil = it is, or may become it.
func (f *follower) refused() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.refused
}

// warn logs an error once.
func (f *follower) warn(what string, err error) {
	if err.Error() != f.warned && f.pair.ctx.Err() == nil {
		f.warned = err.Error()
		f.pair.logger.Warn(what, "error", err)
	}
}
