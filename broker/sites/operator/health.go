package operator

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tandembroker/tandem/replication/site"
)

const (
	lagMax    = 10 * time.Second // a longer lag is not green, nor one beyond what dr.mode=bounded keeps to
	topicsMax = 1000             // of a Status; those with the most trouble first
)

// Status is how the sites stand by these facts.
func (f *Facts) Status() Status {
	s := Status{
		AnsweredBy: f.Here.Name, Sites: []SiteStatus{f.describe(&f.Here), f.describe(&f.There)},
		Contact: ContactStatus{Connected: f.Connected}, Lag: totalLag(f.Partitions), RPO: f.RPO(), Partitions: f.count(), Order: f.Order,
		Archives: f.Archives, Metadata: f.metadata(), Reasons: f.reasons(),
	}
	if !f.fresh() && f.Here.Role == site.Standby {
		s.Lag = nil // what was heard last is in the RPO
	}
	if d, known := f.silence(); known {
		ms := d.Milliseconds()
		s.Contact.SilenceMs = &ms
	}
	if !f.LastContact.IsZero() {
		last := f.LastContact
		s.Contact.Last = &last
	}
	s.Topics = f.topics()
	s.TopicsHidden = max(len(s.Topics)-topicsMax, 0)
	s.Topics = s.Topics[:len(s.Topics)-s.TopicsHidden]
	s.Green = len(s.Reasons) == 0
	if !s.Green {
		s.Next = s.Reasons[0].Next
	}
	return s
}

// metadata is what is shown of the metadata. Without a contact it is as last heard.
func (f *Facts) metadata() MetadataStatus {
	s := MetadataStatus{Current: f.Connected && f.Metadata.current(), LeftOut: f.Metadata.LeftOut}
	if f.Metadata.Active != "" {
		s.Active = &f.Metadata.Active
	}
	if f.Metadata.Standby != "" {
		s.Standby = &f.Metadata.Standby
	}
	return s
}

// describe tells one site's role.
func (f *Facts) describe(s *Site) SiteStatus {
	if s.Name == Unnamed {
		return SiteStatus{Role: "unknown", State: "never heard of, and not known by name"}
	}
	if !s.Known {
		return SiteStatus{Name: s.Name, Role: "unknown", State: "never heard of in this run"}
	}
	out := SiteStatus{Name: s.Name, Role: s.Role.String(), SiteEpoch: s.Epoch, Serving: s.Serving}
	switch {
	case s.Waiting:
		out.State = "takes over once the other site's lease has ended"
	case s.Fencing != 0:
		out.State = fmt.Sprintf("hands over to site epoch %d", s.Fencing)
	case s.Role == site.Active && s.Serving:
		out.State = "takes writes"
	case s.Role == site.Active:
		out.State = "takes no writes before the other site has answered"
	default:
		out.State = "follows"
	}
	if s == &f.There && !f.Connected {
		out.State = "no contact; before that: " + out.State
	}
	return out
}

// reasons are why the sites are not green, the most urgent first.
func (f *Facts) reasons() []Reason {
	all := []Reason{}
	add := func(code, next, format string, args ...any) {
		all = append(all, Reason{code, fmt.Sprintf(format, args...), next})
	}
	if f.barred() { // whatever else is missing follows from it
		f.contactReason(add)
		f.roleReasons(add)
	} else {
		f.roleReasons(add)
		f.contactReason(add)
	}
	f.troubleReasons(add)
	f.leftOutReason(add) // its partitions are not copied either, for as long
	f.linkReasons(add)
	f.metadataReasons(add)
	return all
}

func (f *Facts) roleReasons(add func(code, next, format string, args ...any)) {
	switch {
	case f.Order != nil && f.Order.State == Running:
		add("order", cmp.Or(f.Order.Next, nextWatch+", or "+nextAbort), "a %s to %s is going on: %s", f.Order.Kind, f.Order.To, cmp.Or(f.Order.Step, "begun"))
	case f.Here.Fencing != 0 && !f.Connected:
		add("order", fmt.Sprintf("start the brokers of %s, or mend the network; if %s is lost: %s --active-is-down", f.There.Name, f.There.Name, failoverTo(f.Here.Name)),
			"%s hands over to %s, which is not there: no site takes writes", f.Here.Name, f.There.Name)
	case f.Here.Waiting || f.Here.Fencing != 0 || f.Connected && (f.There.Waiting || f.There.Fencing != 0):
		add("order", nextWatch+", or "+nextAbort, "the active role is being handed over")
	}
	active := f.active()
	switch {
	case f.There.Known && f.Connected && f.Here.Role == site.Active && f.There.Role == site.Active:
		add("two actives", nextWatch, "both sites were promoted: %s, of the higher site epoch, stays active, the other one steps down by itself", active.Name)
	case active == nil && f.Connected:
		add("no active", "tandem dr failover --active-is-down --to the site that is to be active", "neither site is active")
	case active == nil && f.barred() && !f.There.Known:
	case active == nil:
		add("no active", failoverTo(f.Here.Name), "no active site is known here")
	case !active.Serving && (active == &f.Here || f.Connected):
		add("not serving", failoverTo(active.Name)+", only if the other site is lost for good",
			"%s takes no writes: it was restarted, or its lease has ended, and the other site has not said that it was not promoted meanwhile", active.Name)
	}
}

