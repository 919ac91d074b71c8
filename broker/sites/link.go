package sites

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandembroker/tandem/protocol/wire"
	"github.com/tandembroker/tandem/replication/raft"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/replication/transport"
	"github.com/tandembroker/tandem/storage/entry"
)

// runner steps the link of one partition.
type runner struct {
	d      *Driver
	now    atomic.Pointer[Replica] // of one log, always
	worker *worker
	cancel func() // of Replica.Watch

	mu struct { // leaf lock
		sync.Mutex
		inputs []input
		queued bool // with the worker
		ticked bool // a Tick is among inputs
		closed bool
	}

	// Of the worker.
	link *site.Link // nil = this broker does not lead the partition
	term uint64     // of the leadership that link belongs to
	held []input    // until the next tick
	copy firstCopy
	size portion

	took atomic.Int64 // how long the last Append was being written, ns; 0 = not known

	state     atomic.Pointer[linkState]
	fault     atomic.Pointer[fault]
	hardening atomic.Bool // MakeDurable is under way
	lag       lag
}

func newRunner(d *Driver, replica Replica, w *worker) *runner {
	r := &runner{d: d, worker: w}
	r.now.Store(&replica)
	return r
}

func (r *runner) replica() Replica { return *r.now.Load() }

// linkState is what a runner shows of its link; immutable.
type linkState struct {
	leads  bool
	quiet  bool // nothing is due: the next tick may wait
	halted site.HaltReason
	end    int64  // of the durable log
	next   int64  // resumes
	copied bool   // as in firstCopy
	log    uint32 // as in LinkStatus
	epoch  int32  // leader epoch under which the log takes produces; -1 = it takes none
}

// input is a LinkInput with what goes with it.
type input struct {
	in      site.LinkInput
	term    uint64 // of the link that it answers; 0 = any
	late    bool   // it waits for the next tick
	release func() // to be called when nobody needs its payload any more; nil = nothing
}

func (i *input) drop() {
	if i.release != nil {
		i.release()
		i.release = nil
	}
}

// put adds an input and has the worker look; it never waits.
func (r *runner) put(i input) {
	r.mu.Lock()
	if r.mu.closed {
		r.mu.Unlock()
		i.drop()
		return
	}
	if _, tick := i.in.(site.Tick); tick {
		if r.mu.ticked {
			r.mu.Unlock()
			return // time that nobody had for this link passes once
		}
		r.mu.ticked = true
	}
	r.mu.inputs = append(r.mu.inputs, i)
	r.queueLocked()
}

// wake has the worker look at the log.
func (r *runner) wake() {
	r.mu.Lock()
	r.queueLocked()
}

// queueLocked hands the runner to its worker, once, and lets go of mu.
func (r *runner) queueLocked() {
	wake := !r.mu.queued
	r.mu.queued = true
	r.mu.Unlock()
	if wake {
		r.worker.add(r)
	}
}

// close ends the link. What the worker has taken already it may still carry out.
func (r *runner) close() {
	r.cancel()
	r.mu.Lock()
	inputs := r.mu.inputs
	r.mu.inputs, r.mu.closed = nil, true
	r.mu.Unlock()
	dropAll(inputs)
}

func dropAll(inputs []input) {
	for i := range inputs {
		inputs[i].drop()
	}
}

// turn takes what has come in and steps the link; worker.
func (r *runner) turn() {
	r.mu.Lock()
	inputs := r.mu.inputs
	r.mu.inputs, r.mu.queued, r.mu.ticked = nil, false, false
	r.mu.Unlock()
	// The log is looked at after the inputs were taken, so that what they say of it is in the view.
	log, leads := r.replica().LogView()
	if !leads {
		dropAll(inputs)
		dropAll(r.held)
		if r.link != nil {
			r.d.endJob(r.replica().ID())
		}
		r.link, r.held = nil, nil
		r.lag.forget()
		r.show(linkState{quiet: true})
		return
	}
	if r.link == nil || r.term != log.Term {
		r.link, r.term, r.held = site.NewLink(r.replica().ID(), r.d.options.Link), log.Term, nil
	}
	view := r.d.linkView()
	if len(inputs) == 0 {
		inputs = []input{{in: site.LogMoved{}}}
	}
	for i := range inputs {
		r.take(view, &log, &inputs[i])
	}
	r.lag.note(r.d.now(), r.link, &log)
	offsets, known := r.link.Lag(log)
	acked := r.link.Acked()
	r.copy.note(view.Epoch, acked+offsets, acked, known) // empty logs may end at different offsets
	incarnation := log.Log
	if view.Role == site.Active {
		incarnation = r.link.PeerLog()
	}
	r.show(linkState{leads: true, log: incarnation, quiet: r.quiet(view, &log), halted: r.link.Halted(),
		end: log.Durable.NextOffset, next: resumes(&log.Tip), copied: r.copy.done, epoch: servedEpoch(view, &log)})
}

