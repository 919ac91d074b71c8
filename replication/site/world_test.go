package site

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/storage/entry"
)

// The simulated world: two sites, of which each is one machine (its Raft groups have one voter), the network between them, and disks
// that lose what was not synced. Everything that decides is the product's: Site, Link, entry.State and entry.Lineage. The world only
// stores, sends, delays and loses.

const (
	dataPartitions   = 2                  // producer p writes partition p
	offsetsPartition = dataPartitions     // the consumer group's commits
	partitions       = dataPartitions + 1 // per site
	leaseTicks       = 3
	driftTicks       = 2
	netMax           = 32 // messages on their way; the oldest is lost
	shipMax          = 2  // batches in one Append
)

// mode says what the operator may do.
type mode int

const (
	honest mode = iota // fails over only when the other site is down
	lying              // says that it is down when it is not
	leased             // honest, and the active acknowledges under a lease
)

func (m mode) String() string { return [...]string{"honest", "lying", "leased"}[m] }

// machine is one site.
type machine struct {
	up      bool
	site    *Site
	rec     Record  // durable
	storing *Record // a Store that is not durable yet
	part    [partitions]part
	pids    map[uint32]int64 // durable: producer ids given out, by site epoch
	joins   map[uint32]uint32
	gen     int32 // volatile: the generation of the group; 0 = none
	genOf   uint32
}

// letter is a message on its way. Those between a client and a site carry a call.
type letter struct {
	to   int
	part int // of a Link's message; -1 = for the Site
	msg  Message
	call *call // to a site
	back *answer
}

type world struct {
	mode  mode
	m     [2]machine
	net   []letter
	cut   bool // the sites do not reach each other
	now   int
	skew  [2]int
	boots Boot
	cl    [dataPartitions]client
	group consumer
	*observer
}

func partitionID(p int) PartitionID {
	return PartitionID{Topic: uuid.UUID{15: byte(p + 1)}, Partition: 0}
}

func options(m mode, s int) Options {
	o := Options{Index: uint32(s), PeerIndex: uint32(1 - s), Drift: driftTicks}
	if m == leased {
		o.Lease = leaseTicks
	}
	return o
}

func newWorld(m mode) *world {
	w := &world{mode: m, observer: newObserver()}
	for s := range w.m {
		x := &w.m[s]
		x.up, x.pids, x.joins = true, map[uint32]int64{}, map[uint32]uint32{}
		w.boots++
		if s == 0 {
			x.rec = Record{Role: Active}
			x.site = Found(options(m, s), w.boots, Record{Role: Active})
		} else {
			x.site = Restart(options(m, s), w.boots, Record{})
		}
		for p := range x.part {
			x.part[p] = part{tip: entry.NewSitesState(0), durable: entry.NewSitesState(0)}
			w.open(s, p)
		}
	}
	return w
}

func (w *world) clock(s int) time.Duration { return time.Duration(w.now + w.skew[s]) }

// open begins a leadership of a partition: in memory there is what the disk has.
func (w *world) open(s, p int) {
	x := &w.m[s].part[p]
	x.term++
	x.seq, x.pending, x.waits, x.jobs = 0, nil, map[int][]waiter{}, nil
	x.link = NewLink(partitionID(p), LinkOptions{Window: 3, Resend: 1})
	x.view = w.m[s].site.View()
	x.before = x.view
}

// tellPartitions says which partitions a switchover to target drains: here always all.
func (w *world) tellPartitions(s int, target uint32) {
	var ids []PartitionID
	for p := range partitions {
		ids = append(ids, partitionID(p))
	}
	w.step(s, Partitions{target, ids})
}

// step feeds the Site and does what it asks for.
func (w *world) step(s int, in Input) error {
	effects, err := w.m[s].site.Step(w.clock(s), in)
	for _, e := range effects {
		switch e := e.(type) {
		case Send:
			w.send(letter{to: 1 - s, part: -1, msg: e.Message})
		case Store:
			rec := e.Record
			w.m[s].storing = &rec
		}
	}
	return err
}

// stepLink feeds a Link and does what it asks for.
func (w *world) stepLink(s, p int, in LinkInput) {
	x := &w.m[s].part[p]
	log := LogView{Term: x.term, Tip: x.tip, Durable: x.durable, Lineage: &x.lineage, Epochs: x}
	for _, e := range x.link.Step(w.clock(s), x.view, log, in) {
		switch e := e.(type) {
		case Send:
			w.noteSend(s, p, e.Message)
			w.send(letter{to: 1 - s, part: p, msg: e.Message})
		case Propose:
			w.propose(s, p, proposal{h: e.Header, link: true})
		case Ship:
			w.ship(s, p, e)
		case ArchiveTail:
			x.jobs = append(x.jobs, func() LinkInput { return x.stage(e) })
		case SealArchive:
			x.jobs = append(x.jobs, func() LinkInput {
				x.settle(e.LogCut)
				return Sealed{}
			})
		case MarkDrained:
			w.tellPartitions(s, e.Mark.Target)
			w.step(s, e.Mark)
		case Recopy:
			w.bad("recopy", "%s of %s is copied anew", partName(p), siteName(s))
		case Halt:
			w.bad("halt", "the link of %s at %s stops: %v", partName(p), siteName(s), e.Reason)
		}
	}
}

