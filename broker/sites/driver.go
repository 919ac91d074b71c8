package sites

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/protocol/wire"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/replication/transport"
)

// Options configures a Driver. Site, Record, Boot, Records and Network are required.
type Options struct {
	Site    site.Options
	Record  site.Record // as it was stored last
	Found   bool        // Record is of an active site that has met no other one, and has nobody to ask
	Boot    site.Boot   // random
	Link    site.LinkOptions
	Records Records
	Network Network
	Logger  *slog.Logger
	Now     func() time.Time // with a monotonic reading; nil = time.Now
	// Needs is the n of the version of the logical metadata that an Append of the topic names (site.Append); nil = 0.
	Needs func(topic uuid.UUID) uint64
	// Recopy carries out site.Recopy; nil = an error.
	Recopy recopyFunc
	// Changed is told that the View has changed; it must not wait. nil = nobody asks.
	Changed func()
	// Room is nil where so many bytes more may be written, else why not. nil = there is always room.
	Room func(bytes int64) error
	// Held says that the other site takes nothing now: then nothing is shipped. nil = it always does.
	Held func() bool
	// RTT is that of the line to the other site, about; 0 = unknown. nil = it never is known.
	RTT func() time.Duration

	TickInterval time.Duration // 0 = 200 ms
	IdleTicks    int           // a link with nothing due is ticked every so many ticks only; 0 = 25
	Workers      int           // 0 = 4
	ShipBytesMax int           // of one Append, unless one batch is larger, and less where the line is narrow; 0 = 1 MiB
}

// Driver runs the role of the site and the links of this broker's partitions. Safe for concurrent use.
type Driver struct {
	options Options
	logger  *slog.Logger
	network Network
	role    *role
	began   time.Time
	workers []*worker
	pool    *wire.Pool // of what is shipped
	seed    maphash.Seed
	follows atomic.Pointer[controller.Version] // the active's metadata that stands here; nil = none

	proposed   atomic.Int64 // bytes that the links have proposed, and that are not settled
	asking     atomic.Int64 // messages that links say again at each tick, and that wait to go out
	turnedAway atomic.Int64 // bytes of the Append for which there was no room, and of what was on its way; 0 = none since there was some

	ctx   context.Context
	stop  context.CancelFunc
	tasks sync.WaitGroup // workers, the ticker, archives

	mu    sync.Mutex
	links map[site.PartitionID]*runner
	jobs  map[site.PartitionID]*job
	ended bool
}

// askingMax bounds what waits to go out of what links say again at each tick, until it is answered. Where a narrow line has no room for all of
// them, thousands of partitions would fill the queue, and all else, leases, reports, what is answered, would wait behind questions of long ago.
const askingMax = 128

// say sends what a link says.
func (d *Driver) say(m site.Message) {
	switch m.(type) {
	case site.Probe, site.Compare, site.Drain:
	default:
		d.network.Send(m, nil)
		return
	}
	if d.asking.Add(1) > askingMax {
		d.asking.Add(-1) // as if it had been lost
		return
	}
	d.network.Send(m, func(bool) { d.asking.Add(-1) })
}

// shipIdleBytes are kept for the next Appends.
const shipIdleBytes = 8 << 20

// New returns a Driver that does nothing before Start.
func New(o Options) *Driver {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Needs == nil {
		o.Needs = func(uuid.UUID) uint64 { return 0 }
	}
	if o.Recopy == nil {
		o.Recopy = func(context.Context, site.PartitionID, uint32, int64) error { return errors.ErrUnsupported }
	}
	if o.Changed == nil {
		o.Changed = func() {}
	}
	if o.Room == nil {
		o.Room = func(int64) error { return nil }
	}
	if o.RTT == nil {
		o.RTT = func() time.Duration { return 0 }
	}
	if o.Held == nil {
		o.Held = func() bool { return false }
	}
	if o.TickInterval == 0 {
		o.TickInterval = 200 * time.Millisecond
	}
	if o.IdleTicks == 0 {
		o.IdleTicks = 25
	}
	if o.Workers == 0 {
		o.Workers = 4
	}
	if o.ShipBytesMax == 0 {
		o.ShipBytesMax = 1 << 20
	}
	if o.Link.Window == 0 {
		// Of the smallest Appends: bytes are bounded by the network's credit. When it is full what is written waits for an Ack: one Append for
		// each turnInterval of the longest RTT.
		o.Link.Window = 512
	}
	d := &Driver{options: o, logger: o.Logger, network: o.Network, began: o.Now(), seed: maphash.MakeSeed(), links: map[site.PartitionID]*runner{},
		pool: wire.NewPool(wire.PoolOptions{IdleBytesMax: shipIdleBytes}), jobs: map[site.PartitionID]*job{}}
	d.ctx, d.stop = context.WithCancel(context.Background())
	d.role = &role{records: o.Records, network: o.Network, now: d.now, logger: o.Logger, ctx: d.ctx, changed: d.viewChanged}
	if o.Found {
		d.role.mu.site = site.Found(o.Site, o.Boot, o.Record)
	} else {
		d.role.mu.site = site.Restart(o.Site, o.Boot, o.Record)
	}
	view := d.role.mu.site.View()
	d.role.view.Store(&view)
	for range o.Workers {
		d.workers = append(d.workers, newWorker(d.now))
	}
	return d
}

