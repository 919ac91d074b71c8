package raft

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	hraft "github.com/hashicorp/raft"

	"github.com/tandembroker/tandem/storage"
	"github.com/tandembroker/tandem/storage/entry"
)

// Machine is the state behind a Raft group.
type Machine interface {
	// Apply takes a committed command, voids included, in the order of the log and from one goroutine. h is borrowed until
	// return; its rows are stamped. What it returns is the proposal's result. Of a truncate-to the segments are cut already, and an error
	// ends the Raft group. Behind a restart commands may come again whose records a later truncate-to has taken. It must not wait for a lock that is held around
	// Propose.
	Apply(index uint64, h *entry.Header) any
	// Snapshot returns the state behind the last Apply; it is not called at the same time as Apply.
	Snapshot() ([]byte, error)
	// Restore replaces the state by what Snapshot returned; called by Host.Open, before any Apply.
	Restore(state []byte) error
	// Leading is called when this broker leads and its machine has applied all that was committed before. epoch is the
	// leader epoch. Following is called when that ends. They alternate; they may propose, and wait with WaitReady's rules.
	Leading(term uint64, epoch int32)
	Following()
}

// LateSnapshotter is a Machine that captures its state quickly and does the slow part later, beside Apply.
type LateSnapshotter interface {
	// SnapshotLater captures the state; encode may do I/O and is called once, or not at all.
	SnapshotLater() (encode func() ([]byte, error), err error)
}

// leadership is what this broker serves as; immutable.
type leadership struct {
	term  uint64
	epoch int32
}

// Group is one Raft group of this broker. Safe for concurrent use, except that Propose is called under the caller's append
// lock: its order is the order of the log.
type Group struct {
	host    *Host
	id      storage.GroupID
	sg      *storage.Group
	machine Machine
	floor   int32
	logger  *slog.Logger

	raft    atomic.Pointer[hraft.Raft]
	trans   *endpoint
	snaps   *snapshotStore
	serving atomic.Pointer[leadership] // nil = not the leader, its barrier is not applied yet, or the log is not this site's to write

	track    *track                 // nil at format level 1
	sole     atomic.Bool            // this broker is the only voter, as of its last election
	onChange atomic.Pointer[func()] // nil = nobody asks

	role struct { // held while the machine is told; orders Leading and Following
		sync.Mutex
		told *leadership
	}
	tasks     sync.WaitGroup // the goroutines of lead; Add under mu, while not closed
	closeOnce sync.Once
	stopped   chan struct{} // closed when nothing of the Raft group runs any more

	mu struct {
		sync.Mutex
		term     uint64 // of this leadership; 0 = not the leader
		led      uint64 // the newest term whose barrier was applied here
		next     uint64 // append sequence of the next proposal
		broken   bool   // an append sequence was lost; see resync
		inFlight int    // proposals whose ProposalDone has not returned
		queued   queue  // with hashicorp/raft, not stored yet
		stored   queue  // stored, not applied yet
		state    entry.State
		barrier  *Future       // the newest truncate-to: nothing is proposed behind it until it is done
		ready    chan struct{} // closed when serving; made anew when that ends
		reviewed chan struct{} // closed by review, and made anew
		failed   error         // why the Raft group stopped by itself
		closed   bool
	}
}

// ID is the Raft group id.
func (g *Group) ID() storage.GroupID { return g.id }

// Storage is the stored side of the Raft group.
func (g *Group) Storage() *storage.Group { return g.sg }

// Offline is nil, or why the Raft group stopped by itself (wraps ErrOffline).
func (g *Group) Offline() error {
	g.mu.Lock()
	err := g.mu.failed
	g.mu.Unlock()
	if err == nil {
		err = g.sg.Offline()
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrOffline, err)
}

// Ready says whether this broker leads and its machine has applied everything committed before.
func (g *Group) Ready() bool { return g.serving.Load() != nil }

// Serving is the term and leader epoch under which this broker serves; ok is false where it does not.
func (g *Group) Serving() (term uint64, epoch int32, ok bool) {
	s := g.serving.Load()
	if s == nil {
		return 0, -1, false
	}
	return s.term, s.epoch, true
}

