package site

import (
	"fmt"
	"slices"

	"github.com/tandembroker/tandem/storage/entry"
)

// observer sees all of both sites at once and holds it against what the protocol promises.
type observer struct {
	violation string
	dirty     bool // logs have changed since they were compared
	lines     func(string)

	stores   int            // counts durable Records
	epoch    [2]uint32      // newest epoch that the site was promoted to
	promoted [2]int         // when the site's newest promotion was stored
	failed   [2]int         // when its newest unplanned one was
	writer   map[uint32]int // which site accepts produces under an epoch
	seen     map[spot]int   // what a client was told lies at an offset
	acked    map[int]datum  // by record
	read     map[int]bool
	shipped  [2]map[int]bool // by record*partitions + partition: acknowledged as durable by the standby
	did      map[string]int  // what the runs reached
}

type spot struct {
	p   int
	off int64
}

func newObserver() *observer {
	return &observer{writer: map[uint32]int{}, seen: map[spot]int{}, acked: map[int]datum{}, read: map[int]bool{},
		shipped: [2]map[int]bool{{}, {}}, did: map[string]int{}}
}

func (o *observer) bad(rule, format string, args ...any) {
	if o.violation == "" {
		o.violation = rule + ": " + fmt.Sprintf(format, args...)
	}
}

func (o *observer) trace(format string, args ...any) {
	if o.lines != nil {
		o.lines(fmt.Sprintf(format, args...))
	}
}

func recOf(client, n int) int { return client*100 + n }
func partOf(rec int) int      { return rec / 100 }
func siteName(s int) string   { return string(rune('A' + s)) }
func recName(rec int) string  { return fmt.Sprintf("r%d", rec) }
func partName(p int) string   { return [...]string{"p0", "p1", "offsets"}[p] }
func offName(off int64) string {
	return fmt.Sprintf("%d:%d", off>>entry.OffsetBandBits, off&(1<<entry.OffsetBandBits-1))
}
func has(d []datum, r int) bool {
	return slices.ContainsFunc(d, func(d datum) bool { return d.rec == r })
}

// see: an offset never denotes two records.
func (w *world) see(p int, d datum) {
	if r, ok := w.seen[spot{p, d.off}]; ok && r != d.rec {
		w.bad("one offset, two records", "%s %s was record %d and is now %d", partName(p), offName(d.off), r, d.rec)
	}
	w.seen[spot{p, d.off}] = d.rec
}

// noteAck: with honest operators or a lease, nothing is acknowledged after the other site has taken over.
func (w *world) noteAck(s, p, rec int) {
	o := 1 - s
	if w.mode != lying && w.failed[o] > w.promoted[s] && w.m[o].rec.Role == Active {
		w.bad("acknowledged after the takeover", "%s acknowledges record %d under epoch %d, %s has been promoted to %d", siteName(s), rec,
			w.m[s].rec.Epoch, siteName(o), w.m[o].rec.Epoch)
	}
	data := w.durableData(s, p)
	i := slices.IndexFunc(data, func(d datum) bool { return d.rec == rec })
	if i < 0 {
		w.bad("acknowledged record lost", "%s acknowledges record %d, which is not in its durable log", siteName(s), rec)
		return
	}
	w.did["acknowledged"]++
	w.acked[rec] = data[i]
	w.see(p, data[i])
}

// noteStore: two sites never accept produces under one epoch, and none behind a fence that the other site was promoted on.
func (w *world) noteStore(s, p int, h *entry.Header, link bool) {
	if h.Kind == entry.TruncateTo {
		w.did["tails cut"]++
	}
	if h.Kind == entry.Unfence {
		w.did["fences taken away"]++
	}
	if h.Kind == entry.LogStart && link {
		w.noteLogStart(s, p, h)
	}
	if h.Kind != entry.Data || link {
		return
	}
	if by, ok := w.writer[h.SiteEpoch]; ok && by != s {
		w.bad("two writers of one epoch", "both sites accept produces under site epoch %d", h.SiteEpoch)
	}
	w.writer[h.SiteEpoch] = s
	if o := &w.m[1-s]; o.rec.Role == Active && o.rec.Planned && o.rec.Epoch > h.SiteEpoch && w.promoted[1-s] > w.promoted[s] {
		w.bad("accepted past a fence", "%s stores record %d in %s under epoch %d, %s was promoted on its fence to %d", siteName(s),
			h.Rows[0].MaxTimestamp, partName(p), h.SiteEpoch, siteName(1-s), o.rec.Epoch)
	}
}

