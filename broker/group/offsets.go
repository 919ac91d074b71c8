package group

import (
	"errors"

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
// their order (nil, ErrMetadataTooLarge, or err again); err is why none was committed: ErrGroupIDNotFound when a member commits
// to a group that does not exist (Kafka answers ILLEGAL_GENERATION to versions below 9), those of validation, of a coordinator,
// and ErrCommitTooLarge.
func (c *Coordinator) Commit(r CommitRequest, reply func(each []error, err error)) {
	reply(nil, ErrCoordinatorNotAvailable)
}

// Fetch returns what is committed for want, in its order; nil = all of the group, in no order. A group that does not exist has no
// offsets. Errors: those of a coordinator.
func (c *Coordinator) Fetch(groupID string, want []TopicPartition) ([]Committed, error) {
	return nil, ErrCoordinatorNotAvailable
}

// DeleteOffsets forgets offsets. reply is called once, now or when the log has it; it must not block. each is nil or
// ErrSubscribedToTopic, in the order of list; err is why nothing was done: ErrInvalidGroupID, ErrGroupIDNotFound,
// ErrNonEmptyGroup, those of a coordinator.
func (c *Coordinator) DeleteOffsets(groupID string, list []TopicPartition, reply func(each []error, err error)) {
	reply(nil, ErrCoordinatorNotAvailable)
}

// DeleteGroups deletes groups and their offsets. reply is called once, now or when the log has it; it must not block. each is, in
// the order of ids, nil, ErrGroupIDNotFound, ErrNonEmptyGroup, or an error of a coordinator.
func (c *Coordinator) DeleteGroups(ids []string, reply func(each []error)) {
	each := make([]error, len(ids))
	for i := range each {
		each[i] = ErrCoordinatorNotAvailable
	}
	reply(each)
}
