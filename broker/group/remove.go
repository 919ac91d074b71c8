package group

import (
	"sync"
	"time"
)

// removeChunk is how many offsets are removed by one entry: groups may have more than fit into a batch.
const removeChunk = 1000

// keysLocked is the offsets that a group has, or will have when what is queued is written; of one topic or ("") of all.
func (s *shard) keysLocked(groupID, topic string) map[TopicPartition]struct{} {
	keys := map[TopicPartition]struct{}{}
	for _, tp := range s.mu.offsets.list(groupID, topic) {
		keys[tp] = struct{}{}
	}
	if s.mu.pending[groupID] == 0 {
		return keys
	}
	for _, list := range [][]*entry{s.mu.inFlight, s.mu.queue} {
		for _, e := range list {
			if e.group != groupID {
				continue
			}
			for i := range e.commits {
				if tp := e.commits[i].TopicPartition; topic == "" || tp.Topic == topic {
					keys[tp] = struct{}{}
				}
			}
		}
	}
	return keys
}

// removeLocked writes tombstones for offsets and forgets each when its own is written. reply, under the lock, gets the first
// error; it is nil where nobody asks.
func (s *shard) removeLocked(groupID string, list []TopicPartition, reply func(error)) {
	var failed error
	for len(list) > 0 {
		part := list[:min(len(list), removeChunk)]
		list = list[len(part):]
		last := len(list) == 0
		e := &entry{group: groupID, records: make([]keyValue, len(part))}
		for i, tp := range part {
			e.records[i] = keyValue{key: offsetKeyBytes(groupID, tp)}
		}
		e.done = func(_ time.Time, err error) {
			if err != nil && failed == nil {
				failed = err
			}
			if err == nil {
				for _, tp := range part {
					s.mu.offsets.remove(groupID, tp)
				}
			}
			if last && reply != nil {
				reply(failed)
			}
		}
		s.enqueueLocked(e)
	}
}

// retireLocked removes offsets and the group itself. reply may be nil.
func (s *shard) retireLocked(g *group, list []TopicPartition, reply func(error)) {
	var failed error
	s.removeLocked(g.id, list, func(err error) { failed = err })
	s.mu.groups.drop(g.id)
	s.persist(g.id, nil, func(now time.Time, err error) {
		if err != nil {
			s.restoreLocked(g)
		} else if failed != nil && s.mu.state == shardActive { // offsets are left, which a restart would find too
			s.mu.groups.findOrCreate(g.id, now)
		}
		if failed == nil {
			failed = err
		}
		if reply != nil {
			reply(failed)
		}
	})
}

// restoreLocked brings back an Empty group whose tombstone was not written.
func (s *shard) restoreLocked(g *group) {
	if s.mu.state != shardActive || s.mu.groups.find(g.id) != nil {
		return
	}
	g.state = stateEmpty
	s.mu.groups.adopt(g)
}

// forgetTopicLocked removes the offsets of a topic that was deleted: at once for whoever asks, since another one may have its name by now.
func (s *shard) forgetTopicLocked(topic string) {
	groups := map[string]struct{}{}
	for id, topics := range s.mu.offsets.groups {
		if _, ok := topics[topic]; ok {
			groups[id] = struct{}{}
		}
	}
	for id := range s.mu.pending {
		groups[id] = struct{}{}
	}
	for id := range groups {
		var gone []TopicPartition
		for tp := range s.keysLocked(id, topic) {
			gone = append(gone, tp)
			s.mu.offsets.remove(id, tp)
		}
		s.removeLocked(id, gone, nil)
	}
}

// forgetUnknownLocked removes offsets of topics that do not exist and do not come back: they were deleted, and the broker stopped
// before their offsets were.
func (s *shard) forgetUnknownLocked() {
	for id, topics := range s.mu.offsets.groups {
		for topic := range topics {
			if !s.c.named(topic) && !s.c.kept(topic) {
				s.removeLocked(id, s.mu.offsets.list(id, topic), nil)
			}
		}
	}
}

// expireLocked removes what has not been used for the retention time, and Empty groups without offsets. Source:
// GroupCoordinatorShard.cleanupGroupMetadata, OffsetMetadataManager.cleanupExpiredOffsets,
// ClassicGroup.offsetExpirationCondition. It returns false when there may be more: half of the queue is left to clients.
func (s *shard) expireLocked(now time.Time) (all bool) {
	for id, g := range s.mu.groups.byID {
		if !s.c.queued.fits(s.c.queued.limit / 2) {
			return false
		}
		if s.mu.pending[id] > 0 || len(g.pending) > 0 {
			continue // in use
		}
		gone, all := s.expiredLocked(g, now)
		s.c.expired.Add(uint64(len(gone)))
		if all && g.state == stateEmpty {
			s.c.logger.Info("group expired", "group", id, "offsets", len(gone))
			s.retireLocked(g, gone, nil)
		} else {
			s.removeLocked(id, gone, nil)
		}
	}
	return true
}

// expiredLocked lists the offsets of a group that have expired, and says whether these are all that it has.
func (s *shard) expiredLocked(g *group, now time.Time) (gone []TopicPartition, all bool) {
	all = true
	for topic, partitions := range s.mu.offsets.groups[g.id] {
		if g.subscribed(topic) {
			all = false
			continue
		}
		for id, c := range partitions {
			since, may := g.unusedSince(&c)
			if may && c.expiredAt(now.UnixMilli(), since, s.c.opts.OffsetRetention.Milliseconds()) {
				gone = append(gone, TopicPartition{Topic: topic, Partition: id})
			} else {
				all = false
			}
		}
	}
	return gone, all
}

// unusedSince is from when on (ms) the retention time of an offset counts; false = it does not while the group is as it is.
func (g *group) unusedSince(c *committed) (ms int64, may bool) {
	switch {
	case g.protocolType == "": // simple: nobody joins it
		return c.commitMs, true
	case g.state == stateEmpty && !g.since.IsZero():
		return g.since.UnixMilli(), true
	case g.state == stateEmpty:
		return c.commitMs, true
	case g.consumers() && g.topics != nil && g.state == stateStable:
		return c.commitMs, true
	}
	return 0, false
}

func (c *committed) expiredAt(now, since, retention int64) bool {
	if c.expireMs >= 0 {
		return now >= c.expireMs
	}
	return now-since >= retention
}

// gathering waits for the outcomes of several groups, which come in any order and under any shard's lock.
type gathering struct {
	mu    sync.Mutex
	each  []error
	open  int
	reply func([]error)
}

func newGathering(n int, reply func([]error)) *gathering {
	if n == 0 {
		reply(nil)
	}
	return &gathering{each: make([]error, n), open: n, reply: reply}
}

func (g *gathering) set(i int, err error) {
	g.mu.Lock()
	g.each[i] = err
	g.open--
	last := g.open == 0
	g.mu.Unlock()
	if last {
		g.reply(g.each)
	}
}
