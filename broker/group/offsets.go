package group

import (
	"errors"
	"slices"
	"time"
	"unicode/utf16"

	"github.com/google/uuid"
)

// What requests about offsets are refused for, besides the errors of groups.
var (
	// ErrMetadataTooLarge: the metadata of an offset is larger than offset.metadata.max.bytes. OFFSET_METADATA_TOO_LARGE.
	ErrMetadataTooLarge = errors.New("group: offset metadata too large")
	// ErrCommitTooLarge: the records do not fit into one batch. INVALID_COMMIT_OFFSET_SIZE.
	ErrCommitTooLarge = errors.New("group: commit too large")
	// ErrSubscribedToTopic: members of the group consume the topic. GROUP_SUBSCRIBED_TO_TOPIC.
	ErrSubscribedToTopic = errors.New("group: subscribed to the topic")
	// ErrUnknownTopic: the topic was deleted while the request came in. UNKNOWN_TOPIC_OR_PARTITION.
	ErrUnknownTopic = errors.New("group: unknown topic")
)

// TopicPartition names a partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// Commit is one offset to commit.
type Commit struct {
	TopicPartition
	TopicID     uuid.UUID // of the topic by that name now
	Offset      int64
	LeaderEpoch int32 // -1 = unknown
	Metadata    string
}

// CommitRequest is an OffsetCommit. Its strings are the callee's.
type CommitRequest struct {
	GroupID     string // "" is allowed, as in Kafka
	MemberID    string
	InstanceID  *string
	Generation  int32 // -1 = not of a member
	RetentionMs int64 // versions 2 to 4; -1 = the broker's
	Offsets     []Commit
}

// Committed is a committed offset. Offset -1 = there is none.
type Committed struct {
	TopicPartition
	Offset      int64
	LeaderEpoch int32 // -1 = unknown
	Metadata    string
}

// Commit commits offsets. reply is called once, now or when the log has them; it must not block. each tells of the offsets in
// their order: nil, ErrMetadataTooLarge, ErrUnknownTopic (deleted meanwhile). err is why none was committed: ErrGroupIDNotFound
// when a member commits to a group that does not exist (Kafka answers ILLEGAL_GENERATION to versions below 9), those of
// validation, of a coordinator, and ErrCommitTooLarge. Source: OffsetMetadataManager.commitOffset.
func (c *Coordinator) Commit(r CommitRequest, reply func(each []error, err error)) {
	if err := c.shard(r.GroupID, func(s *shard, now time.Time) { s.commitLocked(&r, now, reply) }); err != nil {
		reply(nil, err)
	}
}

func (s *shard) commitLocked(r *CommitRequest, now time.Time, reply func(each []error, err error)) {
	g, known := s.mu.groups.byID[r.GroupID]
	switch {
	case known:
		if err := g.validateCommit(r.MemberID, r.InstanceID, r.Generation); err != nil {
			reply(nil, err)
			return
		}
		s.mu.groups.touch(g, r.MemberID, now)
	case r.Generation >= 0:
		reply(nil, ErrGroupIDNotFound)
		return
	}
	if s.full() {
		reply(nil, ErrCoordinatorNotAvailable)
		return
	}
	each, e, err := s.commitEntry(r, now)
	if err != nil || e == nil {
		reply(each, err)
		return
	}
	if !known { // a simple group: nobody has joined it
		g = s.mu.groups.findOrCreate(r.GroupID, now)
	}
	e.done = func(_ time.Time, err error) {
		if err != nil {
			s.dropUnusedLocked(g)
			reply(nil, err)
			return
		}
		for i := range e.commits {
			s.mu.offsets.put(r.GroupID, e.commits[i].TopicPartition, newCommitted(r, &e.commits[i], now))
		}
		s.c.commits.Add(uint64(len(e.commits)))
		reply(each, nil)
	}
	s.enqueueLocked(e)
}

// commitEntry is the records of a commit, nil when nothing of it is valid. What does not fit into a batch is refused as soon as that
// shows: the records of a large request take many times its bytes.
func (s *shard) commitEntry(r *CommitRequest, now time.Time) (each []error, e *entry, err error) {
	each = make([]error, len(r.Offsets))
	e = &entry{group: r.GroupID}
	for i := range r.Offsets {
		o := &r.Offsets[i]
		if utf16Len(o.Metadata) > max(s.c.opts.MetadataMax, 0) || len(o.Metadata) > stringMax {
			each[i] = ErrMetadataTooLarge
			continue
		}
		if o.TopicID != noTopic && !s.c.topicExists(o.TopicID) {
			each[i] = ErrUnknownTopic
			continue
		}
		value := newCommitted(r, o, now)
		kv, err := offsetRecord(r.GroupID, o.TopicPartition, &value)
		if err != nil {
			return nil, nil, err
		}
		e.records, e.commits = append(e.records, kv), append(e.commits, *o)
		if e.bytes += kv.size(); e.bytes > s.batchLimit() {
			return nil, nil, s.tooLarge()
		}
	}
	if len(e.records) == 0 {
		return each, nil, nil
	}
	return each, e, nil
}

