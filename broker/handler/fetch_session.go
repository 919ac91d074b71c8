package handler

// Fetch sessions (KIP-227): the broker remembers what a consumer fetches, so that its next requests name only what changes, and
// answers only what has changed. Source: Kafka FetchSession, FetchSessionCacheShard and FetchContext; here there is one cache
// where Kafka has eight shards, and what the sessions remember is bounded in bytes as well.

import (
	"math"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/protocol/wire"
)

const (
	// sessionEvictionAge is how long a session may be unused, or must have lived, before another may take its place. Source:
	// KafkaBroker.MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS.
	sessionEvictionAge = 2 * time.Minute

	// sessionBytesMax is about how much memory all sessions together may take. Beyond it there are no new sessions, and one that
	// grows is closed: its consumer goes on with full requests, as when the cache has no slot.
	sessionBytesMax = 64 << 20

	// cachedPartitionBytes is about what a partition takes in a session: what is remembered, its place in the map, and the memory
	// of the requests' plan; without the name of its topic.
	cachedPartitionBytes = 352
)

// fetchKey names a partition in a session: by topic id from version 13 on, by name before.
type fetchKey struct {
	id        [16]byte
	topic     string
	partition int32
}

// cachedPartition is what a session remembers of one partition. In the ring of its session.
type cachedPartition struct {
	fetchKey
	next, prev *cachedPartition

	offset   int64 // as last asked for
	bytesMax int64
	epoch    int32
	last     int32

	hw, logStart int64 // as last answered; -1 = not yet, or an error
}

func (c *cachedPartition) bytes() int64 { return cachedPartitionBytes + int64(len(c.topic)) }

// ask takes over what a request wants.
func (c *cachedPartition) ask(p *kmsg.FetchRequestTopicPartition) {
	c.offset, c.bytesMax, c.epoch, c.last = p.FetchOffset, int64(max(p.PartitionMaxBytes, 0)), p.CurrentLeaderEpoch, p.LastFetchedEpoch
}

// answer notes what is about to be answered; false = nothing has changed, and it can be left out.
func (c *cachedPartition) answer(out *wire.FetchPartition) bool {
	must := out.RecordsBytes > 0 || out.PreferredReadReplica != -1 || out.DivergingEpoch != nil ||
		out.HighWatermark != c.hw || out.LogStartOffset != c.logStart
	c.hw, c.logStart = out.HighWatermark, out.LogStartOffset
	if out.ErrorCode != codeNone {
		c.hw = -1 // so that it is answered again when the error has gone
		return true
	}
	return must
}

// fetchSession is one consumer's. Its partitions are kept in the order in which they are read: those that gave records last come
// last, so that all get their turn within the limits of a request.
type fetchSession struct {
	id      int32
	byID    bool // topics are named by id
	created time.Time

	used         time.Time // with the cache's lock, as what follows
	size         int       // partitions, and bytes, as the cache counts them
	bytes        int64
	older, newer *fetchSession // by use

	mu struct {
		sync.Mutex
		epoch int32 // of the next request
		parts map[fetchKey]*cachedPartition
		ring  cachedPartition // head of the ring
		bytes int64
		spare []fetchedPartition // memory of the last request's parts, for the next; nil while one is under way
	}
}

func newFetchSession(byID bool, now time.Time) *fetchSession {
	s := &fetchSession{byID: byID, created: now, used: now}
	s.mu.parts = map[fetchKey]*cachedPartition{}
	s.mu.ring.next, s.mu.ring.prev = &s.mu.ring, &s.mu.ring
	s.mu.epoch = 1
	return s
}

// add returns the partition of that name, new or not.
func (s *fetchSession) addLocked(key fetchKey) *cachedPartition {
	if c, ok := s.mu.parts[key]; ok {
		return c
	}
	c := &cachedPartition{fetchKey: key, hw: -1, logStart: -1}
	s.mu.parts[key] = c
	s.linkLocked(c)
	s.mu.bytes += c.bytes()
	return c
}

func (s *fetchSession) linkLocked(c *cachedPartition) {
	last := s.mu.ring.prev
	c.prev, c.next = last, &s.mu.ring
	last.next, s.mu.ring.prev = c, c
}

func unlink(c *cachedPartition) { c.prev.next, c.next.prev = c.next, c.prev }

func (s *fetchSession) forgetLocked(key fetchKey) {
	if c, ok := s.mu.parts[key]; ok {
		delete(s.mu.parts, key)
		unlink(c)
		s.mu.bytes -= c.bytes()
	}
}

// updateLocked takes in what a request names and what it forgets.
func (s *fetchSession) updateLocked(req *kmsg.FetchRequest) {
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			s.addLocked(s.key(t.Topic, t.TopicID, t.Partitions[j].Partition)).ask(&t.Partitions[j])
		}
	}
	for i := range req.ForgottenTopics {
		t := &req.ForgottenTopics[i]
		for _, partition := range t.Partitions {
			s.forgetLocked(s.key(t.Topic, t.TopicID, partition))
		}
	}
}

