package operator

import (
	"time"

	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/entry"
)

// Facts are what one site knows of both at one moment. What it does not know is said to be unknown, and counts as that: never as 0.
type Facts struct {
	Now   time.Time
	Here  Site // the one that the facts are of
	There Site // as last heard; Known false = never

	Connected   bool
	LastContact time.Time     // zero = unknown
	Quiet       time.Duration // for how long nothing at all has come, while they are connected
	Obstacle    *Obstacle     // why they are not connected; nil = not known, or they are
	Troubles    []Trouble     // of both sites, as last heard
	// AsOf is up to when all is known that the other site has told by then: it takes a while to arrive. Zero = LastContact.
	AsOf time.Time
	// ReportsApart is how far apart the other site's reports are by intent, beyond the shortest interval.
	ReportsApart time.Duration

	SilenceMax time.Duration // dr.failover.silence.max.ms
	Lease      time.Duration // dr.fence.after.ms and drift; 0 = none
	// ActiveLeased: this site, a standby, has learned in this run and site epoch that the active acknowledges only under a lease.
	ActiveLeased bool

	Partitions []Partition // of all topics that ship
	Metadata   Metadata
	Order      *Order // that is going on
	Archives   ArchiveCounts
}

// Unnamed is the name of the other site in what is said of it, where this one has never heard it: it dials nobody, and nobody has come.
const Unnamed = "the other site"

// Site is one site's role.
type Site struct {
	Name    string // Unnamed = unknown
	Index   int    // -1 = unknown
	Known   bool
	Role    site.Role
	Epoch   uint32
	Serving bool   // active, confirmed, and its lease, if it has one, is in force
	Fencing uint32 // the target of a switchover that is going on; 0 = none
	Waiting bool   // takes over once the other's lease has ended
}

// Metadata is how far the standby has the active's topics and configs.
type Metadata struct {
	Active  string // version of the active's, as last heard; "" = unknown
	Standby string // of it, the one that stands at the standby; "" = none, or unknown
	// LeftOut are topics that are not shipped, since the standby has others of their names: some of them.
	LeftOut []string
	// Archiving is of how many topics what only one site had is not in archives of lost records yet.
	Archiving int
}

// current says that the standby is known to have what the active is known to have.
func (m *Metadata) current() bool { return m.Active != "" && m.Active == m.Standby }

// Partition is the link of one partition.
type Partition struct {
	Topic  string
	Index  int32
	Led    bool // a broker of this site leads it
	Halted site.HaltReason
	Fault  string // why records of it do not come over; "" = nothing is known to be wrong
	// Copied: the standby's log has reached the active's, as it then was, at least once since it began to follow it.
	Copied  bool
	Shipped End // up to where the standby's log is durable
	Active  End // up to where the active's is, as last heard
	// Records and Bytes that the standby does not have, and for how long the oldest of them has been durable at the active. At the
	// standby it is as last heard.
	Lag Lag
	// LagMax is the dr.max.lag.ms that its topic keeps to, by dr.mode=bounded; 0 = none.
	LagMax time.Duration
	// Held: of the active, produces to it are held, because it is more than LagMax behind, or has not been known for so long how far it is.
	Held bool
}

// End is the end of a log.
type End struct {
	Offset int64     // behind the last record; -1 = unknown
	At     time.Time // of the shipped end: when the last record was stored at the active, or zero; of the active's: when it was there
}

// unknownEnd says that nothing is known.
const unknownEnd = -1

// known is up to where the active's log is known to have been: what was shipped it had, whatever it has said of itself before.
func (p *Partition) known() End {
	if p.Active.Offset == unknownEnd || p.Active.Offset >= p.Shipped.Offset {
		return p.Active
	}
	return End{Offset: p.Shipped.Offset, At: p.Active.At}
}

// behind is how many offsets are missing at the standby: what is known of it. Where the active has begun a band that the standby does not
// have yet, the offsets that no record has are not counted.
func (p *Partition) behind() *int64 {
	active := p.known()
	if active.Offset == unknownEnd || p.Shipped.Offset == unknownEnd {
		return p.Lag.Records
	}
	from := p.Shipped.Offset
	if band := entry.BandStart(uint32(active.Offset >> entry.OffsetBandBits)); band > from {
		from = band
	}
	n := max(active.Offset-from, 0)
	return &n
}

