package transport

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/tandembroker/tandem/protocol/wire"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/entry"
)

// Broker is a message between brokers that is none of replication/site: metadata, status, time stamps. Those with a Body of up to 64 KiB
// go over the control connection, larger ones, up to BrokerBytesMax, behind the Appends and paid by credit; so they may be overtaken.
type Broker struct {
	Kind uint8
	Body []byte
}

// Options of a Transport. Self and Receive must be there; of the others the zero value works.
type Options struct {
	// Self is asked at each handshake, by several goroutines. Boot, Site, SiteIndex and Node must not change.
	Self func() Handshake
	// Check decides whether a peer that passed all other checks is welcome; its error is shown to the peer. A *Refusal keeps its code.
	// It is asked for each connection, by several goroutines, and must not block. nil = welcome.
	Check func(peer Handshake) error
	// Sites are the names of the sites that may be the other one. nil = those that Peers name, or any where they name none.
	Sites []string
	// Peers are addresses to dial, host:port or name@host:port with the name of the site that must answer.
	Peers []string
	// Listener takes the connections of peers that dial; it is closed by Close. nil = none.
	Listener net.Listener
	// TLS is for both directions: its certificates are shown, the peer's is demanded and verified. nil = without.
	TLS *tls.Config

	// Receive is called with a site.Message, a Damaged or a Broker, by one goroutine for each connection: messages of a partition's Appends come in
	// order. It must not block for long: the connection stands still. release gives memory and credit of an Append or a large Broker
	// message back; it must be called once for each message (calls beyond that do nothing), when nothing of Payload is used any more. The
	// rest of a message belongs to the receiver for good.
	Receive func(from PeerID, m any, release func())
	// Changed says that the session with a peer began or ended: ask Connected. It must not block. nil = nobody is told.
	Changed func(peer PeerID)

	DataConnections  int           // of sessions that are dialled here, 1 to 4; 0 = 4
	Credit           int64         // bytes of unreleased messages for each data connection; 0 = 64 MiB. All of it goes out in one round trip at most
	QueueBytes       int64         // of messages that wait to be written on each data connection; 0 = 64 MiB
	RateLimit        int64         // bytes per second, of Appends and large Broker messages of all peers; 0 = none
	Compress         bool          // Appends that are not compressed already, by zstd
	Timeout          time.Duration // of silence, after which a connection is given up; 0 = 10 s
	HandshakeTimeout time.Duration // for all of a connection's opening, dialling and TLS included; 0 = 10 s
	BackoffMax       time.Duration // between two attempts to dial; 0 = 5 s

	Logger *slog.Logger     // nil = silent
	Now    func() time.Time // real time, as deadlines follow it; nil = time.Now
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	Rand   func() float64 // in [0, 1); nil = of math/rand/v2
	Pool   *wire.Pool     // of receive buffers; nil = its own
}

const (
	backoffMin         = 100 * time.Millisecond
	sessionsMax        = 64
	handshakesMax      = 32 // going on at the listener
	defaultCredit      = 64 << 20
	defaultQueue       = 64 << 20
	defaultTimeout     = 10 * time.Second
	timeoutMin         = 10 * time.Millisecond
	defaultBackoff     = 5 * time.Second
	defaultConnections = 4
)

// ErrClosed is why a session ended that ended by Close.
var ErrClosed = errors.New("transport: closed")

// Transport has the sessions of one broker with the brokers of the other site. Safe for concurrent use.
type Transport struct {
	options Options
	now     func() time.Time
	log     *slog.Logger
	pool    *wire.Pool
	rate    *bucket
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	mu      registry
}

// New makes a Transport that does nothing before Start: for whoever's callbacks need it. It takes the Listener over, also where it fails.
func New(o Options) (*Transport, error) {
	t, err := create(o)
	if err != nil && o.Listener != nil {
		o.Listener.Close()
	}
	return t, err
}

// Start begins to dial and to listen; it is called once, and not behind Close.
func (t *Transport) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	t.mu.Lock()
	t.cancel = cancel
	t.mu.Unlock()
	for _, d := range t.mu.dials {
		t.wg.Go(func() { t.keepDialling(ctx, d) })
	}
	if t.options.Listener != nil {
		t.wg.Go(func() { t.accept(ctx) })
	}
}

