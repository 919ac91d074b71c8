package operator

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tandembroker/tandem/replication/site"
)

// DecideSwitchover says what a switchover would do, or why it may not begin. The facts are those of the active site.
func (f *Facts) DecideSwitchover(o SwitchoverOrder) (Plan, *Error) {
	if err := f.knownSite(o.To); err != nil {
		return Plan{}, err
	}
	active := f.active()
	c := f.count()
	faulty, _ := f.faulty()
	switch {
	case f.going():
		return Plan{}, f.refuseBusy()
	case active != nil && active.Name == o.To:
		return Plan{}, refuse(nextStatus, "%s is the active site already (site epoch %d)", o.To, active.Epoch)
	case !f.Connected:
		return Plan{}, refuse(fmt.Sprintf("start the brokers of %s, or mend the network; if %s is lost: %s", f.other(o.To).Name, f.other(o.To).Name, failoverTo(o.To)),
			"the sites are not in contact, so nothing can be handed over without loss")
	case active == nil:
		return Plan{}, refuse(failoverTo(o.To)+" --active-is-down", "neither site is active: there is nothing to hand over")
	case !active.Serving:
		return Plan{}, refuse("try again in a second; "+nextStatus, "%s does not serve yet", active.Name)
	case f.troubled(o.To) != nil:
		return Plan{}, refuse(f.troubled(o.To).Next, "%s cannot take over: %s", o.To, f.troubled(o.To).Text)
	case c.Halted > 0:
		return Plan{}, refuse("see tandem dr status for the way out of each", "the links of %d of %d partitions have stopped: they would lose what was not shipped", c.Halted, c.All)
	case faulty != nil:
		return Plan{}, refuse(undamage(faulty), "records of %s-%d do not come to the standby, and would be lost: %s", faulty.Topic, faulty.Index, faulty.Fault)
	case c.Copying > 0 && len(f.Metadata.LeftOut) > 0:
		text, next := f.leftOut()
		return Plan{}, refuse(next, "%s", text)
	case c.Copying > 0:
		return Plan{}, refuse(nextWatch+" until it is green", "%d of %d partitions are not copied to %s yet", c.Copying, c.All, o.To)
	case c.Unled > 0:
		return Plan{}, refuse(nextWatch+" until it is green", "%d of %d partitions have no leader", c.Unled, c.All)
	}
	p := Plan{Question: fmt.Sprintf("Make %s the active site? %s stops to take writes, %s takes them once it has everything. Nothing is lost.", o.To, active.Name, o.To)}
	if lag := totalLag(f.Partitions); lag == nil || lag.Ms == nil {
		p.Notes = append(p.Notes, fmt.Sprintf("How far %s is behind is not known at this moment, so neither is how long writes pause.", o.To))
	} else {
		p.Notes = append(p.Notes, fmt.Sprintf("%s is %s behind: writes pause at least for that.", o.To, rough(time.Duration(*lag.Ms)*time.Millisecond)))
	}
	return p, nil
}

