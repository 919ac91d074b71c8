package transport

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/tandembroker/tandem/replication/site"
)

// counted reads frames of a connection and counts the Appends.
func (s stranger) counted(appends *int) {
	go func() { // ends with the connection
		for {
			k, _, err := s.hear()
			if err != nil {
				return
			}
			if k == kind(site.KindAppend) {
				*appends++
			}
		}
	}()
}

func TestSenderStopsAtTheCredit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipes()
		e := start(t, east(), Options{Listener: net.listen("east:1")})
		one := batch(0, 0, 1000)
		size := uint64(one.Size())
		control, data := link(t, net, 1, 3*size)
		control.ignore()
		var appends int
		data.counted(&appends)
		synctest.Wait()
		sent := 0
		for n := range 10 {
			e.Send(west().ID(), batch(0, n, 1000), func(bool) { sent++ })
		}
		for _, c := range []struct {
			credit uint64
			want   int
		}{{0, 3}, {3*size + 1, 4}, {4 * size, 4}, {6*size + 1, 7}, {1 << 60, 10}} {
			if c.credit > 0 {
				data.say(appendNumber(nil, kindCredit, c.credit))
			}
			synctest.Wait()
			if appends != c.want || sent != c.want {
				t.Errorf("credit %d: %d came and %d were sent, %d are paid", c.credit, appends, sent, c.want)
			}
		}
		// While data stands still, control messages go on.
		data.say(appendNumber(nil, kindCredit, 1<<60))
		if e.Connected(west().ID()); !e.Connected(west().ID()) {
			t.Error("not connected")
		}
		data.say(appendNumber(nil, kindCredit, 1))
		synctest.Wait()
		if e.Connected(west().ID()) || !strings.Contains(e.Status().Peers[0].LastError, "credit goes back") {
			t.Errorf("credit went back: %+v", e.Status())
		}
	})
}

// TestOverrunningTheCreditEndsTheSession: what a peer sends beyond what it was given is not even read.
func TestOverrunningTheCreditEndsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipes()
		m := batch(0, 0, 1000)
		e := start(t, east(), Options{Listener: net.listen("east:1"), Credit: 2*int64(m.Size()) + 1})
		e.hold = true
		control, data := link(t, net, 1, 1<<20)
		control.ignore()
		data.ignore()
		go func() { // ends with the connection
			for n := range 5 {
				if _, err := data.Write(appendBytes(batch(0, n, 1000))); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		if n := len(e.received()); n != 3 {
			t.Errorf("%d messages were taken, there was credit for the begin of 3", n)
		}
		if e.Connected(west().ID()) || !strings.Contains(e.Status().Peers[0].LastError, "credit was given for") {
			t.Errorf("%+v", e.Status())
		}
	})
}

func TestSlowReceiverStopsTheSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const credit, size = 1 << 20, 10_000
		e, w := pair(t, newPipes(), Options{Credit: credit}, Options{DataConnections: 1})
		e.hold = true
		connected(t, e, w)
		const count = 1000
		for n := range count {
			w.Send(e.id(), batch(0, n, size), nil)
		}
		released := 0
		for released < count {
			synctest.Wait()
			all := e.received()
			if held := (len(all) - released) * size; held > credit+size {
				t.Fatalf("%d bytes are held, the credit is %d", held, credit)
			}
			if released == len(all) {
				t.Fatalf("stands still at %d of %d", released, count)
			}
			g := all[released]
			if want := batch(0, released, size); !bytes.Equal(g.message.(site.Append).Payload, want.Payload) {
				t.Fatalf("payload %d was overwritten before its release", released)
			}
			g.release()
			g.release() // twice gives no more credit
			released++
		}
		// Control messages passed by all the time.
		w.Send(e.id(), site.Hello{Boot: 1}, nil)
		synctest.Wait()
		if n := len(e.received()); n != count+1 {
			t.Errorf("%d messages", n)
		}
	})
}

func TestControlIsNeverBehindData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, w := pair(t, newPipes(), Options{Credit: 1000}, Options{DataConnections: 1})
		e.hold = true
		connected(t, e, w)
		for n := range 100 {
			w.Send(e.id(), batch(0, n, 10_000), nil)
		}
		w.Send(e.id(), site.Hello{Boot: 42}, nil)
		w.Send(e.id(), Broker{1, []byte("x")}, nil)
		synctest.Wait()
		if n := len(e.received()); n != 3 {
			t.Errorf("%d messages came, expected one Append and two control messages", n)
		}
	})
}

func TestControlQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipes()
		e := start(t, east(), Options{Listener: net.listen("east:1")})
		_, data := link(t, net, 1, 1<<20) // nobody reads the control connection
		data.ignore()
		synctest.Wait()
		var dropped int
		body := make([]byte, brokerSmallMax)
		for range 1000 {
			e.Send(west().ID(), Broker{Body: body}, func(ok bool) {
				if !ok {
					dropped++
				}
			})
		}
		if least := 1000 - 2*controlBytesMax/len(body) - 4; dropped < least {
			t.Errorf("%d dropped, at least %d expected", dropped, least)
		}
	})
}

func TestWhatThePeerWouldRefuseIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, w := pair(t, newPipes(), Options{}, Options{})
		connected(t, e, w)
		unstamped, short, empty := batch(0, 5, 10), batch(0, 5, 10), batch(0, 5, 10)
		unstamped.Rows[0].BaseOffset, unstamped.Rows[0].LastOffset = -1, -1
		short.Payload = short.Payload[1:]
		empty.Rows, empty.Payload = nil, nil
		large := batch(0, 5, 10)
		large.Payload = make([]byte, site.PayloadBytesMax+1)
		large.Rows[0].Length = uint32(len(large.Payload))
		for _, m := range []any{Broker{Body: make([]byte, BrokerBytesMax+1)}, large, unstamped, short, empty} {
			told := 0
			w.Send(e.id(), m, func(ok bool) {
				if !ok {
					told++
				}
			})
			if told != 1 {
				t.Errorf("%T: told %d times that it is dropped", m, told)
			}
		}
		w.Send(e.id(), Broker{Body: make([]byte, BrokerBytesMax)}, nil)
		synctest.Wait()
		if len(e.received()) != 1 || !w.Connected(e.id()) {
			t.Errorf("%d messages, %+v", len(e.received()), w.Status())
		}
	})
}

func TestCompressionSavesBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			attributes int16
			most       uint64
		}{{0, 20_000}, {4, 1 << 20}} {
			e, w := pair(t, newPipes(), Options{}, Options{Compress: true})
			connected(t, e, w)
			m := batch(0, 0, 100_000)
			m.Payload = bytes.Repeat([]byte("0123456789"), 10_000)
			m.Rows[0].Attributes = c.attributes
			w.Send(e.id(), m, nil)
			synctest.Wait()
			if got := e.received(); len(got) != 1 || !bytes.Equal(got[0].message.(site.Append).Payload, m.Payload) {
				t.Errorf("%d messages", len(got))
			}
			out := w.Status().Peers[0].BytesOut
			if out > c.most || c.attributes != 0 && out < 100_000 {
				t.Errorf("attributes %d: %d bytes sent", c.attributes, out)
			}
			e.stop(t)
			w.stop(t)
		}
	})
}

// TestZstdIsBounded: a payload that unpacks to anything but what was said ends the session.
func TestZstdIsBounded(t *testing.T) {
	encoder, err := newEncoder()
	if err != nil {
		t.Fatal(err)
	}
	defer encoder.Close()
	frame := func(payload []byte, said int) []byte {
		m := batch(0, 0, said)
		packed := encoder.EncodeAll(payload, nil)
		b := appendFrame(nil, kind(site.KindAppend), func(dst []byte) []byte {
			_, dst = site.Encode(dst, m)
			return append(dst, packed...)
		})
		h, err := parseHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		h.flags = flagZstd
		putHeader(b, h)
		return b
	}
	for name, c := range map[string]struct {
		frame []byte
		taken int
	}{
		"as said": {frame(make([]byte, 1000), 1000), 1},
		"bomb":    {frame(make([]byte, 64<<20), 1000), 0},
		"short":   {frame(make([]byte, 999), 1000), 0},
		"empty":   {frame(nil, 1000), 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			net := newPipes()
			e := start(t, east(), Options{Listener: net.listen("east:1")})
			control, data := link(t, net, 1, 1<<20)
			control.ignore()
			data.ignore()
			data.say(c.frame)
			synctest.Wait()
			if n := len(e.received()); n != c.taken || e.Connected(west().ID()) != (c.taken == 1) {
				t.Errorf("%s: %d taken, %+v", name, n, e.Status())
			}
		})
	}
	if err := unpackWith(make([]byte, 100), []byte("no zstd")); !errors.Is(err, errProtocol) {
		t.Error(err)
	}
	// Not by unpacking all of it and looking at the length then.
	if err := unpackWith(make([]byte, 100), encoder.EncodeAll(make([]byte, 64<<20), nil)); !errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		t.Error(err)
	}
}

func unpackWith(dst, src []byte) error {
	d, err := newDecoder()
	if err != nil {
		return err
	}
	defer d.Close()
	return decompress(d, dst, src)
}

func TestBucket(t *testing.T) {
	now := time.Unix(0, 0)
	b := &bucket{now: func() time.Time { return now }}
	b.set(1000)
	if d := b.take(5000); d != 0 {
		t.Errorf("the first one waits %s", d)
	}
	if d := b.take(1); d < 4*time.Second || d > 6*time.Second {
		t.Errorf("behind a debt of about 5 s: %s", d)
	}
	now = now.Add(6 * time.Second)
	if d := b.take(100); d != 0 {
		t.Errorf("behind the debt: %s", d)
	}
	now = now.Add(1000 * time.Hour) // saves up no more than a tenth of a second
	sent := 0
	for b.take(10) == 0 {
		sent += 10
	}
	if sent > 110 {
		t.Errorf("%d bytes at once", sent)
	}
	b.set(0)
	if d := b.take(1 << 30); d != 0 {
		t.Errorf("without a limit: %s", d)
	}
}
