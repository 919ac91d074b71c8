package sites

import (
	"cmp"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/replication/site"
)

// report is how this site stands, for the other one.
func (p *Pair) report() report {
	view, rec := p.driver.View(), p.driver.Record()
	r := report{stamp: p.stamp(), Active: view.Role == site.Active, Epoch: view.Epoch, Serving: p.driver.MayAcknowledge(), Planned: view.Planned, Fencing: view.Fencing, Waiting: rec.StopRenew,
		Links: []linkReport{}}
	r.Archives, r.ArchiveBytes, _ = p.archives.Figures() // what cannot be told now is told at the next time
	r.Troubles = p.troubles()
	node := p.options.Identity.NodeID
	image := p.options.Controller.Image()
	for _, s := range p.driver.Links() {
		if !s.Leads {
			continue
		}
		l := linkReport{Topic: s.ID.Topic, Partition: s.ID.Partition, Leader: node, Epoch: s.LeaderEpoch, End: s.End, Next: s.Next, Copied: s.Copied, Log: s.Log, Fault: s.Fault,
			Copying: view.Role == site.Standby && isRecopying(image, s.ID)}
		if s.Lag.Known {
			l.Lag = &lagJSON{Offsets: s.Lag.Offsets, Bytes: p.bytesBehind(&s), Ms: float64(s.Lag.Time) / float64(time.Millisecond)}
		}
		if s.Halted != site.Running {
			l.Halted = s.Halted.String()
		}
		r.Links = append(r.Links, l)
	}
	return r
}

// bytesBehind is how many bytes the standby lacks of a partition, up to an index interval more.
func (p *Pair) bytesBehind(s *LinkStatus) int64 {
	if s.Lag.Offsets == 0 {
		return 0
	}
	part, ok := p.options.Partitions.Get(s.Topic, s.ID.Partition)
	if !ok || part.Log() == nil {
		return 0
	}
	return part.Log().BytesFrom(s.End - s.Lag.Offsets)
}

// facts is what this site knows of both.
func (p *Pair) facts() operator.Facts {
	c := p.options.Config
	view, rec := p.driver.View(), p.driver.Record()
	told, heard := p.remote.told()
	r, _ := p.options.Controller.SiteRecord()
	options := p.siteOptions(&r)
	f := operator.Facts{
		Now:       p.options.Now(),
		Here:      operator.Site{Name: c.Name, Index: int(r.Index), Known: true, Role: view.Role, Epoch: view.Epoch, Serving: p.driver.MayAcknowledge(), Fencing: view.Fencing, Waiting: rec.StopRenew},
		There:     operator.Site{Name: cmp.Or(c.Peer, operator.Unnamed), Index: -1, Known: !heard.IsZero(), Role: roleOf(told.Active), Epoch: told.Epoch, Serving: told.Serving, Fencing: told.Fencing, Waiting: told.Waiting},
		Connected: p.reachable() && !heard.IsZero(), LastContact: heard, AsOf: p.remote.made(),
		ReportsApart: time.Duration(p.reportTicks()-1) * headInterval,
		SilenceMax:   c.FailoverSilenceMax, ActiveLeased: p.driver.Leased(),
	}
	if r.Peer != nil {
		f.There.Name, f.There.Index = r.Peer.Name, int(r.Peer.Index)
	}
	if f.Connected {
		f.Quiet = p.silence()
	} else {
		f.Obstacle = p.obstacle()
	}
	f.Troubles = append(troublesOf(f.There.Name, told.Troubles), troublesOf(c.Name, p.troubles())...)
	if options.Lease > 0 {
		f.Lease = options.Lease + options.Drift
	}
	f.Archives.Archives, f.Archives.Bytes, _ = p.archives.Figures()
	f.Archives.Archives += told.Archives
	f.Archives.Bytes += told.ArchiveBytes
	f.Partitions = p.partitionFacts(view.Role, f.AsOf)
	p.remember(&f)
	f.Metadata = p.metadataFacts(&view)
	f.Order = p.orders.running(p)
	return f
}

// metadataFacts compares the metadata of both sites, as far as they have told of it.
func (p *Pair) metadataFacts(view *site.View) (m operator.Metadata) {
	var stands *controller.Version
	if view.Role == site.Active {
		m.Active = p.options.Controller.LogicalVersion().String()
		there, _ := p.remote.followed()
		stands, m.LeftOut, m.Archiving = there.Version, there.LeftOut, there.Archiving+p.archiving()
	} else {
		here := p.have()
		stands, m.LeftOut, m.Archiving = here.Version, here.LeftOut, here.Archiving
		if h := p.remote.active(view.Epoch); h != nil {
			m.Active = h.Version.String()
			m.Archiving += h.Archiving
		}
	}
	if stands != nil {
		m.Standby = stands.String()
	}
	return m
}

func roleOf(active bool) site.Role {
	if active {
		return site.Active
	}
	return site.Standby
}

