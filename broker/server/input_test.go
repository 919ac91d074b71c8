package server

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/tandembroker/tandem/protocol/wire"
)

// tcpPair is the two ends of a connection, closed with the test.
func tcpPair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	for _, nc := range []net.Conn{client, server} {
		t.Cleanup(func() { _ = nc.Close() })
		if err := nc.SetDeadline(time.Now().Add(limit)); err != nil {
			t.Fatal(err)
		}
	}
	return client, server
}

// needWaiter skips a test where connections keep their buffers, which they must not on Linux.
func needWaiter(t *testing.T, in *input) {
	t.Helper()
	switch {
	case in.wait != nil:
	case runtime.GOOS == "linux":
		t.Fatal("nothing waits for a TCP connection")
	default:
		t.Skip("connections keep their buffers on this system")
	}
}

// TestInputHoldsNoBufferWhileItWaits: of what a client has sent nothing is lost, and while it sends nothing there is no buffer.
func TestInputHoldsNoBufferWhileItWaits(t *testing.T) {
	client, server := tcpPair(t)
	idle := make(chan bool, 1)
	var in *input
	in = newInput(server, newReaderPool(), func() { idle <- in.r != nil })
	needWaiter(t, in)
	send := make(chan string)
	go func() { // ended by the close of send
		for text := range send {
			if held := <-idle; held {
				t.Error("a buffer is held while there is nothing to read")
			}
			if text == "" {
				_ = client.Close()
			} else if _, err := client.Write([]byte(text)); err != nil {
				t.Error(err)
			}
		}
	}()
	defer close(send)
	for _, text := range []string{"one", "two", "three"} {
		send <- text
		r, err := in.await()
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(text))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != text {
			t.Fatalf("read %q, %v, want %q", got, err, text)
		}
	}
	send <- ""
	r, err := in.await()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Peek(1); !errors.Is(err, io.EOF) {
		t.Fatalf("after the end: %v", err)
	}
}

// TestInputReadsWhatIsThere: what has been read and not used is not given up, and nobody waits for what has come already.
func TestInputReadsWhatIsThere(t *testing.T) {
	client, server := tcpPair(t)
	in := newInput(server, newReaderPool(), func() { t.Error("idle") })
	if _, err := client.Write([]byte("ab")); err != nil {
		t.Fatal(err)
	}
	if _, err := in.reader().Peek(2); err != nil {
		t.Fatal(err)
	}
	if _, err := in.reader().Discard(1); err != nil {
		t.Fatal(err)
	}
	r, err := in.await()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := r.ReadByte(); err != nil || b != 'b' {
		t.Fatalf("%q, %v", b, err)
	}
}

func TestInputWaitsUntilTheDeadline(t *testing.T) {
	_, server := tcpPair(t)
	in := newInput(server, newReaderPool(), func() {})
	needWaiter(t, in)
	if err := server.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := in.await(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
}

// TestWriterGivesItsBufferBack: but not with bytes in it.
func TestWriterGivesItsBufferBack(t *testing.T) {
	client, server := tcpPair(t)
	w := newWriter(server, wire.NewPool(wire.PoolOptions{}), newBufferPool(), limit, time.Now)
	for _, text := range []string{"one", "two"} {
		if err := w.Bytes([]byte(text)); err != nil {
			t.Fatal(err)
		}
		w.idle()
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(text))
		if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, []byte(text)) {
			t.Fatalf("%q, %v, want %q", got, err, text)
		}
		if w.idle(); w.kept != nil || w.buf != nil {
			t.Fatal("an idle writer holds its buffer")
		}
	}
}

// TestInputLetsOthersRun: a client whose requests are there already has to let others have their turn now and then.
func TestInputLetsOthersRun(t *testing.T) {
	const requests = 3*turnsMax + 1
	client, server := tcpPair(t)
	in := newInput(server, newReaderPool(), func() {})
	yields := 0
	in.yield = func() { yields++ }
	if _, err := client.Write(make([]byte, requests)); err != nil {
		t.Fatal(err)
	}
	if _, err := in.reader().Peek(requests); err != nil {
		t.Fatal(err)
	}
	for range requests {
		r, err := in.await()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Discard(1); err != nil {
			t.Fatal(err)
		}
	}
	if yields != 3 {
		t.Errorf("%d yields in %d requests, want 3", yields, requests)
	}
}
