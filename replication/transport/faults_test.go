package transport

import (
	"bytes"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandembroker/tandem/replication/site"
)

// TestFlippedBitIsNeverDelivered flips each bit of some frames, one at a time: nothing is handed on, and the session ends at once, without
// waiting for bytes that a wrong length promises.
func TestFlippedBitIsNeverDelivered(t *testing.T) {
	for name, c := range map[string]struct {
		frame []byte
		data  bool
	}{
		"append": {appendBytes(batch(0, 0, 100)), true},
		"ack":    {appendMessage(nil, site.Ack{Partition: partition(0), Epoch: 4, End: site.Position{Next: 9, Epoch: 4 << 18}}), false},
		"broker": {appendMessage(nil, Broker{1, []byte("hello")}), false},
	} {
		t.Run(name, func(t *testing.T) {
			for bit := range 8 * len(c.frame) {
				synctest.Test(t, func(t *testing.T) {
					net := newPipes()
					e := start(t, east(), Options{Listener: net.listen("east:1")})
					control, data := link(t, net, 1, 1<<20)
					control.ignore()
					data.ignore()
					to := control
					if c.data {
						to = data
					}
					flipped := bytes.Clone(c.frame)
					flipped[bit/8] ^= 1 << (bit % 8)
					go func() { _, _ = to.Write(flipped) }() // ends with the connection
					synctest.Wait()
					if n := len(e.received()); n != 0 {
						t.Fatalf("bit %d: %d messages were taken", bit, n)
					}
					if e.Connected(west().ID()) || !strings.Contains(e.Status().Peers[0].LastError, "checksum") {
						t.Fatalf("bit %d: %+v", bit, e.Status().Peers[0])
					}
				})
			}
		})
	}
}

func TestFramesThatHaveNoBusinessEndTheSession(t *testing.T) {
	frame := func(k kind, n int) []byte {
		return appendFrame(nil, k, func(dst []byte) []byte { return append(dst, make([]byte, n)...) })
	}
	flagged := frame(kindPing, 8)
	putHeader(flagged, header{kind: kindPing, flags: 1, size: 8})
	for name, c := range map[string]struct {
		control, data []byte
		goesOn        bool
	}{
		"unknown kind":               {control: frame(99, 0)},
		"unknown kind, data":         {data: frame(7|64, 0)},
		"unknown, may be skipped":    {control: frame(99|maySkip, 1000), data: frame(100|maySkip, 0), goesOn: true},
		"unknown, too long to skip":  {control: frame(99|maySkip, skippedBytesMax+1)},
		"append over control":        {control: appendBytes(batch(0, 0, 10))},
		"hello over data":            {data: appendMessage(nil, site.Hello{})},
		"credit over control":        {control: appendNumber(nil, kindCredit, 1<<40)},
		"handshake again":            {control: appendHello(nil, &hello{Handshake: west(), count: 1})},
		"welcome again":              {data: appendVerdict(nil, nil)},
		"short ping":                 {control: frame(kindPing, 7)},
		"ping with flags":            {control: flagged},
		"huge ping":                  {control: bigHeader(kindPing, 1<<31)},
		"huge append":                {data: bigHeader(kind(site.KindAppend), 1<<31)},
		"huge broker message":        {control: bigHeader(kindBroker, brokerHeadLen+brokerSmallMax+1)},
		"malformed hello":            {control: frame(kind(site.KindHello), 3)},
		"malformed append":           {data: frame(kind(site.KindAppend), 100)},
		"payload of another length":  {data: appendBytesShort()},
		"malformed broker message":   {control: frame(kindBroker, 3)},
		"malformed broker over data": {data: frame(kindBroker, 3)},
		"reserved bytes of a broker": {control: appendFrame(nil, kindBroker, func(dst []byte) []byte { return append(dst, 1, 0, 0, 1) })},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newPipes()
				e := start(t, east(), Options{Listener: net.listen("east:1")})
				control, data := link(t, net, 1, 1<<20)
				control.ignore()
				data.ignore()
				go func() { _, _ = control.Write(c.control) }() // they end with the connections
				go func() { _, _ = data.Write(c.data) }()
				synctest.Wait()
				if n := len(e.received()); n != 0 || e.Connected(west().ID()) != c.goesOn {
					t.Errorf("%d taken, %+v", n, e.Status())
				}
			})
		})
	}
}

