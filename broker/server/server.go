package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Server listens for clients. Listen, Serve, Shutdown, in that order.
type Server struct {
	opts     Options
	handler  Handler
	logger   *slog.Logger
	limited  *limitedLog
	frames   *budget    // bytes of frames in flight
	decoded  *budget    // memory of decoded requests
	readers  *sync.Pool // of *bufio.Reader, for input
	buffers  *sync.Pool // of *[]byte, for output
	draining atomic.Bool

	listeners []*listener
	ctx       context.Context // ends when the drain begins; long polls answer then
	cancel    context.CancelFunc
	wait      sync.WaitGroup // accept loops and connections

	mu struct {
		sync.Mutex
		conns  map[*conn]struct{}
		perIP  map[string]int
		served bool

		connectionsMax, perIPMax int
		closed                   bool
	}
}

type listener struct {
	net.Listener
	name string
	host string // advertised
	port int32  // advertised
	told bool   // is advertised at all
}

// Listen binds all listeners; nothing is accepted before Serve. On an error none is left bound.
func Listen(o Options) (*Server, error) {
	o = o.withDefaults()
	s := &Server{
		opts: o, logger: o.Logger, limited: newLimitedLog(o.Logger, o.Now),
		frames:  newBudget(o.Limits.QueuedBytesMax, largeFrame),
		decoded: newBudget(o.Limits.DecodeBytesMax, largeDecode),
		readers: newReaderPool(), buffers: newBufferPool(),
	}
	s.mu.conns = map[*conn]struct{}{}
	s.mu.perIP = map[string]int{}
	s.mu.connectionsMax, s.mu.perIPMax = o.Limits.ConnectionsMax, o.Limits.ConnectionsPerIPMax
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for _, l := range o.Listeners {
		bound, err := net.Listen("tcp", l.Address())
		if err != nil {
			s.closeListeners()
			return nil, fmt.Errorf("listener %s: %w", l.Name, err)
		}
		port := l.AdvertisedPort
		if port == 0 {
			port = bound.Addr().(*net.TCPAddr).Port
		}
		s.listeners = append(s.listeners, &listener{
			Listener: bound, name: l.Name, host: l.AdvertisedHost, port: int32(port), told: l.Advertised,
		})
	}
	return s, nil
}

// Addr is the address that a listener is bound to; nil when there is none of that name.
func (s *Server) Addr(name string) net.Addr {
	if l := s.find(name); l != nil {
		return l.Addr()
	}
	return nil
}

// Endpoint is what clients of a listener are told to connect to; ok is false for a listener that is not advertised.
func (s *Server) Endpoint(name string) (host string, port int32, ok bool) {
	l := s.find(name)
	if l == nil || !l.told {
		return "", 0, false
	}
	return l.host, l.port, true
}

func (s *Server) find(name string) *listener {
	for _, l := range s.listeners {
		if l.name == name {
			return l
		}
	}
	return nil
}

// Serve starts to accept connections and returns; h answers what they ask. Shutdown ends it.
func (s *Server) Serve(h Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.served || s.mu.closed {
		return
	}
	s.mu.served = true
	s.handler = h
	for _, l := range s.listeners {
		s.wait.Go(func() { s.accept(l) }) // ended by Shutdown, which closes l and waits
	}
}

// Shutdown stops accepting, lets every connection finish the requests that have been read from it, and closes it. When ctx ends
// first the rest is cut off; the error is then ctx's. All goroutines have ended on return. Twice is safe.
func (s *Server) Shutdown(ctx context.Context) error {
	s.draining.Store(true)
	s.cancel()
	s.closeListeners()
	s.eachConn((*conn).drain)
	done := make(chan struct{})
	go func() { // ends with the last connection, for which Shutdown waits
		s.wait.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.eachConn(func(c *conn) { c.abort(errors.New("server stopped")) })
	<-done
	return ctx.Err()
}

// Connections is how many clients are connected.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.conns)
}

// MemoryUsed is how many bytes of frames and of decoded requests are reserved.
func (s *Server) MemoryUsed() (frames, decoded int64) {
	return s.frames.used(), s.decoded.used()
}

func (s *Server) eachConn(fn func(*conn)) {
	s.mu.Lock()
	s.mu.closed = true
	conns := make([]*conn, 0, len(s.mu.conns))
	for c := range s.mu.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		fn(c)
	}
}

func (s *Server) closeListeners() {
	for _, l := range s.listeners {
		_ = l.Close() // nothing to lose; twice is an error that says nothing
	}
}

const (
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// accept takes connections until the listener is closed. Out of descriptors, it waits and tries again.
func (s *Server) accept(l *listener) {
	pause := acceptPauseMin
	for {
		nc, err := l.Accept()
		if err == nil {
			pause = acceptPauseMin
			s.admit(l, nc)
			continue
		}
		if s.draining.Load() || errors.Is(err, net.ErrClosed) {
			return
		}
		s.limited.Warn("accept failed", "listener", l.name, "error", err)
		select {
		case <-time.After(pause):
			pause = min(2*pause, acceptPauseMax)
		case <-s.ctx.Done():
			return
		}
	}
}

// admit starts a connection, or closes it where there are too many already.
func (s *Server) admit(l *listener, nc net.Conn) {
	s.tune(nc)
	ip := remoteIP(nc)
	c := newConn(s, l.name, ip, nc)
	if reason := s.register(c); reason != "" {
		_ = nc.Close()
		s.opts.Metrics.Rejected(reason)
		s.limited.Warn("connection refused", "listener", l.name, "client", ip, "reason", reason)
		return
	}
	s.wait.Go(c.run) // ended by the client, a limit, or Shutdown, which waits
}

// SetConnectionLimits replaces max.connections and max.connections.per.ip, for connections from now on. Both are above 0.
func (s *Server) SetConnectionLimits(connectionsMax, perIPMax int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.connectionsMax, s.mu.perIPMax = connectionsMax, perIPMax
}

// register enters c into the books; the result is why it may not, "" when it may.
func (s *Server) register(c *conn) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.mu.closed || s.draining.Load():
		return "stopping"
	case len(s.mu.conns) >= s.mu.connectionsMax:
		return "max.connections"
	case s.mu.perIP[c.ip] >= s.mu.perIPMax:
		return "max.connections.per.ip"
	}
	s.mu.conns[c] = struct{}{}
	s.mu.perIP[c.ip]++
	return ""
}

func (s *Server) unregister(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.conns, c)
	if s.mu.perIP[c.ip]--; s.mu.perIP[c.ip] == 0 {
		delete(s.mu.perIP, c.ip)
	}
}

// tune sets the socket buffers that the configuration asks for; a refusal leaves the system's.
func (s *Server) tune(nc net.Conn) {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return
	}
	if n := s.opts.Limits.SendBufferBytes; n > 0 {
		_ = tcp.SetWriteBuffer(n)
	}
	if n := s.opts.Limits.ReceiveBufferBytes; n > 0 {
		_ = tcp.SetReadBuffer(n)
	}
}

func remoteIP(nc net.Conn) string {
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return a.IP.String()
	}
	return nc.RemoteAddr().String()
}
