package dr

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tandembroker/tandem/broker/sites/operator"
)

const rowsMax = 20 // of a table for people; --json has them all

// table prints rows below a head, aligned.
func (c *command) table(head string, rows int, row func(i int) string) {
	w := tabwriter.NewWriter(c.Out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, head)
	for i := range min(rows, rowsMax) {
		_, _ = fmt.Fprintln(w, row(i))
	}
	_ = w.Flush()
	if rows > rowsMax {
		c.say("and %d more; --json has all of them", rows-rowsMax)
	}
}

func columns(all ...any) string {
	text := make([]string, len(all))
	for i, v := range all {
		text[i] = fmt.Sprint(v)
	}
	return strings.Join(text, "\t")
}

func (c *command) printStatus(s *operator.Status) {
	if s.Green {
		c.say("green: yes")
	} else {
		c.say("green: no")
	}
	for _, r := range s.Reasons {
		c.say("  %s: %s", r.Code, r.Text)
		c.say("    next: %s", r.Next)
	}
	c.say("")
	c.table("SITE\tROLE\tSITE EPOCH\tSTATE", len(s.Sites), func(i int) string {
		x := s.Sites[i]
		return columns(cmp.Or(x.Name, "?"), x.Role, x.SiteEpoch, x.State)
	})
	c.say("")
	c.say("answered by     %s", s.AnsweredBy)
	c.say("contact         %s", contact(s.Contact))
	c.say("lag             %s", lag(s.Lag))
	c.say("estimated RPO   %s", rpo(s.RPO))
	p := s.Partitions
	c.say("partitions      %d: %d halted, %d being copied, %d without a leader", p.All, p.Halted, p.Copying, p.Unled)
	c.say("lost records    %s", archives(s.Archives))
	if o := s.Order; o != nil {
		c.say("order           %s", progressLine(*o))
	}
	if len(s.Topics) > 0 {
		c.say("")
		c.table("TOPIC\tPARTITIONS\tHALTED\tLAG", len(s.Topics), func(i int) string {
			t := s.Topics[i]
			return columns(t.Topic, t.Partitions, t.Halted, lag(t.Lag))
		})
	}
}

func contact(c operator.ContactStatus) string {
	switch {
	case c.Connected:
		return "yes"
	case c.SilenceMs == nil:
		return "no, and when there was is unknown"
	}
	return fmt.Sprintf("no, last %s ago", milliseconds(*c.SilenceMs))
}

func lag(l *operator.Lag) string {
	if l == nil {
		return "unknown"
	}
	return strings.Join([]string{known(l.Records, "records"), known(l.Bytes, "bytes"), duration(l.Ms)}, ", ")
}

func rpo(r operator.RPO) string {
	text := "unknown"
	if r.Records != nil || r.Ms != nil {
		text = lag(&operator.Lag{Records: r.Records, Bytes: r.Bytes, Ms: r.Ms})
	}
	if r.UnknownSince != nil {
		text += ", and all that was written since " + clock(r.UnknownSince)
	}
	return text
}

func archives(a operator.ArchiveCounts) string {
	if a.Archives == 0 {
		return "none"
	}
	return fmt.Sprintf("%d archives, %d bytes (tandem dr lost list)", a.Archives, a.Bytes)
}

func known(n *int64, unit string) string {
	if n == nil {
		return "unknown " + unit
	}
	return fmt.Sprintf("%d %s", *n, unit)
}

func duration(ms *int64) string {
	if ms == nil {
		return "unknown time"
	}
	return milliseconds(*ms)
}

func milliseconds(ms int64) string { return (time.Duration(ms) * time.Millisecond).String() }

func number(n *int64) string {
	if n == nil {
		return "unknown"
	}
	return strconv.FormatInt(*n, 10)
}

func clock(t *time.Time) string {
	if t == nil {
		return "unknown"
	}
	return t.UTC().Format("2006-01-02 15:04:05.000Z")
}

func (c *command) printPlan(p *operator.Plan) {
	c.say("It may begin. Nothing has changed.")
	for _, n := range p.Notes {
		c.say("  %s", n)
	}
	c.say("Without --dry-run the question would be: %s", p.Question)
}

func (c *command) printOrder(o *operator.Order) {
	c.say("%s is the active site (site epoch %d).", o.To, o.SiteEpoch)
	if o.Report != nil {
		c.printReport(o.Report)
	}
}

func (c *command) printReport(r *operator.Report) {
	if r.Kind == operator.Switchover {
		c.say("Nothing was lost. Promoted at %s.", clock(&r.Promoted))
	} else {
		c.say("Promoted at %s, without %s.", clock(&r.Promoted), r.From)
		c.say("Known to be lost: %s, %s.", known(r.Lost.Records, "records"), known(r.Lost.Bytes, "bytes"))
		if r.Lost.UnknownSince != nil {
			c.say("Not known: what %s took after %s.", r.From, clock(r.Lost.UnknownSince))
		}
		c.say("RPO: %s. What was lost is kept when %s is back: tandem dr lost list", duration(r.Lost.Ms), r.From)
	}
	told := slices.DeleteFunc(slices.Clone(r.Partitions), func(p operator.PartitionReport) bool {
		return p.ShippedEnd != nil && *p.ShippedEnd == 0 && p.LostRecords != nil && *p.LostRecords == 0 // empty
	})
	if len(told) == 0 {
		return
	}
	c.say("")
	c.table("PARTITION\tSHIPPED UP TO\tAT\tKNOWN END OF "+strings.ToUpper(r.From)+"\tKNOWN LOST\tRPO\tRESUMES AT", len(told), func(i int) string {
		p := &told[i]
		return columns(fmt.Sprintf("%s-%d", p.Topic, p.Partition), number(p.ShippedEnd), clock(p.ShippedAt), number(p.ActiveEnd), number(p.LostRecords),
			duration(p.LostMs), number(p.Resumes))
	})
}

func (c *command) printHistory(h *operator.History) {
	if len(h.Events) == 0 {
		c.say("Nothing has happened to the roles yet.")
		return
	}
	c.table("WHEN\tSITE\tWHAT\tFROM\tSITE EPOCH\tKNOWN LOST", len(h.Events), func(i int) string {
		e := &h.Events[len(h.Events)-1-i]
		lost := ""
		if e.Report != nil {
			lost = number(e.Report.Lost.Records)
		}
		return columns(clock(&e.At), e.Site, e.What, e.From, e.SiteEpoch, lost)
	})
}

func (c *command) printVerification(v *operator.Verification) {
	for _, s := range v.Skipped {
		c.say("not compared: %s", s)
	}
	if v.Difference == nil && v.NotCompared < v.Partitions {
		c.say("equal: %d batches, %d bytes in %d partitions", v.Batches, v.Bytes, v.Partitions)
	}
}
