package transport

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandembroker/tandem/replication/site"
)

// connected waits, in a bubble, until both know each other.
func connected(t *testing.T, e, w *broker) {
	t.Helper()
	synctest.Wait()
	if !e.Connected(w.id()) || !w.Connected(e.id()) {
		t.Fatalf("not connected: %+v, %+v", e.Status(), w.Status())
	}
}

func TestMessagesArriveBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, compress := range []bool{false, true} {
			e, w := pair(t, newPipes(), Options{Compress: compress}, Options{Compress: compress, DataConnections: 3})
			connected(t, e, w)
			messages := []any{
				site.Hello{Role: site.Active, Epoch: 4, Boot: 9, Sent: 12},
				site.Compared{Partition: partition(1), Epoch: 4},
				Broker{7, []byte("small")},
				Broker{8, bytes.Repeat([]byte("large"), 50_000)},
				batch(1, 0, 100_000),
				batch(2, 0, 3),
			}
			for _, side := range [][2]*broker{{e, w}, {w, e}} {
				sent := 0
				for _, m := range messages {
					side[0].Send(side[1].id(), m, func(ok bool) {
						if ok {
							sent++
						}
					})
					synctest.Wait() // one after the other: connections do not keep an order between them
				}
				var arrived []any
				for _, g := range side[1].received() {
					arrived = append(arrived, g.message)
					if g.from != side[0].id() {
						t.Errorf("from %s, sent by %s", g.from, side[0].id())
					}
				}
				if sent != len(messages) || !reflect.DeepEqual(arrived, messages) {
					t.Errorf("sent %d of %d, arrived %d (compressed: %v)", sent, len(messages), len(arrived), compress)
				}
			}
			e.stop(t)
			w.stop(t)
		}
	})
}

func TestAppendsOfAPartitionKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, w := pair(t, newPipes(), Options{Credit: 3000}, Options{DataConnections: 4})
		connected(t, e, w)
		const partitions, appends = 10, 50
		for offset := range appends {
			for p := range partitions {
				w.Send(e.id(), batch(p, offset, 900), nil)
			}
		}
		synctest.Wait()
		var next [partitions]int64
		for _, g := range e.received() {
			m := g.message.(site.Append)
			if p := m.Partition.Partition; m.Prev.Next != next[p] {
				t.Fatalf("partition %d: %d came where %d is due", p, m.Prev.Next, next[p])
			}
			next[m.Partition.Partition]++
		}
		for p, n := range next {
			if n != appends {
				t.Errorf("partition %d: %d of %d came", p, n, appends)
			}
		}
	})
}

func TestOneSessionSurvivesWhereBothDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipes()
		le, lw := net.listen("east:1"), net.listen("west:1")
		e := start(t, east(), Options{Listener: le, Peers: []string{"west@west:1"}, Dial: net.dial})
		w := start(t, west(), Options{Listener: lw, Peers: []string{"east@east:1"}, Dial: net.dial})
		for range 20 {
			time.Sleep(time.Minute)
			connected(t, e, w)
			pe, pw := e.Status().Peers[0], w.Status().Peers[0]
			if pe.Dialled == pw.Dialled {
				t.Fatalf("each has another session: %+v, %+v", pe, pw)
			}
			net.cut()
		}
		for _, p := range append(e.Status().Peers, w.Status().Peers...) {
			if p.Sessions > 2*20 {
				t.Errorf("%d sessions in 20 cuts", p.Sessions)
			}
		}
		before, dials := e.Status().Peers[0].Sessions, net.dials()
		time.Sleep(time.Second * 30)
		connected(t, e, w)
		time.Sleep(time.Hour)
		if after := e.Status().Peers[0].Sessions; after > before+2 || net.dials() > dials+20 {
			t.Errorf("%d sessions and %d dials in an hour without a fault", after-before, net.dials()-dials)
		}
	})
}

// TestBothSidesPreferTheSameSession: whatever the order in which two sessions form, one of them, the same at both sides, stays.
func TestBothSidesPreferTheSameSession(t *testing.T) {
	sides := map[string]*Transport{"east": {}, "west": {}}
	sides["east"].options.Self, sides["west"].options.Self = east, west
	at := func(side, dialler string, number uint64) *session {
		peer := hello{Handshake: west(), session: number}
		if side == "west" {
			peer.Handshake = east()
		}
		return newSession(sides[side], &hello{Handshake: sides[side].options.Self()}, &peer, side == dialler, "")
	}
	for side := range sides {
		if !at(side, "east", 1).outranks(at(side, "west", 1)) || at(side, "west", 2).outranks(at(side, "east", 1)) {
			t.Errorf("%s does not prefer what the site with the lower index dials", side)
		}
		restarted := at(side, "west", 1)
		restarted.peer.Boot++
		if !restarted.outranks(at(side, "east", 1)) {
			t.Errorf("%s prefers a peer that is no more", side)
		}
	}
	if !at("east", "west", 2).outranks(at("east", "west", 1)) || at("east", "west", 1).outranks(at("east", "west", 1)) {
		t.Error("of two by the same dialler the later one is not preferred where it is answered")
	}
	if at("west", "west", 2).outranks(at("west", "west", 1)) {
		t.Error("the dialler gives up what it has")
	}
}

