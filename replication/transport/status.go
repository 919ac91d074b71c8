package transport

import (
	"cmp"
	"errors"
	"slices"
	"sync/atomic"
	"time"
)

// Status is what an operator wants to know of the connections.
type Status struct {
	Peers      []PeerStatus // by site and node: those that are connected or were in this run
	Dials      []DialStatus // in the order of Options.Peers
	TurnedDown Refused      // at the listener
}

// PeerStatus is about one broker of the other site.
type PeerStatus struct {
	Peer      PeerID
	Connected bool
	Since     time.Time     // Connected: when the session began
	Address   string        // of the newest session
	Dialled   bool          // by this side
	RTT       time.Duration // newest; 0 = not measured in this session
	BytesIn   uint64        // in this run, over all sessions
	BytesOut  uint64
	Sessions  uint64 // in this run
	LastError string // why the last session ended that did
	LastAt    time.Time
}

// DialStatus is about one address that is dialled.
type DialStatus struct {
	Address   string
	Peer      PeerID // that answered last; zero = none yet
	LastError string
	LastAt    time.Time
	Err       error   // LastError, for Explain; nil = none
	Refused   Refused // by either side
}

// Refused counts handshakes that failed.
type Refused struct {
	Count  uint64
	From   string // address of the last one
	Reason string
	At     time.Time
	Err    error // Reason, for Explain; nil = none
}

type refused = Refused

type traffic struct{ in, out atomic.Uint64 }

type failure struct {
	text string
	at   time.Time
	err  error
}

// peerState is what outlives the sessions with a peer. Guarded by Transport.mu.
type peerState struct {
	traffic  traffic
	sessions uint64
	address  string
	dialled  bool
	ended    time.Time // of the last session; zero = it stands
	last     failure
	newest   *session
}

// peer finds or makes the state of a peer; of those that are not connected the oldest makes room. Transport.mu is held.
func (t *Transport) peer(id PeerID) *peerState {
	p := t.mu.peers[id]
	if p != nil {
		return p
	}
	if len(t.mu.peers) >= 2*sessionsMax {
		var oldest PeerID
		for id, p := range t.mu.peers {
			if t.mu.current[id] == nil && (oldest == PeerID{} || p.ended.Before(t.mu.peers[oldest].ended)) {
				oldest = id
			}
		}
		delete(t.mu.peers, oldest)
	}
	p = &peerState{}
	t.mu.peers[id] = p
	return p
}

// begin takes note of a new session and returns where its bytes are counted.
func (p *peerState) begin(s *session) *traffic {
	p.sessions++
	s.before, p.newest = p.newest, s
	p.address, p.dialled, p.ended = s.address, s.dialled, time.Time{}
	return &p.traffic
}

func (p *peerState) end(now time.Time, err error) {
	p.ended, p.last = now, failure{err.Error(), now, err}
}

func (t *Transport) dialFailed(d *dialState, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d.last = failure{err.Error(), t.now(), err}
	var r *Refusal
	if errors.As(err, &r) {
		d.refused = Refused{d.refused.Count + 1, d.address, r.Text, t.now(), err}
	}
}

// turnedDown takes note of a handshake that failed at the listener. Each kind is logged once, until a session begins: strangers could fill a
// disk with it.
func (t *Transport) turnedDown(from string, err error) {
	if duplicate(err) {
		return
	}
	t.mu.Lock()
	t.mu.turned = Refused{t.mu.turned.Count + 1, from, err.Error(), t.now(), err}
	first := t.mu.saidDown.news(err)
	closed := t.mu.closed
	t.mu.Unlock()
	if first && !closed {
		t.log.Warn("site link: connection turned down", "address", from, "error", err)
	}
}

// Status of all peers and addresses.
func (t *Transport) Status() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	st := Status{TurnedDown: t.mu.turned}
	for id, p := range t.mu.peers {
		ps := PeerStatus{Peer: id, Address: p.address, Dialled: p.dialled, BytesIn: p.traffic.in.Load(), BytesOut: p.traffic.out.Load(),
			Sessions: p.sessions, LastError: p.last.text, LastAt: p.last.at}
		if s := t.mu.current[id]; s != nil {
			ps.Connected, ps.Since, ps.RTT = true, s.since, time.Duration(s.rtt.Load())
		}
		st.Peers = append(st.Peers, ps)
	}
	slices.SortFunc(st.Peers, func(a, b PeerStatus) int {
		return cmp.Or(cmp.Compare(a.Peer.Site, b.Peer.Site), cmp.Compare(a.Peer.Node, b.Peer.Node))
	})
	for _, d := range t.mu.dials {
		st.Dials = append(st.Dials, DialStatus{d.address, d.peer, d.last.text, d.last.at, d.last.err, d.refused})
	}
	return st
}
