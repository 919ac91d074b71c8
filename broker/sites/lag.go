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
	since time.Duration // the lag is not known since then, or was not before now became known
	begun bool          // since means something
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
	was := l.now.Known
	l.now = Lag{Known: known, Offsets: offsets}
	if !known {
		if was || !l.begun {
			l.since, l.begun = now, true
		}
		l.ends = l.ends[:0]
		return
	}
	first := now
	if !was && l.begun { // what lacks now may have come at any time since then
		first = l.since
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
		l.ends = append(l.ends, endAt{end, first})
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

// exceeds says that the standby is, or may be, more than limit behind at the time now. One that is not known to be anywhere is as far behind as
// that has lasted: so there are never more than limit of records that are only here.
func (l *lag) exceeds(now, limit time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.now.Known:
		return !l.begun || now-l.since > limit
	case len(l.ends) > 0:
		return now-l.ends[0].at > limit
	}
	return false
}

// forget makes the lag unknown.
func (l *lag) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now, l.ends, l.begun = Lag{}, nil, false
}
