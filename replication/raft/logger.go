package raft

import (
	"context"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// logBurst is how often one message of the library is logged in logWindow, over all Raft groups of the process: one
	// fault of a disk or a peer makes every Raft group say the same.
	logBurst  = 10
	logWindow = 10 * time.Second
)

// limiter counts messages by their constant text, of which the library has about a hundred.
type limiter struct {
	now func() time.Time
	mu  struct {
		sync.Mutex
		seen map[string]*burst
	}
}

type burst struct {
	since      time.Time
	count      int
	suppressed int
}

func newLimiter(now func() time.Time) *limiter {
	l := &limiter{now: now}
	l.mu.seen = map[string]*burst{}
	return l
}

// allow says whether msg may be logged, and how many were left out since it was logged last.
func (l *limiter) allow(msg string) (ok bool, suppressed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	b := l.mu.seen[msg]
	if b == nil {
		b = &burst{since: now}
		l.mu.seen[msg] = b
	}
	if now.Sub(b.since) >= logWindow {
		b.since, b.count = now, 0
	}
	if b.count >= logBurst {
		b.suppressed++
		return false, 0
	}
	b.count++
	suppressed, b.suppressed = b.suppressed, 0
	return true, suppressed
}

// logger passes what hashicorp/raft logs at Warn and above to slog.
type logger struct {
	to      *slog.Logger
	group   string
	limiter *limiter
}

var _ hclog.Logger = (*logger)(nil)

// Log implements hclog.Logger.
func (l *logger) Log(level hclog.Level, msg string, args ...any) {
	to := slog.LevelWarn
	switch level {
	case hclog.Warn:
	case hclog.Error:
		to = slog.LevelError
	default:
		return
	}
	ok, suppressed := l.limiter.allow(msg)
	if !ok {
		return
	}
	attrs := []any{"group", l.group}
	for i := 0; i+1 < len(args); i += 2 {
		attrs = append(attrs, fmt.Sprint(args[i]), fmt.Sprint(args[i+1]))
	}
	if suppressed > 0 {
		attrs = append(attrs, "suppressed", suppressed)
	}
	l.to.Log(context.Background(), to, "raft: "+msg, attrs...)
}

func (l *logger) Trace(string, ...any)           {}
func (l *logger) Debug(string, ...any)           {}
func (l *logger) Info(string, ...any)            {}
func (l *logger) Warn(msg string, args ...any)   { l.Log(hclog.Warn, msg, args...) }
func (l *logger) Error(msg string, args ...any)  { l.Log(hclog.Error, msg, args...) }
func (l *logger) IsTrace() bool                  { return false }
func (l *logger) IsDebug() bool                  { return false }
func (l *logger) IsInfo() bool                   { return false }
func (l *logger) IsWarn() bool                   { return true }
func (l *logger) IsError() bool                  { return true }
func (l *logger) ImpliedArgs() []any             { return nil }
func (l *logger) With(...any) hclog.Logger       { return l }
func (l *logger) Name() string                   { return "raft" }
func (l *logger) Named(string) hclog.Logger      { return l }
func (l *logger) ResetNamed(string) hclog.Logger { return l }
func (l *logger) SetLevel(hclog.Level)           {}
func (l *logger) GetLevel() hclog.Level          { return hclog.Warn }
func (l *logger) StandardLogger(*hclog.StandardLoggerOptions) *stdlog.Logger {
	return stdlog.New(io.Discard, "", 0)
}
func (l *logger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return io.Discard }