// TestPreferredSessionTakesOver: the one that the site with the lower index dials replaces the other one, once.
func TestPreferredSessionTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipes()
		e := start(t, east(), Options{Listener: net.listen("east:1"), Peers: []string{"west@west:1"}, Dial: net.dial})
		w := start(t, west(), Options{Peers: []string{"east@east:1"}, Dial: net.dial, Listener: net.listen("elsewhere:1")})
		connected(t, e, w)
		if p := e.Status().Peers[0]; p.Dialled {
			t.Fatalf("the wrong side dialled: %+v", p)
		}
		w.options.Listener.(*pipeListener).address = "west:1"
		net.mu.Lock()
		net.mu.listeners["west:1"] = w.options.Listener.(*pipeListener)
		net.mu.Unlock()
		// East knows nothing of west's address until it has dialled it once.
		time.Sleep(time.Minute)
		connected(t, e, w)
		if p := e.Status().Peers[0]; !p.Dialled || p.Sessions != 2 {
			t.Fatalf("not taken over, or more than once: %+v", p)
		}
		if p := w.Status().Peers[0]; p.Dialled || p.Sessions != 2 {
			t.Fatalf("west has %+v", p)
		}
	})
}

func TestTwoAddressesOfOneBrokerAreOneSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipes()
		l := net.listen("east:1")
		net.mu.listeners["east:2"] = l
		e := start(t, east(), Options{Listener: l})
		w := start(t, west(), Options{Peers: []string{"east:1", "east:2"}, Dial: net.dial})
		time.Sleep(10 * time.Minute)
		connected(t, e, w)
		if p := w.Status().Peers; len(p) != 1 || p[0].Sessions != 1 {
			t.Errorf("peers %+v", p)
		}
	})
}

func TestReconnectsAfterACut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipes()
		e, w := pair(t, net, Options{}, Options{BackoffMax: 4 * time.Second})
		connected(t, e, w)
		net.cut()
		synctest.Wait()
		if e.Connected(w.id()) || w.Connected(e.id()) {
			t.Fatal("connected over a cut")
		}
		time.Sleep(time.Second)
		connected(t, e, w)
		if p := w.Status().Peers[0]; p.Sessions != 2 || p.LastError == "" {
			t.Errorf("%+v", p)
		}
		// A restarted peer has another boot and is taken at once, however alive its predecessor looks.
		e.stop(t)
		dials := net.dials()
		time.Sleep(time.Minute)
		if n := net.dials() - dials; n < 10 || n > 40 {
			t.Errorf("%d dials in a minute of refused connections, with a pause of up to 4 s", n)
		}
		again := east()
		again.Boot++
		e = start(t, again, Options{Listener: net.listen("east:1")})
		time.Sleep(5 * time.Second)
		connected(t, e, w)
	})
}

func TestRestartedPeerReplacesItsFormerSelf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipes()
		e := start(t, east(), Options{Listener: net.listen("east:1")})
		control, data := link(t, net, 5, 1<<20)
		control.ignore()
		data.ignore()
		synctest.Wait()
		h := hello{Handshake: west(), session: 4, count: 1}
		if err := meet(t, net).greet(h, nil); !duplicate(err) {
			t.Errorf("an older session of the same boot: %v", err)
		}
		h.Boot++
		for h.session = range uint64(2) {
			for h.index = range uint8(2) {
				c := meet(t, net)
				if err := c.greet(h, nil); err != nil {
					t.Fatal(err)
				}
				c.ignore()
			}
			synctest.Wait()
		}
		if p := e.Status().Peers[0]; !p.Connected || p.Sessions != 3 {
			t.Errorf("%+v", p)
		}
	})
}

