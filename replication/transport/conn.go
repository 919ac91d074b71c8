package transport

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/vfs/sendfile"
)

const (
	readBufferBytes = 64 << 10
	// writeBytesMax is what must be written within one timeout. A larger one would close slow connections that are healthy.
	writeBytesMax = 64 << 10
	// controlBytesMax bounds what waits on a control connection.
	controlBytesMax = 4 << 20
	// pings is how often a side pings within one timeout: a few may be late.
	pings = 5
	// trips is for how many round trips one connection may stand still while others of its session do not, beyond a timeout and up to stalls of
	// them. On a narrow line that drops packets they crowd each other out, and the queue in front of it makes the round trips long: TCP tries
	// again after 10 s and more then, and a session that ended would lose what is half sent. On a good line one that stands still is dead.
	trips  = 40
	stalls = 4
)

// outgoing is a frame that needs credit: an Append, or a large Broker message.
type outgoing struct {
	message any
	size    int // for queue and credit: body, uncompressed
	done    func(sent bool)
}

// conn is one connection of a session.
type conn struct {
	t    *Transport
	s    *session
	raw  net.Conn // what is closed: closing TLS politely may block
	net  net.Conn // raw, or TLS over it
	in   *bufio.Reader
	data bool
	// version of the link that both sides speak; files is nil where the kernel cannot send from files to this connection.
	version uint8
	files   *sendfile.Socket // the writer's
	wake    chan struct{}    // holds one: something may be sent
	begun   time.Time        // pings count from here
	heard   atomic.Int64     // when something came last, ns since begun

	mu struct {
		sync.Mutex
		closed  bool
		small   []byte // frames that wait to be written, whole
		spare   []byte // small's other half, while that is written
		dones   []func(sent bool)
		big     []outgoing
		bigSize int64

		pingDue, pongDue, creditDue bool
		pong                        uint64 // of the newest ping, which is the only one that is answered

		allowed  uint64 // by the peer: bytes that may have been sent
		granted  uint64 // to the peer
		released uint64 // bytes that the receiver here is done with
	}
	received uint64        // bytes that cost credit; the reader's
	scratch  []byte        // the reader's
	decoder  *zstd.Decoder // the reader's
	sent     uint64        // the writer's
	head     []byte        // the writer's
	packed   []byte        // the writer's
	encoder  *zstd.Encoder // the writer's
	pieces   [2][]byte     // the writer's
	vector   net.Buffers   // the writer's, over pieces
}

func newConn(t *Transport, raw, secured net.Conn) *conn {
	c := &conn{t: t, raw: raw, net: secured, wake: make(chan struct{}, 1)}
	c.in = bufio.NewReaderSize(readerOf{c}, readBufferBytes)
	return c
}

// readerOf reads from a connection, and gives up once nothing at all has come for a timeout; session.watch may give it more.
type readerOf struct{ c *conn }

func (r readerOf) Read(p []byte) (int, error) {
	c := r.c
	if c.s == nil { // the deadline of the handshake stands
		return c.net.Read(p)
	}
	if err := c.net.SetReadDeadline(c.t.now().Add(c.t.options.Timeout)); err != nil {
		return 0, err
	}
	n, err := c.net.Read(p)
	if n > 0 {
		c.heard.Store(int64(c.t.now().Sub(c.begun)))
	}
	c.s.traffic.in.Add(uint64(n))
	switch timeout := c.t.options.Timeout; {
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return n, err
	case c.s.quiet() < timeout-timeout/pings: // others have gone on
		return n, fmt.Errorf("nothing came on one of the connections for %s: %w", c.s.patience(), err)
	default:
		return n, fmt.Errorf("nothing came for %s: %w", timeout, err)
	}
}

// open makes c a part of s, with the credit that the peer gave. The deadline of the handshake ends.
func (c *conn) open(s *session, index uint8, allowed uint64) error {
	c.s, c.data = s, index > 0
	if c.data {
		c.files = sendfile.New(c.net)
	}
	c.mu.allowed, c.mu.granted = allowed, uint64(c.t.options.Credit)
	return c.net.SetDeadline(time.Time{})
}

// awake tells the writer to look again.
func (c *conn) awake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// read takes frames until the connection fails, which it always does in the end.
func (c *conn) read() error {
	defer func() {
		if c.decoder != nil {
			c.decoder.Close()
		}
	}()
	var b [headerLen]byte
	for {
		if _, err := io.ReadFull(c.in, b[:]); err != nil {
			if err == io.EOF {
				return errors.New("closed by the other side")
			}
			return fmt.Errorf("read: %w", err)
		}
		h, err := parseHeader(b[:])
		if err != nil {
			return err
		}
		sizeMax, err := h.sizeMax(c.data)
		if err != nil {
			return err
		}
		if h.size > sizeMax {
			return fmt.Errorf("%w: %d bytes in a frame of kind %d, which has up to %d", errProtocol, h.size, h.kind, sizeMax)
		}
		if c.data && (h.kind == kind(site.KindAppend) || h.kind == kindBroker) {
			err = c.readPaid(h)
		} else {
			err = c.readSmall(h)
		}
		if err != nil {
			return err
		}
	}
}

