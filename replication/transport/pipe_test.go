package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/entry"
)

// pipes is a network of net.Pipe, which testing/synctest understands.
type pipes struct {
	mu struct {
		sync.Mutex
		listeners map[string]*pipeListener
		wrap      func(dialled net.Conn) net.Conn // what the dialling side gets; nil = the pipe
		dials     int
		conns     []net.Conn // the dialling sides
	}
}

func newPipes() *pipes {
	p := &pipes{}
	p.mu.listeners = map[string]*pipeListener{}
	return p
}

type pipeListener struct {
	address string
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func (p *pipes) listen(address string) *pipeListener {
	l := &pipeListener{address: address, conns: make(chan net.Conn), closed: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.listeners[address] = l
	return l
}

func (p *pipes) dial(ctx context.Context, _, address string) (net.Conn, error) {
	p.mu.Lock()
	l, wrap := p.mu.listeners[address], p.mu.wrap
	p.mu.dials++
	p.mu.Unlock()
	if l == nil {
		return nil, errors.New("connection refused")
	}
	here, there := net.Pipe()
	select {
	case l.conns <- there:
	case <-l.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if wrap != nil {
		here = wrap(here)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.conns = append(p.mu.conns, here)
	return here, nil
}

// cut closes all connections.
func (p *pipes) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.mu.conns {
		c.Close()
	}
	p.mu.conns = nil
}

func (p *pipes) dials() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.dials
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr(l.address) }

type pipeAddr string

func (pipeAddr) Network() string  { return "pipe" }
func (a pipeAddr) String() string { return string(a) }

// got is what a broker has received.
type got struct {
	from    PeerID
	message any
	release func()
}

// broker is one side of a test.
type broker struct {
	*Transport
	self Handshake
	mu   sync.Mutex
	got  []got
	hold bool // releases are left to the test
	more chan struct{}
}

func east() Handshake {
	return Handshake{ClusterID: "c", Site: "east", SiteIndex: 0, Role: site.Active, SiteEpoch: 4, Node: 1, Nodes: []int32{1}, LevelMin: 2,
		LevelMax: 2, Boot: 0xe1}
}

func west() Handshake {
	return Handshake{ClusterID: "c", Site: "west", SiteIndex: 1, SiteEpoch: 4, Node: 101, Nodes: []int32{101}, LevelMin: 1, LevelMax: 2,
		Boot: 0xa1}
}

// start runs a broker until the test ends.
func start(t *testing.T, self Handshake, o Options) *broker {
	t.Helper()
	b := &broker{self: self, more: make(chan struct{}, 1)}
	o.Self = func() Handshake { return self }
	o.Receive = func(from PeerID, m any, release func()) {
		b.mu.Lock()
		if !b.hold {
			if a, ok := m.(site.Append); ok {
				a.Payload = slices.Clone(a.Payload)
				m = a
			}
			release()
		}
		b.got = append(b.got, got{from, m, release})
		b.mu.Unlock()
		select {
		case b.more <- struct{}{}:
		default:
		}
	}
	var err error
	if b.Transport, err = started(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.stop(t) })
	return b
}

func (b *broker) stop(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Error(err)
	}
}

func (b *broker) received() []got {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.got)
}

func (b *broker) id() PeerID { return b.self.ID() }

// pair connects two brokers: west dials east.
func pair(t *testing.T, net *pipes, eastOptions, westOptions Options) (e, w *broker) {
	t.Helper()
	eastOptions.Listener = net.listen("east:1")
	e = start(t, east(), eastOptions)
	westOptions.Peers, westOptions.Dial = []string{"east@east:1"}, net.dial
	w = start(t, west(), westOptions)
	return e, w
}

func partition(n int) site.PartitionID {
	return site.PartitionID{Topic: uuid.UUID{1, 2, 3}, Partition: int32(n)}
}

// batch is an Append of n bytes.
func batch(p, offset, n int) site.Append {
	payload := make([]byte, n)
	for i := range payload {
		payload[i] = byte(i*7 + offset + i>>8)
	}
	return site.Append{Partition: partition(p), Epoch: 4, Prev: site.Position{Next: int64(offset), Epoch: -1}, Payload: payload,
		Rows: []entry.Row{{Length: uint32(n), BaseOffset: int64(offset), LastOffset: int64(offset), LeaderEpoch: 4 << 18, ProducerID: -1}}}
}

// stranger is the other side of a connection by hand, byte by byte.
type stranger struct {
	t *testing.T
	net.Conn
}

// meet dials east as west, by hand.
func meet(t *testing.T, net *pipes) stranger {
	t.Helper()
	c, err := net.dial(t.Context(), "tcp", "east:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return stranger{t, c}
}

func (s stranger) say(b []byte) {
	s.t.Helper()
	if _, err := s.Write(b); err != nil {
		s.t.Fatal(err)
	}
}

// hear reads one frame.
func (s stranger) hear() (kind, []byte, error) {
	var b [headerLen]byte
	if _, err := io.ReadFull(s, b[:]); err != nil {
		return 0, nil, err
	}
	h, err := parseHeader(b[:])
	if err != nil {
		return 0, nil, err
	}
	body := make([]byte, h.size)
	if _, err := io.ReadFull(s, body); err != nil {
		return 0, nil, err
	}
	return h.kind, body, h.check(body)
}

// greet does the handshake of one connection and returns the verdict that came.
func (s stranger) greet(h hello, verdict error) error {
	s.t.Helper()
	return s.greetWith(opening(), h, verdict)
}

// greetWith is greet with an opening of its own.
func (s stranger) greetWith(first []byte, h hello, verdict error) error {
	s.t.Helper()
	s.say(appendHello(first, &h))
	var b [openingLen]byte
	if _, err := io.ReadFull(s, b[:]); err != nil {
		return err
	}
	if k, _, err := s.hear(); err != nil || k != kindHandshake {
		return fmt.Errorf("kind %d: %w", k, err)
	}
	k, body, err := s.hear()
	if err != nil {
		return err
	}
	if err := parseVerdict(k, body); err != nil {
		return err
	}
	s.say(appendVerdict(nil, verdict))
	return nil
}

// link forms a session with one data connection by hand. What comes is read and thrown away.
func link(t *testing.T, net *pipes, session uint64, credit uint64) (control, data stranger) {
	t.Helper()
	h := hello{Handshake: west(), session: session, count: 1, credit: credit}
	conns := [2]stranger{meet(t, net), meet(t, net)}
	for i, c := range conns {
		h.index = uint8(i)
		if err := c.greet(h, nil); err != nil {
			t.Fatal(err)
		}
	}
	return conns[0], conns[1]
}

func (s stranger) ignore() {
	go func() { _, _ = io.Copy(io.Discard, s) }() // ends with the connection
}

// appendBytes is the frame of an Append.
func appendBytes(m site.Append) []byte {
	return appendFrame(nil, kind(site.KindAppend), func(dst []byte) []byte {
		_, dst = site.Encode(dst, m)
		return append(dst, m.Payload...)
	})
}
