package group

import (
	"errors"
	"fmt"

	"github.com/tandembroker/tandem/broker/partition"
	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/replication/raft"
	logentry "github.com/tandembroker/tandem/storage/entry"
)

// partitionLog is a partition of __consumer_offsets as a shard sees it.
type partitionLog interface {
	// serving is the leader epoch under which this broker leads the partition. Each leadership has another.
	serving() (epoch int32, ok bool)
	// led says whether another broker may be asked: somebody is known to lead.
	led() bool
	// bytesMax is the largest batch that it takes.
	bytesMax() int
	// bounds are log start offset and high watermark.
	bounds() (start, end int64)
	// read returns committed batches from the one with offset on, or the next; none at the end. The bytes are the caller's.
	read(offset int64, epoch int32) ([]byte, error)
	// append writes a batch, which is its own from then on, in the leadership with this epoch and no other; done is closed when
	// result says what became of it.
	append(b record.Batch, epoch int32) (done <-chan struct{}, result func() error)
	subscribe(ch chan<- struct{}) (cancel func())
}

// readBytes is how much of the log is read at once.
const readBytes = 1 << 20

type realLog struct {
	p      *partition.Partition
	serves *func(siteEpoch uint32) bool // of the Options; a pointer, so that logs can be compared
}

func (l realLog) serving() (int32, bool) {
	epoch := l.p.Epoch()
	return epoch, l.p.Ready() && l.p.Offline() == nil && (*l.serves)(logentry.SiteEpochOf(epoch))
}

// led is false too where this broker leads a log that its site does not serve yet: nobody tells when it does.
func (l realLog) led() bool { return l.p.Leader() >= 0 && !l.p.Ready() }

func (l realLog) bytesMax() int { return int(l.p.Config().MessageBytesMax) }

func (l realLog) bounds() (start, end int64) {
	start, end, _, _ = l.p.Offsets()
	return start, end
}

func (l realLog) read(offset int64, epoch int32) ([]byte, error) {
	r, err := l.p.Read(offset, readBytes, partition.ReadUncommitted, epoch, true)
	if err != nil {
		return nil, err
	}
	if r.Extent == nil {
		return nil, nil
	}
	defer r.Extent.Release()
	return r.Extent.ReadAll()
}

func (l realLog) append(b record.Batch, epoch int32) (done <-chan struct{}, result func() error) {
	a := l.p.AppendIn(epoch, b, func() {})
	return a.Done(), func() error {
		_, err := a.Result()
		return err
	}
}

func (l realLog) subscribe(ch chan<- struct{}) func() { return l.p.Subscribe(ch) }

// appendError is what a client gets when an append failed. Source: CoordinatorOperationExceptionHelper.handleOperationException.
func appendError(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrCommitTooLarge):
		return err
	case errors.Is(err, partition.ErrRetriable):
		return fmt.Errorf("%w: %w", ErrCoordinatorNotAvailable, err)
	}
	return fmt.Errorf("%w: %w", ErrNotCoordinator, err)
}

// certain says whether a failed append has surely written nothing, and never will. A log that is fenced for the other site refuses all of them, for as
// long as a switchover takes: what was read of it stays right.
func certain(err error) bool {
	return errors.Is(err, ErrCommitTooLarge) || errors.Is(err, partition.ErrRetriable) || errors.Is(err, partition.ErrNoSpace) || errors.Is(err, raft.ErrVoid)
}