// now is this run's monotonic clock.
func (d *Driver) now() time.Duration { return d.options.Now().Sub(d.began) }

// Start begins to tick.
func (d *Driver) Start() {
	d.tasks.Add(1 + len(d.workers))
	for _, w := range d.workers {
		go func() {
			defer d.tasks.Done()
			w.run()
		}()
	}
	go func() {
		defer d.tasks.Done()
		d.tick()
	}()
}

// Close ends everything and waits for it. Payloads that came in are released.
func (d *Driver) Close() {
	d.mu.Lock()
	links := d.links
	d.links, d.ended = map[site.PartitionID]*runner{}, true
	d.mu.Unlock()
	for _, r := range links {
		r.close()
	}
	d.stop()
	for _, w := range d.workers {
		w.end()
	}
	d.tasks.Wait()
	d.role.end()
}

// tick passes the time until Close.
func (d *Driver) tick() {
	ticker := time.NewTicker(d.options.TickInterval)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-d.ctx.Done():
			return
		case <-ticker.C:
		}
		_ = d.role.step(site.Tick{})
		all := n%d.options.IdleTicks == 0
		runners := d.runners()
		if all {
			d.renew(runners)
		}
		for _, r := range runners {
			if s := r.state.Load(); all || s == nil || !s.quiet {
				r.put(input{in: site.Tick{}})
			}
		}
	}
}

// replica is a partition that is shipped here; ok is false where there is none.
func (d *Driver) replica(id site.PartitionID) (r Replica, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	run, ok := d.links[id]
	if !ok {
		return nil, false
	}
	return run.replica(), true
}

func (d *Driver) runners() []*runner {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]*runner, 0, len(d.links))
	for _, r := range d.links {
		list = append(list, r)
	}
	return list
}

// viewChanged has every link look at the new View.
func (d *Driver) viewChanged() {
	for _, r := range d.runners() {
		r.wake()
	}
	d.options.Changed()
}

// Add begins to ship a partition. Where its log has a link that goes on with what the Replica says now: a link that was begun anew would not know
// what the one before has proposed. Another log, since the partition was begun anew, has another link.
func (d *Driver) Add(replica Replica) {
	id := replica.ID()
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.links[id]
	switch {
	case d.ended || old != nil && old.replica() == replica:
		return
	case old != nil && old.replica().Log() == replica.Log():
		old.now.Store(&replica)
		old.wake()
		return
	case old != nil:
		d.endJobLocked(id)
		old.close()
	}
	r := newRunner(d, replica, d.workers[maphash.Comparable(d.seed, id)%uint64(len(d.workers))])
	r.cancel = replica.Watch(r.wake)
	d.links[id] = r
	r.wake()
}

// Remove ends the link of a partition.
func (d *Driver) Remove(id site.PartitionID) {
	d.mu.Lock()
	r := d.links[id]
	delete(d.links, id)
	d.endJobLocked(id)
	d.mu.Unlock()
	if r != nil {
		r.close()
	}
}

// Keep ends the links of all partitions that are not here.
func (d *Driver) Keep(here map[site.PartitionID]bool) {
	for _, r := range d.runners() {
		if id := r.replica().ID(); !here[id] {
			d.Remove(id)
		}
	}
}

// Receive takes a message of the other site. release is called once, when its payload is not needed any more; nil = it has none.
func (d *Driver) Receive(m site.Message, release func()) {
	id, ok := partitionOf(m)
	if !ok {
		_ = d.role.step(site.Received{Message: m})
		if release != nil {
			release()
		}
		return
	}
	d.mu.Lock()
	r := d.links[id]
	d.mu.Unlock()
	i := input{in: site.Received{Message: m}, release: release}
	if r == nil {
		i.drop() // not here yet, or not any more: the other site says it again
		return
	}
	r.put(i)
}

