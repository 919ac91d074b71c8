package main

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// rebalance brings members into one generation in which they share all partitions, and takes the time. Clients learn of a
// rebalance by a heartbeat, every three seconds; here one member asks all the time and tells the others, so that what is
// measured is the broker and not the interval.
type rebalance struct {
	members    int
	partitions int32
	probe      chan struct{} // the token of the member that asks
	done       chan struct{} // closed when all have their assignment
	mu         sync.Mutex
	kick       chan struct{} // closed when a rebalance has been seen, then replaced
	in         map[int32]int // members with an assignment, by generation
	shared     map[int32]int // partitions, by generation
	end        time.Time
	ended      bool
	err        error
}

func newRebalance(members int, partitions int32) *rebalance {
	r := &rebalance{members: members, partitions: partitions, probe: make(chan struct{}, 1), done: make(chan struct{}),
		kick: make(chan struct{}), in: map[int32]int{}, shared: map[int32]int{}}
	r.probe <- struct{}{}
	return r
}

// run measures from now on. Of the members those in joining send a JoinGroup at once, the others when a heartbeat says so.
// first, where there is one, is done first.
func (r *rebalance) run(waiting, joining []*member, first func() error) (time.Duration, error) {
	var wait sync.WaitGroup
	ready := make(chan struct{})
	for _, m := range waiting {
		wait.Go(func() { <-ready; r.take(m, false) })
	}
	for _, m := range joining {
		wait.Go(func() { <-ready; r.take(m, true) })
	}
	start := time.Now()
	if first != nil {
		if err := first(); err != nil {
			r.finish(err)
		}
	}
	close(ready)
	wait.Wait()
	return r.end.Sub(start), r.err
}

// take is one member until all have their assignment.
func (r *rebalance) take(m *member, join bool) {
	for {
		if join {
			if err := m.settle(); err != nil {
				r.finish(fmt.Errorf("member %q: %w", m.id, err))
				return
			}
			r.settled(m)
		}
		again, err := r.watch(m)
		if err != nil {
			r.finish(err)
		}
		if !again {
			return
		}
		join = true
	}
}

// settled counts a member in, and ends the measurement with the last one.
func (r *rebalance) settled(m *member) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.in[m.generation]++
	r.shared[m.generation] += m.assigned
	if r.in[m.generation] < r.members || r.ended {
		return
	}
	r.ended, r.end = true, now
	if r.shared[m.generation] != int(r.partitions) {
		r.err = fmt.Errorf("%d members have %d of %d partitions", r.members, r.shared[m.generation], r.partitions)
	}
	close(r.done)
}

func (r *rebalance) finish(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		r.ended, r.end, r.err = true, time.Now(), err
		close(r.done)
	}
}

// watch waits for the next rebalance; false = all have their assignment.
func (r *rebalance) watch(m *member) (again bool, err error) {
	for {
		r.mu.Lock()
		kick := r.kick
		r.mu.Unlock()
		select {
		case <-r.done:
			return false, nil
		case <-kick: // it may have come for a rebalance that the member knows
			if again, err = r.beat(m); again || err != nil {
				return again, err
			}
		case <-r.probe:
			again, err = r.ask(m)
			r.probe <- struct{}{}
			return again, err
		}
	}
}

// ask sends heartbeats until one tells of a rebalance, and has the others ask too.
func (r *rebalance) ask(m *member) (again bool, err error) {
	for !again && err == nil {
		select {
		case <-r.done:
			return false, nil
		default:
		}
		again, err = r.beat(m)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.kick)
	r.kick = make(chan struct{})
	return again, err
}

// beat says whether the member has to join again.
func (r *rebalance) beat(m *member) (again bool, err error) {
	err = m.heartbeat()
	switch {
	case err == nil:
		return false, nil
	case errors.Is(err, kerr.UnknownMemberID):
		m.id = ""
		return true, nil
	case errors.Is(err, kerr.RebalanceInProgress), errors.Is(err, kerr.IllegalGeneration):
		return true, nil
	}
	return false, fmt.Errorf("heartbeat of %q: %w", m.id, err)
}