// quiet says that nothing is due before the log or the other site moves. Data of write.caching has to be written to disk first (harden).
func (r *runner) quiet(view site.View, log *site.LogView) bool {
	return len(r.held) == 0 && log.Tip.NextOffset == log.Durable.NextOffset && r.link.Quiet(view, *log)
}

// resumes is the first offset of the site epoch that a promotion began, also when more has been written since; without one the offset of the
// next record.
func resumes(tip *entry.State) int64 {
	if tip.Role == entry.Promoted {
		return tip.Base
	}
	return tip.NextWrite()
}

// servedEpoch is the leader epoch under which the log takes produces in the View; -1 = it takes none.
func servedEpoch(view site.View, log *site.LogView) int32 {
	tip := &log.Tip
	epoch, ok := tip.Epoch(log.Term)
	if !ok || !view.Serving || tip.SiteEpoch != view.Epoch || tip.Role == entry.Following || tip.FenceTarget != entry.NoFence {
		return -1
	}
	return epoch
}

func (r *runner) show(s linkState) {
	if old := r.state.Load(); old == nil || *old != s {
		r.state.Store(&s)
	}
}

// take gives the link one input.
func (r *runner) take(view site.View, log *site.LogView, i *input) {
	switch _, tick := i.in.(site.Tick); {
	case !r.d.admits(i.in):
		i.drop()
		return
	case i.term != 0 && i.term != r.term:
		i.drop()
		return
	case i.late:
		i.late = false
		r.held = append(r.held, *i)
		return
	case tick:
		r.harden(log)
		held := r.held
		r.held = nil
		for k := range held {
			r.take(view, log, &held[k])
		}
	}
	r.carry(log, r.link.Step(r.d.now(), view, *log, i.in), i)
	i.drop()
}

// harden has what is committed and not on disk, data of write.caching, written there: nothing else is shipped.
func (r *runner) harden(log *site.LogView) {
	if log.Tip.NextOffset == log.Durable.NextOffset || !r.hardening.CompareAndSwap(false, true) {
		return
	}
	r.d.background(func() {
		defer r.hardening.Store(false)
		if err := r.replica().MakeDurable(); err != nil && r.d.ctx.Err() == nil {
			r.d.logger.Warn("data of write.caching is not on disk yet, and not shipped", "topic", r.replica().Topic(),
				"partition", r.replica().ID().Partition, "error", err)
		}
	})
}

// carry carries out effects. The payload that came with i goes over to the proposal that it became.
func (r *runner) carry(log *site.LogView, effects []site.Effect, i *input) {
	term := r.term
	for _, e := range effects {
		switch e := e.(type) {
		case site.Send:
			r.d.say(e.Message)
		case site.Propose:
			release := func() {}
			if len(e.Payload) > 0 && i.release != nil {
				release, i.release = i.release, nil
			}
			kind, size := e.Header.Kind, int64(len(e.Payload))
			r.d.proposed.Add(size)
			r.replica().Propose(e.Header, e.Payload, release, func(reason entry.VoidReason, err error) {
				r.d.proposed.Add(-size)
				r.settled(term, kind, reason, err)
			})
		case site.Ship:
			r.ship(e, log)
		case site.ArchiveTail:
			r.d.job(r.replica().ID(), func(ctx context.Context) { r.archive(ctx, e, term) })
		case site.SealArchive:
			r.d.job(r.replica().ID(), func(ctx context.Context) { r.seal(ctx, e, term) })
		case site.Recopy:
			r.d.job(r.replica().ID(), func(ctx context.Context) { r.dropped(ctx, e) })
		case site.MarkDrained:
			_ = r.d.role.step(e.Mark)
		case site.Halt:
			r.d.logger.Error("link halted", "topic", r.replica().Topic(), "partition", r.replica().ID().Partition, "reason", e.Reason)
		}
	}
}

