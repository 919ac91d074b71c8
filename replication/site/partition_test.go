package site

import (
	"fmt"
	"slices"

	"github.com/tandembroker/tandem/storage/entry"
)

// datum is one record batch as the checks see it.
type datum struct {
	off, last int64
	le        int32
	rec       int
	pid       int64
	seq       int32
}

func (d datum) String() string { return fmt.Sprintf("%s@%s", recName(d.rec), offName(d.off)) }

// waiter is a client that waits for an entry to be synced.
type waiter struct{ client, rec int }

type proposal struct {
	h    entry.Header
	link bool // of the Link, which wants to know what became of it
	wait []waiter
}

// part is one partition at one site: its log, its link, its archive.
type part struct {
	log     []entry.Header // stored; a log in memory of which the first synced are durable
	synced  int
	data    []datum // what log holds of records, truncations done
	waits   map[int][]waiter
	pending []proposal
	term    uint64
	seq     uint64 // append sequence of the newest proposal
	tip     entry.State
	durable entry.State
	lineage entry.Lineage // of durable
	link    *Link
	view    View
	before  View               // the one before view, of this run
	jobs    []func() LinkInput // disk work of the archive

	staged  *archive // durable
	archive []datum  // durable, sealed
}

// Wrote implements Epochs.
func (x *part) Wrote(offset int64, epoch int32) bool {
	for _, d := range x.data {
		if d.off <= offset && offset <= d.last {
			return d.le == epoch
		}
	}
	return true
}

type archive struct {
	cut  entry.Cut
	data []datum
}

// propose queues an entry with the term and sequence of this leadership, as a partition's leader does.
func (w *world) propose(s, p int, pr proposal) {
	x := &w.m[s].part[p]
	if len(x.pending) == 0 { // what was voided is known: go on behind what is stored
		x.seq = 0
		if x.tip.LastTerm == x.term {
			x.seq = x.tip.AppendSequence
		}
	}
	x.seq++
	pr.h.ValidatedTerm, pr.h.AppendSequence = x.term, x.seq
	x.pending = append(x.pending, pr)
}

// apply stores the oldest proposal, as itself or as a void.
func (w *world) apply(s, p int) bool {
	x := &w.m[s].part[p]
	if !w.m[s].up || len(x.pending) == 0 {
		return false
	}
	pr := x.pending[0]
	x.pending = slices.Delete(slices.Clone(x.pending), 0, 1)
	kind := pr.h.Kind
	pr.h.Rows = slices.Clone(pr.h.Rows)
	pr.h.Body = slices.Clone(pr.h.Body)
	if kind == entry.LogStart {
		pr.h.SiteEpoch = x.tip.SiteEpoch // that of the log, as in the Raft group
	}
	reason := x.tip.Admit(&pr.h, x.term)
	if reason == entry.Admitted {
		x.tip.Stamp(&pr.h, x.term)
		w.noteStore(s, p, &pr.h, pr.link)
	} else {
		pr.h.MakeVoid(reason)
	}
	if err := x.tip.Advance(&pr.h); err != nil {
		w.bad("log", "%s cannot store %v in %s: %v", siteName(s), kind, partName(p), err)
		return true
	}
	x.log = append(x.log, pr.h)
	x.data = store(x.data, &pr.h)
	w.dirty = true
	if w.lines != nil {
		w.trace("      %s %s stores %s", siteName(s), partName(p), headerName(&pr.h))
	}
	if reason != entry.Admitted {
		w.answer(s, pr.wait, retriable)
	} else if len(pr.wait) > 0 {
		x.waits[len(x.log)-1] = pr.wait
	}
	if pr.link {
		w.stepLink(s, p, Settled{kind, reason})
	}
	return true
}

// store adds an entry to what the log holds of records.
func store(data []datum, h *entry.Header) []datum {
	switch h.Kind {
	case entry.Data:
		for _, r := range h.Rows {
			data = append(data, datum{r.BaseOffset, r.LastOffset, r.LeaderEpoch, int(r.MaxTimestamp), r.ProducerID, r.BaseSequence})
		}
	case entry.TruncateTo:
		c, _ := entry.ParseTruncation(h.Body)
		i := slices.IndexFunc(data, func(d datum) bool { return d.off >= c.Offset })
		if i >= 0 {
			data = slices.Clone(data[:i])
		}
	}
	return data
}

// sync makes the log durable; those who waited for it are answered.
func (w *world) sync(s, p int) bool {
	x := &w.m[s].part[p]
	if !w.m[s].up || x.synced == len(x.log) {
		return false
	}
	w.harden(x, len(x.log))
	for i := range x.log {
		if wait := x.waits[i]; wait != nil {
			w.acknowledge(s, p, wait)
		}
	}
	x.waits = map[int][]waiter{}
	w.dirty = true
	w.stepLink(s, p, LogMoved{})
	return true
}

func (w *world) harden(x *part, n int) {
	for ; x.synced < n; x.synced++ {
		h := &x.log[x.synced]
		err := x.durable.Advance(h)
		if err == nil {
			err = x.lineage.Advance(h)
		}
		if h.Kind == entry.LogStart {
			offset, _, _ := entry.ParseLogStart(h.Body)
			x.lineage.LogStart = max(x.lineage.LogStart, offset)
		}
		if err != nil {
			w.bad("log", "replay: %v", err)
		}
	}
}

// deleteRecords moves the log start at the active site, as far as retention may: what the standby has acknowledged.
func (w *world) deleteRecords(s, p int, less int64) bool {
	x := &w.m[s].part[p]
	if !w.writes(s, p, &x.durable) || !x.link.out.known || x.link.epoch != x.view.Epoch {
		return false
	}
	offset := x.link.out.acked.Next - less
	if offset <= x.lineage.LogStart {
		return false
	}
	w.propose(s, p, proposal{h: entry.Header{Kind: entry.LogStart, Body: entry.LogStartBody(offset)}})
	return true
}

func (w *world) durableData(s, p int) []datum {
	x := &w.m[s].part[p]
	if x.synced == len(x.log) {
		return x.data
	}
	var data []datum
	for i := range x.log[:x.synced] {
		data = store(data, &x.log[i])
	}
	return data
}

// lose takes back what is not durable of a partition; keep entries may have made it.
func (w *world) lose(s, p, keep int) {
	x := &w.m[s].part[p]
	w.harden(x, min(len(x.log), x.synced+keep))
	x.log, x.tip = slices.Clone(x.log[:x.synced]), x.durable
	x.data = nil
	for i := range x.log {
		x.data = store(x.data, &x.log[i])
	}
	x.pending, x.waits, x.jobs = nil, nil, nil
	w.dirty = true
}

// stage copies the tail of the log.
func (x *part) stage(e ArchiveTail) LinkInput {
	x.settle(e.LogCut)
	i := slices.IndexFunc(x.data, func(d datum) bool { return d.off >= e.Cut.Offset })
	if i < 0 {
		i = len(x.data)
	}
	x.staged = &archive{e.Cut, slices.Clone(x.data[i:])}
	epoch := int32(-1)
	if i > 0 {
		epoch = x.data[i-1].le
	}
	return Archived{e.Cut, epoch}
}

// settle keeps what was staged, if the log holds its cut.
func (x *part) settle(cut entry.Cut) {
	if x.staged != nil && x.staged.cut == cut {
		x.archive = append(x.archive, x.staged.data...)
	}
	x.staged = nil
}
