package site

import (
	"time"

	"github.com/tandembroker/tandem/storage/entry"
)

// LogView is what a step may know of the partition's log. All of it is borrowed until Step returns.
type LogView struct {
	Term    uint64         // the Raft term in which this broker leads the partition
	Tip     entry.State    // behind the last stored entry
	Durable entry.State    // behind the last entry that a quorum has synced
	Lineage *entry.Lineage // as of Durable
	Born    uint32         // the site epoch in which the partition was created
	Purged  int64          // what lies below was deleted on purpose (DeleteRecords), not by retention; as of Lineage.LogStart or later
	Log     uint32         // its incarnation, which rises when this site begins the partition anew
	Floor   int32          // its first leader epoch: above those of a deleted topic of the same name
	Epochs  Epochs         // of its records; nil = not known
}

// Epochs are the leader epochs of a log.
type Epochs interface {
	// Wrote says that the record at offset is of that leader epoch, or that this is not known.
	Wrote(offset int64, epoch int32) bool
}

// sameAt says that the record which a log of the other site ends with was written here by the same leader, as far as that is known: what was
// written anew at its offset, by a leader that had lost it, has another leader epoch.
func (l *LogView) sameAt(end Position) bool {
	return l.Epochs == nil || end.Epoch < 0 || end.Next <= l.Lineage.LogStart || l.Epochs.Wrote(end.Next-1, end.Epoch)
}

// fresh says that the partition was created in siteEpoch, by the site that owns it, and nothing was ever written to it.
func (l *LogView) fresh(siteEpoch uint32) bool {
	return l.Born == siteEpoch && l.Tip.Role == entry.Single && !l.Tip.HasEpochBase && l.Tip.LastEpoch < 0
}

// epochBase is the epoch base for siteEpoch, which the log goes over to or is in.
func (l *LogView) epochBase(siteEpoch uint32) uint32 {
	if entry.SiteEpochOf(l.Floor) != siteEpoch {
		return 0 // the floor is that of an older site epoch, whose leader epochs are all lower
	}
	return uint32(l.Floor) & (1<<entry.LeaderEpochBits - 1)
}

// end is where a log of state s ends.
func end(s *entry.State) Position { return Position{s.NextOffset, s.LastEpoch} }

// LinkOptions of a Link; the zero value works.
type LinkOptions struct {
	Window int           // Appends on their way at most; 0 = 8
	Resend time.Duration // after so long without progress what was sent is sent again, or longer where the line is long (View.RTT); 0 = 1 s
}

// HaltReason says why a link has stopped for good.
type HaltReason uint8

const (
	Running       HaltReason = 0
	HaltDivergent HaltReason = 1 // the standby's log is not a prefix of the active's; way out: copy the partition anew
	HaltRecreated HaltReason = 2 // the topic has another id at the other site; way out: delete the one that is not wanted
	HaltGap       HaltReason = 3 // what the standby needs is gone, and not because anybody has deleted it; way out: copy the partition anew
)

func (r HaltReason) String() string {
	names := [...]string{"running", "divergent logs", "topic created anew", "gap by retention"}
	if int(r) < len(names) {
		return names[r]
	}
	return "unknown"
}

// Link is one site's half of the shipping of one partition, for one leadership of it; a new leader has a new Link, and finds in
// the log all that it must know. Not safe for concurrent use.
type Link struct {
	id      PartitionID
	options LinkOptions
	halted  HaltReason
	refused struct { // the standby's log that the active has halted for
		log  uint32 // incarnation
		boot Boot   // of the standby's run that said so
	}
	epoch uint32 // of the View that all below belongs to
	role  Role
	peer  Boot // of the View

	control bool // a control entry is proposed and not settled
	voided  bool // the last one became a void: the next waits for a tick, so that a lasting reason does not fill the log
	out     sender
	in      receiver
}

