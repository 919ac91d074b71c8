package transport

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"time"

	"github.com/tandembroker/tandem/protocol/wire"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/entry"
)

// queue puts a control message behind those that wait. It is false where there is no room.
func (c *conn) queue(m any, done func(sent bool)) bool {
	c.mu.Lock()
	if c.mu.closed || len(c.mu.small) >= controlBytesMax {
		c.mu.Unlock()
		return false
	}
	c.mu.small = appendMessage(c.mu.small, m)
	if done != nil {
		c.mu.dones = append(c.mu.dones, done)
	}
	c.mu.Unlock()
	c.awake()
	return true
}

// queueBig does the same with what needs credit.
func (c *conn) queueBig(o outgoing) bool {
	c.mu.Lock()
	if c.mu.closed || len(c.mu.big) > 0 && c.mu.bigSize+int64(o.size) > c.t.options.QueueBytes {
		c.mu.Unlock()
		return false
	}
	c.mu.big = append(c.mu.big, o)
	c.mu.bigSize += int64(o.size)
	c.mu.Unlock()
	c.awake()
	return true
}

// close drops what waits. Nothing is queued any more.
func (c *conn) close() {
	c.mu.Lock()
	c.mu.closed = true
	big, dones := c.mu.big, c.mu.dones
	c.mu.big, c.mu.dones, c.mu.small = nil, nil, nil
	c.mu.Unlock()
	tell(dones, false)
	for _, o := range big {
		tell([]func(bool){o.done}, false)
	}
}

func tell(dones []func(sent bool), sent bool) {
	for _, done := range dones {
		if done != nil {
			done(sent)
		}
	}
}

// takeSmall returns the frames that go first: pings, answers, credit, control messages. They are the writer's until the next call.
func (c *conn) takeSmall() (frames []byte, dones []func(sent bool)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := &c.mu
	if m.pingDue {
		m.small = appendNumber(m.small, kindPing, uint64(c.t.now().Sub(c.begun)))
	}
	if m.pongDue {
		m.small = appendNumber(m.small, kindPong, m.pong)
	}
	if m.creditDue {
		m.small = appendNumber(m.small, kindCredit, m.granted)
	}
	m.pingDue, m.pongDue, m.creditDue = false, false, false
	frames, dones = m.small, m.dones
	m.small, m.spare, m.dones = m.spare[:0], frames, nil
	return frames, dones
}

// takeBig returns the next frame for which there is credit.
func (c *conn) takeBig() (o outgoing, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := &c.mu
	if len(m.big) == 0 || c.sent >= m.allowed {
		return outgoing{}, false
	}
	o = m.big[0]
	m.big[0] = outgoing{}
	m.big = m.big[1:]
	m.bigSize -= int64(o.size)
	return o, true
}

// write sends what is queued until the session ends or the connection fails.
func (c *conn) write() error {
	ping := time.NewTicker(c.t.options.Timeout / pings)
	defer ping.Stop()
	wait := time.NewTimer(time.Hour) // for the rate limit
	defer wait.Stop()
	var current outgoing
	var f frame // of current; empty = that is sent
	defer func() {
		if f.head != nil {
			f.drop()
			tell([]func(bool){current.done}, false)
		}
		if c.encoder != nil {
			_ = c.encoder.Close() // it writes nowhere
		}
	}()
	for {
		if frames, dones := c.takeSmall(); len(frames) > 0 {
			err := c.push(frames, nil)
			tell(dones, err == nil)
			if err != nil {
				return err
			}
			continue
		}
		if f.head == nil {
			if o, ok := c.takeBig(); ok {
				var err error
				if f, err = c.encode(o.message); err != nil {
					c.t.log.Error("message cannot be sent", "error", err)
					tell([]func(bool){o.done}, false)
					continue
				}
				current = o
				c.sent += uint64(o.size)
			}
		}
		if f.head != nil {
			delay := c.t.rate.take(f.size())
			if delay == 0 {
				err := c.pushFrame(&f)
				f.drop()
				tell([]func(bool){current.done}, err == nil)
				current, f = outgoing{}, frame{}
				if err != nil {
					return err
				}
				continue
			}
			wait.Reset(delay)
		}
		select {
		case <-c.wake:
		case <-wait.C:
		case <-ping.C:
			c.mu.Lock()
			c.mu.pingDue = true
			c.mu.Unlock()
		case <-c.s.done:
			return nil
		}
	}
}