// Leader is the node id and leader epoch of the leader; -1 for what is unknown.
func (g *Group) Leader() (nodeID, epoch int32) {
	if s := g.serving.Load(); s != nil {
		return g.host.nodeID, s.epoch
	}
	r := g.raft.Load()
	if r == nil {
		return -1, -1
	}
	_, id := r.LeaderWithID()
	node, ok := parseServerID(string(id))
	if !ok || string(id) == g.host.serverID { // elected, but behind its barrier
		return -1, -1
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	epoch, ok = g.mu.state.Epoch(r.CurrentTerm())
	if !ok {
		return node, -1
	}
	return node, epoch
}

// WaitReady waits until this broker serves as the leader. Errors: ctx's, ErrClosed, ErrOffline, ErrNotLeader where it leads a log that
// is not for its site's clients to write, or not yet.
func (g *Group) WaitReady(ctx context.Context) error {
	for {
		g.mu.Lock()
		ready, reviewed, closed := g.mu.ready, g.mu.reviewed, g.mu.closed
		_, leads := g.leadsLocked()
		held := g.track != nil && leads && !takesProduces(&g.mu.state)
		g.mu.Unlock()
		if g.Ready() {
			return nil
		}
		if err := g.Offline(); err != nil {
			return err
		}
		if closed {
			return ErrClosed
		}
		if held {
			return fmt.Errorf("%w: the log follows another site", ErrNotLeader)
		}
		select {
		case <-ready:
		case <-reviewed:
		case <-g.stopped:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Draining says whether proposals are refused until those in flight are gone (see Propose). A caller that checks proposals
// against others in flight asks before it checks.
func (g *Group) Draining() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mu.broken && g.mu.inFlight > 0
}

// Propose hands in the command h with its payload; see ProposeFor.
func (g *Group) Propose(h *entry.Header, payload []byte, release func()) *Future {
	return g.ProposeFor(h, payload, release, nil)
}

// ProposeFor hands in the command h with its payload, nil or record batches, and returns at once, unless many proposals wait:
// then it waits for the disk. Several may be in flight. h is the Group's until the Future is done; site epoch and append sequence
// are filled in here, the rest of the stamping happens when it is stored. Commands of links (promote, follow, fence, un-fence,
// truncate-to, epoch base, and data that comes with its offsets) keep the site epoch that they are proposed with, and need Leads, not
// Serving. Behind a truncate-to nothing is taken until it is applied (ErrVoid). A validated term in h is the one in which the caller
// checked the command against the state: proposed in another it is ErrNotLeader, since what it was checked against may be lost;
// 0 = it was not checked. payload is the Group's, and will be changed (stamped), until release is called, exactly once, before
// the Future is done. release and o may be nil.
//
// A proposal that fails without being stored leaves a gap in the append sequence, so that all that follow it become voids:
// none overtakes another. Then no proposal is taken (ErrVoid) until those in flight are gone, and the sequence goes on behind
// the last stored one.
func (g *Group) ProposeFor(h *entry.Header, payload []byte, release func(), o Observer) *Future {
	f := &Future{header: h, payload: payload, release: release, observer: o, done: make(chan struct{})}
	err := g.prepareForSites(f)
	if err == nil {
		err = g.enqueue(f, true)
	}
	if err != nil {
		f.complete(nil, err)
		return f
	}
	g.send(f)
	return f
}

// enqueue gives f its place in the order, or says why not. Proposals of a caller need a serving leader.
func (g *Group) enqueue(f *Future, fromCaller bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.mu.failed != nil:
		return fmt.Errorf("%w: %w", ErrOffline, g.mu.failed)
	case g.mu.closed:
		return ErrClosed
	case g.mu.term == 0 || fromCaller && g.serving.Load() == nil && !(g.track != nil && g.mu.led == g.mu.term && ofSites(f.header)):
		return ErrNotLeader
	case f.header.ValidatedTerm != 0 && f.header.ValidatedTerm != g.mu.term:
		return ErrNotLeader
	case g.mu.broken && g.mu.inFlight > 0:
		return overtaken("an earlier one was lost")
	case g.mu.barrier != nil && !g.passedLocked():
		return overtaken("a truncation is under way")
	}
	if g.mu.broken {
		g.resyncLocked()
	}
	h := f.header
	if g.track == nil || !keepsSiteEpoch(h) {
		h.SiteEpoch = g.mu.state.SiteEpoch
	}
	if h.Kind == entry.TruncateTo {
		g.mu.barrier = f
	}
	h.ValidatedTerm, h.AppendSequence = g.mu.term, g.mu.next
	g.mu.next++
	f.data = h.Append(make([]byte, 0, h.Size()))
	g.mu.queued.push(f)
	g.mu.inFlight++
	return nil
}

// passedLocked says whether the barrier is behind us, and forgets it then.
func (g *Group) passedLocked() bool {
	select {
	case <-g.mu.barrier.done:
		g.mu.barrier = nil
		return true
	default:
		return false
	}
}

// resyncLocked continues the append sequence behind the last stored command. Nothing is in flight, so the store's state is
// final.
func (g *Group) resyncLocked() {
	g.mu.broken = false
	g.mu.next = 1
	if g.mu.state.LastTerm == g.mu.term {
		g.mu.next = g.mu.state.AppendSequence + 1
	}
}

// proposal marks the commands that come from this Group, as against those that a leader sent.
var proposal = []byte("p")

// send passes f to hashicorp/raft. Its own future is not looked at: success is seen by the machine (fsm.ApplyBatch), and every
// way to fail by StoreLogs, by the end of the leadership, or by the end of the Raft group. It could not be waited for either,
// since a Raft group that shuts down forgets what is buffered.
func (g *Group) send(f *Future) {
	g.raft.Load().ApplyLog(hraft.Log{Data: f.data, Extensions: proposal}, 0)
}

// complete ends proposals that were taken out of the queues.
func (g *Group) complete(list []*Future, err error) {
	for _, f := range list {
		f.complete(nil, err)
	}
	g.mu.Lock()
	g.mu.inFlight -= len(list)
	g.mu.Unlock()
}

// takeLocked empties both queues.
func (g *Group) takeLocked() []*Future {
	var list []*Future
	for _, q := range []*queue{&g.mu.stored, &g.mu.queued} {
		for q.len() > 0 {
			list = append(list, q.pop())
		}
	}
	return list
}

// Elect makes this replica stand for election at once, where its timers would take seconds. Votes are still checked; a leader
// steps down first. It returns before the outcome; see WaitReady.
func (g *Group) Elect() { g.trans.electNow() }

// observe is called by hashicorp/raft whenever its state changes: by the main loop, or by whoever called Shutdown.
func (g *Group) observe(o *hraft.Observation) bool {
	state, ok := o.Data.(hraft.RaftState)
	if !ok {
		return false
	}
	switch state {
	case hraft.Leader:
		g.elected(o.Raft.CurrentTerm())
	case hraft.Shutdown: // what is in flight is completed when the main loop has ended: it may be storing it now
		g.endTerm(false)
	default:
		g.complete(g.endTerm(true), ErrNotLeader)
	}
	g.changed()
	return false // nothing is sent to a channel
}

// elected begins a leadership; main loop.
func (g *Group) elected(term uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.term, g.mu.next, g.mu.broken, g.mu.barrier = term, 1, false, nil // what was in flight is applied before this term proposes
	if g.mu.closed {
		return
	}
	g.tasks.Add(1)
	go g.lead(term) // ends with the leadership; awaited in stop
}

// endTerm stops proposals and, on the main loop, takes what is in flight: what was stored may still commit, what was not
// stored will be refused, or voided should it reach a log of a later term.
func (g *Group) endTerm(take bool) []*Future {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.term == 0 {
		return nil
	}
	g.mu.term = 0
	var list []*Future
	if take {
		list = g.takeLocked()
	}
	if g.serving.Swap(nil) != nil {
		g.mu.ready = make(chan struct{})
		g.tellLaterLocked()
	}
	return list
}

// lead makes the elected leader serve: the epoch base where the log has none, a barrier, then the machine is told.
func (g *Group) lead(term uint64) {
	defer g.tasks.Done()
	base, err := g.proposeBase(term)
	if err == nil {
		err = g.barrier() // behind the epoch base, so that both share one store
	}
	if err == nil && base != nil {
		<-base.done
		err = base.err
	}
	if err != nil {
		g.logger.Debug("leadership ended before it began", "term", term, "err", err)
		return
	}
	g.mu.Lock()
	if g.mu.term == term {
		g.mu.led = term
	}
	if g.track != nil {
		g.mu.Unlock()
		g.sole.Store(alone(g.raft.Load().GetConfiguration().Configuration().Servers, g.host.serverID))
		g.review()
		g.changed()
		return
	}
	epoch, ok := g.mu.state.Epoch(term)
	if g.mu.term == term && ok {
		g.serving.Store(&leadership{term: term, epoch: epoch})
		close(g.mu.ready)
	}
	state := g.mu.state
	g.mu.Unlock()
	if !ok {
		g.logger.Error("no leader epoch for this term", "term", term, "termBase", state.TermBase, "epochBase", state.EpochBase)
		return
	}
	g.tell()
}

// barrier returns when the machine has applied everything before it.
func (g *Group) barrier() error {
	f := g.raft.Load().Barrier(0)
	answer := make(chan error, 1)
	// Raft answers while its main loop runs, which stop waits for; only a Raft group that failed at this moment leaves the
	// goroutine behind.
	go func() { answer <- f.Error() }()
	select {
	case err := <-answer:
		return err
	case <-g.stopped:
		return ErrClosed
	}
}

// proposeBase proposes what leader epochs are counted from: the first command of the log, and behind a promote of an earlier
// leadership that came no further. Behind one of this term the link does it.
func (g *Group) proposeBase(term uint64) (*Future, error) {
	g.mu.Lock()
	needed := !g.mu.state.HasEpochBase && g.mu.term == term
	state := g.mu.state
	g.mu.Unlock()
	if !needed {
		return nil, nil
	}
	floor := uint32(g.floor)
	if g.track != nil {
		switch {
		case state.Role == entry.Following, state.Role == entry.Single && g.id != entry.MetadataGroup && g.host.options.HoldEpochBase(g.id):
			return nil, nil
		case state.Role == entry.Promoted:
			floor = 0 // above all before, by its site epoch
		}
	}
	h := &entry.Header{Kind: entry.EpochBase, SiteEpoch: state.SiteEpoch, Body: entry.EpochBaseBody(term, floor)}
	f := &Future{header: h, done: make(chan struct{})}
	if err := g.enqueue(f, false); err != nil {
		return nil, err
	}
	g.send(f)
	return f, nil
}

// tell makes the machine's role what serving says.
func (g *Group) tell() {
	g.role.Lock()
	defer g.role.Unlock()
	now := g.serving.Load()
	if now == g.role.told {
		return
	}
	if g.role.told != nil {
		g.machine.Following()
	}
	g.role.told = now
	if now != nil {
		g.machine.Leading(now.term, now.epoch)
	}
}

// fail ends the Raft group after a failure of storage (R3, R4): nothing is tried again in this process. With a single log dir
// storage has called its OnFatal already.
func (g *Group) fail(err error) {
	g.mu.Lock()
	first := g.mu.failed == nil
	if first {
		g.mu.failed = err
	}
	g.mu.Unlock()
	if first {
		g.logger.Error("Raft group stopped", "err", err)
		g.shutdown()
	}
}

// shutdown ends hashicorp/raft; it does not wait. Its future is used once: only the first one waits for the goroutines, and
// the endpoint has no Close that it could call (R12).
func (g *Group) shutdown() {
	r := g.raft.Load()
	if r == nil {
		return
	}
	g.closeOnce.Do(func() {
		f := r.Shutdown()
		go func() { // awaited through stopped
			_ = f.Error()
			g.mu.Lock()
			g.mu.term = 0
			g.serving.Store(nil)
			list, err := g.takeLocked(), g.mu.failed
			g.mu.Unlock()
			if err == nil {
				err = ErrClosed
			} else {
				err = fmt.Errorf("%w: %w", ErrOffline, err)
			}
			g.complete(list, err)
			g.tell()
			g.trans.close()
			close(g.stopped)
		}()
	})
}

// stopPatience is how long stop waits for an election under way; longer only without a quorum.
const stopPatience = 2 * time.Second

// stop ends the Raft group and waits for everything that belongs to it.
func (g *Group) stop() {
	g.mu.Lock()
	g.mu.closed = true
	g.mu.Unlock()
	led := make(chan struct{})
	go func() { // ends with the tasks, which end with the main loop at the latest
		g.tasks.Wait()
		close(led)
	}()
	patience := time.NewTimer(stopPatience)
	defer patience.Stop()
	select {
	case <-led:
	case <-g.stopped:
	case <-patience.C:
	}
	g.shutdown()
	<-g.stopped
}