// create checks the options and fills in what they leave open.
func create(o Options) (*Transport, error) {
	if o.Self == nil || o.Receive == nil {
		return nil, errors.New("transport: Options without Self or Receive")
	}
	if o.TLS != nil && o.Listener != nil && o.TLS.ClientAuth != tls.RequireAndVerifyClientCert {
		return nil, errors.New("transport: TLS between sites needs the certificate of both sides: ClientAuth is not RequireAndVerifyClientCert")
	}
	o.DataConnections = cmp.Or(o.DataConnections, defaultConnections)
	if o.DataConnections < 1 || o.DataConnections > dataMax {
		return nil, fmt.Errorf("transport: %d data connections: 1 to %d are possible", o.DataConnections, dataMax)
	}
	o.Credit, o.QueueBytes = cmp.Or(o.Credit, defaultCredit), cmp.Or(o.QueueBytes, defaultQueue)
	o.Timeout, o.HandshakeTimeout = cmp.Or(o.Timeout, defaultTimeout), cmp.Or(o.HandshakeTimeout, defaultTimeout)
	o.BackoffMax = cmp.Or(o.BackoffMax, defaultBackoff)
	if o.Credit < 0 || o.QueueBytes < 0 || o.RateLimit < 0 || o.Timeout < 0 || o.HandshakeTimeout < 0 || o.BackoffMax < 0 {
		return nil, errors.New("transport: Options with a negative limit")
	}
	if o.Timeout < timeoutMin {
		return nil, fmt.Errorf("transport: a timeout of %s is below %s", o.Timeout, timeoutMin)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Pool == nil {
		o.Pool = wire.NewPool(wire.PoolOptions{})
	}
	t := &Transport{now: o.Now, log: o.Logger, pool: o.Pool, rate: &bucket{now: o.Now}}
	t.rate.set(o.RateLimit)
	t.mu.current, t.mu.forming, t.mu.peers = map[PeerID]*session{}, map[formingKey]*session{}, map[PeerID]*peerState{}
	t.mu.dialling, t.mu.saidDown = map[PeerID]bool{}, said{}
	known := []string{}
	for _, p := range o.Peers {
		name, address, named := strings.Cut(p, "@")
		if !named {
			name, address, known = "", p, nil
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			return nil, fmt.Errorf("transport: peer %q is not host:port or name@host:port: %w", p, err)
		}
		if known != nil {
			known = append(known, name)
		}
		t.mu.dials = append(t.mu.dials, &dialState{site: name, address: address})
	}
	if o.Sites == nil && len(known) > 0 {
		o.Sites = known
	}
	t.options = o
	return t, nil
}

// Send hands m, a site.Message (a Stored, too) or a Broker, to the connection with a peer and returns at once. done, which may be nil, is called once: true
// when all of it was written, which is no promise that it arrives, false when it was dropped: no session, no room, a broken connection. It
// may be called before Send returns, and must not block. Payload, Body and From are borrowed until then.
func (t *Transport) Send(to PeerID, m any, done func(sent bool)) {
	if !t.send(to, m, done) {
		tell([]func(bool){done}, false)
	}
}

func (t *Transport) send(to PeerID, m any, done func(sent bool)) bool {
	s := t.session(to)
	if s == nil {
		return false
	}
	switch m := m.(type) {
	case site.Append:
		return t.sendAppend(s, &m, m, len(m.Payload), done)
	case Stored:
		return t.sendAppend(s, &m.Append, m, m.size(), done)
	case Broker:
		if len(m.Body) > BrokerBytesMax {
			t.log.Error("message between brokers is too large for the link", "kind", m.Kind, "bytes", len(m.Body))
			return false
		}
		if len(m.Body) > brokerSmallMax {
			return s.conns[1].queueBig(outgoing{m, brokerHeadLen + len(m.Body), done})
		}
	case site.Message:
	default:
		panic(fmt.Sprintf("transport: %T cannot be sent", m))
	}
	return s.conns[0].queue(m, done)
}

// sendAppend queues an Append whose payload has size bytes; m is it, or the Stored that has it.
func (t *Transport) sendAppend(s *session, head *site.Append, m any, size int, done func(sent bool)) bool {
	if !sendable(head, size) {
		t.log.Error("append cannot be sent", "partition", head.Partition.String(), "bytes", size, "batches", len(head.Rows))
		return false
	}
	return s.lane(head.Partition).queueBig(outgoing{m, head.HeadSize() + size, done})
}

// sendable says that the other side will take m, with a payload of n bytes, for an Append. One that it refuses would end the session, again
// and again.
func sendable(m *site.Append, n int) bool {
	if n > site.PayloadBytesMax || len(m.Rows) == 0 || len(m.Rows) > entry.RowsMax {
		return false
	}
	size, last := 0, int64(-1)
	for i := range m.Rows {
		r := &m.Rows[i]
		if int(r.Pos) != size || r.Length == 0 || r.BaseOffset <= last || r.LastOffset != r.BaseOffset+int64(r.LastOffsetDelta) ||
			r.LastOffsetDelta < 0 || r.LeaderEpoch < 0 {
			return false
		}
		size, last = size+int(r.Length), r.LastOffset
	}
	return size == n && m.Partition.Partition >= 0 && m.Prev.Next >= 0 && m.Prev.Epoch >= -1
}

// lane is the data connection of a partition.
func (s *session) lane(p site.PartitionID) *conn {
	h := fnv.New32a()
	h.Write(p.Topic[:])
	h.Write([]byte{byte(p.Partition >> 24), byte(p.Partition >> 16), byte(p.Partition >> 8), byte(p.Partition)})
	return s.conns[1+h.Sum32()%uint32(len(s.conns)-1)]
}

// SetRateLimit changes RateLimit, in bytes per second; 0 = none.
func (t *Transport) SetRateLimit(bytes int64) {
	t.rate.set(bytes)
	for _, s := range t.sessions() {
		for _, c := range s.conns {
			c.awake()
		}
	}
}

// Connected says whether there is a session with the peer.
func (t *Transport) Connected(peer PeerID) bool { return t.session(peer) != nil }

// RTT is the newest of the session with the peer; 0 = there is none, or it is not measured yet.
func (t *Transport) RTT(peer PeerID) time.Duration {
	s := t.session(peer)
	if s == nil {
		return 0
	}
	return time.Duration(s.rtt.Load())
}

// Peer is what the peer said of itself when the session began; false where there is none.
func (t *Transport) Peer(peer PeerID) (Handshake, bool) {
	s := t.session(peer)
	if s == nil {
		return Handshake{}, false
	}
	return s.peer.Handshake, true
}

// Close ends all sessions and waits until no goroutine and no callback runs any more, or ctx is done. Twice is safe.
func (t *Transport) Close(ctx context.Context) error {
	t.mu.Lock()
	cancel := t.cancel
	t.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	if t.options.Listener != nil {
		t.options.Listener.Close()
	}
	t.shut()
	idle := make(chan struct{})
	go func() { // awaited below, unless ctx is done; it ends with the goroutines
		t.wg.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("transport: close: %w", ctx.Err())
	}
}