// partitionFacts is how each partition that ships stands. asOf is when what the other site has told was so.
func (p *Pair) partitionFacts(role site.Role, asOf time.Time) []operator.Partition {
	links := map[site.PartitionID]LinkStatus{}
	for _, s := range p.driver.Links() {
		links[s.ID] = s
	}
	var all []operator.Partition
	for _, t := range p.options.Controller.Image().Topics() {
		if !p.options.Config.Ships(t.Name) {
			continue
		}
		for i := range t.Partitions {
			id := site.PartitionID{Topic: t.ID, Partition: int32(i)}
			here, there := links[id], linkReport{}
			told, known := p.remote.link(id)
			if known {
				there = told
			}
			f := p.partitionFact(t.Name, id, role, here, there, known, asOf)
			if t.Config.DRBounded {
				f.LagMax = time.Duration(t.Config.DRLagMaxMs) * time.Millisecond
				f.Held = role == site.Active && p.driver.Exceeds(id, f.LagMax)
			}
			all = append(all, f)
		}
	}
	if role == site.Standby {
		all = append(all, p.missing(asOf)...)
	}
	return all
}

// missing are the partitions that the active has told of and this standby does not have yet: nothing of them is here.
func (p *Pair) missing(asOf time.Time) (all []operator.Partition) {
	if told, _ := p.remote.told(); !told.Active {
		return nil
	}
	image, names := p.options.Controller.Image(), map[uuid.UUID]string{}
	for _, c := range p.options.Controller.Conflicts() {
		names[c.Theirs] = c.Topic
	}
	for id, there := range p.remote.reported() {
		t, ok := image.TopicByID(id.Topic)
		if ok && t.Has(id.Partition) {
			continue
		}
		name := cmp.Or(names[id.Topic], id.Topic.String())
		if ok {
			name = t.Name
		}
		f := p.partitionFact(name, id, site.Standby, LinkStatus{}, there, true, asOf)
		f.Copied, f.Lag, f.Led = false, operator.Lag{}, true // by the active; there is nothing to be led here
		all = append(all, f)
	}
	return all
}

func (p *Pair) partitionFact(topic string, id site.PartitionID, role site.Role, here LinkStatus, there linkReport, known bool, asOf time.Time) operator.Partition {
	f := operator.Partition{Topic: topic, Index: id.Partition, Led: here.Leads, Halted: here.Halted, Shipped: operator.End{Offset: -1}, Active: operator.End{Offset: -1}}
	f.Fault = cmp.Or(here.Fault, there.Fault)
	if role == site.Active {
		f.Copied = here.Copied && !there.Copying
		f.Active = operator.End{Offset: here.End, At: p.options.Now()}
		if here.Lag.Known {
			f.Shipped.Offset = here.End - here.Lag.Offsets
			f.Lag = lagOf(here.Lag.Offsets, p.bytesBehind(&here), float64(here.Lag.Time)/float64(time.Millisecond))
		}
		return f
	}
	if here.Leads {
		f.Shipped.Offset = here.End
	}
	heard, _ := p.remote.told()
	f.Copied = (there.Copied || p.handed.has(id, &heard)) && !isRecopying(p.options.Controller.Image(), id)
	if known {
		f.Active = operator.End{Offset: there.End, At: asOf}
		if there.Lag != nil {
			f.Lag = lagHere(&there, here)
		}
		if there.Halted != "" && f.Halted == site.Running {
			f.Halted = haltOf(there.Halted)
		}
	}
	return f
}

// lagHere is the lag that the active has reported, less what has come here since.
func lagHere(there *linkReport, here LinkStatus) operator.Lag {
	l := *there.Lag
	if acked := there.End - l.Offsets; here.Leads && here.End > acked && l.Offsets > 0 {
		left := max(there.End-here.End, 0)
		l.Bytes = l.Bytes * left / l.Offsets
		l.Offsets = left
		if left == 0 {
			l.Ms = 0
		}
	}
	return lagOf(l.Offsets, l.Bytes, l.Ms)
}

// haltOf is the reverse of site.HaltReason.String.
func haltOf(text string) site.HaltReason {
	for r := site.Running + 1; r.String() != "unknown"; r++ {
		if r.String() == text {
			return r
		}
	}
	return site.HaltDivergent
}

func lagOf(records, bytes int64, ms float64) operator.Lag {
	whole := int64(ms + 0.5)
	return operator.Lag{Records: &records, Bytes: &bytes, Ms: &whole}
}

// shippedAt fills in when the last record that was shipped was written, by its timestamp: for a report.
func (p *Pair) shippedAt(f *operator.Facts) {
	for i := range f.Partitions {
		part, ok := p.options.Partitions.Get(f.Partitions[i].Topic, f.Partitions[i].Index)
		if !ok || part.Log() == nil || f.Partitions[i].Shipped.Offset <= 0 {
			continue
		}
		if _, ts, _, found, err := part.Log().MaxTimestamp(f.Partitions[i].Shipped.Offset); err == nil && found && ts >= 0 {
			f.Partitions[i].Shipped.At = time.UnixMilli(ts).UTC()
		}
	}
}

// Stand is how the two sites stand, in figures.
type Stand struct {
	Active, Serving, Connected bool
	Epoch                      uint32
	Topics                     []operator.TopicStatus // those with the most trouble first; not all where there are very many
	Halted, Archives           int
}

// Stand is how the two sites stand, in figures.
func (p *Pair) Stand() Stand {
	f := p.facts()
	s := f.Status()
	return Stand{Active: f.Here.Role == site.Active, Serving: f.Here.Serving, Connected: f.Connected, Epoch: f.Here.Epoch, Topics: s.Topics,
		Halted: s.Partitions.Halted, Archives: s.Archives.Archives}
}