// utf16Len is the length of s as Java counts it.
func utf16Len(s string) int {
	n := 0
	for _, r := range s {
		n += max(utf16.RuneLen(r), 1)
	}
	return n
}

// dropUnusedLocked forgets a group that was made for a commit which failed, unless it is in use by now.
func (s *shard) dropUnusedLocked(g *group) {
	if g.state != stateEmpty || g.protocolType != "" || len(g.pending) > 0 || g.generation&generationMask != 0 {
		return
	}
	if s.mu.groups.find(g.id) == g && s.mu.pending[g.id] == 0 && len(s.mu.offsets.groups[g.id]) == 0 {
		s.mu.groups.drop(g.id)
	}
}

// Fetch returns what is committed for want, in its order; nil = all of the group, in no order. A group that does not exist has no
// offsets, and nobody has any of a topic that was deleted, though they are kept while it may come back. Errors: those of a coordinator.
func (c *Coordinator) Fetch(groupID string, want []TopicPartition) ([]Committed, error) {
	var out []Committed
	err := c.shard(groupID, func(s *shard, _ time.Time) {
		list := want
		if list == nil {
			list = slices.DeleteFunc(s.mu.offsets.list(groupID, ""), func(tp TopicPartition) bool { return !s.c.named(tp.Topic) })
		}
		out = make([]Committed, len(list))
		for i, tp := range list {
			out[i] = Committed{TopicPartition: tp, Offset: -1, LeaderEpoch: -1}
			if c, ok := s.mu.offsets.get(groupID, tp); ok && s.c.named(tp.Topic) {
				out[i].Offset, out[i].LeaderEpoch, out[i].Metadata = c.offset, c.leaderEpoch, c.metadata
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteOffsets forgets offsets. reply is called once, now or when the log has it; it must not block. each is nil or
// ErrSubscribedToTopic, in the order of list; err is why nothing was done: ErrInvalidGroupID, ErrGroupIDNotFound,
// ErrNonEmptyGroup, those of a coordinator. Source: OffsetMetadataManager.deleteOffsets.
func (c *Coordinator) DeleteOffsets(groupID string, list []TopicPartition, reply func(each []error, err error)) {
	if groupID == "" {
		reply(nil, ErrInvalidGroupID)
		return
	}
	err := c.shard(groupID, func(s *shard, _ time.Time) { s.deleteOffsetsLocked(groupID, list, reply) })
	if err != nil {
		reply(nil, err)
	}
}

func (s *shard) deleteOffsetsLocked(groupID string, list []TopicPartition, reply func(each []error, err error)) {
	g := s.mu.groups.find(groupID)
	switch {
	case g == nil || g.state == stateDead:
		reply(nil, ErrGroupIDNotFound)
		return
	case g.state != stateEmpty && !g.consumers():
		reply(nil, ErrNonEmptyGroup)
		return
	case s.full():
		reply(nil, ErrCoordinatorNotAvailable)
		return
	}
	each := make([]error, len(list))
	known := s.keysLocked(groupID, "")
	var gone []TopicPartition
	for i, tp := range list {
		if g.subscribed(tp.Topic) {
			each[i] = ErrSubscribedToTopic
		} else if _, ok := known[tp]; ok {
			gone = append(gone, tp)
			delete(known, tp) // named twice
		}
	}
	if len(gone) == 0 {
		reply(each, nil)
		return
	}
	s.removeLocked(groupID, gone, func(err error) {
		if err != nil {
			reply(nil, err)
			return
		}
		reply(each, nil)
	})
}

// DeleteGroups deletes groups and their offsets. reply is called once, now or when the log has it; it must not block. each is, in
// the order of ids, nil, ErrGroupIDNotFound, ErrNonEmptyGroup, or an error of a coordinator.
func (c *Coordinator) DeleteGroups(ids []string, reply func(each []error)) {
	all := newGathering(len(ids), reply)
	for i, id := range ids {
		done := func(err error) { all.set(i, err) }
		if err := c.shard(id, func(s *shard, _ time.Time) { s.deleteGroupLocked(id, done) }); err != nil {
			done(err)
		}
	}
}

// deleteGroupLocked deletes an Empty group. It is gone at once, so that a member that comes now makes a new one, and comes back
// when its tombstone cannot be written.
func (s *shard) deleteGroupLocked(id string, reply func(error)) {
	g := s.mu.groups.find(id)
	if g == nil {
		reply(ErrGroupIDNotFound)
		return
	}
	if err := g.deletable(); err != nil {
		reply(err)
		return
	}
	if s.full() {
		reply(ErrCoordinatorNotAvailable)
		return
	}
	var gone []TopicPartition
	for tp := range s.keysLocked(id, "") {
		gone = append(gone, tp)
	}
	s.retireLocked(g, gone, reply)
}