// DecideFailover says what a failover would do, or why it may not begin. The facts are those of the site o.To.
func (f *Facts) DecideFailover(o FailoverOrder) (Plan, *Error) {
	if err := f.knownSite(o.To); err != nil {
		return Plan{}, err
	}
	there := f.There
	switch {
	case o.To != f.Here.Name:
		return Plan{}, refuse(fmt.Sprintf("ask a broker of %s: --bootstrap-server HOST:PORT", o.To), "%s has to carry it out, and cannot be reached from %s", o.To, f.Here.Name)
	case f.going() && !f.overrides(o):
		return Plan{}, f.refuseBusy()
	case f.Here.Role == site.Active && f.Here.Serving && f.Here.Fencing == 0:
		return Plan{}, refuse("tandem dr history tells how it came to be that", "%s is the active site already (site epoch %d)", o.To, f.Here.Epoch)
	case f.Connected && there.Known && there.Role == site.Active:
		return Plan{}, refuse(fmt.Sprintf("tandem dr switchover --to %s loses nothing; if %s cannot serve, stop its brokers first", o.To, there.Name),
			"%s is active and can be reached from %s", there.Name, o.To)
	case f.Connected && f.Here.Role == site.Active:
		return Plan{}, refuse("try again in a second; "+nextStatus, "%s is active and in contact with %s: it is about to serve", o.To, there.Name)
	}
	p := Plan{ActiveIsDown: o.ActiveIsDown}
	if t := f.troubled(o.To); t != nil {
		p.Notes = append(p.Notes, t.Text+". Way out: "+t.Next+".")
	}
	if doubts := f.doubts(); len(doubts) > 0 {
		p.Notes = append(p.Notes, doubts...)
		if !o.AcceptDataLoss {
			return p, refuse(failoverTo(o.To)+downFlag(o.ActiveIsDown)+" --accept-data-loss, if that is what you want", "more may be lost than anybody knows. %s",
				strings.Join(doubts, " "))
		}
	}
	if !o.ActiveIsDown {
		if !f.ActiveLeased || f.Lease <= 0 || f.Here.Role != site.Standby {
			return p, refuse("make sure that "+there.Name+" takes no writes (its brokers are stopped, or its clients cannot reach it), then say so: "+
				failoverTo(o.To)+" --active-is-down", "%s is not known to be under a lease (dr.fence.after.ms), so nobody can tell from here that it has stopped to take writes", there.Name)
		}
		p.WaitMs = f.Lease.Milliseconds()
		p.Notes = append(p.Notes, fmt.Sprintf("%s waits %s until the lease of %s has surely ended.", o.To, rough(f.Lease), there.Name))
	}
	rpo := f.RPO()
	if f.hasAll() {
		rpo = RPO{Records: new(int64), Bytes: new(int64), Ms: new(int64)} // of its own it loses nothing
	}
	p.RPO = &rpo
	p.Question = fmt.Sprintf("Make %s the active site without %s? %s", o.To, there.Name, rpo.sentence(f))
	return p, nil
}

// DecideRecopy says what it would be to copy a partition anew, or why that may not begin. The facts are those of the standby.
func (f *Facts) DecideRecopy(o RecopyOrder) (Recopied, *Error) {
	i := slices.IndexFunc(f.Partitions, func(p Partition) bool { return p.Topic == o.Topic && p.Index == o.Partition })
	switch {
	case f.going():
		return Recopied{}, f.refuseBusy()
	case f.Here.Role != site.Standby:
		return Recopied{}, refuse("ask again once the other site can be reached", "the standby has to carry it out, and cannot be reached from %s", f.Here.Name)
	case !f.Connected || !f.There.Known || f.There.Role != site.Active || !f.There.Serving:
		return Recopied{}, refuse(nextStatus, "%s is not in contact with an active site that serves: there is nothing to copy from", f.Here.Name)
	case f.There.Fencing != 0:
		return Recopied{}, refuse(nextWatch+", or "+nextAbort, "%s hands the active role over at this moment", f.There.Name)
	case !f.Metadata.current() && f.troubled(f.There.Name) != nil:
		t := f.troubled(f.There.Name)
		return Recopied{}, refuse(t.Next, "%s", t.Text)
	case !f.Metadata.current():
		return Recopied{}, refuse(nextWatch, "%s does not have the newest topics and configs of %s yet", f.Here.Name, f.There.Name)
	case i < 0:
		return Recopied{}, &Error{CodeUsage, fmt.Sprintf("no partition %s-%d is shipped", o.Topic, o.Partition), "tandem dr status"}
	}
	return Recopied{Topic: o.Topic, Partition: o.Partition, Site: f.Here.Name, Question: fmt.Sprintf("Drop %s-%d at %s and copy it whole from %s?"+
		" Until that is done a failover would lose what is not copied. What only %s has of it is archived first.", o.Topic, o.Partition, f.Here.Name, f.There.Name, f.Here.Name)}, nil
}

// knownSite refuses a name that is neither site's.
func (f *Facts) knownSite(name string) *Error {
	if name != "" && name != Unnamed && (name == f.Here.Name || name == f.There.Name) {
		return nil
	}
	names := fmt.Sprintf("--to %s, or --to %s", f.Here.Name, f.There.Name)
	if f.There.Name == Unnamed {
		names = fmt.Sprintf("--to %s; the name of the other site is not known at %s before the two have met", f.Here.Name, f.Here.Name)
	}
	return &Error{CodeUsage, fmt.Sprintf("no site is called %q", name), names}
}

