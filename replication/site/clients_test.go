package site

import (
	"slices"

	"github.com/tandembroker/tandem/storage/entry"
)

// call is a request of a client: a produce, or a commit of the group.
type call struct {
	client int // producer; -1 = the group's consumer
	pid    int64
	seq    int32
	rec    int
	gen    int32
	at     position
}

type code int

const (
	acknowledged code = iota
	retriable         // not stored, as far as the site knows
	outOfOrder        // a sequence in front of it is missing
	unknown           // the sequence is too old to tell
)

type answer struct {
	client, rec int
	code        code
}

// client is an idempotent producer with two batches in flight at most.
type client struct {
	pid     int64 // 0 = none yet
	next    int32
	made    int
	flight  []call
	dropped map[int]bool // the application was told that these failed
}

// position of a reader: behind a record of leader epoch le.
type position struct {
	off [dataPartitions]int64
	le  [dataPartitions]int32
}

// consumer is the one member of a group. It reads at whichever site answers.
type consumer struct {
	gen     int32
	at      position
	commits []position // by record number
}

const recordsMax = 12 // of a producer, before the faults stop

// produce sends batch which of producer c to site s: 0 is a new one, others are sent again.
func (w *world) produce(s, c, which int) bool {
	cl := &w.cl[c]
	if which > len(cl.flight) || which == 0 && (len(cl.flight) >= 2 || cl.made >= recordsMax) {
		return false
	}
	if cl.pid == 0 && !w.initProducer(s, c) {
		return false
	}
	if which == 0 {
		w.newRecord(c)
		which = len(cl.flight)
	}
	r := cl.flight[which-1]
	w.send(letter{to: s, part: -1, call: &r})
	return true
}

// initProducer gives producer c an id, where site s serves.
func (w *world) initProducer(s, c int) bool {
	m := &w.m[s]
	if !m.up || !m.site.Serving() {
		return false
	}
	e := m.rec.Epoch
	m.pids[e]++
	w.cl[c].pid = ProducerID(e, m.pids[e])
	return true
}

func (w *world) newRecord(c int) int {
	cl := &w.cl[c]
	r := call{client: c, pid: cl.pid, seq: cl.next, rec: recOf(c, cl.made)}
	cl.flight = append(slices.Clone(cl.flight), r)
	cl.next++
	cl.made++
	return r.rec
}

// serve is a request at the partition's leader.
func (w *world) serve(s int, r call) {
	if r.client < 0 {
		w.serveCommit(s, r)
		return
	}
	x := &w.m[s].part[r.client]
	wait := []waiter{{r.client, r.rec}}
	if !w.writes(s, r.client, &x.tip) || x.view.Fencing != 0 || x.tip.FenceTarget != entry.NoFence || !w.m[s].site.MayAcknowledge(w.clock(s)) {
		w.answer(s, wait, retriable)
		return
	}
	last, jump, index := sequenceOf(x, r)
	switch {
	case index >= len(x.log):
		x.pending[index-len(x.log)].wait = append(x.pending[index-len(x.log)].wait, wait...)
	case index >= x.synced:
		x.waits[index] = append(x.waits[index], wait...)
	case index >= 0:
		w.acknowledge(s, r.client, wait)
	case r.seq == last+1 || r.seq > last+1 && jump:
		row := entry.Row{BaseOffset: -1, LastOffset: -1, LeaderEpoch: -1, MaxTimestamp: int64(r.rec), ProducerID: r.pid, BaseSequence: r.seq,
			LastOffsetDelta: int32(r.rec % 2)}
		w.propose(s, r.client, proposal{h: entry.Header{Kind: entry.Data, SiteEpoch: x.tip.SiteEpoch, Rows: []entry.Row{row}}, wait: wait})
	case r.seq > last+1:
		w.answer(s, wait, outOfOrder)
	default:
		w.answer(s, wait, unknown) // never as a duplicate: it may have been skipped
	}
}

// sequenceOf looks a batch up in the log and in what is proposed: the last sequence of its producer, whether that may jump forward
// (once after a failover), and the entry that holds the batch among the last five, -1 = none.
func sequenceOf(x *part, r call) (last int32, jump bool, index int) {
	last, index = -1, -1
	var seen []int
	var seqs []int32
	held := map[int64]bool{}
	for _, d := range x.data {
		held[d.off] = true
	}
	visit := func(i int, h *entry.Header, stored bool) {
		switch h.Kind {
		case entry.Promote:
			p, _ := entry.ParsePromotion(h.Body)
			jump = jump || !p.Planned
		case entry.Data:
			for _, row := range h.Rows {
				if row.ProducerID == r.pid && (!stored || held[row.BaseOffset]) {
					last, jump = row.BaseSequence, false
					seen, seqs = append(seen, i), append(seqs, row.BaseSequence)
				}
			}
		}
	}
	for i := range x.log {
		visit(i, &x.log[i], true)
	}
	for i := range x.pending {
		visit(len(x.log)+i, &x.pending[i].h, false)
	}
	for n := max(0, len(seen)-5); n < len(seen); n++ {
		if seqs[n] == r.seq {
			index = seen[n]
		}
	}
	return last, jump, index
}

