package partition

import (
	"errors"
	"fmt"

	"github.com/tandembroker/tandem/replication/raft"
	"github.com/tandembroker/tandem/storage"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
)

// Each error is one answer that a client expects; the Kafka code is in its comment. Test with errors.Is.
var (
	// ErrNotLeader: this broker does not lead the partition, or not yet, or no longer. A batch in flight may still be
	// written. NOT_LEADER_OR_FOLLOWER.
	ErrNotLeader = errors.New("partition: not the leader")
	// ErrFencedEpoch: the client knows an older leader epoch. FENCED_LEADER_EPOCH.
	ErrFencedEpoch = errors.New("partition: leader epoch of the request is older")
	// ErrUnknownEpoch: the client knows a newer leader epoch. UNKNOWN_LEADER_EPOCH.
	ErrUnknownEpoch = errors.New("partition: leader epoch of the request is newer")
	// ErrOffsetOutOfRange: below the log start offset or above the log end offset. OFFSET_OUT_OF_RANGE.
	ErrOffsetOutOfRange = errors.New("partition: offset out of range")
	// ErrOffsetNotAvailable: a new leader does not know the high watermark yet. OFFSET_NOT_AVAILABLE.
	ErrOffsetNotAvailable = errors.New("partition: offset not available yet")
	// ErrOutOfOrderSequence: a sequence number was skipped, or is older than what is remembered.
	// OUT_OF_ORDER_SEQUENCE_NUMBER.
	ErrOutOfOrderSequence = errors.New("partition: out of order sequence number")
	// ErrProducerFenced: a newer epoch of this producer id has written. INVALID_PRODUCER_EPOCH.
	ErrProducerFenced = errors.New("partition: producer epoch is older")
	// ErrPolicy: cleanup.policy does not have delete. POLICY_VIOLATION.
	ErrPolicy = errors.New("partition: cleanup.policy does not allow it")
	// ErrStorage: the partition's data can not be used; the text says why. KAFKA_STORAGE_ERROR.
	ErrStorage = errors.New("partition: storage error")
	// ErrNoSpace: free space is below the reserve; writes resume by themselves. KAFKA_STORAGE_ERROR.
	ErrNoSpace = errors.New("partition: no space")
	// ErrRetriable: the batch was not written and will not be; a retry may succeed. NOT_ENOUGH_REPLICAS.
	ErrRetriable = errors.New("partition: not written, try again")
	// ErrExists and ErrUnknown: a partition by that name or topic id exists, or does not.
	ErrExists  = errors.New("partition: exists")
	ErrUnknown = errors.New("partition: unknown")
)

// translate gives errors of the rooms below their place in the list above.
func translate(err error) error {
	var void *raft.VoidError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &void) && (void.Reason == entry.VoidRole || void.Reason == entry.VoidSiteEpoch || void.Reason == entry.VoidFenced):
		return fmt.Errorf("%w: %w", ErrNotLeader, err) // the other site's to write by now, or soon
	case errors.Is(err, raft.ErrVoid):
		return fmt.Errorf("%w: %w", ErrRetriable, err)
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrClosed):
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	case errors.Is(err, storage.ErrNoSpace):
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	case errors.Is(err, log.ErrOffsetOutOfRange):
		return fmt.Errorf("%w: %w", ErrOffsetOutOfRange, err)
	case errors.Is(err, log.ErrClosed):
		return fmt.Errorf("%w: %w", ErrNotLeader, err) // deleted, or the broker stops
	}
	return fmt.Errorf("%w: %w", ErrStorage, err)
}
