package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// dialState is an address that is dialled. Fields but the first two are guarded by Transport.mu.
type dialState struct {
	site    string // that must answer; "" = any
	address string
	peer    PeerID // that answered last; zero = none yet
	last    failure
	refused refused
}

// keepDialling has a session with whoever is at an address, by dialling it or because the other side did.
func (t *Transport) keepDialling(ctx context.Context, d *dialState) {
	pause := newBackoff(t.options.Rand, t.options.BackoffMax)
	logged := said{}
	for ctx.Err() == nil {
		if s := t.sessionAt(d); s != nil {
			select {
			case <-s.done:
			case <-ctx.Done():
			}
			pause.reset()
		} else if s, err := t.dialSession(ctx, d); err == nil {
			clear(logged)
			s.run()
			if t.now().Sub(s.since) > t.options.BackoffMax {
				pause.reset()
			}
		} else if ctx.Err() == nil && !duplicate(err) {
			t.dialFailed(d, err)
			if logged.news(err) { // a peer that is down is a line, not one every few seconds
				t.log.Warn("site link: cannot connect", "address", d.address, "error", err)
			}
		}
		sleep(ctx, pause.next())
	}
}

// cause is the innermost error, which does not name a port that is another one each time.
func cause(err error) string {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return err.Error()
}

// sessionAt is the session with the broker that answers at d, as far as that is known.
func (t *Transport) sessionAt(d *dialState) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.current[d.peer]
}

// dialSession forms and establishes a session.
func (t *Transport) dialSession(ctx context.Context, d *dialState) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*t.options.HandshakeTimeout) // control, then data
	defer cancel()
	mine := hello{Handshake: t.options.Self(), session: t.number(), count: uint8(t.options.DataConnections), credit: uint64(t.options.Credit)}
	if err := mine.check(); err != nil {
		return nil, err
	}
	c, peer, err := t.dial(ctx, d, mine)
	if err != nil {
		return nil, err
	}
	s := newSession(t, &mine, &peer, true, d.address)
	free, err := t.claim(s, d)
	if err == nil {
		defer free()
	}
	if err = c.conclude(err); err == nil {
		err = t.join(s, c, &peer)
	}
	if err != nil {
		c.raw.Close()
		return nil, err
	}
	if err := t.dialData(ctx, d, s, mine); err != nil {
		s.fail(err)
		s.drop()
		close(s.ended)
		return nil, err
	}
	return s, nil
}

// number is one that no session of this run has.
func (t *Transport) number() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.numbers++
	return t.mu.numbers
}

// learn takes note of who answers at d.
func (t *Transport) learn(d *dialState, peer PeerID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d.peer = peer
}

// claim sees to it that one session at a time is formed with a peer from here, of however many addresses it answers at.
func (t *Transport) claim(s *session, d *dialState) (free func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d.peer = s.id
	if t.mu.dialling[s.id] {
		return nil, refuse(CodeDuplicate, "another session of these two brokers is forming")
	}
	if err := t.mayForm(s); err != nil {
		return nil, err
	}
	t.mu.dialling[s.id] = true
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.mu.dialling, s.id)
	}, nil
}

// dialData adds the data connections, all at once, and establishes the session before the last word is said on them: then the other side
// never takes one for good that this side has dropped.
func (t *Transport) dialData(ctx context.Context, d *dialState, s *session, mine hello) error {
	conns, hellos, errs := make([]*conn, mine.count), make([]hello, mine.count), make([]error, mine.count)
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			mine := mine
			mine.index = uint8(i + 1)
			conns[i], hellos[i], errs[i] = t.dial(ctx, d, mine)
			if errs[i] == nil && (hellos[i].ID() != s.id || hellos[i].Boot != s.peer.Boot) {
				errs[i] = fmt.Errorf("%w: %s answered a data connection of %s", errProtocol, hellos[i].ID(), s.id)
			}
		})
	}
	wg.Wait()
	err := errors.Join(errs...)
	for i, c := range conns {
		if err == nil {
			err = t.join(s, c, &hellos[i])
		}
	}
	if err == nil {
		err = t.establish(s)
	}
	for _, c := range conns {
		if c == nil {
			continue
		}
		if said := c.conclude(err); err == nil {
			err = said
		}
		if err != nil {
			c.raw.Close()
		}
	}
	return err
}