func appendBytesShort() []byte {
	m := batch(0, 0, 100)
	return appendFrame(nil, kind(site.KindAppend), func(dst []byte) []byte {
		_, dst = site.Encode(dst, m)
		return append(dst, m.Payload[1:]...)
	})
}

// faulty is a connection that can be made half-open: what is written goes nowhere, what comes is swallowed, and nobody is told.
type faulty struct {
	net.Conn
	mu     *sync.Mutex
	frozen *bool
	pause  time.Duration // for each KiB that is written; 0 = none
}

func (f faulty) is() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return *f.frozen
}

func (f faulty) Write(p []byte) (n int, err error) {
	if f.is() {
		return len(p), nil
	}
	if f.pause == 0 {
		return f.Conn.Write(p)
	}
	for len(p) > 0 {
		m, err := f.Conn.Write(p[:min(len(p), 1024)])
		n, p = n+m, p[m:]
		if err != nil {
			return n, err
		}
		time.Sleep(f.pause)
	}
	return n, nil
}

func (f faulty) Read(p []byte) (int, error) {
	for {
		n, err := f.Conn.Read(p)
		if err != nil || !f.is() {
			return n, err
		}
	}
}

// freeze puts a switch into all connections that are dialled.
func freeze(p *pipes, pause time.Duration) (set func(bool)) {
	var mu sync.Mutex
	frozen := false
	p.mu.wrap = func(c net.Conn) net.Conn { return faulty{c, &mu, &frozen, pause} }
	return func(v bool) {
		mu.Lock()
		defer mu.Unlock()
		frozen = v
	}
}

func TestHalfOpenIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipes()
		set := freeze(net, 0)
		const timeout = 4 * time.Second
		e, w := pair(t, net, Options{Timeout: timeout}, Options{Timeout: timeout})
		connected(t, e, w)
		time.Sleep(time.Hour) // an idle one is no dead one
		connected(t, e, w)
		if p := w.Status().Peers[0]; p.Sessions != 1 {
			t.Fatalf("%+v", p)
		}
		set(true)
		w.Send(e.id(), batch(0, 0, 1000), nil)
		time.Sleep(timeout/2 + timeout/pings)
		connected(t, e, w)
		time.Sleep(timeout / 2)
		synctest.Wait()
		if e.Connected(w.id()) || w.Connected(e.id()) {
			t.Fatal("half-open for more than a timeout, and nobody noticed")
		}
		// Whoever notices first closes, which gets through to the other one here.
		if got := e.Status().Peers[0].LastError + w.Status().Peers[0].LastError; !strings.Contains(got, "nothing came for 4s") {
			t.Errorf("reasons %q", got)
		}
		set(false)
		time.Sleep(30 * time.Second)
		connected(t, e, w)
	})
}

func TestTimeoutsMayDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, w := pair(t, newPipes(), Options{Timeout: time.Second}, Options{Timeout: time.Minute})
		connected(t, e, w)
		time.Sleep(time.Hour)
		connected(t, e, w)
		if p := e.Status().Peers[0]; p.Sessions != 1 {
			t.Errorf("%+v", p)
		}
	})
}