func (f *Facts) contactReason(add func(code, next, format string, args ...any)) {
	if f.Connected {
		switch {
		case f.Quiet > quietMax:
			add("silent", nextWatch, "nothing was heard of %s for %s, though it is connected", f.There.Name, rough(f.Quiet))
		case f.late():
			add("late", "look at the network between the sites; "+nextWatch, "how %s stands comes late: the newest word of it may be %s old", f.There.Name, rough(f.age()))
		}
		return
	}
	next, why := "mend the network between the sites, or start the brokers of "+f.There.Name, ""
	if f.Obstacle != nil {
		next, why = cmp.Or(f.Obstacle.Next, next), ": "+f.Obstacle.Text
	}
	if f.Here.Role == site.Standby && (f.There.Known || !f.barred()) {
		next += "; if " + f.There.Name + " is lost: " + failoverTo(f.Here.Name)
	}
	if d, known := f.silence(); known {
		add("no contact", next, "nothing was heard of %s for %s%s", f.There.Name, rough(d), why)
		return
	}
	add("no contact", next, "nothing was heard of %s since this site was started%s", f.There.Name, why)
}

func (f *Facts) leftOutReason(add func(code, next, format string, args ...any)) {
	if len(f.Metadata.LeftOut) > 0 {
		text, next := f.leftOut()
		add("left out", next, "%s", text)
	}
}

// leftOut is what to say of topics that are left out, of which there are some, and what to do.
func (f *Facts) leftOut() (text, next string) {
	left, more := f.Metadata.LeftOut, ""
	if len(left) > 1 {
		more = fmt.Sprintf(" (and %d more)", len(left)-1)
	}
	return fmt.Sprintf("the topic %s%s is not shipped: the standby has another one of its name", left[0], more),
		fmt.Sprintf("delete the topic %s at the site where it is not wanted", left[0])
}

func (f *Facts) metadataReasons(add func(code, next, format string, args ...any)) {
	if n := f.Metadata.Archiving; n > 0 {
		add("archiving", nextWatch, "the records of %d topics that only one of the sites had are not in archives of lost records yet", n)
	}
	switch active := f.active(); {
	case !f.Connected || active == nil || !active.Serving: // told already
	case f.Metadata.Active == "" || f.Metadata.Standby == "":
		add("metadata", nextWatch, "whether the standby has all topics and configs is not known yet")
	case !f.Metadata.current():
		add("metadata", nextWatch, "the standby has version %s of the topics and configs, the active has %s", f.Metadata.Standby, f.Metadata.Active)
	}
}

func (f *Facts) linkReasons(add func(code, next, format string, args ...any)) {
	c := f.count()
	for i := range f.Partitions {
		if p := &f.Partitions[i]; p.Halted != site.Running { // the first stands for all
			more := ""
			if c.Halted > 1 {
				more = fmt.Sprintf(", and %d more", c.Halted-1)
			}
			add("halted", f.wayOut(p), "the link of %s-%d has stopped%s: %s", p.Topic, p.Index, more, p.Halted)
			break
		}
	}
	if p, n := f.faulty(); p != nil && f.Connected {
		more := ""
		if n > 1 {
			more = fmt.Sprintf(" (and of %d more partitions)", n-1)
		}
		add("damaged", undamage(p), "records of %s-%d%s do not come to the standby: %s", p.Topic, p.Index, more, p.Fault)
	}
	if c.Unled > 0 {
		add("not led", nextWatch, "%d of %d partitions have no leader at %s", c.Unled, c.All, f.Here.Name)
	}
	if c.Copying > 0 && f.Here.Role == site.Standby && !f.There.Known {
		add("copying", "it is known once the active is there", "whether %d of %d partitions were copied to the standby is not known", c.Copying, c.All)
	} else if c.Copying > 0 {
		add("copying", nextWatch, "%d of %d partitions are not copied to the standby yet", c.Copying, c.All)
	}
	lag := totalLag(f.Partitions)
	switch {
	case f.boundedReason(add): // told whatever else is wrong: clients meet it
	case !f.fresh() || c.Halted+c.Copying+c.Unled > 0: // told already
	case len(f.Partitions) > 0 && (lag == nil || lag.Ms == nil):
		add("lag unknown", nextWatch, "how far the standby is behind is not known yet")
	case lag != nil:
		f.lagReason(time.Duration(*lag.Ms)*time.Millisecond, add)
	}
}

