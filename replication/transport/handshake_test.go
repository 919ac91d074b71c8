package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandembroker/tandem/replication/site"
)

func TestHandshakeGolden(t *testing.T) {
	h := hello{Handshake: Handshake{ClusterID: "id", Site: "w", SiteIndex: 1, Role: site.Active, SiteEpoch: 5, Node: 101, Nodes: []int32{101, 102},
		LevelMin: 1, LevelMax: 2, Boot: 3}, session: 4, index: 1, count: 2, credit: 1 << 20}
	want := []byte{
		0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, // boot, session
		1, 2, 1, 2, 1, 1, 0, 0, // index, connections, levels, site index, role
		0, 0, 0, 5, 0, 0, 0, 101, 0, 0, 0, 0, 0, 16, 0, 0, // site epoch, node, credit
		0, 2, 'i', 'd', 0, 1, 'w', 0, 2, 0, 0, 0, 101, 0, 0, 0, 102,
	}
	frame := appendHello(nil, &h)
	head, err := parseHeader(frame)
	if err != nil || head.kind != 1 || head.size != len(want) || head.check(frame[headerLen:]) != nil || !bytes.Equal(frame[headerLen:], want) {
		t.Fatalf("%+v, %v\n%x, docs/formats.md says\n%x", head, err, frame[headerLen:], want)
	}
	if !bytes.Equal(frame[:8], []byte{0, 0, 0, 57, 1, 0, 0, 0}) {
		t.Errorf("header %x", frame[:headerLen])
	}
	for _, body := range [][]byte{want, append(want, "of a later version"...)} {
		if got, err := parseHello(body); err != nil || !reflect.DeepEqual(got, h) {
			t.Errorf("came back as %+v, %v", got, err)
		}
	}
	for cut := range want {
		if got, err := parseHello(want[:cut]); !errors.Is(err, errProtocol) {
			t.Errorf("cut at %d: %+v, %v", cut, got, err)
		}
	}
	for at, value := range map[int]byte{16: 3, 17: 5, 20: 4, 21: 2, 22: 1, 40: 1, 42: 7, 44: 1, 46: 27, 47: 4} {
		bad := bytes.Clone(want)
		bad[at] = value
		if got, err := parseHello(bad); !errors.Is(err, errProtocol) {
			t.Errorf("byte %d is %d: %+v, %v", at, value, got, err)
		}
	}
}

// TestRefusalsAreShownOnBothSides: whatever speaks against a link, nothing is carried and both operators can read why.
func TestRefusalsAreShownOnBothSides(t *testing.T) {
	for name, c := range map[string]struct {
		change func(h *Handshake)
		dial   string
		sites  []string // that west knows
		check  error    // of west
		reason string
	}{
		"wrong cluster":     {change: func(h *Handshake) { h.ClusterID = "other" }, reason: "cluster id"},
		"no cluster":        {change: func(h *Handshake) { h.ClusterID = "" }, reason: "neither site has a cluster id"},
		"format levels":     {change: func(h *Handshake) { h.LevelMin, h.LevelMax = 3, 4 }, reason: "can do format levels"},
		"same site name":    {change: func(h *Handshake) { h.Site = "west" }, dial: "east:1", reason: "both sides are site"},
		"same site index":   {change: func(h *Handshake) { h.SiteIndex = 1 }, reason: "both have site index 1"},
		"same boot":         {change: func(h *Handshake) { h.Boot = west().Boot }, reason: "a link to itself"},
		"overlapping nodes": {change: func(h *Handshake) { h.Nodes = []int32{1, 101} }, reason: "both have node id 101"},
		"same node":         {change: func(h *Handshake) { h.Node, h.Nodes = 101, nil }, reason: "both have node id 101"},
		"other site dialled": {dial: "south@east:1", reason: `site "east" answered where "south" was expected`,
			sites: []string{"east", "south"}},
		"unknown site": {dial: "east:1", sites: []string{"south"}, reason: `site "east" is not known to "west"`},
		"check":        {check: errors.New("two active sites"), reason: "two active sites"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newPipes()
				he, hw := east(), west()
				if name == "no cluster" {
					hw.ClusterID = ""
				}
				if c.change != nil {
					c.change(&he)
				}
				if c.dial == "" {
					c.dial = "east@east:1"
				}
				e := start(t, he, Options{Listener: net.listen("east:1")})
				w := start(t, hw, Options{Peers: []string{c.dial}, Dial: net.dial, Sites: c.sites, Check: func(Handshake) error { return c.check }})
				time.Sleep(time.Second)
				we, ww := e.Status(), w.Status().Dials[0]
				if len(we.Peers) != 0 || len(w.Status().Peers) != 0 {
					t.Fatalf("linked: %+v", we)
				}
				if we.TurnedDown.Count == 0 || !strings.Contains(we.TurnedDown.Reason, c.reason) {
					t.Errorf("the listening side shows %+v", we.TurnedDown)
				}
				if ww.Refused.Count == 0 || !strings.Contains(ww.LastError, c.reason) || !strings.Contains(ww.Refused.Reason, c.reason) {
					t.Errorf("the dialling side shows %+v", ww)
				}
				for _, err := range []error{we.TurnedDown.Err, ww.Err} {
					if text, next := Explain(err); !strings.Contains(text, c.reason) || (next == "") != (c.check != nil) || strings.Contains(text, "way out") {
						t.Errorf("explained as %q, next %q", text, next)
					}
				}
			})
		})
	}
}

func TestClusterIDIsAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipes()
		var mu sync.Mutex
		var seen []string
		e := start(t, east(), Options{Listener: net.listen("east:1")})
		h := west()
		h.ClusterID = ""
		w := start(t, h, Options{Peers: []string{"east:1"}, Dial: net.dial, Check: func(peer Handshake) error {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, peer.ClusterID)
			return nil
		}})
		connected(t, e, w)
		mu.Lock()
		defer mu.Unlock()
		if len(seen) != 1+defaultConnections || seen[0] != "c" {
			t.Errorf("Check saw %q", seen)
		}
		if h, ok := w.Peer(e.id()); !ok || !reflect.DeepEqual(h, east()) {
			t.Errorf("the peer said %+v, %v", h, ok)
		}
	})
}

func TestVersionThatIsNotSpokenIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipes()
		e := start(t, east(), Options{Listener: net.listen("east:1")})
		for _, c := range []struct {
			lowest, highest byte
			welcome         bool
		}{{3, 3, true}, {4, 5, true}, {1, 9, true}, {1, 2, false}, {5, 6, false}} {
			s := meet(t, net)
			h := hello{Handshake: west(), session: uint64(c.highest), count: 1}
			first := opening()
			first[4], first[5] = c.lowest, c.highest
			s.say(appendHello(first, &h))
			var b [openingLen]byte
			if _, err := s.Read(b[:]); err != nil || b != [8]byte{'T', 'S', 'L', '1', 3, 4} {
				t.Fatalf("opening %x, %v", b, err)
			}
			if k, _, err := s.hear(); k != kindHandshake || err != nil {
				t.Fatalf("kind %d, %v", k, err)
			}
			k, body, err := s.hear()
			if err != nil {
				t.Fatal(err)
			}
			var r *Refusal
			if err := parseVerdict(k, body); c.welcome && err != nil || !c.welcome && (!errors.As(err, &r) || r.Code != CodeVersion) {
				t.Errorf("versions %d to %d: %v", c.lowest, c.highest, err)
			}
			s.Close()
		}
		if e.Connected(west().ID()) {
			t.Error("connected")
		}
	})
}

// TestNothingIsBelievedBeforeTheVerdicts: neither a peer that was refused nor one that refuses gets a message in.
func TestNothingIsBelievedBeforeTheVerdicts(t *testing.T) {
	greeting := appendMessage(nil, site.Greeting{Role: site.Active, Epoch: 9})
	for name, verdict := range map[string]error{"refused by the listener": nil, "refused by the dialler": refuse(CodeCluster, "no")} {
		synctest.Test(t, func(t *testing.T) {
			net := newPipes()
			e := start(t, east(), Options{Listener: net.listen("east:1")})
			h := hello{Handshake: west(), session: 1, count: 1}
			if verdict == nil {
				h.ClusterID = "other"
			}
			for h.index = range uint8(2) {
				c := meet(t, net)
				err := c.greet(h, verdict)
				if r := (*Refusal)(nil); h.index == 0 && verdict == nil && (!errors.As(err, &r) || r.Code != CodeCluster || !r.Peer) {
					t.Errorf("%s: %v", name, err)
				}
				go func() { _, _ = c.Write(greeting) }() // ends with the connection
			}
			time.Sleep(time.Second)
			if n := len(e.received()); n != 0 || e.Connected(west().ID()) {
				t.Errorf("%s: %d messages were taken", name, n)
			}
		})
	}
}

func TestDataConnectionNeedsItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipes()
		e := start(t, east(), Options{Listener: net.listen("east:1")})
		control := meet(t, net)
		h := hello{Handshake: west(), session: 7, count: 2}
		if err := control.greet(h, nil); err != nil {
			t.Fatal(err)
		}
		for name, change := range map[string]func(h *hello){
			"another session": func(h *hello) { h.session = 8 },
			"another boot":    func(h *hello) { h.Boot = 1 },
			"another node":    func(h *hello) { h.Node, h.Nodes = 102, []int32{102} },
			"another count":   func(h *hello) { h.count = 3 },
		} {
			d := h
			d.index = 1
			change(&d)
			if r := (*Refusal)(nil); !errors.As(meet(t, net).greet(d, nil), &r) || r.Code != CodeSession {
				t.Errorf("%s: %v", name, r)
			}
		}
		h.index = 1
		for range 2 { // the second of the same index does not complete the session
			if err := meet(t, net).greet(h, nil); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if e.Connected(west().ID()) {
			t.Error("a session is up without its data connections")
		}
		time.Sleep(time.Minute)
		if _, err := control.Read(make([]byte, 1)); err == nil {
			t.Error("a session that never forms is kept")
		}
		if got := e.Status().TurnedDown.Reason; !strings.Contains(got, "did not come") {
			t.Errorf("reason %q", got)
		}
	})
}

