package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Limits of an admin connection: it is for tools on the same machine, and must not hold resources for slow or idle ones.
const (
	headerTimeout  = 5 * time.Second
	idleTimeout    = 60 * time.Second
	headerBytesMax = 16 << 10
)

// Admin is the HTTP server of the admin listener.
type Admin struct {
	server *http.Server
	done   chan struct{} // closed when the serving goroutine has ended
	once   sync.Once
	err    error // of the serving goroutine; read after done
}

// AdminOptions configures an Admin.
type AdminOptions struct {
	// Ready returns nil when the broker serves clients, else why it does not; nil means always ready.
	Ready  func() error
	Logger *slog.Logger
}

// Serve takes ownership of listener and serves it until Close.
func (m *Metrics) Serve(listener net.Listener, o AdminOptions) *Admin {
	a := &Admin{done: make(chan struct{})}
	a.server = &http.Server{
		Handler:           m.handler(o),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerBytesMax,
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	go func() { // ended by server.Close, awaited in Close
		defer close(a.done)
		if err := a.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			a.err = fmt.Errorf("admin listener: %w", err)
			o.Logger.Error("admin listener failed", "error", err)
		}
	}()
	return a
}

// Close stops the server; requests in work get until ctx is done. A second Close returns the same error.
func (a *Admin) Close(ctx context.Context) error {
	a.once.Do(func() {
		if a.server.Shutdown(ctx) != nil {
			_ = a.server.Close() // what remains is a profile or a scrape that no one will miss
		}
		<-a.done
	})
	return a.err
}

func (m *Metrics) handler(o AdminOptions) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelError), MaxRequestsInFlight: 4,
	}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if o.Ready == nil {
			answer(w, nil)
			return
		}
		answer(w, o.Ready())
	})
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// answer writes "ok", or 503 with what is wrong.
func answer(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprintln(w, err)
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}

// Listen opens the admin listener. Where mayMove says that the address is only the built-in default and it is taken, a free
// port of the same host is used, so that a second broker on one machine starts without a setting; the caller logs the address.
func Listen(listen func(network, address string) (net.Listener, error), address string, mayMove bool) (net.Listener, error) {
	listener, err := listen("tcp", address)
	if err != nil && mayMove {
		if host, _, splitErr := net.SplitHostPort(address); splitErr == nil {
			listener, err = listen("tcp", net.JoinHostPort(host, "0"))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("admin.listener=%s: %w", address, err)
	}
	return listener, nil
}
