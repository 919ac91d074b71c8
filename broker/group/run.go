package group

import (
	"context"
	"math"
	"time"
)

const (
	// settling is how often run looks at partitions that are not ready to be told of.
	settling = 100 * time.Millisecond
	// createRetry is how soon the creation of __consumer_offsets is tried again.
	createRetry = time.Second
	// expiryPause is when expiry goes on that the queue had no room for.
	expiryPause = time.Second
	// timerGrain is how many nearby deadlines of members are met at once.
	timerGrain = 5 * time.Millisecond
	// followDelay is how late run may follow a partition: it is told of every commit too.
	followDelay = 10 * time.Millisecond
)

// runner is what run remembers from one round to the next.
type runner struct {
	c          *Coordinator
	creating   <-chan struct{} // __consumer_offsets is being created; nil = it is not
	createNext time.Time       // not before
	expireNext time.Time
}

// run follows leadership and metadata, and runs the timers of all shards.
func (c *Coordinator) run(ctx context.Context) {
	r := &runner{c: c, expireNext: c.opts.Now().Add(c.opts.ExpiryInterval)}
	timer := time.NewTimer(0)
	defer timer.Stop()
	soon := false // the timer is set to followDelay at most
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.moved:
			if !soon {
				soon = true
				timer.Reset(followDelay)
			}
			continue
		case <-c.wake:
		case <-r.creating:
			r.creating, r.createNext = nil, c.opts.Now().Add(createRetry)
		case <-timer.C:
		}
		soon = false
		c.armed.Store(math.MinInt64) // whoever comes with a deadline now need not wake us
		again := r.follow()
		now := c.opts.Now()
		r.forget()
		r.expire(now)
		if t := c.table.Load(); t != nil {
			t.fire(now)
		}
		next := now.Add(time.Minute)
		next = earlier(next, r.expireNext)
		if again > 0 {
			next = earlier(next, now.Add(again))
		}
		timer.Reset(max(c.arm(next).Sub(now), timerGrain))
	}
}

// arm decides when to wake up: at next, or earlier where a shard has a deadline.
func (c *Coordinator) arm(next time.Time) time.Time {
	c.armed.Store(c.since(next)) // first: a deadline that comes while we look wakes us
	t := c.table.Load()
	if t == nil {
		return next
	}
	for i := range t.slots {
		if s := t.slots[i].shard.Load(); s != nil {
			if due := s.due.Load(); due < c.since(next) {
				next = c.base.Add(time.Duration(due))
			}
		}
	}
	c.armed.Store(c.since(next))
	return next
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// follow makes the shards those of the partitions that this broker leads. It returns after what time it has to look again at the
// latest; 0 = it will be told.
func (r *runner) follow() time.Duration {
	c := r.c
	t := c.table.Load()
	topic, ok := c.opts.Topics.Image().Topic(OffsetsTopic)
	if t != nil && (!ok || topic.ID != t.id) { // deleted
		c.table.Store(nil)
		t.close()
		t = nil
	}
	if !ok {
		return r.create()
	}
	if t == nil {
		t = &table{id: topic.ID, slots: make([]slot, len(topic.Partitions))}
		c.table.Store(t)
	}
	again := time.Duration(0)
	for i := range t.slots {
		if !r.followOne(&t.slots[i], int32(i)) {
			again = settling
		}
	}
	return again
}

// create has the topic created when somebody has asked for it.
func (r *runner) create() time.Duration {
	c := r.c
	if r.creating != nil || !c.wanted.Load() {
		return 0
	}
	if wait := r.createNext.Sub(c.opts.Now()); wait > 0 {
		return wait
	}
	c.wanted.Store(false)
	if r.creating = c.opts.Topics.AutoCreate(OffsetsTopic); r.creating == nil {
		c.wanted.Store(true)
		r.createNext = c.opts.Now().Add(createRetry)
		return createRetry
	}
	return 0
}

// followOne makes a slot follow its partition. It returns false when that is changing and has to be looked at again.
func (r *runner) followOne(s *slot, id int32) bool {
	c := r.c
	log, ok := c.open(id)
	if s.log != nil && (!ok || log != s.log) {
		s.close()
	}
	if !ok {
		return false
	}
	if s.log == nil {
		s.log, s.cancel = log, log.subscribe(c.moved)
	}
	epoch, leading := log.serving()
	current := s.shard.Load()
	if current != nil && (!leading || current.over(epoch, c.opts.Now())) {
		s.drop()
		current = nil
	}
	if !leading {
		return log.led()
	}
	if current == nil {
		c.begin(s, newShard(c, id, log, epoch))
		return true
	}
	return !current.failed()
}

// failed says whether the partition could not be read.
func (s *shard) failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.state == shardFailed
}

// over says whether the shard is no longer what its partition needs.
func (s *shard) over(epoch int32, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch != epoch || s.mu.state == shardClosed || s.mu.state == shardFailed && !now.Before(s.mu.retry)
}

// begin puts a shard into its slot and has it loaded.
func (c *Coordinator) begin(s *slot, fresh *shard) {
	s.shard.Store(fresh)
	c.wait.Go(func() { // ends soon after the shard is closed; Close does that and waits
		c.loads <- struct{}{}
		defer func() { <-c.loads }()
		fresh.load()
	})
}

// forget removes the offsets of topics that were deleted.
func (r *runner) forget() {
	c := r.c
	c.mu.Lock()
	topics := c.mu.deleted
	c.mu.deleted = nil
	c.mu.Unlock()
	for _, topic := range topics {
		_ = c.eachShard(func(s *shard) error {
			switch s.mu.state {
			case shardLoading:
				s.mu.deleted = append(s.mu.deleted, topic)
			case shardActive:
				s.forgetTopicLocked(topic)
			case shardFailed, shardClosed: // what is read anew is compared with the metadata
			}
			return nil
		})
	}
}

// expire removes what has expired, when it is time.
func (r *runner) expire(now time.Time) {
	if now.Before(r.expireNext) {
		return
	}
	r.expireNext = now.Add(r.c.opts.ExpiryInterval)
	_ = r.c.eachShard(func(s *shard) error {
		if s.mu.state == shardActive && !s.expireLocked(now) {
			r.expireNext = now.Add(min(expiryPause, r.c.opts.ExpiryInterval))
		}
		return nil
	})
}

// fire runs the timers that are due.
func (t *table) fire(now time.Time) {
	for i := range t.slots {
		if s := t.slots[i].shard.Load(); s != nil {
			s.fire(now)
		}
	}
}
