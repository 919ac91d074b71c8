package transport

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

var errReplaced = errors.New("another session of the same brokers took its place")

// registry is what Transport.mu guards.
type registry struct {
	sync.Mutex
	closed   bool
	current  map[PeerID]*session
	forming  map[formingKey]*session // dialled by the peer, connections are missing
	dialling map[PeerID]bool         // one is forming that is dialled here
	numbers  uint64                  // the last session that was dialled here
	opening  []*handshaking          // oldest first
	dials    []*dialState
	peers    map[PeerID]*peerState
	saidDown said    // what was logged of turned
	turned   refused // peers and strangers that were turned down at the listener
}

type formingKey struct {
	peer   PeerID
	boot   uint64
	number uint64
}

// session is all connections between this broker and one of the other site, from the handshake of the first to the end of one.
type session struct {
	t       *Transport
	id      PeerID
	peer    hello // of the control connection
	dialled bool  // by this side
	lower   bool  // this side has the lower site index
	address string
	conns   []*conn // by index; written under Transport.mu until formed
	joined  int     // under Transport.mu: how many are there
	failed  bool    // under Transport.mu: none joins any more
	formed  chan struct{}
	done    chan struct{} // closed by fail
	once    sync.Once
	err     error         // why it ended; behind done
	before  *session      // of the same peer; nothing of s is handed on while that one runs
	ended   chan struct{} // closed once nothing of s runs any more
	since   time.Time
	rtt     atomic.Int64 // newest on the control connection, ns; 0 = not measured
	traffic *traffic
	recent  [4]time.Duration // newest RTTs, in turn; the control connection's reader's
	pongs   int              // how many there were; as recent
	least   atomic.Int64     // of recent, ns
}

// answered takes note of an RTT.
func (s *session) answered(rtt time.Duration) {
	s.rtt.Store(int64(rtt))
	s.recent[s.pongs%len(s.recent)] = rtt
	s.pongs++
	s.least.Store(int64(slices.Min(s.recent[:min(s.pongs, len(s.recent))])))
}

func newSession(t *Transport, mine, peer *hello, dialled bool, address string) *session {
	return &session{t: t, id: peer.ID(), peer: *peer, dialled: dialled, lower: mine.SiteIndex < peer.SiteIndex, address: address, conns: make([]*conn, 1+peer.count),
		formed: make(chan struct{}), done: make(chan struct{}), ended: make(chan struct{}), traffic: &traffic{}}
}

func (s *session) key() formingKey { return formingKey{s.id, uint64(s.peer.Boot), s.peer.session} }

// outranks says that s takes the place of old. Both sides come to the same answer, whatever the order in which they saw the two.
func (s *session) outranks(old *session) bool {
	switch {
	case s.peer.Boot != old.peer.Boot:
		return true // old is with a process that is no more
	case s.dialled != old.dialled:
		return s.dialled == s.lower
	case s.dialled:
		return false // the one that stands is good enough; whoever dials knows when it ends
	}
	return s.peer.session > old.peer.session // the dialler has given up the old one
}

// mayForm is nil unless the session is not needed. Transport.mu is held.
func (t *Transport) mayForm(s *session) error {
	if t.mu.closed {
		return refuse(CodeBusy, "the broker is stopping")
	}
	old := t.mu.current[s.id]
	if old != nil && !s.outranks(old) {
		return refuse(CodeDuplicate, "another session of these two brokers stands")
	}
	if old == nil && len(t.mu.current)+len(t.mu.forming) >= sessionsMax {
		return refuse(CodeBusy, "%d sessions stand", sessionsMax)
	}
	return nil
}

// join adds an opened connection to s; the last one makes it formed.
func (t *Transport) join(s *session, c *conn, h *hello) error {
	if err := c.open(s, h.index, h.credit); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.failed {
		return errors.New("transport: the session has ended meanwhile")
	}
	if s.conns[h.index] != nil {
		return fmt.Errorf("%w: connection %d twice", errProtocol, h.index)
	}
	s.conns[h.index] = c
	if s.joined++; s.joined == len(s.conns) {
		close(s.formed)
	}
	return nil
}

// formedOrFailed forgets a session that was forming. Transport.mu is held.
func (t *Transport) formedOrFailed(s *session) {
	if t.mu.forming[s.key()] == s { // one that was dialled here may have the same key
		delete(t.mu.forming, s.key())
	}
}

// establish makes a formed session the one of its peer, if it outranks the one that stands.
func (t *Transport) establish(s *session) error {
	t.mu.Lock()
	old := t.mu.current[s.id]
	t.formedOrFailed(s)
	err := t.mayForm(s)
	if err == nil {
		s.since = t.now()
		s.traffic = t.peer(s.id).begin(s)
		t.mu.current[s.id] = s
		clear(t.mu.saidDown)
	}
	t.mu.Unlock()
	if err == nil && old != nil {
		old.fail(errReplaced)
	}
	return err
}