// readSmall takes a frame that costs no credit.
func (c *conn) readSmall(h header) error {
	if cap(c.scratch) < h.size {
		c.scratch = make([]byte, h.size)
	}
	body := c.scratch[:h.size]
	if _, err := io.ReadFull(c.in, body); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if err := h.check(body); err != nil {
		return err
	}
	switch h.kind {
	case kindPing, kindPong, kindCredit:
		return c.number(h.kind, body)
	case kindBroker:
		m, err := decodeBroker(body)
		if err != nil {
			return err
		}
		c.t.options.Receive(c.s.id, m, func() {})
		return nil
	}
	if h.kind&maySkip != 0 {
		return nil
	}
	m, err := site.Decode(site.MessageKind(h.kind), body)
	if err != nil {
		return err
	}
	c.t.options.Receive(c.s.id, m, func() {})
	return nil
}

// number takes a frame whose body is one number.
func (c *conn) number(k kind, body []byte) (err error) {
	if len(body) != 8 {
		return fmt.Errorf("%w: %d bytes in a frame of kind %d", errProtocol, len(body), k)
	}
	n := binary.BigEndian.Uint64(body)
	if k == kindPong {
		if rtt := c.t.now().Sub(c.begun) - time.Duration(n); rtt >= 0 && int64(n) >= 0 && !c.data {
			c.s.answered(rtt)
		}
		return nil
	}
	c.mu.Lock()
	switch {
	case k == kindPing:
		c.mu.pong, c.mu.pongDue = n, true
	case n >= c.mu.allowed:
		c.mu.allowed = n
	default:
		err = fmt.Errorf("%w: credit goes back from %d to %d", errProtocol, c.mu.allowed, n)
	}
	c.mu.Unlock()
	c.awake()
	return err
}

// readPaid takes an Append or a large Broker message. The memory for it is bounded by the credit that was given.
func (c *conn) readPaid(h header) error {
	c.mu.Lock()
	granted := c.mu.granted
	c.mu.Unlock()
	if h.flags == flagBatches && c.version < versionBatches {
		return fmt.Errorf("%w: flags %#x in version %d", errProtocol, h.flags, c.version)
	}
	if c.received >= granted {
		return fmt.Errorf("%w: %d bytes sent, credit was given for %d", errProtocol, c.received, granted)
	}
	buffer := c.t.pool.Get(h.size)
	body := buffer.Bytes()
	if _, err := io.ReadFull(c.in, body); err != nil {
		buffer.Release()
		return fmt.Errorf("read: %w", err)
	}
	if err := h.check(body); err != nil {
		buffer.Release()
		return err
	}
	if h.kind == kindBroker {
		m, err := decodeBroker(body)
		buffer.Release()
		if err != nil {
			return err
		}
		c.received += uint64(h.size)
		c.t.options.Receive(c.s.id, m, c.releaser(nil, h.size))
		return nil
	}
	m, size, tail, err := site.DecodeAppend(body)
	if err == nil && h.flags&flagZstd == 0 && len(tail) != size {
		err = fmt.Errorf("%w: %d bytes of payload, %d were said", errProtocol, len(tail), size)
	}
	if err != nil {
		buffer.Release()
		return err
	}
	cost := len(body) - len(tail) + size
	m.Payload = tail
	if h.flags&flagZstd != 0 {
		unpacked := c.t.pool.Get(size)
		if err = c.unpack(unpacked.Bytes(), tail); err != nil {
			unpacked.Release()
			buffer.Release()
			return err
		}
		buffer.Release()
		buffer, m.Payload = unpacked, unpacked.Bytes()
	}
	c.received += uint64(cost)
	if h.flags == flagBatches {
		if err := m.CheckPayload(); err != nil {
			// Of what may be wrong on the sender's disk nothing but this partition is to suffer: it is as if it had been lost.
			c.t.log.Error("append of the other site is not as it says, and not taken", "partition", m.Partition.String(), "error", err)
			c.t.options.Receive(c.s.id, Damaged{m.Partition, err}, func() {})
			c.releaser(buffer, cost)()
			return nil
		}
	}
	c.t.options.Receive(c.s.id, m, c.releaser(buffer, cost))
	return nil
}

func (c *conn) unpack(dst, src []byte) (err error) {
	if c.decoder == nil {
		if c.decoder, err = newDecoder(); err != nil {
			return err
		}
	}
	return decompress(c.decoder, dst, src)
}

// releaser gives memory and credit of a message back, once.
func (c *conn) releaser(buffer interface{ Release() }, cost int) func() {
	var once sync.Once
	return func() {
		once.Do(func() {
			if buffer != nil {
				buffer.Release()
			}
			c.release(cost)
		})
	}
}

// release tells the sender of new credit once it is an eighth of the whole, so that it never waits for what is held back here.
func (c *conn) release(n int) {
	c.mu.Lock()
	c.mu.released += uint64(n)
	window := uint64(c.t.options.Credit)
	now := c.mu.released + window
	if now-c.mu.granted >= (window+7)/8 {
		c.mu.granted, c.mu.creditDue = now, true
	}
	due := c.mu.creditDue
	c.mu.Unlock()
	if due {
		c.awake()
	}
}