// noteLogStart: a link moves the log start forward, to where the other site's is at most, and not above its own log.
func (w *world) noteLogStart(s, p int, h *entry.Header) {
	w.did["log starts shipped"]++
	x, other := &w.m[s].part[p], &w.m[1-s].part[p]
	offset, _, err := entry.ParseLogStart(h.Body)
	if err != nil || offset > other.lineage.LogStart || offset > x.durable.NextOffset {
		w.bad("log start", "%s moves that of %s to %s, %s has %s, its log ends at %s: %v", siteName(s), partName(p), offName(offset), siteName(1-s),
			offName(other.lineage.LogStart), offName(x.durable.NextOffset), err)
	}
}

// noteSend: what a standby has acknowledged as durable must survive its promotion.
func (w *world) noteSend(s, p int, m Message) {
	if a, ok := m.(Ack); ok {
		for _, d := range w.m[s].part[p].data {
			if d.last < a.End.Next {
				w.shipped[s][d.rec*partitions+p] = true
			}
		}
	}
}

// noteRecord is called when a Record has become durable.
func (w *world) noteRecord(s int) {
	w.stores++
	rec := w.m[s].rec
	if rec.Role != Active || rec.Epoch == 0 || w.epoch[s] == rec.Epoch {
		return
	}
	w.noteEpoch(s, rec)
	for key := range w.shipped[s] {
		r, p := key/partitions, key%partitions
		if !has(w.durableData(s, p), r) && !has(w.m[s].part[p].archive, r) && !w.isStaged(s, p, r) {
			w.bad("shipped record lost", "record %d of %s, which %s had acknowledged as shipped, is gone at its promotion to %d", r,
				partName(p), siteName(s), rec.Epoch)
		}
	}
	if !rec.Planned {
		w.did["failovers"]++
		return
	}
	w.did["switchovers"]++
	for r, d := range w.acked {
		if entry.SiteEpochOf(d.le) < rec.Epoch && !has(w.durableData(s, partOf(r)), r) && !w.archived(r) {
			w.bad("switchover loses", "the switchover to %s, epoch %d, loses the acknowledged record %d", siteName(s), rec.Epoch, r)
		}
	}
}

// noteEpoch notes when a site took over. A self-promotion is no takeover: the site wrote before.
func (w *world) noteEpoch(s int, rec Record) {
	w.epoch[s] = rec.Epoch
	if w.m[s].site.keepLease {
		return
	}
	w.promoted[s] = w.stores
	if !rec.Planned {
		w.failed[s] = w.stores
	}
}

func (w *world) isStaged(s, p, r int) bool {
	x := &w.m[s].part[p]
	return x.staged != nil && x.staged.cut == x.durable.Cut && has(x.staged.data, r)
}

func (w *world) archived(r int) bool {
	for s := range w.m {
		if has(w.m[s].part[partOf(r)].archive, r) || w.isStaged(s, partOf(r), r) {
			return true
		}
	}
	return false
}

// checkAcked: an acknowledged record is in a durable log, or in an archive.
func (w *world) checkAcked(when string) {
	for r := range w.acked {
		if !has(w.durableData(0, partOf(r)), r) && !has(w.durableData(1, partOf(r)), r) && !w.archived(r) {
			w.bad("acknowledged record lost", "record %d is in no log and no archive (%s)", r, when)
		}
	}
}

// checkLogs compares the logs after each step that changed one.
func (w *world) checkLogs() {
	if !w.dirty || w.violation != "" {
		return
	}
	w.dirty = false
	for p := range partitions {
		a, b := w.m[0].part[p].data, w.m[1].part[p].data
		w.checkOrder(0, p)
		w.checkOrder(1, p)
		i := 0
		for i < len(a) && i < len(b) && a[i] == b[i] {
			i++
		}
		for _, d := range a[i:] {
			for _, e := range b[i:] {
				if d.off <= e.last && e.off <= d.last {
					w.bad("one offset, two records", "%s: A has %v, B has %v, and their logs differ before that or there", partName(p), d, e)
				}
			}
		}
		for s := range w.m {
			w.checkPrefix(s, p)
		}
	}
	w.checkAcked("log")
}