func (s *fetchSession) key(topic string, id [16]byte, partition int32) fetchKey {
	if s.byID {
		return fetchKey{id: id, partition: partition}
	}
	return fetchKey{topic: topic, partition: partition}
}

// nextSessionEpoch follows epoch in a session: 1, 2, ..., and 1 again behind the largest. Source: FetchMetadata.nextEpoch.
func nextSessionEpoch(epoch int32) int32 {
	if epoch == math.MaxInt32 {
		return 1
	}
	return epoch + 1
}

// sessionCache holds the sessions of this broker. Safe for concurrent use. Lock order: the cache's, then a session's.
type sessionCache struct {
	slots int
	now   func() time.Time
	newID func() int32 // random

	mu struct {
		sync.Mutex
		sessions map[int32]*fetchSession
		uses     fetchSession // head of the ring by use, oldest first
		bytes    int64
	}
}

func newSessionCache(slots int, now func() time.Time, newID func() int32) *sessionCache {
	c := &sessionCache{slots: slots, now: now, newID: newID}
	c.mu.sessions = map[int32]*fetchSession{}
	c.mu.uses.older, c.mu.uses.newer = &c.mu.uses, &c.mu.uses
	return c
}

// close ends the session of that id, if there is one.
func (c *sessionCache) close(id int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.mu.sessions[id]; s != nil {
		c.removeLocked(s)
	}
}

// resume finds the session that a request goes on with and takes in what the request changes. code says why there is none; with
// no session and no code, nothing is left in it and it is closed: the request is answered without one. The session's epoch is
// then that of its next request.
func (c *sessionCache) resume(version int16, req *kmsg.FetchRequest) (s *fetchSession, code int16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s = c.mu.sessions[req.SessionID]
	if s == nil {
		return nil, codeFetchSessionIDNotFound
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.mu.epoch != req.SessionEpoch:
		return nil, codeInvalidFetchSessionEpoch
	case s.byID != (version >= fetchVersionTopicID):
		return nil, codeFetchSessionTopicID
	}
	s.updateLocked(req)
	if len(s.mu.parts) == 0 {
		c.removeLocked(s)
		return nil, codeNone
	}
	c.touchLocked(s)
	if c.mu.bytes > sessionBytesMax {
		c.removeLocked(s)
		return nil, codeFetchSessionIDNotFound // the client then sends all of it again, and gets no session
	}
	s.mu.epoch = nextSessionEpoch(s.mu.epoch)
	return s, codeNone
}

// open takes in a new session and gives it its id; 0 = there is no room for it.
func (c *sessionCache) open(s *fetchSession) int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.mu.Lock()
	size, bytes := len(s.mu.parts), s.mu.bytes
	s.mu.Unlock()
	if c.slots == 0 || c.mu.bytes+bytes > sessionBytesMax || len(c.mu.sessions) >= c.slots && !c.evictLocked(size) {
		return 0
	}
	for s.id == 0 || c.mu.sessions[s.id] != nil {
		s.id = c.newID() & math.MaxInt32
	}
	c.mu.sessions[s.id] = s
	s.older, s.newer = c.mu.uses.older, &c.mu.uses
	s.older.newer, s.newer.older = s, s
	s.size, s.bytes = size, bytes
	c.mu.bytes += bytes
	return s.id
}

// evictLocked makes room for a session of so many partitions: in the place of the one that was not used for longest, if that is
// long enough, or of the smallest that has lived long enough, if it is smaller.
func (c *sessionCache) evictLocked(size int) bool {
	now := c.now()
	oldest := c.mu.uses.newer
	if oldest == &c.mu.uses {
		return false
	}
	if now.Sub(oldest.used) > sessionEvictionAge {
		c.removeLocked(oldest)
		return true
	}
	var smallest *fetchSession
	for _, s := range c.mu.sessions {
		if now.Sub(s.created) <= sessionEvictionAge {
			continue
		}
		if smallest == nil || s.size < smallest.size || s.size == smallest.size && s.id < smallest.id {
			smallest = s
		}
	}
	if smallest == nil || size <= smallest.size {
		return false
	}
	c.removeLocked(smallest)
	return true
}

func (c *sessionCache) removeLocked(s *fetchSession) {
	delete(c.mu.sessions, s.id)
	s.older.newer, s.newer.older = s.newer, s.older
	c.mu.bytes -= s.bytes
}

// touchLocked makes s the one used last; s is locked.
func (c *sessionCache) touchLocked(s *fetchSession) {
	s.older.newer, s.newer.older = s.newer, s.older
	s.older, s.newer = c.mu.uses.older, &c.mu.uses
	s.older.newer, s.newer.older = s, s
	s.used = c.now()
	c.mu.bytes += s.mu.bytes - s.bytes
	s.size, s.bytes = len(s.mu.parts), s.mu.bytes
}