// run carries an established session until it ends, and returns when nothing of it runs any more.
func (s *session) run() {
	t := s.t
	if s.before != nil {
		<-s.before.ended // or what it has read already could overtake what comes here
		s.before = nil
	}
	t.log.Info("site link up", "site", s.id.Site, "node", s.id.Node, "address", s.address, "dialled", s.dialled, "connections", len(s.conns))
	t.changed(s.id)
	var wg sync.WaitGroup
	for _, c := range s.conns {
		c.begun = s.since
		wg.Go(func() { s.fail(c.read()) })
		wg.Go(func() {
			if err := c.write(); err != nil {
				s.fail(err)
			}
		})
	}
	s.watch()
	wg.Wait()
	s.drop()
	t.log.Info("site link down", "site", s.id.Site, "node", s.id.Node, "address", s.address, "reason", s.err)
	t.changed(s.id)
	close(s.ended)
}

// quiet is for how long nothing has come on any connection of a session that runs.
func (s *session) quiet() time.Duration {
	var newest int64
	for _, c := range s.conns {
		newest = max(newest, c.heard.Load())
	}
	return s.t.now().Sub(s.since) - time.Duration(newest)
}

// patience is for how long one connection may stand still while others do not. What is slow only now and then does not count: a line that was
// interrupted is good again, and a connection that rests because of that is better dialled anew.
func (s *session) patience() time.Duration {
	timeout := s.t.options.Timeout
	return min(max(timeout, trips*time.Duration(s.least.Load())), stalls*timeout)
}

// watch gives the connections more time, until s ends: to each as long as something comes on any of them, up to its patience, and to what is
// being written as long as the other end takes some of it. The kernel says only once a third of its send buffer, which may be megabytes, is free
// that it takes more: over a slow line that can take longer than a timeout.
func (s *session) watch() {
	timeout := s.t.options.Timeout
	look := time.NewTicker(timeout / pings)
	defer look.Stop()
	type progress struct {
		bytes uint64 // that the other end has taken
		at    time.Time
	}
	taken := make([]progress, len(s.conns))
	for i := range taken {
		taken[i].at = s.since
	}
	for {
		select {
		case <-look.C:
		case <-s.done:
			return
		}
		now := s.t.now()
		end, patience := now.Add(timeout-s.quiet()), s.patience()
		for i, c := range s.conns {
			// Of a connection that has failed its reader and its writer tell.
			if own := s.since.Add(time.Duration(c.heard.Load()) + patience); end.After(own) {
				_ = c.net.SetReadDeadline(own)
			} else {
				_ = c.net.SetReadDeadline(end)
			}
			n, ok := acked(c.raw)
			moves := n > taken[i].bytes
			if moves {
				taken[i] = progress{n, now}
			}
			if ok && end.After(now) && (moves || now.Sub(taken[i].at) < patience-timeout) {
				_ = c.renew()
			}
		}
	}
}

// drop gives back what waits on the connections of a session that has failed and of which nothing runs. It is the last of it.
func (s *session) drop() {
	for _, c := range s.conns {
		if c != nil {
			c.close()
		}
	}
}

// fail ends s; the first reason stands.
func (s *session) fail(err error) {
	s.once.Do(func() {
		t := s.t
		s.err = err
		t.mu.Lock()
		s.failed = true
		if t.mu.current[s.id] == s {
			delete(t.mu.current, s.id)
			t.peer(s.id).end(t.now(), err)
		}
		t.formedOrFailed(s)
		conns := append([]*conn{}, s.conns...)
		t.mu.Unlock()
		close(s.done)
		for _, c := range conns {
			if c != nil {
				c.raw.Close()
			}
		}
	})
}

// changed tells the user that a session began or ended.
func (t *Transport) changed(peer PeerID) {
	if t.options.Changed != nil {
		t.options.Changed(peer)
	}
}

// session returns the one with a peer; nil = none.
func (t *Transport) session(peer PeerID) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.current[peer]
}

func (t *Transport) sessions() []*session {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []*session
	for _, s := range t.mu.current {
		all = append(all, s)
	}
	return all
}

// shut ends all that stands or is forming; nothing begins any more.
func (t *Transport) shut() {
	t.mu.Lock()
	t.mu.closed = true
	var all []*session
	for _, s := range t.mu.current {
		all = append(all, s)
	}
	for _, s := range t.mu.forming {
		all = append(all, s)
	}
	for _, h := range t.mu.opening {
		h.raw.Close()
	}
	t.mu.Unlock()
	for _, s := range all {
		s.fail(ErrClosed)
	}
}