// NewLink is a link that knows nothing yet.
func NewLink(id PartitionID, options LinkOptions) *Link {
	if options.Window == 0 {
		options.Window = 8
	}
	if options.Resend == 0 {
		options.Resend = time.Second
	}
	return &Link{id: id, options: options}
}

// Halted says why the link has stopped; Running if it has not.
func (l *Link) Halted() HaltReason { return l.halted }

// Quiet says that nothing is due here before the log, the View or the other site moves: ticks may be few.
func (l *Link) Quiet(v View, log LogView) bool {
	switch {
	case l.halted != Running:
		return true
	case l.control || l.voided || v.Epoch != l.epoch || v.Role != l.role:
		return false
	case v.Role == Active:
		return l.heard() && l.out.hasAll(&log.Durable) && l.out.logStart >= min(log.Lineage.LogStart, l.out.acked.Next) &&
			log.Durable.FenceTarget == entry.NoFence && v.Fencing == 0
	}
	return l.linked(v, &log.Durable) && l.in.pending == 0 && !l.in.ackDue && !l.in.starting
}

// Step takes one input at the time now. It answers with what is to be done.
func (l *Link) Step(now time.Duration, v View, log LogView, in LinkInput) []Effect {
	if l.halted == HaltGap && v.Role == Active && l.role == Active && log.Lineage.LogStart <= log.Purged {
		l.halted, l.out = Running, sender{} // somebody has said since that what is missing is wanted no more
	}
	if v.Epoch != l.epoch || v.Role != l.role {
		l.unhalt() // whoever follows now compares the logs anew
	} else if ack, ok := ackIn(in); ok && v.Role == Active && l.another(v, &ack) {
		l.unhalt()
	}
	if l.halted != Running {
		return l.stand(v, &log, in)
	}
	if v.Epoch != l.epoch || v.Role != l.role {
		out := sender{}
		switch {
		case v.Role != Active:
		case l.role == Active && l.out.known:
			out.shared = l.out.acked.Next
		case l.role == Standby && l.in.drained.Target == v.Epoch:
			fence := l.in.drained
			out.planned = &fence
		}
		l.out = out
		l.in, l.epoch, l.role = receiver{pending: l.in.pending, starting: l.in.starting}, v.Epoch, v.Role
	}
	l.peer = v.PeerBoot
	var effects []Effect
	tick := false
	switch in := in.(type) {
	case Tick:
		tick, l.voided = true, false
	case Received:
		effects = l.receive(now, v, &log, in.Message)
	case Settled:
		l.settled(in)
	case Shipped:
		l.shipped(now, in)
	case Archived:
		effects = l.archived(v, &log, in)
	case Sealed:
		effects = l.sealed(v, &log)
	}
	if l.halted != Running {
		return effects
	}
	if v.Role == Active {
		return append(effects, l.lead(now, v, &log, tick)...)
	}
	return append(effects, l.follow(now, v, &log, tick)...)
}

func ackIn(in LinkInput) (ack Ack, ok bool) {
	if r, received := in.(Received); received {
		ack, ok = r.Message.(Ack)
	}
	return ack, ok
}

// another says that an Ack may be of another log than that which the active has halted for. A standby whose disk was replaced counts its logs from
// the beginning again; one that was only started again is looked at once more, and halted for.
func (l *Link) another(v View, ack *Ack) bool {
	switch {
	case !l.mine(ack.Partition) || ack.Epoch != v.Epoch:
		return false
	case ack.Boot == l.refused.boot:
		return ack.Log > l.refused.log
	}
	return ack.Boot == v.PeerBoot
}

// refuse halts for the standby's log.
func (l *Link) refuse(reason HaltReason, log uint32, boot Boot) []Effect {
	l.refused.log, l.refused.boot = log, boot
	return l.halt(reason)
}

