package archive

import (
	"errors"

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

// HasWhole says whether there is a sealed archive, under whatever site epoch, of a partition's log as a whole. Errors: I/O.
func (a *Archives) HasWhole(p Partition, incarnation uint32) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.loadLocked(); err != nil {
		return false, err
	}
	return len(a.wholesLocked(p, incarnation)) > 0, nil
}

func (a *Archives) wholesLocked(p Partition, incarnation uint32) (ids []string) {
	for id := range a.mu.sealed {
		if n, ok := parseIdentity(id); ok && n.key == p.key() && n.cut.Offset == wholeBase+int64(incarnation) {
			ids = append(ids, id)
		}
	}
	return ids
}

// Withdraw removes the archives of a log as a whole: the log is in use again, and what it holds is not lost. Durable on return.
// Errors: ErrBusy, I/O.
func (a *Archives) Withdraw(p Partition, incarnation uint32) error {
	a.mu.Lock()
	if err := a.loadLocked(); err != nil {
		a.mu.Unlock()
		return err
	}
	ids := a.wholesLocked(p, incarnation)
	a.mu.Unlock()
	for _, id := range ids {
		if err := a.Remove(id); err != nil && !errors.Is(err, ErrUnknown) {
			return err
		}
	}
	return nil
}
