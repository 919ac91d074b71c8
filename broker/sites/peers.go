package sites

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/tandembroker/tandem/broker/config"
	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/replication/transport"
)

// redialMax is how long a link that was cut waits at most before it tries again: what is written meanwhile is only here. There is one other
// site, which refuses at once or is not there.
const redialMax = time.Second

// connect begins to dial and to listen.
func (p *Pair) connect() error {
	c := p.options.Config
	o := transport.Options{
		Self: p.self, Check: p.check, Listener: p.options.Listener, Receive: p.receive, Changed: p.peerChanged,
		RateLimit: c.ThrottleBytes, Compress: c.Compress, Logger: p.logger, // its deadlines are the system's: no Now
		BackoffMax: redialMax,
	}
	for _, address := range c.Peers {
		o.Peers = append(o.Peers, c.Peer+"@"+address)
	}
	if c.Security != nil {
		var err error
		if o.TLS, err = c.Security.TLS(config.TLSOptions{ReadFile: os.ReadFile, Now: p.options.Now, Logger: p.logger}); err != nil {
			return errors.Join(fmt.Errorf("certificates for the other site: %w", err), closeListener(o.Listener))
		}
	}
	var err error
	if p.transport, err = transport.New(o); err != nil {
		return err
	}
	p.transport.Start() // only now: it calls back
	return nil
}

// self is what this broker says of itself when a connection opens.
func (p *Pair) self() transport.Handshake {
	r, _ := p.options.Controller.SiteRecord()
	h := transport.Handshake{
		ClusterID: r.Cluster, Site: r.Name, SiteIndex: uint8(r.Index), Role: r.Role.Role, SiteEpoch: r.Role.Epoch, Node: p.options.Identity.NodeID,
		LevelMin: 2, LevelMax: uint8(p.options.Level), Boot: p.boot,
	}
	for _, b := range p.options.Controller.Image().Brokers() {
		h.Nodes = append(h.Nodes, b.Node)
	}
	return h
}

// check turns down a peer that cannot be the other site of this one.
func (p *Pair) check(peer transport.Handshake) error {
	r, _ := p.options.Controller.SiteRecord()
	switch {
	case r.Peer != nil && (r.Peer.Name != peer.Site || r.Peer.Index != uint32(peer.SiteIndex)):
		return fmt.Errorf("the other site of %s is %s with index %d, not %s with %d; way out: start that one with the name and the site.index that %[1]s knows it by", r.Name, r.Peer.Name, r.Peer.Index, peer.Site, peer.SiteIndex)
	case r.Role.Role == site.Active && peer.Role == site.Active && r.Role.Epoch == peer.SiteEpoch:
		return fmt.Errorf("%s and %s are both active in site epoch %d; way out: start the one whose data is not wanted anew, with an empty"+
			" data directory and site.role=standby", r.Name, peer.Site, peer.SiteEpoch)
	}
	return nil
}

// peerChanged keeps the list of who is connected.
func (p *Pair) peerChanged(peer transport.PeerID) {
	for {
		old := p.peers.Load()
		connected := p.transport.Connected(peer) // behind old: what changes it comes here too, and the list is another one then
		next := slices.DeleteFunc(slices.Clone(*old), func(id transport.PeerID) bool { return id == peer })
		if connected {
			next = append(next, peer)
		}
		if p.peers.CompareAndSwap(old, &next) {
			break
		}
	}
	p.remote.greeted.Store(false) // facts are said again
	p.follows.again()
}

// Connected implements Network.
func (p *Pair) Connected() bool { return len(*p.peers.Load()) > 0 }

// Send implements Network. Nothing goes to a site that the record does not name: an active that was started again serves at once where it
// knows that no other site can have anything of it; metadata (tell, sendMetadata) waits alike. What is about a partition goes to the
// broker that leads it at the other site, where that is known.
func (p *Pair) Send(m site.Message, done func(sent bool)) {
	if peer, ok := p.addressee(m); ok && p.met.Load() {
		p.transport.Send(peer, m, done)
	} else if done != nil {
		done(false)
	}
}