// settled tells the link what became of a proposal. Where this broker lost track of it the leadership has ended, or ends; should it go on
// after all, the link tries again at the next tick.
func (r *runner) settled(term uint64, kind entry.Kind, reason entry.VoidReason, err error) {
	if err != nil && !errors.Is(err, raft.ErrNotLeader) && !errors.Is(err, raft.ErrClosed) {
		r.d.logger.Warn("proposal of a link failed", "topic", r.replica().Topic(), "partition", r.replica().ID().Partition, "kind", kind, "error", err)
	}
	switch {
	case kind == entry.Data && errors.Is(err, raft.ErrLinked):
		r.fail("what the active has of it came damaged: %w", err)
	case kind == entry.Data && err == nil && reason == entry.Admitted:
		r.fault.Store(nil)
	}
	if err != nil && reason == entry.Admitted {
		reason = entry.VoidTerm
	}
	r.put(input{in: site.Settled{Kind: kind, Reason: reason}, term: term})
}

// ship takes what Ship asks for from the log and sends it.
func (r *runner) ship(e site.Ship, log *site.LogView) {
	if r.d.options.Held() { // what it has no room for would go over again and again
		r.put(input{in: site.Shipped{Epoch: e.Epoch, End: e.From}, term: r.term, late: true})
		return
	}
	m, end, release, err := r.shipment(e, log)
	if m == nil {
		if err != nil {
			r.d.logger.Error("link can not read what it has to ship", "topic", r.replica().Topic(), "partition", r.replica().ID().Partition,
				"offset", e.From.Next, "error", err)
			r.fail("it cannot be read: %w", err)
		}
		r.put(input{in: site.Shipped{Epoch: e.Epoch, End: e.From}, term: r.term, late: true})
		return
	}
	term, began := r.term, r.d.now()
	r.d.network.Send(m, func(sent bool) {
		release()
		if sent {
			r.took.Store(int64(r.d.now() - began))
			r.put(input{in: site.Shipped{Epoch: e.Epoch, End: end}, term: term})
		} else {
			r.put(input{in: site.Shipped{Epoch: e.Epoch, End: e.From}, term: term, late: true})
		}
	})
}

// shipment is the Append that Ship asks for, with its end; release is to be called when nothing of it is used any more. nil = there is none.
func (r *runner) shipment(e site.Ship, log *site.LogView) (m site.Message, end site.Position, release func(), err error) {
	// Where all is deleted the last batch ships all the same: the other log has to end where this one does.
	start := min(log.Lineage.LogStart, log.Durable.NextOffset-1)
	// Asked behind the look at the log: what was written under a version is not read with an older one.
	needs := r.d.options.Needs(r.replica().ID().Topic)
	var buffer *wire.Buffer
	most := r.size.next(time.Duration(r.took.Swap(0)), r.d.options.ShipBytesMax)
	rows, payload, stored, err := r.replica().TakeShipped(max(e.From.Next, start), log.Durable.NextOffset, most, func(n int) []byte {
		buffer = r.d.pool.Get(n)
		return buffer.Bytes()
	})
	release = func() {
		if buffer != nil {
			buffer.Release()
		}
		if stored != nil {
			stored.Release()
		}
	}
	if err != nil || len(rows) == 0 {
		release()
		return nil, end, nil, err
	}
	last := &rows[len(rows)-1]
	end = site.Position{Next: last.LastOffset + 1, Epoch: last.LeaderEpoch}
	r.worker.pace.shipped(int(last.Pos+last.Length), end.Next < log.Durable.NextOffset)
	head := site.Append{Partition: r.replica().ID(), Epoch: e.Epoch, Prev: e.From, Metadata: needs, Rows: rows, Payload: payload}
	if stored != nil {
		return transport.Stored{Append: head, From: shippedExtent{stored, r}}, end, release, nil
	}
	return head, end, release, nil
}