// faulty is the first partition of which records do not come over, nil = none is known, and how many there are.
func (f *Facts) faulty() (first *Partition, count int) {
	for i := range f.Partitions {
		if p := &f.Partitions[i]; p.Fault != "" {
			if count++; first == nil {
				first = p
			}
		}
	}
	return first, count
}

// undamage is what to do about records that do not come over.
func undamage(p *Partition) string {
	return fmt.Sprintf("mend the disk of the active site, or do without them: delete the records of %s-%d up to behind them there (kafka-delete-records); "+
		"it goes on by itself then", p.Topic, p.Index)
}

const nextOfLag = "look at the network and the standby's disk; " + nextWatch

// lagReason is told of the longest lag.
func (f *Facts) lagReason(longest time.Duration, add func(code, next, format string, args ...any)) {
	if longest > lagMax {
		add("lag", nextOfLag, "the standby is %s behind, more than %s", rough(longest), rough(lagMax))
	}
}

// boundedReason is told of a partition to which produces are held, and says whether there is one. At the active it counts as long as the lag,
// which is known there without contact too; a standby knows only what it is told.
func (f *Facts) boundedReason(add func(code, next, format string, args ...any)) bool {
	if !f.fresh() && (f.Here.Role != site.Active || !f.Here.Serving) {
		return false
	}
	for i := range f.Partitions {
		p := &f.Partitions[i]
		switch {
		case p.Held && p.Lag.Ms == nil:
			add("lag", nextOfLag, "how far the standby is behind in %s-%d has not been known for longer than its dr.max.lag.ms (%s): produces to it are held,"+
				" and refused in the end (dr.mode=bounded)", p.Topic, p.Index, rough(p.LagMax))
			return true
		case p.LagMax > 0 && p.Lag.Ms != nil && time.Duration(*p.Lag.Ms)*time.Millisecond > p.LagMax:
			add("lag", nextOfLag, "the standby is %s behind in %s-%d, more than its dr.max.lag.ms (%s): produces to it are held, and refused in the end (dr.mode=bounded)",
				rough(time.Duration(*p.Lag.Ms)*time.Millisecond), p.Topic, p.Index, rough(p.LagMax))
			return true
		}
	}
	return false
}

// wayOut is what to do about a link that has stopped.
func (f *Facts) wayOut(p *Partition) string {
	recopy := fmt.Sprintf("tandem dr recopy --topic %s --partition %d", p.Topic, p.Index)
	if p.Halted == site.HaltRecreated {
		return fmt.Sprintf("delete the topic %s at the site where it is not wanted", p.Topic)
	}
	if p.Halted == site.HaltGap {
		return recopy + "; or do without what is gone: delete the records of the partition up to its log start at the active (kafka-delete-records)"
	}
	return recopy
}

func failoverTo(name string) string { return "tandem dr failover --to " + name }

// topics is one line for each topic, those with trouble first.
func (f *Facts) topics() []TopicStatus {
	byName := map[string][]Partition{}
	for _, p := range f.Partitions {
		byName[p.Topic] = append(byName[p.Topic], p)
	}
	all := make([]TopicStatus, 0, len(byName))
	for name, partitions := range byName {
		t := TopicStatus{Topic: name, Partitions: len(partitions), Lag: totalLag(partitions)}
		for i := range partitions {
			if partitions[i].Halted != site.Running {
				t.Halted++
			}
		}
		if !f.fresh() && f.Here.Role == site.Standby {
			t.Lag = nil
		}
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b TopicStatus) int {
		return cmp.Or(cmp.Compare(b.Halted, a.Halted), cmp.Compare(lagOrder(b.Lag), lagOrder(a.Lag)), cmp.Compare(a.Topic, b.Topic))
	})
	return all
}

// lagOrder puts unknown lags in front of known ones.
func lagOrder(l *Lag) int64 {
	if l == nil || l.Records == nil {
		return 1<<63 - 1
	}
	return *l.Records
}

// rough is a duration for people.
func rough(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
