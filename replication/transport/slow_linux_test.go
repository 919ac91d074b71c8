package transport

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// slowLine passes on what connections bring in, bytesPerSecond of each, and holds next to nothing back: a narrow line, whose sender has to keep
// what does not fit. The other direction is wide. What has brought in 1 MiB stands still for stuck then, once; the way back takes trip, which is
// short.
func slowLine(t *testing.T, to string, bytesPerSecond int, stuck, trip time.Duration) (address string) {
	t.Helper()
	l := listener(t)
	var tasks sync.WaitGroup
	pass := func(from, to *net.TCPConn, piece int, each, trip time.Duration) {
		passed := 0
		defer func() { _, _ = from.Close(), to.Close() }()
		pace := time.NewTicker(each)
		defer pace.Stop()
		for b := make([]byte, piece); ; <-pace.C {
			n, err := io.ReadAtLeast(from, b, 1)
			if err != nil {
				return
			}
			time.Sleep(trip)
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
			if passed += n; passed >= 1<<20 && passed-n < 1<<20 {
				time.Sleep(stuck) // is the line's behaviour
			}
		}
	}
	tasks.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			if err := in.(*net.TCPConn).SetReadBuffer(128 << 10); err != nil {
				t.Error(err)
			}
			t.Cleanup(func() { _, _ = in.Close(), out.Close() })
			const ticks = 100
			tasks.Go(func() { pass(in.(*net.TCPConn), out.(*net.TCPConn), bytesPerSecond/ticks, time.Second/ticks, 0) })
			tasks.Go(func() { pass(out.(*net.TCPConn), in.(*net.TCPConn), 64<<10, time.Microsecond, trip) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		tasks.Wait()
	})
	return l.Addr().String()
}

// TestNarrowLineIsNotGivenUp: the kernel takes megabytes at once, and says that it takes more long after the timeout. And
// one connection may stand still for longer than that, as long as the other one does not.
func TestNarrowLineIsNotGivenUp(t *testing.T) {
	if testing.Short() {
		t.Skip("it goes by the clock, and takes a quarter of a minute")
	}
	ours := newAuthority(t)
	const timeout = 2 * time.Second // far above what a busy machine makes pings late by
	for name, c := range map[string]struct {
		secured *tls.Config
		stuck   time.Duration // the data connection, for a while
	}{"plain": {}, "TLS": {secured: ours.config(t)}, "stuck": {stuck: 5 * timeout / 2}, "stuck, TLS": {ours.config(t), 5 * timeout / 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var a arrivals
			l := listener(t)
			_, w := over(t, l, slowLine(t, l.Addr().String(), 512<<10, c.stuck, c.stuck/20), Options{Receive: a.receive, TLS: c.secured, Timeout: timeout},
				Options{TLS: c.secured, Timeout: timeout, DataConnections: 1})
			for i := range 3 {
				w.Send(east().ID(), stored(t, realBatch(t, i, 2<<20)), nil)
			}
			until(t, "it has arrived", func() bool { return len(a.all()) == 3 || w.Status().Peers[0].LastError != "" })
			if p := w.Status().Peers[0]; p.Sessions != 1 || p.LastError != "" {
				t.Errorf("%+v", p)
			}
		})
	}
}
