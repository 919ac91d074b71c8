package sites

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/replication/transport"
)

const (
	troubleTextMax = 500         // bytes of an error that goes into a report
	strangerFresh  = time.Minute // who was turned down longer ago says nothing of now
)

// troubles are what keeps this site from doing its part.
func (p *Pair) troubles() (all []operator.Trouble) {
	name := p.options.Config.Name
	if err := p.driver.Full(); err != nil {
		all = append(all, operator.Trouble{Code: operator.TroubleNoRoom, Text: fmt.Sprintf("%s takes no records: %s", name, brief(err)),
			Next: "make room on the disk of " + name + "; it goes on by itself"})
	}
	r, _ := p.options.Controller.SiteRecord()
	if err := p.follows.refused(); err != nil {
		text, _, _ := strings.Cut(brief(err), "; way out: ")
		next := "it is tried again; the log of the broker of " + name + " has more"
		if errors.Is(err, controller.ErrForeignData) {
			next = operator.Anew(name, int(r.Index))
		}
		all = append(all, operator.Trouble{Code: operator.TroubleMetadata, Text: fmt.Sprintf("%s does not take over the topics of the active: %s", name, text), Next: next})
	}
	all = append(all, p.lostMetadata(&r)...)
	return append(all, p.offlineTrouble(&r)...)
}

// lostMetadata is about an active site whose standby has more of the metadata than it has itself: it is not what it was.
func (p *Pair) lostMetadata(r *controller.SiteRecord) []operator.Trouble {
	there, ok := p.remote.followed() // asked first: what is here grows
	here := p.options.Controller.LogicalVersion()
	if r.Role.Role != site.Active || !ok || there.Version == nil || there.Version.Compare(here) <= 0 {
		return nil
	}
	name, other := p.options.Config.Name, peerName(r)
	return []operator.Trouble{{Code: operator.TroubleMetadata, Next: takeOver(name, other),
		Text: fmt.Sprintf("%s has version %s of the topics and configs, and %s has %s already: %s has lost the end of its disk, or was put back from a copy", name, here, other, there.Version, name)}}
}

// takeOver is the way out where the active has lost what the other site has.
func takeOver(name, other string) string {
	return fmt.Sprintf("stop the broker of %s and make the other site the active one: tandem dr failover --active-is-down --to %s", name, other)
}

func peerName(r *controller.SiteRecord) string {
	if r.Peer == nil {
		return "NAME"
	}
	return r.Peer.Name
}

// offlineTrouble is about partitions whose data cannot be used here. The first stands for all.
func (p *Pair) offlineTrouble(r *controller.SiteRecord) []operator.Trouble {
	var first error
	name, which, count := p.options.Config.Name, "", 0
	for _, part := range p.options.Partitions.All() {
		if err := part.Offline(); err != nil && p.options.Config.Ships(part.Topic()) {
			if count++; first == nil {
				first, which = err, fmt.Sprintf("%s-%d", part.Topic(), part.ID())
			}
		}
	}
	if first == nil {
		return nil
	}
	if count > 1 {
		which += fmt.Sprintf(" and %d more partitions", count-1)
	}
	t := operator.Trouble{Code: operator.TroubleOffline, Text: fmt.Sprintf("%s cannot be used at %s: %s", which, name, brief(first)), Next: operator.Anew(name, int(r.Index))}
	if r.Role.Role == site.Active {
		t.Next = "mend the disk of " + name + ", or " + takeOver(name, peerName(r))
	}
	return []operator.Trouble{t}
}

func brief(err error) string {
	text := err.Error()
	return strings.ToValidUTF8(text[:min(len(text), troubleTextMax)], "")
}

func troublesOf(name string, all []operator.Trouble) []operator.Trouble {
	out := make([]operator.Trouble, 0, len(all))
	for _, t := range all {
		t.Site = name
		out = append(out, t)
	}
	return out
}

// obstacle is why there is no connection with the other site: what does not pass by itself first, then the newest.
func (p *Pair) obstacle() *operator.Obstacle {
	return obstacleOf(p.transport.Status(), p.options.Now())
}

func obstacleOf(st transport.Status, now time.Time) *operator.Obstacle {
	var best *operator.Obstacle
	var bestAt, ended time.Time
	take := func(at time.Time, err error, from string) {
		if err == nil || at.Before(ended) {
			return
		}
		text, next := transport.Explain(err)
		if from != "" {
			text += " (" + from + ")"
		}
		if o := (&operator.Obstacle{Text: text, Next: next}); best == nil || (o.Next != "") && best.Next == "" || (o.Next != "") == (best.Next != "") && at.After(bestAt) {
			best, bestAt = o, at
		}
	}
	for _, peer := range st.Peers {
		if peer.LastAt.After(ended) {
			ended = peer.LastAt // of the last session: what was before it counts no more
		}
		if peer.Connected && peer.Since.After(ended) {
			ended = peer.Since // nothing comes, and the session has not ended yet
		}
	}
	for _, d := range st.Dials {
		take(d.LastAt, d.Err, d.Address)
	}
	if t := st.TurnedDown; now.Sub(t.At) < strangerFresh {
		take(t.At, t.Err, "from "+t.From)
	}
	return best
}