// going says that the active role is on its way from one site to the other.
func (f *Facts) going() bool {
	return f.Order != nil && f.Order.State == Running || f.Here.Waiting || f.Here.Fencing != 0 && f.Connected
}

// overrides says that o may take the place of what is going on: who waits for a lease may be told that it need not, and a switchover to a
// site that is gone leaves nobody to write.
func (f *Facts) overrides(o FailoverOrder) bool {
	return o.ActiveIsDown && (f.Here.Waiting || !f.Connected && f.Order != nil && f.Order.Kind == Switchover)
}

func (f *Facts) refuseBusy() *Error {
	if f.Order != nil && f.Order.State == Running {
		return refuse(cmp.Or(f.Order.Next, nextWatch+", or "+nextAbort), "a %s to %s is going on", f.Order.Kind, f.Order.To)
	}
	return refuse(nextWatch+", or "+nextAbort, "the active role is being handed over already")
}

// doubts are why a failover to this site may lose more than what can be told: then the operator has to say that it may.
func (f *Facts) doubts() (all []string) {
	switch {
	case f.hasAll():
		return nil
	case f.overtaken():
		return []string{fmt.Sprintf("%s was promoted to site epoch %d, and %s has nothing of what it took since.", f.There.Name, f.There.Epoch, f.Here.Name)}
	}
	c := f.count()
	switch {
	case c.All == 0:
		all = append(all, f.Here.Name+" is empty: nothing was copied to it.")
	case c.Copying == c.All-c.Halted && c.Copying > 0 && f.empty():
		all = append(all, f.Here.Name+" is empty: nothing was copied to it yet.")
	case c.Copying > 0 && f.offline(f.There.Name) != nil:
		all = append(all, fmt.Sprintf("Whether %s has all of %d of %d partitions is not known: %s.", f.Here.Name, c.Copying, c.All, f.offline(f.There.Name).Text))
	case c.Copying > 0 && !f.There.Known:
		all = append(all, fmt.Sprintf("Whether the first copy to %s was finished is not known of %d of %d partitions.", f.Here.Name, c.Copying, c.All))
	case c.Copying > 0:
		all = append(all, fmt.Sprintf("The first copy to %s is not finished: %d of %d partitions are incomplete.", f.Here.Name, c.Copying, c.All))
	}
	if c.Halted > 0 {
		all = append(all, fmt.Sprintf("The links of %d of %d partitions have stopped: nothing behind that is at %s.", c.Halted, c.All, f.Here.Name))
	}
	if silence, known := f.silence(); !known {
		all = append(all, fmt.Sprintf("Nobody at %s knows when it last heard of %s.", f.Here.Name, f.There.Name))
	} else if silence > f.SilenceMax {
		all = append(all, fmt.Sprintf("The last contact with %s was %s ago, longer than dr.failover.silence.max.ms (%s).", f.There.Name, rough(silence), rough(f.SilenceMax)))
	}
	return all
}

// empty says that no partition holds a record.
func (f *Facts) empty() bool {
	for i := range f.Partitions {
		if f.Partitions[i].Shipped.Offset > 0 {
			return false
		}
	}
	return true
}

func downFlag(said bool) string {
	if said {
		return " --active-is-down"
	}
	return ""
}

// sentence says what may be lost.
func (r *RPO) sentence(f *Facts) string {
	switch {
	case f.hasAll():
		return "What " + f.There.Name + " may have taken since it was promoted, if it was, is cut there and kept as lost records."
	case f.Connected:
		return "No site is active, so nothing is written at this moment."
	}
	known := "How much was not shipped at the last contact is not known."
	if r.Records != nil {
		known = fmt.Sprintf("Known to be lost: %d records%s.", *r.Records, bytesText(r.Bytes))
	}
	if r.UnknownSince == nil {
		return known + " What was written since is lost too, and not known."
	}
	silence, _ := f.silence()
	return fmt.Sprintf("%s Lost too, and not known: all that %s took in the %s since the last contact. It is kept as lost records once %s is back.", known,
		f.There.Name, rough(silence), f.There.Name)
}

func bytesText(n *int64) string {
	if n == nil {
		return ""
	}
	return fmt.Sprintf(" (%d bytes)", *n)
}
