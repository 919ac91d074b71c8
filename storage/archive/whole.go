package archive

import (
	"context"
	"math"
	"slices"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/storage/entry"
)

// A log that goes as a whole, because its topic was the losing site's alone or because it is copied anew, has no truncate-to that an archive of
// it could be named by. The metadata says that it goes; its archive has the incarnation of the log instead of an offset.

// wholeBase is above every offset that a log can have.
const wholeBase = int64(1) << 62

// Whole names the archive of what a log of this incarnation held, which goes as a whole under siteEpoch.
func Whole(siteEpoch, incarnation uint32) entry.Cut {
	return entry.Cut{SiteEpoch: siteEpoch, Offset: wholeBase + int64(incarnation)}
}

func isWhole(cut entry.Cut) bool { return cut.Offset >= wholeBase }

// Wholes describes the sealed archives, under whatever site epoch, of a partition's log as a whole, in no order. There may be some of an earlier
// log of the same incarnation, which is gone: what is in these is nowhere else. Errors: I/O.
func (a *Archives) Wholes(p Partition, incarnation uint32) (list []Archive, err error) {
	ids, err := a.wholes(p, incarnation)
	if err != nil {
		return nil, err
	}
	return a.describeAll(context.Background(), ids)
}

func (a *Archives) wholes(p Partition, incarnation uint32) (ids []string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.loadLocked(); err != nil {
		return nil, err
	}
	for id := range a.mu.sealed {
		if n, ok := parseIdentity(id); ok && n.key == p.key() && n.cut.Offset == wholeBase+int64(incarnation) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// WholeLog names a log of which there is a sealed archive as a whole.
type WholeLog struct {
	TopicID     uuid.UUID
	Index       int32
	Incarnation uint32
}

// WholeLogs lists the logs of which there are sealed archives as a whole, in no order. It asks the disk only after a failure.
func (a *Archives) WholeLogs() (list []WholeLog, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.loadLocked(); err != nil {
		return nil, err
	}
	for id := range a.mu.sealed {
		if n, ok := parseIdentity(id); ok && isWhole(n.cut) && n.cut.Offset-wholeBase <= math.MaxUint32 {
			list = append(list, WholeLog{n.key.topic, n.key.index, uint32(n.cut.Offset - wholeBase)})
		}
	}
	return list, nil
}

// Confirm seals what is staged of a log that went as a whole: cut is Whole. What else is staged of the partition stays. Durable on return.
// Errors: ErrBusy, I/O.
func (a *Archives) Confirm(p Partition, cut entry.Cut) error {
	if err := a.begin(p); err != nil {
		return err
	}
	defer a.end(p)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.loadLocked(); err != nil {
		return err
	}
	ids := a.mu.staged[p.key()]
	for i, id := range ids {
		if n, _ := parseIdentity(id); n.cut != cut {
			continue
		}
		if err := a.settleLocked(id, cut); err != nil {
			return err
		}
		a.mu.staged[p.key()] = slices.Delete(slices.Clone(ids), i, i+1)
		return nil
	}
	return nil
}