func (p *Pair) addressee(m site.Message) (transport.PeerID, bool) {
	peers := *p.peers.Load()
	if len(peers) == 0 {
		return transport.PeerID{}, false
	}
	if id, ok := partitionOf(m); ok {
		leader, _ := p.remote.leader(id)
		for _, peer := range peers {
			if peer.Node == leader {
				return peer, true
			}
		}
	}
	return peers[0], true
}

// broadcast sends a message between brokers to all of the other site that are connected.
func (p *Pair) broadcast(m transport.Broker) {
	for _, peer := range *p.peers.Load() {
		p.transport.Send(peer, m, nil)
	}
}

// receive takes what the other site sends.
func (p *Pair) receive(from transport.PeerID, m any, release func()) {
	p.remote.last.Store(int64(p.driver.now()))
	switch m := m.(type) {
	case site.Message:
		p.driver.Receive(m, release)
		return
	case transport.Damaged:
		p.driver.Damaged(m.Partition, m.Err)
	case transport.Broker:
		if err := p.brokerMessage(from, m); err != nil {
			p.logger.Warn("message of the other site", "from", from.String(), "kind", m.Kind, "error", err)
		}
	}
	release()
}

// reachable says that the other site is there now, as far as an operator may rely on: where packets are dropped, connections last until their
// timeout, and a site says something several times a second.
func (p *Pair) reachable() bool {
	return p.Connected() && p.heardLately()
}

func (p *Pair) heardLately() bool {
	return p.remote.last.Load() != 0 && p.silence() < reachablePatience
}

// silence is how long nothing has come of the other site; at most as long as this run.
func (p *Pair) silence() time.Duration { return p.driver.now() - time.Duration(p.remote.last.Load()) }

// reachablePatience is how long nothing may come of a site that is there.
const reachablePatience = 3 * time.Second

// BrokenOff says that the other site has just gone, or fallen silent, and has not come back.
func (p *Pair) BrokenOff() bool {
	return !p.reachable() && p.remote.last.Load() != 0 && p.silence() < brokenOffMoment
}

// brokenOffMoment is for how long after its last word a site that has gone may be waited for.
const brokenOffMoment = 8 * time.Second

// PeerBrokers are the brokers of the other site, as they have told of themselves. An active site has those of a standby that was heard of
// lately: clients wait for who is named and does not answer. A standby has the active's all the time: its clients may reach what it does not.
// So has an active site that does not serve, because it was started again and has not heard whether the other one was promoted, or whose lease
// has lapsed: clients that are told of nobody else never get away from it.
func (p *Pair) PeerBrokers() []controller.Broker {
	r, ok := p.options.Controller.SiteRecord()
	if !ok || r.Peer == nil {
		return nil
	}
	v := p.driver.View()
	if v.Role == site.Active && v.Serving && p.driver.MayAcknowledge() && !p.heardLately() {
		return nil
	}
	return p.options.Controller.Image().OtherBrokers()
}

// Leader is who leads a partition at the other site, and under which leader epoch, as last heard; -1, -1 = unknown.
func (p *Pair) Leader(id site.PartitionID) (node, epoch int32) { return p.remote.leader(id) }

// Ships says whether a topic of that name goes to the other site (dr.topics).
func (p *Pair) Ships(topic string) bool { return p.options.Config.Ships(topic) }

// Exceeds says that the other site is, or may be, more than limit behind in a partition that is shipped there.
func (p *Pair) Exceeds(id site.PartitionID, limit time.Duration) bool {
	if !p.driver.Exceeds(id, limit) {
		return false
	}
	topic, ok := p.options.Controller.Image().TopicByID(id.Topic)
	return ok && p.options.Config.Ships(topic.Name)
}

// InSync says that the other site is known to hold all of a partition below offset.
func (p *Pair) InSync(id site.PartitionID, offset int64) bool {
	acked, ok := p.driver.Acked(id)
	return ok && acked >= offset
}
