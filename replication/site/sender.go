package site

import (
	"slices"
	"time"

	"github.com/tandembroker/tandem/storage/entry"
)

// sender is the active's half of a link.
type sender struct {
	planned *Drain // the fence of the switchover that led to this epoch; nil = not known here
	shared  int64  // acknowledged under the epoch before, when that was written here too

	known    bool     // the standby has said, under this epoch, where its log ends
	boot     Boot     // of the run of the standby that has said it
	log      uint32   // incarnation of its log
	acked    Position // durable at the standby
	logStart int64    // of the standby's log, as it has said; it may lie behind acked
	told     time.Duration
	toldOf   int64    // newest log start that was sent, at told
	sent     Position // shipped up to here, acknowledged or not
	flying   []int64  // ends of the Appends that were sent and are not acknowledged, in order
	shipping bool     // a Ship is being carried out
	refused  bool     // meanwhile the standby has told of a gap
	progress time.Duration
	probed   time.Duration // when the standby was asked last where its log ends
	open     int           // questions of before it had said that: their answers know of nothing that was sent since
	asked    int           // times, since the last progress
	lossy    bool          // what was sent had to be sent again, and there was no progress since

	unheard     repeats // of the standby, which is asked where its log ends
	unheardPeer Boot
}

// lead does what is due at the active site: first the log goes over to the epoch, then fences, then shipping.
func (l *Link) lead(now time.Duration, v View, log *LogView, tick bool) []Effect {
	tip := &log.Tip
	if !v.Serving || tip.SiteEpoch > v.Epoch {
		return nil // the view is old, or nobody has confirmed it
	}
	var effects []Effect
	switch {
	case l.control || l.voided:
	case tip.SiteEpoch < v.Epoch || tip.Role == entry.Following:
		effects = l.promote(v, log)
	case !tip.HasEpochBase:
		effects = l.propose(entry.EpochBase, v.Epoch, entry.EpochBaseBody(log.Term, log.epochBase(v.Epoch)))
	case tip.FenceTarget != entry.NoFence && tip.FenceTarget != v.Fencing && tip.FenceTarget <= v.LastTarget:
		// The site knew of the target and it is in force no more: the standby has refused it. A view that is older than the target
		// must not take this away.
		effects = l.propose(entry.Unfence, v.Epoch, entry.UnfenceBody(tip.FenceTarget))
	case v.Fencing > v.Epoch && tip.FenceTarget == entry.NoFence:
		effects = l.propose(entry.Fence, v.Epoch, entry.Fencing{Target: v.Fencing, Next: entry.UnknownOffset}.Append(nil))
	}
	if l.writes(v, &log.Durable) {
		effects = append(effects, l.ship(now, v, log, tick)...)
		effects = append(effects, l.tellLogStart(now, log)...)
	}
	return effects
}

// tellLogStart says where the log starts, once the standby has that offset, until it says that its own does.
func (l *Link) tellLogStart(now time.Duration, log *LogView) []Effect {
	o := &l.out
	start := min(log.Lineage.LogStart, o.acked.Next)
	if !o.known || l.halted != Running || start <= o.logStart || start == o.toldOf && now-o.told < l.options.Resend {
		return nil
	}
	o.told, o.toldOf = now, start
	return []Effect{Send{LogStart{Partition: l.id, Epoch: l.epoch, Offset: start}}}
}

// promote proposes the promote entry, which carries the base and what is surely shared with the other site.
func (l *Link) promote(v View, log *LogView) []Effect {
	base := entry.BandStart(v.Epoch)
	switch {
	case log.fresh(v.Epoch):
		base = log.Tip.NextOffset // no site can have records of it
	case v.Planned && l.out.planned != nil:
		// Without a gap. A leader that does not know the fence's offset begins in the new band, which is always right.
		base = l.out.planned.Next
	}
	d := &log.Durable
	shared := min(max(log.Lineage.LastShared(), l.out.shared), d.NextOffset)
	if d.Role == entry.Following && d.Shared != entry.UnknownOffset {
		shared = d.NextOffset // all of it came from there
	}
	return l.propose(entry.Promote, v.Epoch, entry.Promotion{SiteEpoch: v.Epoch, Planned: v.Planned, Base: base, Shared: shared}.Append(nil))
}

// ship sends what the standby lacks, and says when it lacks nothing in front of a fence.
func (l *Link) ship(now time.Duration, v View, log *LogView, tick bool) []Effect {
	o := &l.out
	switch {
	case !l.heard():
		if tick && o.mayAsk(now, l.peer, l.options.Resend) {
			o.probed = now
			o.open++
			return []Effect{Send{Probe{Partition: l.id, Epoch: v.Epoch}}}
		}
		return nil
	case o.acked.Next < log.Lineage.LogStart && o.acked.Epoch >= 0 && log.Lineage.LogStart > log.Purged:
		return l.refuse(HaltGap, o.log, o.boot) // an empty standby lacks nothing that is gone: its log begins where this one does
	case o.hasAll(&log.Durable):
		if f := log.Durable.FenceTarget; tick && f != entry.NoFence && f == v.Fencing && !v.Abandoned && v.PeerBoot != 0 {
			end, next := end(&log.Durable), log.Durable.NextWrite()
			if o.acked.Epoch < 0 || end.Epoch < 0 { // where no record is left below the end, a log may know of no leader epoch
				end, next = o.acked, max(next, o.acked.Next)
			}
			return []Effect{Send{Drain{Partition: l.id, Epoch: v.Epoch, Target: f, End: end, Next: next, Boot: v.PeerBoot}}}
		}
		return nil
	}
	if tick && o.sent != o.acked && now-o.progress >= l.patience(v) {
		o.progress = now
		if o.asked++; o.asked < askedMax { // what was sent may wait for the standby's disk: it knows
			o.probed, o.open = now, 0
			return []Effect{Send{Probe{Partition: l.id, Epoch: v.Epoch}}}
		}
		o.resend()
	}
	window := l.options.Window
	if o.lossy {
		window = 1 // what the standby never takes, a damaged batch, is not to go over as fast as it is refused, with all that follows it
	}
	if o.shipping || len(o.flying) >= window || o.sent.Next >= log.Durable.NextOffset {
		return nil
	}
	o.shipping = true
	return []Effect{Ship{Epoch: v.Epoch, From: o.sent}}
}

