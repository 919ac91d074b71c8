// Package proxy is a TCP proxy that is a bad network: it delays, limits, stalls, cuts, swallows and damages what goes through it. It knows
// nothing of the bytes. bench/chaos/proxy/cmd is the command.
package proxy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// queueBytesMax is what may be on its way in one direction of one connection: 75 ms at 3 GB/s.
const queueBytesMax = 256 << 20

// Proxy forwards the connections of one listener to one address. Safe for concurrent use.
type Proxy struct {
	listener net.Listener
	target   string
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	mu       struct {
		sync.Mutex
		closed    bool
		delay     time.Duration
		bandwidth int64
		cut       bool
		stalled   chan struct{} // not nil = nothing goes on until it is closed
		halfOpen  bool
		flips     int // bits to be flipped
		pairs     map[*pair]struct{}
		forwarded int64
	}
}

// pair is one connection and its continuation to the target.
type pair struct {
	ends      []net.Conn
	swallowed bool // under Proxy.mu: bytes are missing, so it can never be whole again
}

// Start forwards what comes in at l, which it takes over, to target, host:port.
func Start(l net.Listener, target string) *Proxy {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Proxy{listener: l, target: target, cancel: cancel}
	p.mu.pairs = map[*pair]struct{}{}
	p.wg.Go(func() { p.accept(ctx) })
	return p
}

// Listen is Start at a free port of 127.0.0.1.
func Listen(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	return Start(l, target), nil
}

// Addr is where it listens, host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Forwarded is how many bytes were passed on, in both directions of all connections.
func (p *Proxy) Forwarded() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.forwarded
}

// SetDelay changes how long each byte takes, one way; half of a round trip.
func (p *Proxy) SetDelay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.delay = d
}

// SetBandwidth limits each direction of each connection, in bytes per second; 0 = no limit.
func (p *Proxy) SetBandwidth(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.bandwidth = bytes
}

// Cut resets all connections; until Heal new ones are reset as well.
func (p *Proxy) Cut() {
	p.mu.Lock()
	p.mu.cut = true
	p.mu.Unlock()
	p.reset(func(*pair) bool { return true })
}

// Stall lets nothing through, and forgets nothing, until Heal.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.stalled == nil {
		p.mu.stalled = make(chan struct{})
	}
}

// HalfOpen swallows everything until Heal, closes included, and tells nobody: as packets that are dropped on their way. Connections that have
// lost bytes are reset by Heal.
func (p *Proxy) HalfOpen() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.halfOpen = true
}

// Heal ends Cut, Stall and HalfOpen.
func (p *Proxy) Heal() {
	p.mu.Lock()
	p.mu.cut, p.mu.halfOpen = false, false
	if p.mu.stalled != nil {
		close(p.mu.stalled)
		p.mu.stalled = nil
	}
	p.mu.Unlock()
	p.reset(func(x *pair) bool { return x.swallowed })
}

// Flip flips one bit in the next bytes that are passed on, whoever's they are.
func (p *Proxy) Flip() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.flips++
}

// Close resets all connections and waits until nothing runs any more.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.mu.closed = true
	p.mu.Unlock()
	p.cancel()
	p.listener.Close()
	p.reset(func(*pair) bool { return true })
	p.wg.Wait()
}

func (p *Proxy) reset(which func(*pair) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for x := range p.mu.pairs {
		if which(x) {
			for _, c := range x.ends {
				abort(c)
			}
		}
	}
}

// abort closes with a reset, as a network does, not with an end that looks orderly.
func abort(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // then it is closed the other way
	}
	c.Close()
}

func (p *Proxy) accept(ctx context.Context) {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
			continue
		}
		p.wg.Go(func() { p.serve(ctx, c) })
	}
}

func (p *Proxy) serve(ctx context.Context, c net.Conn) {
	x := &pair{ends: []net.Conn{c}}
	p.mu.Lock()
	refused, halfOpen := p.mu.cut || p.mu.closed, p.mu.halfOpen
	x.swallowed = halfOpen
	p.mu.pairs[x] = struct{}{}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.mu.pairs, x)
		for _, c := range x.ends {
			abort(c)
		}
	}()
	if refused {
		return
	}
	if halfOpen { // as if the answer to its SYN had been the last packet that came through
		buf := make([]byte, 4096)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
		}
	}
	target, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", p.target)
	if err != nil {
		return
	}
	p.mu.Lock()
	x.ends = append(x.ends, target)
	refused = p.mu.cut || p.mu.closed
	p.mu.Unlock()
	if refused {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { p.forward(x, c, target) })
	wg.Go(func() { p.forward(x, target, c) })
	wg.Wait()
}

// chunk is what was read at once; end marks the end of the stream.
type chunk struct {
	data []byte
	due  time.Time
	end  bool
}

// forward passes on one direction.
func (p *Proxy) forward(x *pair, from, to net.Conn) {
	q := newQueue()
	var wg sync.WaitGroup
	wg.Go(func() { p.deliver(x, q, to) })
	for {
		buf := q.buffer()
		n, err := from.Read(buf)
		p.mu.Lock()
		due := time.Now().Add(p.mu.delay)
		p.mu.Unlock()
		if n > 0 && !q.put(chunk{data: buf[:n], due: due}) {
			break
		}
		if err != nil {
			q.put(chunk{due: due, end: true})
			break
		}
	}
	wg.Wait()
}

// deliver writes what is due. Where it cannot, both ends are reset.
func (p *Proxy) deliver(x *pair, q *queue, to net.Conn) {
	defer q.close()
	var free time.Time // when the line is free again, for the bandwidth
	for {
		c := q.take()
		time.Sleep(time.Until(c.due))
		p.mu.Lock()
		bandwidth, stalled := p.mu.bandwidth, p.mu.stalled
		p.mu.Unlock()
		if bandwidth > 0 && len(c.data) > 0 {
			now := time.Now()
			if free.Before(now) {
				free = now
			}
			free = free.Add(time.Duration(float64(len(c.data)) / float64(bandwidth) * float64(time.Second)))
			time.Sleep(free.Sub(now))
		}
		if stalled != nil {
			p.waitFor(stalled)
		}
		if p.swallow(x, c) {
			if c.end {
				return // nobody is told
			}
			q.recycle(c.data)
			continue
		}
		if c.end {
			if t, ok := to.(*net.TCPConn); ok {
				_ = t.CloseWrite() // it may be closed already
			}
			return
		}
		if _, err := to.Write(c.data); err != nil {
			p.reset(func(y *pair) bool { return x == y })
			return
		}
		q.recycle(c.data)
	}
}

// waitFor waits for the end of a stall, or of all connections.
func (p *Proxy) waitFor(stalled chan struct{}) {
	for {
		select {
		case <-stalled:
			return
		case <-time.After(50 * time.Millisecond):
		}
		p.mu.Lock()
		closed := p.mu.closed || p.mu.cut
		p.mu.Unlock()
		if closed {
			return
		}
	}
}

// swallow says whether c is lost; else it is counted, and a bit flipped where one is due.
func (p *Proxy) swallow(x *pair, c chunk) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.halfOpen || x.swallowed {
		x.swallowed = true
		return true
	}
	p.mu.forwarded += int64(len(c.data))
	if p.mu.flips > 0 && len(c.data) > 0 {
		p.mu.flips--
		c.data[rand.IntN(len(c.data))] ^= 1 << rand.IntN(8)
	}
	return false
}