// TestPeerThatReadsNothingIsNoticed: it even pings, but what is written to it does not go away.
func TestPeerThatReadsNothingIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipes()
		e := start(t, east(), Options{Listener: net.listen("east:1")})
		control, data := link(t, net, 1, 1<<20)
		data.ignore()
		if err := control.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		for _, s := range []stranger{control, data} {
			go func() { // ends with the connection
				for {
					if _, err := s.Write(appendNumber(nil, kindPing, 1)); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			}()
		}
		time.Sleep(defaultTimeout - time.Second)
		if !e.Connected(west().ID()) {
			t.Fatalf("given up too early: %+v", e.Status())
		}
		time.Sleep(5 * time.Second)
		if e.Connected(west().ID()) || !strings.Contains(e.Status().Peers[0].LastError, "could not be written") {
			t.Errorf("%+v", e.Status())
		}
	})
}

// TestOneStuckConnectionIsNotGivenUpAtOnce: on a narrow line, where round trips are long, the others crowd it out for longer than a timeout. One
// that stays stuck is lost, and on a good line at once.
func TestOneStuckConnectionIsNotGivenUpAtOnce(t *testing.T) {
	const both = 2
	for _, c := range []struct {
		name     string
		stuck    int // 0 = control
		rtt      time.Duration
		patience time.Duration
	}{
		{"control, narrow line", 0, 2 * time.Second, stalls * defaultTimeout},
		{"data, narrow line", 1, 2 * time.Second, stalls * defaultTimeout},
		{"data, long line", 1, defaultTimeout / 20, 2 * defaultTimeout},
		{"data, good line", 1, time.Millisecond, defaultTimeout},
		{"data, interrupted line", 1, 2 * time.Second, defaultTimeout},
		{"both, narrow line", both, 2 * time.Second, defaultTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newPipes()
				e := start(t, east(), Options{Listener: net.listen("east:1")})
				control, data := link(t, net, 1, 1<<20)
				lanes := []stranger{control, data}
				ended := make(chan struct{})
				defer close(ended)
				for i, s := range lanes {
					if err := s.SetDeadline(time.Now().Add(time.Hour)); err != nil {
						t.Fatal(err)
					}
					s.ignore()
					if i == c.stuck || c.stuck == both {
						continue
					}
					go func() {
						for {
							if _, err := s.Write(appendNumber(nil, kindPing, 1)); err != nil {
								return
							}
							select {
							case <-time.After(defaultTimeout / 2):
							case <-ended:
								return
							}
						}
					}()
				}
				time.Sleep(c.rtt)
				control.say(appendNumber(nil, kindPong, 0)) // the answer to a ping of the beginning
				if c.name == "data, interrupted line" {
					control.say(appendNumber(nil, kindPong, uint64(c.rtt-time.Millisecond)))
				}
				for i, s := range lanes {
					if i == c.stuck || c.stuck == both {
						s.say(appendNumber(nil, kindPing, 1))
					}
				}
				time.Sleep(c.patience - time.Millisecond)
				if !e.Connected(west().ID()) {
					t.Fatalf("given up too early: %+v", e.Status().Peers[0])
				}
				time.Sleep(2 * time.Millisecond)
				want := "nothing came on one of the connections for "
				if c.stuck == both {
					want = "nothing came for "
				}
				if e.Connected(west().ID()) || !strings.Contains(e.Status().Peers[0].LastError, want+c.patience.String()) {
					t.Errorf("%+v", e.Status().Peers[0])
				}
			})
		})
	}
}

func TestSlowLinkIsNotGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipes()
		freeze(net, 100*time.Millisecond) // 10 KiB/s
		e, w := pair(t, net, Options{}, Options{})
		time.Sleep(5 * time.Second)
		connected(t, e, w)
		began := time.Now()
		sent := false
		w.Send(e.id(), batch(0, 0, 2<<20), func(ok bool) { sent = ok })
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		p := w.Status().Peers[0]
		if len(e.received()) != 1 || !sent || p.Sessions != 1 || !p.Connected {
			t.Errorf("%d taken after %s, %+v", len(e.received()), time.Since(began), p)
		}
	})
}