// frame is one that is about to be written: head, which is not nil in one that is there, and behind it tail or what from has.
type frame struct {
	head, tail []byte // the connection's, the message's, or in buffer
	from       Range
	buffer     *wire.Buffer // nil = none is held
}

func (f *frame) size() int {
	size := len(f.head) + len(f.tail)
	if f.from != nil {
		_, _, n := f.from.File()
		size += int(n)
	}
	return size
}

// drop gives back what f holds.
func (f *frame) drop() {
	if f.buffer != nil {
		f.buffer.Release()
		f.buffer = nil
	}
}

// encode makes the frame of a message that needs credit.
func (c *conn) encode(message any) (f frame, err error) {
	switch m := message.(type) {
	case site.Append:
		f.head, f.tail, err = c.encodeAppend(&m)
		return f, err
	case Stored:
		return c.encodeStored(m)
	}
	c.packed = appendMessage(c.packed[:0], message)
	return frame{head: c.packed}, nil
}

func (c *conn) encodeAppend(m *site.Append) (head, tail []byte, err error) {
	h := header{kind: kind(site.KindAppend)}
	c.head = m.EncodeHead(append(c.head[:0], make([]byte, headerLen)...), len(m.Payload))
	tail = m.Payload
	if c.t.options.Compress && compressible(m.Rows, m.Payload) {
		if c.encoder == nil {
			if c.encoder, err = newEncoder(); err != nil {
				return nil, nil, err
			}
		}
		if c.packed = c.encoder.EncodeAll(m.Payload, c.packed[:0]); len(c.packed) < len(m.Payload) {
			tail, h.flags = c.packed, flagZstd
		}
	}
	body := c.head[headerLen:]
	h.size = len(body) + len(tail)
	h.crc = crc32.Update(crc32.Checksum(body, entry.Castagnoli), entry.Castagnoli, tail)
	putHeader(c.head, h)
	return c.head, tail, nil
}

func (c *conn) pushFrame(f *frame) error {
	if f.from != nil {
		return c.pushFile(f.head, f.from)
	}
	return c.push(f.head, f.tail)
}

// renew begins the time that the next piece has, or one that is being written; for any goroutine.
func (c *conn) renew() error {
	if err := c.net.SetWriteDeadline(c.t.now().Add(c.t.options.Timeout)); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// notWritten says why n bytes were not.
func notWritten(c *conn, n int, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%d bytes could not be written in %s: %w", n, c.t.options.Timeout, err)
	}
	return fmt.Errorf("write: %w", err)
}

// push writes head and tail by writev, in pieces each of which has a timeout of its own: a slow connection goes on, a dead one is noticed.
func (c *conn) push(head, tail []byte) error {
	for len(head)+len(tail) > 0 {
		n := min(len(head), writeBytesMax)
		m := min(len(tail), writeBytesMax-n)
		c.pieces[0], c.pieces[1] = head[:n], tail[:m]
		head, tail = head[n:], tail[m:]
		if err := c.renew(); err != nil {
			return err
		}
		c.vector = c.pieces[:]
		switch {
		case n == 0:
			c.vector = c.pieces[1:]
		case m == 0:
			c.vector = c.pieces[:1]
		}
		written, err := c.vector.WriteTo(c.net)
		c.s.traffic.out.Add(uint64(written))
		if err != nil {
			return notWritten(c, n+m, err)
		}
	}
	return nil
}
