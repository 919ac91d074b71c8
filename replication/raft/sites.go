package raft

import (
	"fmt"
	"sync"

	"github.com/tandembroker/tandem/storage"
	"github.com/tandembroker/tandem/storage/entry"
)

// SitesView is what the link of a partition may know of its log (site.LogView).
type SitesView struct {
	Term    uint64      // of this broker's leadership; 0 = it does not lead, or not yet (Leads)
	Tip     entry.State // behind the last stored entry
	Durable entry.State // behind the last committed entry that is on disk on a quorum
	Lineage entry.Lineage
}

// track follows what is committed, at format level 2: serving goes by what is applied, links by what is durable.
//
// A committed entry of class synced is on the disks of the quorum that committed it, and so is all before it. One of class cached was
// acknowledged from page caches: it is durable once one of class synced is committed behind it. Where this broker is the only voter,
// its own disk is the quorum, and storage.Group.Synced tells.
type track struct {
	sg *storage.Group

	mu struct { // leaf lock, under Group.mu too; but for storage's own
		sync.Mutex
		applied      uint64 // index of the last command that was applied; 0 = none above the snapshot
		state        entry.State
		durable      uint64 // index
		durableState entry.State
		lineage      entry.Lineage // as of durable
		header       entry.Header  // reused
	}
}

func newTrack(sg *storage.Group) *track {
	t := &track{sg: sg}
	t.mu.durable, t.mu.durableState, t.mu.lineage = sg.Base()
	t.mu.applied, t.mu.state = t.mu.durable, t.mu.durableState
	return t
}

// apply moves t past the applied command h. sole = this broker is the only voter.
func (t *track) apply(index uint64, h *entry.Header, sole bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	caughtUp := t.mu.durable >= t.mu.applied
	if err := t.mu.state.Advance(h); err != nil {
		return err
	}
	t.mu.applied = index
	if h.Class != entry.Synced {
		return t.catchUpLocked(sole)
	}
	if !caughtUp {
		return t.moveLocked(index)
	}
	t.mu.durable, t.mu.durableState = index, t.mu.state
	return t.mu.lineage.Advance(h)
}

// catchUpLocked moves what is durable as far as the disk of the only voter is.
func (t *track) catchUpLocked(sole bool) error {
	if !sole || t.mu.durable >= t.mu.applied {
		return nil
	}
	return t.moveLocked(min(t.sg.Synced(), t.mu.applied))
}

// moveLocked makes everything up to index durable, by the headers that storage has. Those below a snapshot are gone, and it tells where
// they led to.
func (t *track) moveLocked(index uint64) error {
	for t.mu.durable < index {
		i := t.mu.durable + 1
		e, ok := t.sg.Entry(i)
		if !ok {
			base, state, lineage := t.sg.Base()
			if base < i {
				return fmt.Errorf("%w: no entry at index %d, the snapshot is at %d", storage.ErrCorrupt, i, base)
			}
			t.mu.durable, t.mu.durableState, t.mu.lineage = base, state, lineage
			continue
		}
		if e.Type == storage.TypeCommand {
			h := &t.mu.header
			if err := h.Decode(e.Data); err != nil {
				return err
			}
			if err := t.mu.durableState.Advance(h); err != nil {
				return err
			}
			if err := t.mu.lineage.Advance(h); err != nil {
				return err
			}
		}
		t.mu.durable = i
	}
	return nil
}

// appliedState is the admission state behind the last applied command.
func (t *track) appliedState() entry.State {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.state
}

// State is the admission state behind the last command that was applied here, on any replica; ok is false at format level 1.
func (g *Group) State() (s entry.State, ok bool) {
	if g.track == nil {
		return entry.State{}, false
	}
	return g.track.appliedState(), true
}

