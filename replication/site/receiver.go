package site

import (
	"time"

	"github.com/tandembroker/tandem/storage/entry"
)

// receiver is the standby's half of a link.
type receiver struct {
	pending    int      // Appends that are proposed and not settled
	proposed   Position // where the log ends when they are stored
	broken     bool     // one of them became a void: no more are proposed until all are settled
	ackDue     bool
	rejected   bool
	gap        bool // an Append has come that does not continue the log, which ends at gapAt; the active was told
	gapAt      Position
	short      uint64 // an Append was not taken for want of metadata of this version; 0 = none was
	ackedEnd   Position
	ackedStart int64
	starting   bool  // a log start is proposed and not settled
	drained    Drain // newest; Target 0 = none
	step       stage
	comparing  repeats   // asking: of the question
	cut        entry.Cut // archiving: the truncate-to that will follow
	behind     bool      // the active has records below the cut
}

// stage of a return, volatile: a new link begins again.
type stage uint8

const (
	asking    stage = iota // for the active's lineage
	archiving              // the tail is being copied
	sealing                // the archive is being settled
	dropping               // the log cannot be cut, and goes as a whole: another one will be in its place
	done                   // a control entry is on its way
)

// follow does what is due at the standby site: the log stops taking what it took before, is compared, and then linked.
func (l *Link) follow(now time.Duration, v View, log *LogView, tick bool) []Effect {
	tip, durable := &log.Tip, &log.Durable
	if l.in.pending == 0 {
		l.in.broken = false
	}
	switch {
	case tip.SiteEpoch > v.Epoch || tip.SiteEpoch == v.Epoch && tip.Role == entry.Promoted:
		return nil // the view is old
	case l.control || l.voided:
		return nil
	case tip.SiteEpoch < v.Epoch || tip.Role != entry.Following:
		l.in.step, l.in.comparing = asking, repeats{}
		return l.propose(entry.Follow, v.Epoch, entry.Followed{SiteEpoch: v.Epoch, Shared: entry.UnknownOffset}.Append(nil))
	case l.linked(v, durable):
		if l.in.short != 0 && v.Metadata >= l.in.short {
			l.in.short, l.in.ackDue, l.in.rejected = 0, true, true // what was not taken is to be shipped again
		}
		return l.acknowledge(v, durable, log)
	case tip.Shared != entry.UnknownOffset || *durable != *tip:
		return nil // what decides is not durable yet
	}
	if l.in.step == done {
		l.in.step, l.in.comparing = asking, repeats{} // cut: compare what is left
	}
	if l.in.step == asking && tick && l.in.comparing.due(now, l.options.Resend/4, 4*l.options.Resend) {
		return []Effect{Send{Compare{Partition: l.id, Epoch: v.Epoch}}}
	}
	return nil
}

// acknowledge tells the active how far this log is durable, when that has changed or was asked for.
func (l *Link) acknowledge(v View, durable *entry.State, log *LogView) []Effect {
	in, logStart := &l.in, log.Lineage.LogStart
	if e := end(durable); e != in.ackedEnd || logStart != in.ackedStart {
		in.ackedEnd, in.ackedStart, in.ackDue = e, logStart, true
	}
	if !in.ackDue {
		return nil
	}
	ack := Ack{Partition: l.id, Epoch: v.Epoch, Boot: v.Boot, End: end(durable), LogStart: logStart, Log: log.Log, Rejected: in.rejected}
	in.ackDue, in.rejected = false, false
	return []Effect{Send{ack}}
}

// append proposes what was shipped, if it continues the log exactly and the metadata that it was written under is here: the cleaner of this
// site must not take away by older configs what the newer ones keep. The append sequence of the leadership sees to it that it is stored
// right behind what it was compared with, or not at all.
func (l *Link) append(v View, log *LogView, m Append) []Effect {
	in := &l.in
	if m.Epoch != v.Epoch || !l.linked(v, &log.Tip) || !l.linked(v, &log.Durable) || l.control || in.broken || len(m.Rows) == 0 {
		return nil
	}
	if m.Metadata > v.Metadata {
		in.short = max(in.short, m.Metadata)
		return nil
	}
	at := in.proposed
	if in.pending == 0 {
		at = end(&log.Tip)
	}
	if m.Prev != at {
		rejected := m.Prev.Next > at.Next
		if rejected && in.gap && in.gapAt == at {
			return nil // it was sent before the active has heard that: said again, all would be shipped once for each
		}
		in.gap, in.gapAt = rejected, at
		in.ackDue, in.rejected = true, rejected
		return nil
	}
	in.gap = false
	last := &m.Rows[len(m.Rows)-1]
	in.pending++
	in.proposed = Position{last.LastOffset + 1, last.LeaderEpoch}
	return []Effect{Propose{
		Header:  entry.Header{Kind: entry.Data, SiteEpoch: v.Epoch, Rows: m.Rows, PayloadLength: uint32(len(m.Payload))},
		Payload: m.Payload,
	}}
}

