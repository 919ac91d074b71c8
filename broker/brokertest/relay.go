package brokertest

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Relay is a TCP connection's way on loopback that a test can cut, slow down, and let swallow what goes over it. It ends with the test.
type Relay struct {
	listener net.Listener
	swallow  atomic.Bool
	delay    atomic.Int64 // ns
	stop     chan struct{}
	tasks    sync.WaitGroup

	mu struct {
		sync.Mutex
		to      string
		cut     bool
		opening Opening // nil = nothing is changed
		conns   map[net.Conn]struct{}
	}
}

// Opening reads the first bytes of a direction of a connection, as many as it likes, and returns what goes on in their place. An error ends
// the connection.
type Opening func(from io.Reader) ([]byte, error)

// NewRelay passes on what is sent to its Addr to the address to.
func NewRelay(t testing.TB, to string) *Relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{listener: l, stop: make(chan struct{})}
	r.mu.to, r.mu.conns = to, map[net.Conn]struct{}{}
	r.tasks.Go(r.accept)
	t.Cleanup(func() {
		_ = l.Close()
		close(r.stop)
		r.Cut(true)
		r.tasks.Wait()
	})
	return r
}

// Addr is host:port to dial.
func (r *Relay) Addr() string { return r.listener.Addr().String() }

// Lead has new connections go to another address.
func (r *Relay) Lead(to string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.to = to
}

// Cut closes all connections, and new ones as soon as they come; false ends that.
func (r *Relay) Cut(cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.cut = cut
	if cut {
		for c := range r.mu.conns {
			_ = c.Close()
		}
	}
}

// Swallow has everything vanish on its way, while connections stand: a host that is gone without a word.
func (r *Relay) Swallow(all bool) { r.swallow.Store(all) }

// Delay has each 32 KiB of a direction wait: that bounds what goes over a connection, and smaller messages are as late.
func (r *Relay) Delay(d time.Duration) { r.delay.Store(int64(d)) }

// Change has the first bytes of new connections, in both directions, changed on their way; nil ends that.
func (r *Relay) Change(opening Opening) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.opening = opening
}

func (r *Relay) accept() {
	for {
		in, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		to := r.mu.to
		r.mu.Unlock()
		out, err := net.Dial("tcp", to)
		if err != nil {
			_ = in.Close()
			continue
		}
		r.mu.Lock()
		cut, opening := r.mu.cut, r.mu.opening
		if !cut {
			r.mu.conns[in], r.mu.conns[out] = struct{}{}, struct{}{}
		}
		r.mu.Unlock()
		if cut {
			_, _ = in.Close(), out.Close()
			continue
		}
		r.tasks.Go(func() { r.pass(in, out, opening) })
		r.tasks.Go(func() { r.pass(out, in, opening) })
	}
}

// pass passes a direction on until one of the two ends.
func (r *Relay) pass(from, to net.Conn, opening Opening) {
	defer func() {
		_, _ = from.Close(), to.Close()
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.mu.conns, from)
	}()
	if opening != nil {
		first, err := opening(from)
		if err != nil || !r.write(to, first) {
			return
		}
	}
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if n > 0 && !r.write(to, b[:n]) || err != nil {
			return
		}
	}
}

// write sends b on, late or not at all; false = the connection is over.
func (r *Relay) write(to net.Conn, b []byte) bool {
	if d := r.delay.Load(); d > 0 {
		late := time.NewTimer(time.Duration(d))
		defer late.Stop()
		select {
		case <-late.C:
		case <-r.stop:
			return false
		}
	}
	if r.swallow.Load() {
		return true
	}
	_, err := to.Write(b)
	return err == nil
}