func (w *world) answer(s int, wait []waiter, c code) {
	for _, x := range wait {
		if x.client >= 0 {
			w.send(letter{to: s, part: -1, back: &answer{x.client, x.rec, c}})
		}
	}
}

// acknowledge answers writes that are durable, if the role still allows it.
func (w *world) acknowledge(s, p int, wait []waiter) {
	if p == offsetsPartition {
		return
	}
	if !w.m[s].site.MayAcknowledge(w.clock(s)) {
		w.answer(s, wait, retriable)
		return
	}
	for _, x := range wait {
		w.noteAck(s, p, x.rec)
	}
	w.answer(s, wait, acknowledged)
}

// receive is an answer at the producer.
func (w *world) receive(a answer) {
	cl := &w.cl[a.client]
	i := slices.IndexFunc(cl.flight, func(r call) bool { return r.rec == a.rec })
	switch {
	case i < 0:
	case a.code == acknowledged:
		cl.flight = slices.Delete(slices.Clone(cl.flight), i, i+1)
	case a.code == unknown, a.code == outOfOrder && i == 0:
		// Fatal: the application is told that all in flight failed, and goes on with a new producer id.
		if cl.dropped == nil {
			cl.dropped = map[int]bool{}
		}
		for _, r := range cl.flight {
			cl.dropped[r.rec] = true
		}
		cl.flight, cl.next, cl.pid = nil, 0, 0
	}
}

// fetch reads one batch from site s.
func (w *world) fetch(s, p int) bool {
	x := &w.m[s].part[p]
	if !w.writes(s, p, &x.durable) {
		return false
	}
	at := w.resume(s, p, w.group.at)
	for _, d := range w.durableData(s, p) {
		if d.last >= at {
			w.see(p, d)
			w.read[d.rec] = true
			w.group.at.off[p], w.group.at.le[p] = d.last+1, d.le
			return true
		}
	}
	return false
}

func (w *world) resume(s, p int, at position) int64 {
	x := &w.m[s].part[p]
	acked := int64(-1)
	if lag, known := x.link.Lag(LogView{Durable: x.durable}); known {
		acked = x.durable.NextOffset - lag
	}
	return x.lineage.Resume(at.off[p], entry.SiteEpochOf(at.le[p]), x.durable.SiteEpoch, acked)
}

// coordinator says whether site s coordinates the group, and under which epoch.
func (w *world) coordinator(s int) (epoch uint32, ok bool) {
	x := &w.m[s].part[offsetsPartition]
	return x.tip.SiteEpoch, w.writes(s, offsetsPartition, &x.durable) && x.tip == x.durable
}

func (w *world) join(s int) bool {
	epoch, ok := w.coordinator(s)
	m := &w.m[s]
	for p := range dataPartitions {
		ok = ok && w.writes(s, p, &m.part[p].durable) // else a log does not hold the promote yet
	}
	if !ok {
		return false
	}
	m.joins[epoch]++
	m.gen, m.genOf = int32(epoch<<entry.LeaderEpochBits|m.joins[epoch]), epoch
	at := position{le: [dataPartitions]int32{-1, -1}}
	if data := w.durableData(s, offsetsPartition); len(data) > 0 {
		at = w.group.commits[data[len(data)-1].rec]
	}
	for p := range dataPartitions {
		at.off[p] = w.resume(s, p, at)
	}
	w.group.gen, w.group.at = m.gen, at
	return true
}

func (w *world) commit(s int) bool {
	w.send(letter{to: s, part: -1, call: &call{client: -1, gen: w.group.gen, at: w.group.at}})
	return true
}

func (w *world) serveCommit(s int, r call) {
	m := &w.m[s]
	x := &m.part[offsetsPartition]
	if !w.writes(s, offsetsPartition, &x.tip) || m.gen == 0 || m.gen != r.gen || m.genOf != x.tip.SiteEpoch {
		return
	}
	w.group.commits = append(w.group.commits, r.at)
	row := entry.Row{BaseOffset: -1, LastOffset: -1, LeaderEpoch: -1, MaxTimestamp: int64(len(w.group.commits) - 1), ProducerID: -1, BaseSequence: -1}
	w.propose(s, offsetsPartition, proposal{h: entry.Header{Kind: entry.Data, SiteEpoch: x.tip.SiteEpoch, Rows: []entry.Row{row}}})
}
