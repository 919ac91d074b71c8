package archive

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path"

	"github.com/tandembroker/tandem/storage/entry"
)

// Tail is the end of a log that is about to be cut. The log takes nothing while it is copied.
type Tail struct {
	Partition Partition
	Cut       entry.Cut // the truncate-to that will follow, or Whole
	From      int64     // with Whole: the first offset that is archived
	LogCut    entry.Cut // the newest one in the log
	End       int64     // log end offset: a copy that does not reach it fails
	Reason    string    // for people

	// Read returns whole batches, the first of which is the first in the log that ends at or above offset; it is called until End is
	// reached. The bytes are borrowed until the next call.
	Read func(ctx context.Context, offset int64) ([]byte, error)
}

// Stage copies the tail of a log into an archive that does not count yet: that is for Seal to say, once the log holds the cut. What was
// staged before of the partition is settled first, as in Seal with t.LogCut. Durable on return. Each batch is checked. After an error
// (a disk that fills, too) nothing new is staged, or it is settled as something that was; calling again begins anew.
// Errors: ErrInvalid, ErrNoSpace, ErrBusy, of Read, of ctx, I/O.
func (a *Archives) Stage(ctx context.Context, t Tail) (Archive, error) {
	if err := t.check(); err != nil {
		return Archive{}, err
	}
	if err := a.begin(t.Partition); err != nil {
		return Archive{}, err
	}
	defer a.end(t.Partition)
	if err := a.settle(t.Partition, t.LogCut); err != nil {
		return Archive{}, err
	}
	id := identify(t.Partition, t.Cut).String()
	if a.has(id) {
		return Archive{}, fmt.Errorf("%w: %s is there already", ErrInvalid, id)
	}
	staged, err := a.copy(ctx, &t, id)
	if err == nil {
		err = a.stage(id, t.Partition)
	}
	if err != nil {
		return Archive{}, a.giveUp(id, err)
	}
	a.opts.Logger.Info("tail of a log staged to be archived", "archive", id, "from", staged.FirstOffset, "to", staged.LastOffset,
		"records", staged.Records, "bytes", staged.Bytes)
	return staged, nil
}

// from is the first offset that is archived.
func (t *Tail) from() int64 {
	if isWhole(t.Cut) {
		return t.From
	}
	return t.Cut.Offset
}

// check refuses what could never be settled rightly.
func (t *Tail) check() error {
	if err := t.Partition.check(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	switch {
	case t.Cut == t.LogCut:
		return fmt.Errorf("%w: %s was cut at %+v already", ErrInvalid, t.Partition, t.Cut)
	case t.from() < 0 || t.End <= t.from():
		return fmt.Errorf("%w: cut of %s at %d, its log ends at %d", ErrInvalid, t.Partition, t.from(), t.End)
	}
	return nil
}

// copy makes the unfinished archive id: all in it is synced, its own name is not.
func (a *Archives) copy(ctx context.Context, t *Tail, id string) (Archive, error) {
	dir := path.Join(a.root, id+suffixUnfinished)
	if err := a.makeRoot(); err != nil {
		return Archive{}, err
	}
	if err := a.fs.RemoveAll(dir); err != nil {
		return Archive{}, fmt.Errorf("archive: remove %s: %w", dir, err)
	}
	if err := a.fs.MkdirAll(dir, dirPerm); err != nil {
		return Archive{}, fmt.Errorf("archive: %w", err)
	}
	c := newCopier(a, t, dir)
	err := c.run(ctx)
	if closeErr := c.close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return Archive{}, err
	}
	described := c.out
	described.ID, described.Partition, described.Cut, described.Reason = id, t.Partition, t.Cut, t.Reason
	described.Archived = a.opts.Now().UTC()
	document, err := described.encode()
	if err != nil {
		return Archive{}, fmt.Errorf("archive: document of %s: %w", id, err)
	}
	if err := writeFile(a.fs, path.Join(dir, documentName), document); err != nil {
		return Archive{}, fmt.Errorf("archive: write %s: %w", path.Join(dir, documentName), err)
	}
	if err := a.fs.SyncDir(dir); err != nil {
		return Archive{}, fmt.Errorf("archive: sync %s: %w", dir, err)
	}
	return described, nil
}

// makeRoot makes the folder of all archives, durably.
func (a *Archives) makeRoot() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.made {
		return nil
	}
	if err := a.fs.MkdirAll(a.root, dirPerm); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	if err := a.fs.SyncDir(path.Dir(a.root)); err != nil {
		return fmt.Errorf("archive: sync %s: %w", path.Dir(a.root), err)
	}
	a.mu.made = true
	return nil
}

// stage gives a whole copy the name by which it is settled.
func (a *Archives) stage(id string, p Partition) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.loadLocked(); err != nil { // another partition's call may have failed meanwhile
		return err
	}
	if err := a.renameLocked(id+suffixUnfinished, id+suffixStaged); err != nil {
		return err
	}
	a.mu.staged[p.key()] = append(a.mu.staged[p.key()], id)
	return nil
}

// giveUp frees the space of a copy that failed with err.
func (a *Archives) giveUp(id string, err error) error {
	if isFull(err) {
		err = fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	if removed := a.fs.RemoveAll(path.Join(a.root, id+suffixUnfinished)); removed != nil {
		return errors.Join(err, fmt.Errorf("archive: remove %s: %w", id, removed)) // the next start tries again
	}
	return err
}

// spaceFor refuses a copy that would leave less than the reserve free.
func (a *Archives) spaceFor(bytes int64) error {
	free, err := a.fs.Free(a.root)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	if left := int64(min(free, math.MaxInt64)) - bytes; left < a.opts.ReserveBytes {
		return fmt.Errorf("%w: %d bytes are free in %s, %d of them reserved", ErrNoSpace, free, a.root, a.opts.ReserveBytes)
	}
	return nil
}