// hasAll says that the standby lacks nothing: its log ends where this one does, or neither holds a record. Empty logs may end at different offsets:
// where both sites have added the partition, each in a site epoch of its own, or one has been emptied by a cut.
func (o *sender) hasAll(durable *entry.State) bool {
	return o.acked.Next == durable.NextOffset || o.acked.Epoch < 0 && durable.LastEpoch < 0
}

// mayAsk says that a standby that has not said where its log ends is to be asked now: one that does not have the partition yet says it by itself
// once it has.
func (o *sender) mayAsk(now time.Duration, peer Boot, resend time.Duration) bool {
	if o.unheardPeer != peer {
		o.unheard, o.unheardPeer = repeats{}, peer
	}
	return o.unheard.due(now, resend/4, 16*resend)
}

// waitTrips is how many round trips what was sent may take before the standby is asked: a question overtakes it, and the answer would be that
// nothing is on its way.
const waitTrips = 4

// patience is how long there may be no progress.
func (l *Link) patience(v View) time.Duration { return max(l.options.Resend, waitTrips*v.RTT) }

// askedMax is how often a standby is asked that makes no progress, before all is shipped again whatever it says: one of an earlier release does not
// say what it lacks.
const askedMax = 8

// rewind has all that is not acknowledged shipped again.
func (o *sender) rewind() { o.sent, o.flying, o.asked, o.refused = o.acked, o.flying[:0], 0, false }

// resend is rewind for what the standby has not taken.
func (o *sender) resend() {
	o.rewind()
	o.lossy = true
}

func (l *Link) shipped(now time.Duration, in Shipped) {
	o := &l.out
	if in.Epoch != l.epoch || !o.shipping {
		return
	}
	o.shipping = false
	switch {
	case o.refused:
		o.resend()
		o.progress = now
	case in.End.Next > o.sent.Next:
		o.sent, o.progress = in.End, now // what waited for a slow network has not waited for the standby
		o.flying = append(o.flying, in.End.Next)
	}
}

// heard says that the run of the standby that is known of has said where its log ends.
func (l *Link) heard() bool { return l.out.known && (l.peer == 0 || l.peer == l.out.boot) }

// acked takes note of the standby's durable end. What it has must be a prefix of what is here.
func (l *Link) acked(now time.Duration, v View, log *LogView, m Ack) []Effect {
	if !l.writes(v, &log.Durable) || m.Epoch != v.Epoch {
		return nil
	}
	o := &l.out
	another := o.known && m.Boot != o.boot
	if another && v.PeerBoot == 0 || v.PeerBoot != 0 && m.Boot != v.PeerBoot {
		return nil // of a run that is over, or not known of yet
	}
	if o.known && !another && m.Log < o.log {
		return nil // of a log that is no more
	}
	another = another || m.Log != o.log
	if m.End.Epoch < 0 && log.Lineage.RecordsBelow(m.End.Next) {
		return l.refuse(HaltDivergent, m.Log, m.Boot) // an empty log which begins behind records that are here would never get them
	}
	if !log.Lineage.Holds(m.End.Next, m.End.Epoch) || (!o.known || another) && !log.sameAt(m.End) {
		return l.refuse(HaltDivergent, m.Log, m.Boot)
	}
	if !o.known || another { // it may have come back with less than it had, or with nothing, where its disk was replaced
		*o = sender{planned: o.planned, shared: o.shared, known: true, boot: m.Boot, log: m.Log, acked: m.End, sent: m.End, logStart: m.LogStart, progress: now,
			probed: o.probed, open: o.open}
		if m.Rejected && o.open > 0 {
			o.open--
		}
		return nil
	}
	o.logStart = max(o.logStart, m.LogStart)
	if m.End.Next > o.acked.Next {
		o.acked, o.progress, o.asked, o.lossy = m.End, now, 0, false
		o.flying = slices.DeleteFunc(o.flying, func(end int64) bool { return end <= m.End.Next }) // one Ack may answer several
		if o.sent.Next <= o.acked.Next {
			o.rewind()
		}
	}
	switch {
	case !m.Rejected:
	case o.open > 0 && now-o.probed <= max(l.options.Resend/4, 2*v.RTT):
		o.open-- // all would be shipped again that is on its way
	case !o.shipping:
		o.resend()
	case now-o.probed > l.patience(v):
		// A gap, which is told once: who catches up is always shipping, and would go on behind it for a whole window. What answers a question
		// may only mean that it has overtaken what is on its way.
		o.refused = true
	}
	return nil
}

// Lag is how many offsets the standby is behind, gaps included. known is false where the standby has not said it under this epoch: then
// nothing may be concluded.
func (l *Link) Lag(log LogView) (offsets int64, known bool) {
	switch {
	case l.role != Active || !l.heard():
		return 0, false
	case l.out.hasAll(&log.Durable):
		return 0, true
	}
	return log.Durable.NextOffset - l.out.acked.Next, true
}

// Acked is how far the standby's log is durable, as it has said; it means something where Lag is known.
func (l *Link) Acked() int64 { return l.out.acked.Next }
