package sites

import (
	"fmt"
	"time"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/replication/transport"
)

// tell says to the other site what it has to know of this one.
func (p *Pair) tell() {
	if !p.Connected() {
		return
	}
	if !p.remote.greeted.Swap(true) || p.ticks%factsTicks == 0 {
		if frame, err := p.options.Controller.LocalFacts(); err == nil {
			p.say(p.codec.packBytes(messageFacts, frame))
		}
	}
	p.ticks++
	p.tellVersion()
	if p.ticks%p.reportTicks() == 0 {
		p.tellReport()
	}
}

// tellVersion says which metadata this site has. What is written behind a change of it waits at the standby for that very change.
func (p *Pair) tellVersion() {
	view := p.driver.View()
	switch {
	case !p.Connected() || !p.met.Load():
	case view.Role == site.Standby:
		p.say(p.codec.pack(messageHave, p.have()))
	case view.Serving:
		p.say(p.codec.pack(messageHead, head{Epoch: view.Epoch, Version: p.options.Controller.LogicalVersion(), Fencing: view.Fencing, Archiving: p.archiving()}))
	}
}

// leftOutMax is how many topics are named that are left out.
const leftOutMax = 20

func (p *Pair) have() (h have) {
	if v, ok := p.options.Controller.FollowedVersion(); ok {
		h.Version = &v
	}
	for i, c := range p.options.Controller.Conflicts() {
		if i == leftOutMax {
			break
		}
		h.LeftOut = append(h.LeftOut, c.Topic)
	}
	h.Archiving = p.archiving() // behind Version: what that has set aside is counted
	return h
}

// reportTicks is how seldom the partitions are reported on: what that costs must not grow with them.
func (p *Pair) reportTicks() int { return 1 + p.driver.Len()/linksPerTick }

const linksPerTick = 1000

// factsTicks is how seldom facts are repeated.
const factsTicks = 40

// tellReport says how this site stands, unless what it said last still waits to go out, or may still be on its way: on a narrow line old reports
// would pile up in front of new ones, and of all else.
func (p *Pair) tellReport() {
	now := p.driver.now()
	if p.unsent.Load() > 0 || p.reported != 0 && now-p.reported < time.Duration(p.rtt.Load()) {
		return
	}
	p.reported = now
	m, err := p.codec.pack(messageReport, p.report())
	if err != nil {
		p.logger.Warn("report to the other site", "error", err)
		return
	}
	for _, peer := range *p.peers.Load() {
		p.unsent.Add(1)
		p.transport.Send(peer, m, func(bool) { p.unsent.Add(-1) })
	}
}

func (p *Pair) say(m transport.Broker, err error) {
	if err != nil {
		p.logger.Warn("message to the other site", "error", err)
		return
	}
	p.broadcast(m)
}

// brokerMessage takes a message between brokers.
func (p *Pair) brokerMessage(from transport.PeerID, m transport.Broker) error {
	switch m.Kind {
	case messageHead:
		h, err := unpack[head](p.codec, m)
		if err != nil {
			return err
		}
		p.remote.setHead(h)
		p.follows.look()
	case messageHave:
		h, err := unpack[have](p.codec, m)
		if err != nil {
			return err
		}
		if len(h.LeftOut) > leftOutMax {
			return fmt.Errorf("%w: %d topics left out", errDocument, len(h.LeftOut))
		}
		p.remote.setHave(h)
	case messageAsk:
		a, err := unpack[ask](p.codec, m)
		if err != nil {
			return err
		}
		return p.sendMetadata(from, a)
	case messageLogical:
		frame, err := p.codec.unpackBytes(m)
		if err != nil {
			return err
		}
		p.follows.take(frame)
	case messageFacts:
		frame, err := p.codec.unpackBytes(m)
		if err != nil {
			return err
		}
		facts, err := controller.DecodeFacts(frame)
		if err != nil {
			return err
		}
		return p.takeFacts(from, facts)
	case messageReport:
		told, err := unpack[report](p.codec, m)
		if err != nil {
			return err
		}
		p.remote.setReport(told, p.options.Now(), p.madeAfter(told.stamp))
	case messageRequest:
		q, err := unpack[question](p.codec, m)
		if err != nil {
			return err
		}
		p.serve(from, q)
	case messageAnswer:
		a, err := unpack[answer](p.codec, m)
		if err != nil {
			return err
		}
		p.calls.answered(a)
	}
	return nil // of a later version
}

// takeFacts takes what the other site says of itself, if it fits to the handshake that it was judged by: it is stored for good.
func (p *Pair) takeFacts(from transport.PeerID, facts *controller.PeerSite) error {
	shown, connected := p.transport.Peer(from)
	switch {
	case facts.Name == "" || !connected:
		return nil // it has no record yet, or says it again in the next session
	case facts.Name != shown.Site || facts.Index != uint32(shown.SiteIndex):
		return fmt.Errorf("facts of the site %q with index %d come from a broker of %q with %d", facts.Name, facts.Index, shown.Site, shown.SiteIndex)
	}
	p.remote.mu.Lock()
	p.remote.mu.facts = facts
	if shown.ClusterID != "" {
		p.remote.mu.cluster = shown.ClusterID
	}
	p.remote.mu.Unlock()
	p.follows.look()
	return nil
}

// stamp is that of a report which is made now.
func (p *Pair) stamp() stamp {
	told, _ := p.remote.told()
	return stamp{Boot: p.boot, Clock: p.driver.now(), Echo: told.Clock, EchoOf: told.Boot}
}

// madeAfter is a time at which a report was not made yet. A report may be long on its way, and only this site's own clock says how long at most:
// since it sent the one that the other site had by then. Where the other one had none, since this run began.
func (p *Pair) madeAfter(s stamp) time.Time {
	if s.EchoOf != p.boot || s.Echo < 0 || s.Echo > p.driver.now() {
		return p.driver.began
	}
	return p.driver.began.Add(s.Echo)
}

// sendMetadata sends the metadata that a standby lacks.
func (p *Pair) sendMetadata(to transport.PeerID, a ask) error {
	if !p.driver.View().Serving || !p.met.Load() {
		return nil
	}
	var frame []byte
	var err error
	if a.Since == nil {
		_, frame, err = p.options.Controller.LogicalImage()
	} else {
		_, frame, err = p.options.Controller.LogicalChanges(*a.Since)
	}
	if err != nil || frame == nil {
		return err
	}
	m, err := p.codec.packBytes(messageLogical, frame)
	if err != nil {
		return err
	}
	p.transport.Send(to, m, nil)
	return nil
}
