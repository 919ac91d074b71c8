package broker_test

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/tandembroker/tandem/broker/brokertest"
)

// relay is a network between two sites that can be cut.
type relay struct {
	listener net.Listener
	wait     sync.WaitGroup

	mu    sync.Mutex
	to    string
	cut   bool
	conns []net.Conn
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: l, to: to}
	r.wait.Go(r.accept)
	t.Cleanup(func() {
		_ = l.Close()
		r.set(true)
		r.wait.Wait()
	})
	return r
}

func (r *relay) accept() {
	for {
		in, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		to := r.to
		r.mu.Unlock()
		out, err := net.Dial("tcp", to)
		r.mu.Lock()
		if err != nil || r.cut {
			r.mu.Unlock()
			_ = in.Close()
			if err == nil {
				_ = out.Close()
			}
			continue
		}
		r.conns = append(r.conns, in, out)
		r.mu.Unlock()
		for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
			r.wait.Go(func() {
				_, _ = io.Copy(way[0], way[1])
				_, _ = way[0].Close(), way[1].Close()
			})
		}
	}
}

// lead has new connections go to another address.
func (r *relay) lead(to string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to = to
}

// set cuts the network, or mends it.
func (r *relay) set(cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = cut
	if cut {
		for _, c := range r.conns {
			_ = c.Close()
		}
		r.conns = nil
	}
}

// startPairApart is startPairWith over a network that can be cut.
func startPairApart(t *testing.T, settings ...string) (east, west *brokertest.Broker, between *relay) {
	t.Helper()
	common := append([]string{"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SITE:PLAINTEXT"}, settings...)
	west = brokertest.Start(t, append([]string{"node.id=101", "site.name=west", "site.role=standby", "site.listener.name=SITE",
		"listeners=PLAINTEXT://127.0.0.1:0,SITE://127.0.0.1:0"}, common...)...)
	between = newRelay(t, west.Pair().Addr().String())
	east = brokertest.Start(t, append([]string{"node.id=1", "site.name=east", "site.role=active",
		"site.peers=west@" + between.listener.Addr().String()}, common...)...)
	return east, west, between
}