// TestConnectionThatComesTooLateIsClosed: the session that it belongs to has been given up while its handshake went on.
func TestConnectionThatComesTooLateIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipes()
		start(t, east(), Options{Listener: net.listen("east:1")})
		h := hello{Handshake: west(), session: 7, count: 1}
		if err := meet(t, net).greet(h, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		late := meet(t, net)
		h.index = 1
		late.say(appendHello(opening(), &h))
		var b [openingLen]byte
		if _, err := io.ReadFull(late, b[:]); err != nil {
			t.Fatal(err)
		}
		for _, want := range []kind{kindHandshake, kindWelcome} {
			if k, _, err := late.hear(); err != nil || k != want {
				t.Fatalf("kind %d, %v", k, err)
			}
		}
		time.Sleep(6 * time.Second) // the session's time is over, that of this connection is not
		late.say(appendVerdict(nil, nil))
		began := time.Now()
		if _, err := late.Read(b[:]); err == nil || time.Since(began) > time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

// TestStrangersHoldNothing: those that are silent, slow or talk garbage are put out, and a peer still gets in.
func TestStrangersHoldNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipes()
		e := start(t, east(), Options{Listener: net.listen("east:1")})
		var silent []stranger
		for range 10 * handshakesMax {
			silent = append(silent, meet(t, net))
		}
		synctest.Wait()
		e.Transport.mu.Lock()
		open := len(e.Transport.mu.opening)
		e.Transport.mu.Unlock()
		if open > handshakesMax {
			t.Errorf("%d handshakes are going on", open)
		}
		for _, garbage := range [][]byte{
			[]byte("GET / HTTP/1.1\r\n\r\n"), make([]byte, 100), opening()[:3],
			append(opening(), appendNumber(nil, kindPing, 1)...),
			append(opening(), appendHello(nil, &hello{})...),
			append(opening(), bytes.Repeat([]byte{0xff}, 100)...),
			append(opening(), bigHeader(kindHandshake, 1<<31)...),
		} {
			s := meet(t, net)
			go func() { _, _ = s.Write(garbage) }() // ends with the connection
			began := time.Now()
			if b, err := s.Read(make([]byte, 1)); b != 0 || err == nil || time.Since(began) > 11*time.Second {
				t.Errorf("%q is answered, or kept for %s", garbage, time.Since(began))
			}
		}
		w := start(t, west(), Options{Peers: []string{"east@east:1"}, Dial: net.dial})
		connected(t, e, w)
		time.Sleep(20 * time.Second)
		for i, s := range silent {
			if _, err := s.Read(make([]byte, 1)); err == nil {
				t.Fatalf("silent stranger %d is answered", i)
			}
		}
		connected(t, e, w)
	})
}

func bigHeader(k kind, size uint32) []byte {
	b := make([]byte, headerLen)
	putHeader(b, header{kind: k, size: int(size)})
	return b
}

func TestSessionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipes()
		e := start(t, east(), Options{Listener: net.listen("east:1")})
		for n := range int32(sessionsMax + 3) {
			h := hello{Handshake: west(), session: 1, count: 1}
			h.Node, h.Nodes = 200+n, []int32{200 + n}
			for h.index = range uint8(2) {
				c := meet(t, net)
				err := c.greet(h, nil)
				if r := (*Refusal)(nil); n >= sessionsMax && h.index == 0 && (!errors.As(err, &r) || r.Code != CodeBusy) {
					t.Errorf("session %d: %v", n, err)
				}
				c.ignore()
			}
			synctest.Wait()
		}
		if n := len(e.Status().Peers); n != sessionsMax {
			t.Errorf("%d peers", n)
		}
	})
}

func TestVerdicts(t *testing.T) {
	long := appendVerdict(nil, refuse(CodeOther, "%s", strings.Repeat("x", 5000)))
	for name, c := range map[string]struct {
		frame []byte
		want  string
	}{
		"welcome":     {appendVerdict(nil, nil), "<nil>"},
		"refusal":     {appendVerdict(nil, refuse(CodeNodes, "why")), "transport: refused by the other side: why"},
		"long":        {long, "transport: refused by the other side: " + strings.Repeat("x", refusalTextMax)},
		"terminal":    {appendVerdict(nil, refuse(CodeNodes, "a\x1b[31m\xff\nb")), "transport: refused by the other side: a?[31m??b"},
		"other error": {appendVerdict(nil, fmt.Errorf("two %w", errors.New("actives"))), "transport: refused by the other side: two actives"},
	} {
		h, err := parseHeader(c.frame)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(parseVerdict(h.kind, c.frame[headerLen:])); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
	for _, bad := range [][]byte{nil, {0, 1, 0}, {0, 1, 0, 2, 'x'}, {0, 1, 0, 1}, binary.BigEndian.AppendUint32(nil, 1<<16|0xffff)} {
		if err := parseVerdict(kindRefusal, bad); !errors.Is(err, errProtocol) {
			t.Errorf("%x: %v", bad, err)
		}
	}
	if err := parseVerdict(kindPing, nil); !errors.Is(err, errProtocol) {
		t.Error(err)
	}
}
