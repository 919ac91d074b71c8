package proxy

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"
)

// echo answers each byte with itself.
func echo(t *testing.T) (*Proxy, func() net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				_, _ = io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	p, err := Listen(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Close()
		l.Close()
	})
	return p, func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
}

// trip sends b and reads as much back, within a time.
func trip(c net.Conn, b []byte, within time.Duration) ([]byte, error) {
	if err := c.SetDeadline(time.Now().Add(within)); err != nil {
		return nil, err
	}
	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write(b)
		wrote <- err
	}()
	got := make([]byte, len(b))
	n, err := io.ReadFull(c, got)
	if werr := <-wrote; err == nil {
		err = werr
	}
	return got[:n], err
}

func TestBytesPassUnchanged(t *testing.T) {
	p, dial := echo(t)
	p.SetDelay(time.Millisecond)
	sent := make([]byte, 10<<20)
	for i := range sent {
		sent[i] = byte(rand.Uint32())
	}
	c := dial()
	got, err := trip(c, sent, 20*time.Second)
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d bytes came back, %v", len(got), err)
	}
	if n := p.Forwarded(); n != 2*int64(len(sent)) {
		t.Errorf("%d bytes forwarded", n)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(sent); n != 0 || err != io.EOF {
		t.Errorf("after the end: %d bytes, %v", n, err)
	}
}

func TestDelayAndBandwidth(t *testing.T) {
	p, dial := echo(t)
	c := dial()
	p.SetDelay(30 * time.Millisecond)
	began := time.Now()
	if _, err := trip(c, []byte("x"), 20*time.Second); err != nil || time.Since(began) < 60*time.Millisecond {
		t.Errorf("a round trip in %s, %v", time.Since(began), err)
	}
	p.SetDelay(0)
	p.SetBandwidth(1 << 20)
	began = time.Now()
	if _, err := trip(c, make([]byte, 512<<10), 20*time.Second); err != nil || time.Since(began) < 450*time.Millisecond {
		t.Errorf("half of a MiB at 1 MiB/s in %s, %v", time.Since(began), err)
	}
}

func TestFaults(t *testing.T) {
	p, dial := echo(t)
	const soon = 100 * time.Millisecond
	hello := []byte("hello")
	alive := func(c net.Conn) {
		t.Helper()
		if got, err := trip(c, hello, 20*time.Second); err != nil || !bytes.Equal(got, hello) {
			t.Fatalf("%q, %v", got, err)
		}
	}
	c := dial()
	alive(c)

	p.Stall()
	if got, err := trip(c, hello, soon); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("stalled: %q, %v", got, err)
	}
	p.Heal()
	got := make([]byte, len(hello))
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, hello) {
		t.Errorf("behind the stall: %q, %v", got, err)
	}

	p.Flip()
	if got, err := trip(c, hello, 20*time.Second); err != nil || bytes.Equal(got, hello) {
		t.Errorf("a bit was to be flipped: %q, %v", got, err)
	}
	alive(c)

	p.HalfOpen()
	fresh := dial()
	for _, c := range []net.Conn{c, fresh} {
		if got, err := trip(c, hello, soon); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("half-open: %q, %v", got, err)
		}
	}
	p.Heal()
	for _, c := range []net.Conn{c, fresh} {
		if got, err := trip(c, hello, 20*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a connection that has lost bytes goes on: %q, %v", got, err)
		}
	}

	c = dial()
	alive(c)
	p.Cut()
	if got, err := trip(c, hello, 20*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("cut: %q, %v", got, err)
	}
	if fresh, err := net.Dial("tcp", p.Addr()); err == nil { // the reset may come this early
		defer fresh.Close()
		if got, err := trip(fresh, hello, 20*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a new one while cut: %q, %v", got, err)
		}
	}
	p.Heal()
	alive(dial())
}
