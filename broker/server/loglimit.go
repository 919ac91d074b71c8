package server

import (
	"log/slog"
	"sync"
	"time"
)

const (
	linesBurst     = 20 // lines that may be written at once
	linesPerSecond = 5  // and how fast that comes back
)

// limitedLog writes lines that clients cause, at a bounded rate: the next line that is written tells how many were left out.
type limitedLog struct {
	logger *slog.Logger
	now    func() time.Time
	mu     struct {
		sync.Mutex
		tokens  float64
		last    time.Time
		dropped int
	}
}

func newLimitedLog(logger *slog.Logger, now func() time.Time) *limitedLog {
	l := &limitedLog{logger: logger, now: now}
	l.mu.tokens, l.mu.last = linesBurst, now()
	return l
}

// Warn writes a line, or counts it.
func (l *limitedLog) Warn(message string, args ...any) {
	l.mu.Lock()
	now := l.now()
	l.mu.tokens = min(linesBurst, l.mu.tokens+now.Sub(l.mu.last).Seconds()*linesPerSecond)
	l.mu.last = now
	if l.mu.tokens < 1 {
		l.mu.dropped++
		l.mu.Unlock()
		return
	}
	l.mu.tokens--
	dropped := l.mu.dropped
	l.mu.dropped = 0
	l.mu.Unlock()
	if dropped > 0 {
		args = append(args, "suppressed", dropped)
	}
	l.logger.Warn(message, args...)
}
