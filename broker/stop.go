package broker

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// stopLimits say when a stop is given up. What it waits for cannot be abandoned one by one: an append that hangs has its group,
// its partition and its Raft group wait, each with locks and files that the next part needs.
type stopLimits struct {
	patience time.Duration // from then on a stop goes on only where the disk does too
	hung     time.Duration // how long a write or sync may take at that
	most     time.Duration // whatever it waits for
	look     time.Duration // how often to look
}

// defaultStopLimits stay within the 30 s that Kubernetes gives where nothing can become of the stop. One that gets on, with the
// checkpoints of very many partitions on a slow disk, may take as long as its supervisor lets it.
var defaultStopLimits = stopLimits{patience: 28 * time.Second, hung: 8 * time.Second, most: 10 * time.Minute, look: time.Second}

// over says whether a stop that has taken so long, while a write or sync has been waiting for the disk for that long, is to be given up.
func (l stopLimits) over(took, disk time.Duration) bool {
	return took >= l.most || took >= l.patience && disk >= l.hung
}

// stopping is a stop under way. It knows which part has not ended yet.
type stopping struct {
	part  atomic.Pointer[string]
	ended chan struct{}
	watch sync.WaitGroup
}

// at notes the part that is being stopped.
func (s *stopping) at(part string) { s.part.Store(&part) }

// watchStop has the process end (OnFatal) where a stop does not, and says what it waited for. end is called when it has ended.
func (b *Broker) watchStop() (s *stopping, end func()) {
	s = &stopping{ended: make(chan struct{})}
	s.at("the start") // of the stop
	s.watch.Go(func() { b.awaitStop(s) })
	return s, func() {
		close(s.ended)
		s.watch.Wait()
	}
}

// awaitStop returns when the stop has ended, or was given up.
func (b *Broker) awaitStop(s *stopping) {
	began, said := b.opts.Now(), false
	tick := time.NewTicker(b.stopLimits.look)
	defer tick.Stop()
	for {
		select {
		case <-s.ended:
			return
		case <-tick.C:
		}
		took, disk := b.opts.Now().Sub(began), time.Duration(0)
		if b.store != nil {
			disk = b.store.DiskWaiting()
		}
		if b.stopLimits.over(took, disk) {
			b.opts.OnFatal(fmt.Errorf("stop: %s did not stop in %v; a write or sync has been waiting for the disk for %v",
				*s.part.Load(), took.Round(time.Millisecond), disk.Round(time.Millisecond)))
			return
		}
		if took >= b.stopLimits.patience && !said {
			said = true
			b.logger.Warn("the stop takes long", "part", *s.part.Load(), "took", took, "disk", disk)
		}
	}
}