// checkOrder: offsets and epochs rise, a site epoch is one run, no record is there twice.
func (w *world) checkOrder(s, p int) {
	last := datum{last: -1, le: -1}
	recs := map[int]bool{}
	for _, d := range w.m[s].part[p].data {
		if d.off <= last.last || d.le < last.le || d.last >= entry.BandEnd(entry.SiteEpochOf(d.le)) {
			w.bad("order", "%s %s: %v of leader epoch %x behind %v of %x", siteName(s), partName(p), d, d.le, last, last.le)
		}
		if recs[d.rec] {
			w.bad("record twice", "record %d is twice in %s of %s", d.rec, partName(p), siteName(s))
		}
		recs[d.rec], last = true, d
	}
}

// checkPrefix: a linked standby's log is a prefix of the active's durable log, and a lag of 0 means that they are equal.
func (w *world) checkPrefix(s, p int) {
	x, y := &w.m[s].part[p], &w.m[1-s].part[p]
	if x.durable.Role != entry.Following || x.durable.Shared == entry.UnknownOffset || y.durable.SiteEpoch != x.durable.SiteEpoch {
		return
	}
	data, active := w.durableData(s, p), w.durableData(1-s, p)
	if len(data) > len(active) || !slices.Equal(data, active[:len(data)]) {
		w.bad("standby is no prefix", "%s: %s follows epoch %d with %v, %s has %v", partName(p), siteName(s), x.durable.SiteEpoch, data,
			siteName(1-s), active)
	}
	if lag, known := y.link.Lag(LogView{Durable: y.durable}); known && lag == 0 && y.view.Epoch == y.durable.SiteEpoch && w.m[1-s].up &&
		len(data) < len(active) {
		w.bad("lag", "%s: %s reports no lag, the standby lacks %v", partName(p), siteName(1-s), active[len(data):])
	}
}

// checkEnd is for when the faults have stopped and both sites have had time: last holds the newest record of each producer.
func (w *world) checkEnd(last [dataPartitions]int) {
	active := -1
	for s := range w.m {
		if w.m[s].site.Serving() {
			if active >= 0 {
				w.bad("not equal", "two actives, epochs %d and %d", w.m[0].rec.Epoch, w.m[1].rec.Epoch)
			}
			active = s
		}
	}
	if active < 0 {
		w.bad("not equal", "no active: %+v, %+v", w.m[0].rec, w.m[1].rec)
		return
	}
	for p := range partitions {
		a, b := w.durableData(0, p), w.durableData(1, p)
		if !slices.Equal(a, b) {
			w.bad("not equal", "%s: A has %v, B has %v", partName(p), a, b)
		}
		if is, want := w.m[1-active].part[p].lineage.LogStart, w.m[active].part[p].lineage.LogStart; is < want {
			w.bad("not equal", "%s begins at %s at the standby, at %s at the active", partName(p), offName(is), offName(want))
		}
		for s := range w.m {
			for _, d := range w.m[s].part[p].archive {
				if slices.Contains(w.durableData(active, p), d) {
					w.bad("archive", "the archive of %s lists %v of %s, which was not lost", siteName(s), d, partName(p))
				}
			}
		}
	}
	for p, r := range last {
		if _, ok := w.acked[r]; !ok {
			w.bad("not equal", "%s takes no write", partName(p))
		}
	}
	for r := range w.acked {
		if !has(w.durableData(active, partOf(r)), r) && !w.archived(r) {
			w.bad("acknowledged record lost", "record %d is neither in the final log nor archived", r)
		}
	}
	w.join(active)
	for p := range dataPartitions {
		for w.fetch(active, p) {
		}
		for _, d := range w.durableData(active, p) {
			if !w.read[d.rec] {
				w.bad("record skipped", "the group never read %v of %s", d, partName(p))
			}
		}
	}
}