// stand is the step of a link that has halted. A log that is begun anew asks before it acknowledges anything, and what it acknowledges may be lost.
func (l *Link) stand(v View, log *LogView, in LinkInput) []Effect {
	switch in := in.(type) {
	case Tick:
		if l.halted != HaltRecreated && l.writes(v, &log.Durable) {
			return []Effect{Send{Probe{Partition: l.id, Epoch: v.Epoch}}}
		}
	case Received:
		if m, ok := in.Message.(Compare); ok {
			return l.compare(v, log, m)
		}
	}
	return nil
}

// unhalt has a link begin anew that has halted for what one of the logs was.
func (l *Link) unhalt() {
	if l.halted == HaltDivergent || l.halted == HaltGap {
		l.halted, l.out = Running, sender{planned: l.out.planned}
	}
}

// PeerLog is the incarnation of the standby's log that is shipped to, as far as it has said.
func (l *Link) PeerLog() uint32 { return l.out.log }

func (l *Link) receive(now time.Duration, v View, log *LogView, m Message) []Effect {
	switch m := m.(type) {
	case Append:
		if !l.mine(m.Partition) {
			return l.halt(HaltRecreated)
		}
		return l.append(v, log, m)
	case Ack:
		if l.mine(m.Partition) {
			return l.acked(now, v, log, m)
		}
	case Probe:
		if !l.mine(m.Partition) {
			return l.halt(HaltRecreated)
		}
		if l.linked(v, &log.Durable) && m.Epoch == v.Epoch {
			// Where nothing is under way, what was sent beyond the end is lost, or so late that it may come twice.
			l.in.gap = false
			l.in.ackDue, l.in.rejected = true, l.in.rejected || l.in.pending == 0 && end(&log.Tip) == end(&log.Durable)
		}
	case LogStart:
		if l.mine(m.Partition) {
			return l.started(v, log, m)
		}
	case Drain:
		if l.mine(m.Partition) {
			return l.drain(v, log, m)
		}
	case Compare:
		return l.compare(v, log, m)
	case Compared:
		if l.mine(m.Partition) {
			return l.compared(v, log, m)
		}
	}
	return nil
}

// compare tells the lineage of the durable log: what is not could still be lost, and would then be cut at the other site for nothing.
func (l *Link) compare(v View, log *LogView, m Compare) []Effect {
	if !l.mine(m.Partition) || !l.writes(v, &log.Durable) || m.Epoch != v.Epoch {
		return nil
	}
	return []Effect{Send{Compared{Partition: l.id, Epoch: v.Epoch, Lineage: log.Lineage.Clone()}}}
}

// mine says that a message is about the very topic of this link, not one of the same name.
func (l *Link) mine(id PartitionID) bool { return id == l.id }

func (l *Link) halt(reason HaltReason) []Effect {
	l.halted = reason
	return []Effect{Halt{reason}}
}

// propose asks for a control entry. There is one at a time, so that each step decides from a log that holds the one before.
func (l *Link) propose(kind entry.Kind, siteEpoch uint32, body []byte) []Effect {
	l.control = true
	return []Effect{Propose{Header: entry.Header{Kind: kind, SiteEpoch: siteEpoch, Body: body}}}
}

func (l *Link) settled(in Settled) {
	if in.Kind == entry.LogStart {
		l.in.starting = false
		return
	}
	if in.Kind != entry.Data {
		l.control, l.voided = false, in.Reason != entry.Admitted
		return
	}
	l.in.pending--
	l.in.broken = l.in.broken || in.Reason != entry.Admitted
}

// writes says that the log takes produces under the epoch of v.
func (l *Link) writes(v View, s *entry.State) bool {
	return v.Role == Active && v.Serving && s.SiteEpoch == v.Epoch && s.Role != entry.Following && s.HasEpochBase
}

// linked says that the log follows the epoch of v and has been compared with the active's: links may append, and acknowledge.
func (l *Link) linked(v View, s *entry.State) bool {
	return v.Role == Standby && s.SiteEpoch == v.Epoch && s.Role == entry.Following && s.Shared != entry.UnknownOffset
}
