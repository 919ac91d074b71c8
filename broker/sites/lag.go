package sites

import (
	"sync"
	"time"

	"github.com/tandembroker/tandem/replication/site"
)

// Lag is how far the standby is behind a partition's active log.
type Lag struct {
	Known   bool // false: the standby has not said how far it is, and the figures mean nothing
	Offsets int64
	Time    time.Duration // since the oldest record that the standby is not known to have was durable here
}

// lag keeps when the log reached which offset, so that the lag in time comes from one clock alone. Safe for concurrent use.
type lag struct {
	mu sync.Mutex
	// Ends of the durable log above what is acknowledged, with the time at which they were first seen; the oldest first.
	ends  []endAt
	now   Lag
	acked int64
}

type endAt struct {
	end int64
	at  time.Duration
}

const (
	lagResolution = 10 * time.Millisecond // ends that come closer than this count as one
	lagEndsMax    = 4096                  // beyond it every other one is forgotten, which makes the lag look longer, never shorter
)

// note takes the state of a link at the time now.
func (l *lag) note(now time.Duration, link *site.Link, log *site.LogView) {
	offsets, known := link.Lag(*log)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = Lag{Known: known, Offsets: offsets}
	if !known {
		l.ends = l.ends[:0]
		return
	}
	end := log.Durable.NextOffset
	l.acked = end - offsets
	drop := 0
	for drop < len(l.ends) && l.ends[drop].end <= l.acked {
		drop++
	}
	l.ends = append(l.ends[:0], l.ends[drop:]...)
	if offsets == 0 {
		return
	}
	switch n := len(l.ends); {
	case n == 0:
		l.ends = append(l.ends, endAt{end, now})
	case l.ends[n-1].end >= end:
	case n > 1 && now-l.ends[n-1].at < lagResolution && now-l.ends[n-2].at < lagResolution:
		l.ends[n-1].end = end
	default:
		l.ends = append(l.ends, endAt{end, now})
	}
	if len(l.ends) > lagEndsMax {
		l.thin()
	}
}

// thin joins pairs of ends: the older time stays with the later end.
func (l *lag) thin() {
	kept := l.ends[:0]
	for i := 0; i < len(l.ends); i += 2 {
		e := l.ends[i]
		if i+1 < len(l.ends) {
			e.end = l.ends[i+1].end
		}
		kept = append(kept, e)
	}
	l.ends = kept
}

// at is the lag at the time now.
func (l *lag) at(now time.Duration) Lag {
	l.mu.Lock()
	defer l.mu.Unlock()
	lag := l.now
	if lag.Known && len(l.ends) > 0 {
		lag.Time = now - l.ends[0].at
	}
	return lag
}

// known is up to where the standby has the log; ok is false where that is not known.
func (l *lag) known() (acked int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked, l.now.Known
}

// forget makes the lag unknown.
func (l *lag) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now, l.ends = Lag{}, nil
}
