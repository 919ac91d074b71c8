package transport

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tandembroker/tandem/bench/chaos/proxy"
	"github.com/tandembroker/tandem/replication/site"
)

// through runs two brokers over TCP with a bad network between them; west dials.
func through(t testing.TB, eastOptions, westOptions Options) (net *proxy.Proxy, e, w *Transport) {
	t.Helper()
	l := listener(t)
	net, err := proxy.Listen(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(net.Close)
	e, w = over(t, l, net.Addr(), eastOptions, westOptions)
	return net, e, w
}

// over runs two brokers; west dials an address that leads to the listener of east.
func over(t testing.TB, l net.Listener, address string, eastOptions, westOptions Options) (e, w *Transport) {
	t.Helper()
	eastOptions.Listener, eastOptions.Self = l, east
	westOptions.Peers, westOptions.Self = []string{"east@" + address}, west
	var err error
	for _, o := range []*Options{&eastOptions, &westOptions} {
		if o.Receive == nil {
			o.Receive = func(_ PeerID, _ any, release func()) { release() }
		}
	}
	if e, err = started(eastOptions); err != nil {
		t.Fatal(err)
	}
	if w, err = started(westOptions); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		for _, tr := range []*Transport{e, w} {
			if err := tr.Close(ctx); err != nil {
				t.Error(err)
			}
		}
	})
	until(t, "connected", func() bool { return w.Connected(east().ID()) && e.Connected(west().ID()) })
	return e, w
}

// TestABadNetworkDamagesNothing sends while bits flip and connections are cut, stall and hang: what arrives is what was sent, in order, and
// behind the faults messages flow again.
func TestABadNetworkDamagesNothing(t *testing.T) {
	var last, taken atomic.Int64
	last.Store(-1)
	receive := func(_ PeerID, m any, release func()) {
		defer release()
		a, ok := m.(site.Append)
		if !ok {
			return
		}
		if want := batch(0, int(a.Prev.Next), len(a.Payload)); !bytes.Equal(a.Payload, want.Payload) {
			t.Errorf("append %d came with other bytes", a.Prev.Next)
		}
		if before := last.Swap(a.Prev.Next); a.Prev.Next <= before {
			t.Errorf("append %d came behind %d", a.Prev.Next, before)
		}
		taken.Add(1)
	}
	timeouts := Options{Timeout: 300 * time.Millisecond, HandshakeTimeout: time.Second, BackoffMax: 50 * time.Millisecond}
	receiving := timeouts
	receiving.Receive = receive
	net, e, w := through(t, receiving, timeouts)
	n := 0
	flow := func(what string) {
		t.Helper()
		before := taken.Load()
		until(t, "messages flow again behind: "+what, func() bool {
			w.Send(east().ID(), batch(0, n, 5000), nil)
			n++
			return taken.Load() > before+3
		})
	}
	flow("start")
	for round := range 4 {
		for _, f := range []struct {
			what  string
			fault func()
		}{{"flip", net.Flip}, {"cut", net.Cut}, {"half-open", net.HalfOpen}, {"stall", net.Stall}} {
			sessions := w.Status().Peers[0].Sessions
			f.fault()
			until(t, "noticed: "+f.what, func() bool {
				w.Send(east().ID(), batch(0, n, 5000), nil)
				n++
				s := w.Status().Peers[0]
				return !s.Connected || s.Sessions > sessions
			})
			net.Heal()
			flow(fmt.Sprintf("%s, round %d", f.what, round))
		}
	}
	until(t, "both agree", func() bool { return w.Connected(east().ID()) && e.Connected(west().ID()) })
}

func TestRoundTripIsMeasured(t *testing.T) {
	net, e, w := through(t, Options{Timeout: 500 * time.Millisecond}, Options{Timeout: 500 * time.Millisecond})
	net.SetDelay(30 * time.Millisecond)
	for _, tr := range []*Transport{e, w} {
		until(t, "a round trip of 60 ms", func() bool {
			rtt := tr.Status().Peers[0].RTT
			return rtt >= 60*time.Millisecond && rtt < 300*time.Millisecond
		})
	}
}

// BenchmarkShipping sends Appends of 256 KiB over loopback through the proxy, with and without a delay.
func BenchmarkShipping(b *testing.B) {
	secure := newAuthority(b).config(b)
	for _, c := range []struct {
		name string
		rtt  time.Duration // below 0: without the proxy
		o    Options
	}{
		{"direct", -1, Options{}},
		{"rtt=0", 0, Options{}},
		{"rtt=150ms", 150 * time.Millisecond, Options{}},
		{"rtt=0/limit=200MBps", 0, Options{RateLimit: 200e6}},
		{"rtt=150ms/limit=200MBps", 150 * time.Millisecond, Options{RateLimit: 200e6}},
		{"rtt=150ms/connections=2", 150 * time.Millisecond, Options{DataConnections: 2}},
		{"rtt=0/zstd", 0, Options{Compress: true}},
		{"rtt=0/tls", 0, Options{TLS: secure}},
		{"rtt=150ms/tls", 150 * time.Millisecond, Options{TLS: secure}},
	} {
		b.Run(c.name, func(b *testing.B) { ship(b, c.rtt, c.o) })
	}
}

func ship(b *testing.B, rtt time.Duration, o Options) {
	const size, window = 256 << 10, 128 // written or waiting to be
	taken := make(chan struct{}, 1<<20)
	receiving := Options{Credit: o.Credit, TLS: o.TLS, Receive: func(_ PeerID, m any, release func()) {
		release()
		if _, ok := m.(site.Append); ok {
			taken <- struct{}{}
		}
	}}
	var w *Transport
	if rtt < 0 {
		l := listener(b)
		_, w = over(b, l, l.Addr().String(), receiving, o)
	} else {
		var bad *proxy.Proxy
		bad, _, w = through(b, receiving, o)
		bad.SetDelay(rtt / 2)
	}
	appends := make([]site.Append, 16)
	for p := range appends {
		appends[p] = batch(p, 0, size)
	}
	room := make(chan struct{}, window)
	send := func(n int) {
		for i := range n {
			room <- struct{}{}
			w.Send(east().ID(), appends[i%len(appends)], func(sent bool) {
				if !sent {
					b.Error("dropped")
				}
				<-room
			})
		}
	}
	b.SetBytes(size)
	b.ReportAllocs()
	b.ResetTimer()
	go send(b.N) // ends with the last one, which is awaited
	for range b.N {
		<-taken
	}
}
