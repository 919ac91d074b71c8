package storage

import (
	"time"
)

// watchSyncs says when the disk hangs (hazard R11): appends then wait without an error, and the Raft groups of this broker keep
// their leadership, because heartbeats need no disk. With one replica there is nobody to hand it to, so that it is said, and
// nothing is done: the disk may come back, and what it then acknowledges is durable. Until Close.
func (s *Store) watchSyncs() {
	tick := time.NewTicker(s.opts.SlowSync / 4)
	defer tick.Stop()
	var w slowSyncs
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
			s.report(w.look(s.syncWatch.Oldest(), s.opts.SlowSync))
		}
	}
}

func (s *Store) report(found slowSync, waited time.Duration) {
	switch found {
	case slowBegan:
		s.slowSyncs.Add(1)
		s.opts.Logger.Error("the disk hangs: a sync does not return, what waits for it is not acknowledged", "waited", waited)
	case slowLasts:
		s.opts.Logger.Error("the disk still hangs", "waited", waited)
	case slowOver:
		s.opts.Logger.Warn("the disk goes on: the sync has returned", "waited", waited)
	case slowNot:
	}
}

// SyncWaiting is how long the sync of journal, segments or meta.db that has waited longest has been waiting for the disk; 0 =
// none is under way.
func (s *Store) SyncWaiting() time.Duration { return s.syncWatch.Oldest() }

// SlowSyncs is how often a sync has taken longer than Options.SlowSync.
func (s *Store) SlowSyncs() int64 { return s.slowSyncs.Load() }

// slowSync is what changed since the last look.
type slowSync int

const (
	slowNot   slowSync = iota
	slowBegan          // a sync is slow
	slowLasts          // it has taken twice as long as when that was last said
	slowOver
)

// slowSyncs turns looks at the oldest sync into what is worth a line in the log.
type slowSyncs struct {
	said, longest time.Duration
}

func (w *slowSyncs) look(oldest, limit time.Duration) (slowSync, time.Duration) {
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