// started moves the log start to where the active's is, never above what is durable here and never back. It stands in no Append's way:
// where the log starts does not change how it goes on.
func (l *Link) started(v View, log *LogView, m LogStart) []Effect {
	in := &l.in
	if m.Epoch != v.Epoch || !l.linked(v, &log.Tip) || !l.linked(v, &log.Durable) || l.control || in.starting {
		return nil
	}
	start := min(m.Offset, log.Durable.NextOffset)
	if start <= log.Lineage.LogStart {
		in.ackDue = true // the active does not know yet
		return nil
	}
	in.starting = true
	return []Effect{Propose{Header: entry.Header{Kind: entry.LogStart, SiteEpoch: v.Epoch, Body: entry.LogStartBody(start)}}}
}

// drain marks the partition as drained, if its durable log ends where the active's fence stands.
func (l *Link) drain(v View, log *LogView, m Drain) []Effect {
	if m.Epoch != v.Epoch || m.Boot != v.Boot || !l.linked(v, &log.Durable) || end(&log.Durable) != m.End {
		return nil
	}
	l.in.drained = m
	return []Effect{MarkDrained{Drained{Partition: l.id, Target: m.Target, Boot: m.Boot}}}
}

// compared begins the cut of what the active does not have, or ends the return.
func (l *Link) compared(v View, log *LogView, m Compared) []Effect {
	if l.in.step != asking || l.control || m.Epoch != v.Epoch || !l.returning(v, log) {
		return nil
	}
	d := &log.Durable
	from, divergent := log.Lineage.Divergence(&m.Lineage, v.Epoch)
	if !divergent {
		l.in.step = sealing
		return []Effect{SealArchive{d.Cut}}
	}
	if from < log.Lineage.LogStart || from < m.Lineage.LogStart {
		l.in.step = dropping
		return []Effect{Recopy{Epoch: v.Epoch, From: from}}
	}
	l.in.step = archiving
	l.in.cut = entry.Cut{SiteEpoch: v.Epoch, Offset: from}
	l.in.behind = m.Lineage.RecordsBelow(from)
	return []Effect{ArchiveTail{Cut: l.in.cut, LogCut: d.Cut}}
}

// returning says that the log has stopped, durably, and is not yet compared under the epoch of v.
func (l *Link) returning(v View, log *LogView) bool {
	d := &log.Durable
	return v.Role == Standby && log.Tip == *d && d.SiteEpoch == v.Epoch && d.Role == entry.Following && d.Shared == entry.UnknownOffset
}

// archived cuts the tail, which is safe now.
func (l *Link) archived(v View, log *LogView, in Archived) []Effect {
	if l.in.step != archiving || in.Cut != l.in.cut || l.control || !l.returning(v, log) {
		return nil
	}
	if in.Epoch < 0 && l.in.behind { // all in front of the tail was deleted here, and not there: an empty log would never get it
		l.in.step = dropping
		return []Effect{Recopy{Epoch: v.Epoch, From: in.Cut.Offset}}
	}
	l.in.step = done
	return l.propose(entry.TruncateTo, v.Epoch, entry.Truncation{Offset: in.Cut.Offset, LeaderEpoch: in.Epoch}.Append(nil))
}

// sealed ends the return: from here on the log is a prefix of the active's.
func (l *Link) sealed(v View, log *LogView) []Effect {
	if l.in.step != sealing || l.control || !l.returning(v, log) {
		return nil
	}
	l.in.step = done
	return l.propose(entry.Follow, v.Epoch, entry.Followed{SiteEpoch: v.Epoch, Shared: log.Durable.NextOffset}.Append(nil))
}