// totalLag adds up the lags of partitions: nil where one of them is unknown.
func totalLag(partitions []Partition) *Lag {
	var total Lag
	for i := range partitions {
		p := &partitions[i]
		records := p.behind()
		if records == nil && p.Lag.Bytes == nil && p.Lag.Ms == nil {
			return nil
		}
		if i == 0 {
			total = Lag{new(int64), new(int64), new(int64)}
		}
		total.Records = sum(total.Records, records)
		total.Bytes = sum(total.Bytes, p.Lag.Bytes)
		total.Ms = later(total.Ms, p.Lag.Ms)
	}
	if len(partitions) == 0 {
		return nil
	}
	return &total
}

func sum(a, b *int64) *int64 {
	if a == nil || b == nil {
		return nil
	}
	n := *a + *b
	return &n
}

func later(a, b *int64) *int64 {
	if a == nil || b == nil {
		return nil
	}
	n := max(*a, *b)
	return &n
}

// silence is how long nothing was heard of the other site; known false = nobody knows.
func (f *Facts) silence() (d time.Duration, known bool) {
	if f.Connected {
		return f.Quiet, true
	}
	if f.LastContact.IsZero() {
		return 0, false
	}
	return max(f.Now.Sub(f.LastContact), 0), true
}

// quietMax is how long a site that is there may say nothing: four times as long as it does.
const quietMax = time.Second

// oldMax is how old what the other site has told last may be: on a narrow line it waits behind what is shipped, and other things come all the time.
const oldMax = 5 * time.Second

// fresh says that what the other site has told of itself is of this moment. A connection outlives what it led to for a while.
func (f *Facts) fresh() bool { return f.Connected && f.Quiet <= quietMax && !f.late() }

// late says that the newest word of how the other site stands is old.
func (f *Facts) late() bool { return f.age() > oldMax+3*f.ReportsApart }

// age is how long ago, at most, the other site said how it stands.
func (f *Facts) age() time.Duration {
	if f.AsOf.IsZero() {
		return f.Now.Sub(f.LastContact)
	}
	return f.Now.Sub(f.AsOf)
}

// overtaken says that this site is active by its own record only: the other one was promoted above it, as it has said.
func (f *Facts) overtaken() bool {
	return f.Here.Role == site.Active && f.There.Known && f.There.Role == site.Active && f.There.Epoch > f.Here.Epoch
}

// unasked says that this site is active by its own record only, and was started without hearing of the other one, which may have been
// promoted meanwhile.
func (f *Facts) unasked() bool {
	return f.Here.Role == site.Active && !f.Here.Serving && !f.There.Known
}

// hasAll says that this site has all that it ever acknowledged, and nobody else has more.
func (f *Facts) hasAll() bool { return f.Here.Role == site.Active && !f.overtaken() }

// RPO is what a failover at this moment would lose, as far as anybody knows. At an active site it is exact: it knows what it has.
func (f *Facts) RPO() RPO {
	var r RPO
	if f.overtaken() {
		return r // it has not compared itself with the other one yet
	}
	if lag := totalLag(f.Partitions); lag != nil {
		r = RPO{Records: lag.Records, Bytes: lag.Bytes, Ms: lag.Ms}
	}
	if f.fresh() || f.Here.Role == site.Active {
		return r
	}
	silence, known := f.silence()
	if !known {
		return RPO{}
	}
	since := f.LastContact
	if !f.AsOf.IsZero() && f.AsOf.Before(since) {
		since = f.AsOf
	}
	r.UnknownSince = &since
	if r.Ms != nil {
		n := *r.Ms + max(f.Now.Sub(since), silence).Milliseconds()
		r.Ms = &n
	}
	return r
}

// active is the site that is active, nil where none is known to be.
func (f *Facts) active() *Site {
	switch {
	case f.Here.Role == site.Active && (!f.There.Known || f.There.Role != site.Active || f.Here.Epoch > f.There.Epoch):
		return &f.Here
	case f.There.Known && f.There.Role == site.Active:
		return &f.There
	}
	return nil
}

func (f *Facts) other(name string) *Site {
	if name == f.Here.Name {
		return &f.There
	}
	return &f.Here
}

// count says how many links are in a state that stands in the way of something.
func (f *Facts) count() (c LinkCounts) {
	c.All = len(f.Partitions)
	for i := range f.Partitions {
		p := &f.Partitions[i]
		switch {
		case p.Halted != site.Running:
			c.Halted++
		case !p.Copied:
			c.Copying++
		}
		if !p.Led {
			c.Unled++
		}
	}
	return c
}
