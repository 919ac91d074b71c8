package storage

import (
	"time"
)

// watchDisk says when the disk hangs (hazard R11): appends then wait without an error, and the Raft groups of this broker keep
// their leadership, because heartbeats need no disk. With one replica there is nobody to hand it to, so that it is said, and
// nothing is done: the disk may come back, and what it then acknowledges is durable. Until Close.
func (s *Store) watchDisk() {
	tick := time.NewTicker(s.opts.SlowCall / 4)
	defer tick.Stop()
	var w slowCalls
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
			s.report(w.look(s.diskWatch.Oldest(), s.opts.SlowCall))
		}
	}
}

func (s *Store) report(found slowCall, waited time.Duration) {
	switch found {
	case slowBegan:
		s.slowCalls.Add(1)
		s.opts.Logger.Error("the disk hangs: a write or sync does not return, what waits for it is not acknowledged", "waited", waited)
	case slowLasts:
		s.opts.Logger.Error("the disk still hangs", "waited", waited)
	case slowOver:
		s.opts.Logger.Warn("the disk goes on: the call has returned", "waited", waited)
	case slowNot:
	}
}

// DiskWaiting is how long the write or sync of journal, segments or meta.db that has waited longest has been waiting for the disk; 0 =
// none is under way.
func (s *Store) DiskWaiting() time.Duration { return s.diskWatch.Oldest() }

// SlowCalls is how often a write or sync has taken longer than Options.SlowCall.
func (s *Store) SlowCalls() int64 { return s.slowCalls.Load() }

// slowCall is what changed since the last look.
type slowCall int

const (
	slowNot   slowCall = iota
	slowBegan          // a call is slow
	slowLasts          // it has taken twice as long as when that was last said
	slowOver
)

// slowCalls turns looks at the oldest call into what is worth a line in the log.
type slowCalls struct {
	said, longest time.Duration
}

func (w *slowCalls) look(oldest, limit time.Duration) (slowCall, time.Duration) {
	switch {
	case oldest < limit || oldest < w.longest: // over, even where a younger one is slow by now: it is seen next time
		was := w.longest
		w.longest = 0
		if w.said == 0 {
			return slowNot, 0
		}
		w.said = 0
		return slowOver, was
	case w.said == 0:
		w.said, w.longest = oldest, oldest
		return slowBegan, oldest
	case oldest >= 2*w.said:
		w.said, w.longest = oldest, oldest
		return slowLasts, oldest
	}
	w.longest = oldest
	return slowNot, oldest
}
