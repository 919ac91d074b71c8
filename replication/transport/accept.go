package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// handshaking is a connection whose opening goes on.
type handshaking struct{ raw net.Conn }

// accept takes connections until the listener is closed. A failure of it (no file descriptor is left) passes.
func (t *Transport) accept(ctx context.Context) {
	pause := newBackoff(t.options.Rand, time.Second)
	for ctx.Err() == nil {
		raw, err := t.options.Listener.Accept()
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
				t.log.Warn("site listener: accept failed", "error", err)
			}
			if !sleep(ctx, pause.next()) || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		pause.reset()
		h := t.admit(raw)
		t.wg.Go(func() { t.serve(h) })
	}
}

// admit makes room for another handshake: strangers that are silent are many, and the oldest is the likeliest to be one.
func (t *Transport) admit(raw net.Conn) *handshaking {
	h := &handshaking{raw}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.closed {
		raw.Close()
	}
	if len(t.mu.opening) >= handshakesMax {
		t.mu.opening[0].raw.Close()
		t.mu.opening = slices.Delete(t.mu.opening, 0, 1)
	}
	t.mu.opening = append(t.mu.opening, h)
	return h
}

func (t *Transport) dismiss(h *handshaking) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.opening = slices.DeleteFunc(t.mu.opening, func(o *handshaking) bool { return o == h })
}

// serve opens a connection that a peer, or a stranger, has dialled. The goroutine of the connection that completes a session runs it.
func (t *Transport) serve(h *handshaking) {
	s, err := t.answer(h)
	if err != nil {
		t.linger(h.raw)
	}
	t.dismiss(h)
	if err != nil {
		h.raw.Close()
		t.turnedDown(h.raw.RemoteAddr().String(), err)
	}
	if s == nil {
		return
	}
	if err == nil {
		err = t.establish(s)
	}
	if err != nil {
		s.fail(err)
		return
	}
	s.run()
}

// linger lets the other side read why it is turned down: closing a connection that has unread bytes would throw that away.
func (t *Transport) linger(raw net.Conn) {
	half, ok := raw.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || raw.SetReadDeadline(t.now().Add(min(time.Second, t.options.HandshakeTimeout))) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, raw, handshakeBytesMax) // it is closed in any case
}

// answer does the handshake. The session comes back where this connection completed it, or, with the error, where it cannot be completed.
func (t *Transport) answer(h *handshaking) (*session, error) {
	deadline := t.now().Add(t.options.HandshakeTimeout)
	if err := h.raw.SetDeadline(deadline); err != nil {
		return nil, err
	}
	secured := h.raw
	if t.options.TLS != nil {
		secured = tls.Server(h.raw, t.options.TLS)
	}
	c := newConn(t, h.raw, secured)
	peer, spoken, err := c.readOpening()
	if err != nil {
		return nil, err
	}
	mine := hello{Handshake: t.options.Self(), session: peer.session, index: peer.index, count: peer.count, credit: uint64(t.options.Credit)}
	if err := mine.check(); err != nil {
		return nil, err
	}
	s, verdict := t.consider(&mine, &peer, spoken, h.raw.RemoteAddr().String())
	if _, err := secured.Write(appendVerdict(appendHello(opening(), &mine), verdict)); err != nil && verdict == nil {
		verdict = fmt.Errorf("handshake: %w", err)
	}
	if verdict == nil {
		if verdict = c.readVerdict(); verdict == nil {
			verdict = t.join(s, c, &peer)
		}
	}
	if verdict != nil {
		if peer.index > 0 {
			s = nil // the session's own deadline ends it
		}
		return s, verdict
	}
	if peer.index > 0 {
		return nil, nil
	}
	timer := time.NewTimer(deadline.Sub(t.now()))
	defer timer.Stop()
	select {
	case <-s.formed:
		return s, nil
	case <-s.done:
		return nil, nil
	case <-timer.C:
		return s, errors.New("transport: the data connections of the session did not come")
	}
}

// consider decides on a peer's handshake and finds or begins its session.
func (t *Transport) consider(mine, peer *hello, spoken bool, address string) (*session, error) {
	if !spoken {
		return nil, refuseVersion(mine)
	}
	if err := t.welcomes(mine, peer, ""); err != nil {
		return nil, err
	}
	fresh := newSession(t, mine, peer, false, address)
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.mu.forming[fresh.key()]
	if peer.index > 0 {
		if s == nil || int(peer.count) != len(s.conns)-1 {
			return nil, refuse(CodeSession, "session %d of %s is not known here", peer.session, peer.ID())
		}
		return s, nil
	}
	if s != nil {
		return nil, refuse(CodeDuplicate, "session %d of %s is forming already", peer.session, peer.ID())
	}
	if err := t.mayForm(fresh); err != nil {
		return nil, err
	}
	t.mu.forming[fresh.key()] = fresh
	return fresh, nil
}

// welcomes is nil where this side has nothing against a link with the peer, else a *Refusal. dialled is the site that was asked for.
func (t *Transport) welcomes(mine, peer *hello, dialled string) error {
	err := judge(&mine.Handshake, &peer.Handshake, dialled, t.options.Sites)
	if err == nil && t.options.Check != nil {
		err = t.options.Check(peer.Handshake)
	}
	var r *Refusal
	if err != nil && !errors.As(err, &r) {
		return refuse(CodeOther, "%s", err)
	}
	return err
}

// errNoLink is a connection that does not begin as one between sites.
var errNoLink = fmt.Errorf("%w: this is no site link", errProtocol)

func refuseVersion(mine *hello) *Refusal {
	return refuse(CodeVersion, "no version of the link that both sides speak: site %q can do %d to %d"+wayOut+"the same release at both", mine.Site, versionMin, versionMax)
}

// opening writes the first bytes of a connection.
func opening() []byte {
	return append(magic[:len(magic):len(magic)], versionMin, versionMax, 0, 0)
}

// readOpening reads the other side's opening and handshake; spoken is false where there is no version that both speak.
func (c *conn) readOpening() (h hello, spoken bool, err error) {
	var b [openingLen]byte
	if _, err := io.ReadFull(c.in, b[:]); err != nil {
		return hello{}, false, fmt.Errorf("handshake: %w", err)
	}
	if !bytes.Equal(b[:4], magic[:]) {
		return hello{}, false, errNoLink
	}
	k, body, err := c.readHandshakeFrame()
	if err != nil {
		return hello{}, false, err
	}
	if k != kindHandshake {
		return hello{}, false, fmt.Errorf("%w: no handshake but kind %d", errProtocol, k)
	}
	h, err = parseHello(body)
	c.version = min(b[5], versionMax)
	return h, b[4] <= versionMax && b[5] >= versionMin, err
}

func (c *conn) readVerdict() error {
	k, body, err := c.readHandshakeFrame()
	if err != nil {
		return err
	}
	return parseVerdict(k, body)
}

func (c *conn) readHandshakeFrame() (kind, []byte, error) {
	var b [headerLen]byte
	if _, err := io.ReadFull(c.in, b[:]); err != nil {
		return 0, nil, fmt.Errorf("handshake: %w", err)
	}
	h, err := parseHeader(b[:])
	if err != nil {
		return 0, nil, err
	}
	if h.kind > kindRefusal || h.size > handshakeBytesMax {
		return 0, nil, fmt.Errorf("%w: %d bytes of kind %d in a handshake", errProtocol, h.size, h.kind)
	}
	body := make([]byte, h.size)
	if _, err := io.ReadFull(c.in, body); err != nil {
		return 0, nil, fmt.Errorf("handshake: %w", err)
	}
	return h.kind, body, h.check(body)
}