// Sites is the view of a link; at format level 1 there is none.
func (g *Group) Sites() SitesView {
	if g.track == nil {
		return SitesView{}
	}
	t := g.track
	t.mu.Lock()
	err := t.catchUpLocked(g.sole.Load())
	v := SitesView{Durable: t.mu.durableState, Lineage: t.mu.lineage.Clone()}
	t.mu.Unlock()
	if err != nil {
		g.fail(fmt.Errorf("raft: %s: %w", g.sg, err))
	}
	if l := g.sg.Log(); l != nil {
		v.Lineage.LogStart = l.LogStart()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	v.Tip = g.mu.state // not older than Durable
	v.Term, _ = g.leadsLocked()
	return v
}

// MakeDurable syncs what is committed and of class cached, which nobody waits for. A link that has shipped all that is durable calls it
// now and then; it costs nothing where all is durable. Errors: the Raft group has failed.
func (g *Group) MakeDurable() error {
	if g.track == nil || !g.sole.Load() {
		return nil
	}
	t := g.track
	t.mu.Lock()
	due := t.mu.durable < t.mu.applied
	t.mu.Unlock()
	if !due {
		return nil
	}
	if err := g.sg.Sync(); err != nil {
		g.fail(err)
		return fmt.Errorf("%w: %w", ErrOffline, err)
	}
	t.mu.Lock()
	before := t.mu.durable
	err := t.catchUpLocked(true)
	moved := t.mu.durable > before
	t.mu.Unlock()
	if err != nil {
		g.fail(fmt.Errorf("raft: %s: %w", g.sg, err))
		return fmt.Errorf("%w: %w", ErrOffline, err)
	}
	if moved {
		g.changed()
	}
	return nil
}

// OnChange has fn called whenever what Sites tells may have changed, by whoever changed it: it must not block, and must not call the
// Group. nil ends that. At format level 1 it is never called.
func (g *Group) OnChange(fn func()) {
	if fn == nil {
		g.onChange.Store(nil)
		return
	}
	g.onChange.Store(&fn)
}

func (g *Group) changed() {
	if fn := g.onChange.Load(); fn != nil {
		(*fn)()
	}
}

// Leads says whether this broker leads the Raft group, in which term, and has applied all that was committed before, whatever the role
// of the log is: Serving asks for more.
func (g *Group) Leads() (term uint64, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.leadsLocked()
}

func (g *Group) leadsLocked() (term uint64, ok bool) {
	if g.mu.term == 0 || g.mu.led != g.mu.term {
		return 0, false
	}
	return g.mu.term, true
}

// takesProduces says whether a log in state s takes what its own site's clients produce.
func takesProduces(s *entry.State) bool { return s.Role != entry.Following && s.HasEpochBase }

// review makes serving what the log says, at format level 2: a follow or a promote ends it as soon as it is stored, an epoch base gives
// it back once it is applied.
func (g *Group) review() {
	g.mu.Lock()
	defer g.mu.Unlock()
	applied := g.track.appliedState() // not before: an older one must not have the last word
	close(g.mu.reviewed)
	g.mu.reviewed = make(chan struct{})
	var now *leadership
	term, leads := g.leadsLocked()
	if tip := &g.mu.state; leads && takesProduces(tip) && takesProduces(&applied) &&
		tip.SiteEpoch == applied.SiteEpoch && tip.TermBase == applied.TermBase && tip.EpochBase == applied.EpochBase {
		if epoch, ok := tip.Epoch(term); ok {
			now = &leadership{term: term, epoch: epoch}
		} else {
			g.logger.Error("no leader epoch for this term", "term", term, "termBase", tip.TermBase, "epochBase", tip.EpochBase)
		}
	}
	was := g.serving.Load()
	if was == nil && now == nil || was != nil && now != nil && *was == *now {
		return
	}
	g.serving.Store(now)
	switch {
	case was == nil:
		close(g.mu.ready)
	case now == nil:
		g.mu.ready = make(chan struct{})
	}
	g.tellLaterLocked()
}

// tellLaterLocked tells the machine from a goroutine of its own: the machine may wait then for what it proposes.
func (g *Group) tellLaterLocked() {
	if g.mu.closed {
		return
	}
	g.tasks.Add(1)
	go func() {
		defer g.tasks.Done()
		g.tell()
	}()
}

// ofSites says whether h is for links to propose, also while the log does not serve.
func ofSites(h *entry.Header) bool {
	switch h.Kind {
	case entry.EpochBase, entry.Promote, entry.Follow, entry.Fence, entry.Unfence, entry.TruncateTo, entry.LogStart:
		return true
	}
	return h.Linked()
}

// keepsSiteEpoch says whether the site epoch that h comes with is what the log checks; for all else it is the log's own.
func keepsSiteEpoch(h *entry.Header) bool { return ofSites(h) && h.Kind != entry.LogStart }

// prepareForSites checks a proposal at format level 2 before it gets its place. Errors: ErrLevel, ErrLinked.
func (g *Group) prepareForSites(f *Future) error {
	h := f.header
	if g.track == nil {
		if h.Kind >= entry.Promote && h.Kind <= entry.TruncateTo || h.Linked() {
			return fmt.Errorf("%w: kind %d", ErrLevel, h.Kind)
		}
		return nil
	}
	if h.Kind != entry.Data {
		h.Class = entry.Synced // what decides over the log is never in a page cache alone
	}
	if h.Kind == entry.VoidTransactions {
		return fmt.Errorf("%w: kind %d", ErrLevel, h.Kind)
	}
	if h.Linked() {
		if err := h.CheckLinked(f.payload); err != nil {
			return fmt.Errorf("%w: %w", ErrLinked, err)
		}
	}
	return nil
}