// dial opens one connection, up to the verdict of this side (conclude).
func (t *Transport) dial(ctx context.Context, d *dialState, mine hello) (c *conn, peer hello, err error) {
	ctx, cancel := context.WithTimeout(ctx, t.options.HandshakeTimeout)
	defer cancel()
	raw, err := t.options.Dial(ctx, "tcp", d.address)
	if err != nil {
		return nil, hello{}, fmt.Errorf("transport: dial %s: %w", d.address, err)
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer func() {
		if !stop() && err == nil {
			err = ctx.Err() // closed under our hands
		}
		if err != nil {
			raw.Close()
		}
	}()
	if err := raw.SetDeadline(t.now().Add(t.options.HandshakeTimeout)); err != nil {
		return nil, hello{}, err
	}
	secured := raw
	if t.options.TLS != nil {
		secured = tls.Client(raw, t.clientTLS(d.address))
	}
	c = newConn(t, raw, secured)
	if _, err := secured.Write(appendHello(opening(), &mine)); err != nil {
		return nil, hello{}, fmt.Errorf("transport: handshake with %s: %w", d.address, err)
	}
	peer, spoken, err := c.readOpening()
	if err == nil {
		if err = c.readVerdict(); duplicate(err) {
			t.learn(d, peer.ID())
		}
	}
	if err != nil {
		return nil, hello{}, fmt.Errorf("transport: handshake with %s: %w", d.address, err)
	}
	if err := t.accepts(d, &mine, &peer, spoken); err != nil {
		return nil, hello{}, c.conclude(err)
	}
	return c, peer, nil
}

// accepts is this side's own judgement of whoever answered.
func (t *Transport) accepts(d *dialState, mine, peer *hello, spoken bool) error {
	if !spoken {
		return refuseVersion(mine)
	}
	if peer.session != mine.session || peer.index != mine.index || peer.count != mine.count {
		return refuse(CodeOther, "the answer is to another handshake")
	}
	return t.welcomes(mine, peer, d.site)
}

// conclude says the last word of an opening, and returns verdict or why it could not be said.
func (c *conn) conclude(verdict error) error {
	if _, err := c.net.Write(appendVerdict(nil, verdict)); err != nil && verdict == nil {
		return fmt.Errorf("transport: handshake: %w", err)
	}
	return verdict
}

// clientTLS verifies the name that was dialled, unless the configuration says otherwise, by those whom the listener trusts now: what both ends
// trust is one thing, and files may have changed since the start.
func (t *Transport) clientTLS(address string) *tls.Config {
	config := t.options.TLS.Clone()
	if config.GetConfigForClient != nil {
		if now, err := config.GetConfigForClient(&tls.ClientHelloInfo{}); err == nil && now != nil {
			config.RootCAs = now.ClientCAs
		}
	}
	if host, _, err := net.SplitHostPort(address); err == nil && config.ServerName == "" {
		config.ServerName = host
	}
	return config
}

// backoff is the pause between attempts: doubled each time, the second half of each left to chance.
type backoff struct {
	rand    func() float64
	pause   time.Duration
	longest time.Duration
}

func newBackoff(rand func() float64, longest time.Duration) *backoff {
	b := &backoff{rand: rand, longest: longest}
	b.reset()
	return b
}

func (b *backoff) reset() { b.pause = min(backoffMin, b.longest) }

func (b *backoff) next() time.Duration {
	half := b.pause / 2
	b.pause = min(2*b.pause, b.longest)
	return half + time.Duration(b.rand()*float64(half))
}

// sleep is false where ctx was done first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