// ship reads the durable log as the driver does.
func (w *world) ship(s, p int, e Ship) {
	m := Append{Partition: partitionID(p), Epoch: e.Epoch, Prev: e.From}
	durable := w.durableData(s, p)
	for _, d := range durable {
		if d.off >= e.From.Next && len(m.Rows) < shipMax {
			m.Rows = append(m.Rows, entry.Row{BaseOffset: d.off, LastOffset: d.last, LastOffsetDelta: int32(d.last - d.off), LeaderEpoch: d.le,
				MaxTimestamp: int64(d.rec), ProducerID: d.pid, BaseSequence: d.seq})
		}
		if d.last+1 == e.From.Next && d.le != e.From.Epoch {
			w.bad("link", "%s ships %s from %v, where its own log has leader epoch %d", siteName(s), partName(p), e.From, d.le)
		}
	}
	if len(m.Rows) == 0 {
		w.bad("link", "%s has nothing of %s to ship from %v", siteName(s), partName(p), e.From)
		return
	}
	last := m.Rows[len(m.Rows)-1]
	w.send(letter{to: 1 - s, part: p, msg: m})
	w.stepLink(s, p, Shipped{e.Epoch, Position{last.LastOffset + 1, last.LeaderEpoch}})
}

func (w *world) send(l letter) {
	w.net = append(w.net, l)
	if len(w.net) > netMax {
		w.net = w.net[1:]
	}
}

// crash loses what is not durable; of what was on its way to the disk, keep entries and the Record may have made it.
func (w *world) crash(s, keep int) bool {
	m := &w.m[s]
	if !m.up {
		return false
	}
	m.up = false
	if m.storing != nil && keep%2 == 1 {
		m.rec = *m.storing
		w.noteRecord(s)
	}
	m.storing, m.gen = nil, 0
	for p := range m.part {
		w.lose(s, p, keep/2)
	}
	w.checkAcked("crash")
	return true
}

// move gives a partition another leader at its site. That one has what a quorum had synced, and may know of an older role.
func (w *world) move(s, p int, old bool) bool {
	m := &w.m[s]
	x := &m.part[p]
	if !m.up {
		return false
	}
	view, before := x.view, x.before
	w.lose(s, p, 0)
	w.open(s, p)
	if p == offsetsPartition {
		m.gen = 0
	}
	x.view, x.before = view, before
	if old {
		x.view = before
	}
	w.checkAcked("move")
	return true
}

func (w *world) restart(s int) bool {
	m := &w.m[s]
	if m.up {
		return false
	}
	m.up = true
	w.boots++
	m.site = Restart(options(w.mode, s), w.boots, m.rec)
	for p := range m.part {
		w.open(s, p)
	}
	return true
}

// storeRecord makes the Site's Record durable.
func (w *world) storeRecord(s int) bool {
	m := &w.m[s]
	if !m.up || m.storing == nil {
		return false
	}
	m.rec, m.storing = *m.storing, nil
	w.trace("      %s stores %+v", siteName(s), m.rec)
	w.noteRecord(s)
	w.step(s, Stored{})
	return true
}

// look brings the Site's role to a partition.
func (w *world) look(s, p int) bool {
	x := &w.m[s].part[p]
	if !w.m[s].up || x.view == w.m[s].site.View() {
		return false
	}
	x.before, x.view = x.view, w.m[s].site.View()
	w.stepLink(s, p, LogMoved{})
	return true
}

// job does the disk work of an archive and tells the Link.
func (w *world) job(s, p int) bool {
	x := &w.m[s].part[p]
	if !w.m[s].up || len(x.jobs) == 0 {
		return false
	}
	do := x.jobs[0]
	x.jobs = x.jobs[1:]
	w.stepLink(s, p, do())
	return true
}

// deliver hands over a message; keep leaves a copy on its way.
func (w *world) deliver(i int, keep bool) bool {
	if len(w.net) == 0 {
		return false
	}
	i %= len(w.net)
	l := w.net[i]
	if l.msg != nil && w.cut {
		return false
	}
	if !keep {
		w.net = slices.Delete(slices.Clone(w.net), i, i+1)
	}
	if w.lines != nil {
		w.trace("      to %s: %s", siteName(l.to), letterName(l))
	}
	switch {
	case l.back != nil:
		w.receive(*l.back)
	case !w.m[l.to].up:
	case l.call != nil:
		w.serve(l.to, *l.call)
	case l.part < 0:
		w.step(l.to, Received{l.msg})
	default:
		w.stepLink(l.to, l.part, Received{l.msg})
	}
	return true
}

// writes says that a partition serves, as far as it knows.
func (w *world) writes(s, p int, state *entry.State) bool {
	x := &w.m[s].part[p]
	return w.m[s].up && x.view.Role == Active && x.view.Serving && state.SiteEpoch == x.view.Epoch && state.Role != entry.Following &&
		state.HasEpochBase
}