// partitionOf is the partition that a message is about; ok is false for those between the Sites.
func partitionOf(m site.Message) (site.PartitionID, bool) {
	switch m := m.(type) {
	case site.Append:
		return m.Partition, true
	case transport.Stored:
		return m.Partition, true
	case site.Probe:
		return m.Partition, true
	case site.Ack:
		return m.Partition, true
	case site.LogStart:
		return m.Partition, true
	case site.Drain:
		return m.Partition, true
	case site.Compare:
		return m.Partition, true
	case site.Compared:
		return m.Partition, true
	}
	return site.PartitionID{}, false
}

// background runs fn beside everything else; Close waits for it.
func (d *Driver) background(fn func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return
	}
	d.tasks.Add(1)
	go func() {
		defer d.tasks.Done()
		fn()
	}()
}

// Len is how many links there are.
func (d *Driver) Len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.links)
}

// Acked is up to where the standby is known to have a partition; ok is false where that is not known.
func (d *Driver) Acked(id site.PartitionID) (offset int64, ok bool) {
	d.mu.Lock()
	r := d.links[id]
	d.mu.Unlock()
	if r == nil {
		return 0, false
	}
	return r.lag.known()
}

// Exceeds says that the standby is, or may be, more than limit behind in a partition. One without a link may be anywhere.
func (d *Driver) Exceeds(id site.PartitionID, limit time.Duration) bool {
	d.mu.Lock()
	r := d.links[id]
	d.mu.Unlock()
	return r == nil || r.lag.exceeds(d.now(), limit)
}

// Leased says that this site, a standby, has learned in this run and site epoch that the active acknowledges only under a lease.
func (d *Driver) Leased() bool { return d.role.leased() }

// Followed says which version of the active's metadata stands at this site: what needs a later one is not appended.
func (d *Driver) Followed(v controller.Version) {
	if old := d.follows.Swap(&v); old != nil && *old == v {
		return
	}
	for _, r := range d.runners() {
		r.wake()
	}
}

// linkView is the View as links need it.
func (d *Driver) linkView() site.View {
	v := d.View()
	if f := d.follows.Load(); f != nil && v.Role == site.Standby && f.Epoch == v.Epoch {
		v.Metadata = f.N
	}
	v.RTT = d.options.RTT()
	return v
}

// View is the role of the site as known here.
func (d *Driver) View() site.View { return *d.role.view.Load() }

// Record is the durable role of the site.
func (d *Driver) Record() site.Record { return d.role.record() }

// MayAcknowledge says whether a write may be acknowledged at this moment. It is asked when the answer leaves.
func (d *Driver) MayAcknowledge() bool { return d.role.mayAcknowledge() }

// Order gives the Site an order of the operator, or the partitions of a switchover. Errors: those of site.Site.Step.
func (d *Driver) Order(in site.Input) error { return d.role.step(in) }

// LinkStatus is how the shipping of one partition stands.
type LinkStatus struct {
	ID     site.PartitionID
	Topic  string
	Leads  bool // this broker leads the partition; without it the rest means nothing
	Halted site.HaltReason
	Lag    Lag    // known at the active only
	End    int64  // of the durable log
	Next   int64  // the first offset of the site epoch that a promotion began; without one the offset of the next record
	Copied bool   // at the active: the standby has had all that was here, once
	Log    uint32 // incarnation of the log; at the active that of the standby's, as far as it has said
	Fault  string // why records of it do not come over, as far as it is known here; "" = nothing is
	// LeaderEpoch is that under which the log takes produces; -1 = it takes none.
	LeaderEpoch int32
}

// Links is how each partition stands, in no order.
func (d *Driver) Links() []LinkStatus {
	now := d.now()
	var list []LinkStatus
	for _, r := range d.runners() {
		s := LinkStatus{ID: r.replica().ID(), Topic: r.replica().Topic(), Lag: r.lag.at(now), Fault: r.faulty(now)}
		if state := r.state.Load(); state != nil {
			s.Leads, s.Halted, s.End, s.LeaderEpoch, s.Next, s.Copied = state.leads, state.halted, state.end, state.epoch, state.next, state.copied
			s.Log = state.log
		}
		list = append(list, s)
	}
	return list
}