// TestSessionsOfAPeerFollowEachOther: what an ended session has read is handed on before anything of the next one.
func TestSessionsOfAPeerFollowEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipes()
		var mu sync.Mutex
		var order []int64
		hang := make(chan struct{})
		self := east()
		e, err := started(Options{Self: func() Handshake { return self }, Listener: net.listen("east:1"), Receive: func(_ PeerID, m any, release func()) {
			n := m.(site.Append).Prev.Next
			if n == 0 {
				<-hang
			}
			mu.Lock()
			defer mu.Unlock()
			order = append(order, n)
			release()
		}})
		if err != nil {
			t.Fatal(err)
		}
		for n := range 2 {
			control, data := link(t, net, uint64(n+1), 1<<20)
			control.ignore()
			data.ignore()
			go func() { _, _ = data.Write(appendBytes(batch(0, n, 10))) }() // ends with the connection
			synctest.Wait()
		}
		if len(order) != 0 || !e.Connected(west().ID()) {
			t.Errorf("handed on: %v", order)
		}
		close(hang)
		synctest.Wait()
		if !slices.Equal(order, []int64{0, 1}) {
			t.Errorf("handed on: %v", order)
		}
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestStatusShowsWhatFlows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, w := pair(t, newPipes(), Options{}, Options{})
		connected(t, e, w)
		began := time.Now()
		w.Send(e.id(), batch(0, 0, 10_000), nil)
		time.Sleep(time.Minute)
		p := e.Status().Peers[0]
		if !p.Connected || p.Peer != w.id() || p.Since.After(began) || p.BytesIn < 10_000 || p.BytesIn > 20_000 || p.BytesOut == 0 || p.Dialled {
			t.Errorf("%+v", p)
		}
		if d := w.Status().Dials; len(d) != 1 || d[0].Peer != e.id() || d[0].LastError != "" {
			t.Errorf("%+v", d)
		}
	})
}

func TestCloseDropsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, w := pair(t, newPipes(), Options{Credit: 1000}, Options{QueueBytes: 100_000})
		e.mu.Lock()
		e.hold = true
		e.mu.Unlock()
		connected(t, e, w)
		var sent, dropped int
		for n := range 20 {
			w.Send(e.id(), batch(0, n, 10_000), func(ok bool) {
				if ok {
					sent++
				} else {
					dropped++
				}
			})
		}
		synctest.Wait()
		// One is in front of the credit's end, and of the others as many wait as fit.
		if len(e.received()) != 1 || sent != 1 || dropped < 8 || dropped > 11 {
			t.Errorf("%d received, %d sent, %d dropped", len(e.received()), sent, dropped)
		}
		w.stop(t)
		if sent+dropped != 20 {
			t.Errorf("%d sent and %d dropped of 20 after Close", sent, dropped)
		}
		w.Send(e.id(), site.Hello{}, func(ok bool) {
			if ok {
				t.Error("sent after Close")
			}
			dropped++
		})
		if dropped != 20 {
			t.Errorf("nobody was told that it was dropped: %d", dropped)
		}
		w.stop(t)
	})
}

func TestOptionsAreChecked(t *testing.T) {
	good := Options{Self: west, Receive: func(PeerID, any, func()) {}}
	for what, change := range map[string]func(*Options){
		"Self":             func(o *Options) { o.Self = nil },
		"data connections": func(o *Options) { o.DataConnections = 5 },
		"negative":         func(o *Options) { o.Credit = -1 },
		"below 10ms":       func(o *Options) { o.Timeout = 1 },
		"host:port":        func(o *Options) { o.Peers = []string{"east@nowhere"} },
	} {
		o := good
		change(&o)
		if _, err := started(o); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestRateLimitIsKeptAndChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, w := pair(t, newPipes(), Options{}, Options{RateLimit: 1 << 20})
		connected(t, e, w)
		began := time.Now()
		for n := range 40 {
			w.Send(e.id(), batch(n, 0, 256<<10), nil)
		}
		time.Sleep(5 * time.Second)
		if n := len(e.received()); n < 19 || n > 23 {
			t.Errorf("%d quarters of a MiB in 5 s at 1 MiB/s", n)
		}
		if p := w.Status().Peers[0]; !p.Connected {
			t.Errorf("throttled and cut: %+v", p)
		}
		w.SetRateLimit(0)
		synctest.Wait()
		if n := len(e.received()); n != 40 || time.Since(began) > 6*time.Second {
			t.Errorf("%d of 40 after the limit was lifted", n)
		}
	})
}

func TestPeersLearnOfChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipes()
		var states []bool
		start(t, east(), Options{Listener: net.listen("east:1")})
		var w *broker
		ready := make(chan struct{})
		w = start(t, west(), Options{Peers: []string{"east:1"}, Dial: net.dial, Changed: func(peer PeerID) {
			<-ready
			states = append(states, w.Connected(peer))
		}})
		close(ready)
		synctest.Wait()
		net.cut()
		time.Sleep(time.Second)
		synctest.Wait()
		if !slices.Equal(states, []bool{true, false, true}) {
			t.Errorf("connected: %v", states)
		}
	})
}

// started makes a Transport that runs already.
func started(o Options) (*Transport, error) {
	t, err := New(o)
	if err == nil {
		t.Start()
	}
	return t, err
}
