package archive

import (
	"fmt"
	"path"

	"github.com/tandembroker/tandem/storage/entry"
)

// Seal settles what is staged of a partition: it counts from now on if it was staged under logCut, the newest truncate-to of the
// partition's log; otherwise its records were never cut, and it is removed. Durable on return, also where nothing is staged; it may
// be called again at any time. Errors: ErrBusy, I/O; then nobody can say which of the two it is, until a call that succeeds.
func (a *Archives) Seal(p Partition, logCut entry.Cut) error {
	if err := a.begin(p); err != nil {
		return err
	}
	defer a.end(p)
	return a.settle(p, logCut)
}

func (a *Archives) settle(p Partition, logCut entry.Cut) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.loadLocked(); err != nil {
		return err
	}
	for len(a.mu.staged[p.key()]) > 0 {
		ids := a.mu.staged[p.key()]
		if err := a.settleLocked(ids[0], logCut); err != nil {
			return err
		}
		if a.mu.staged[p.key()] = ids[1:]; len(ids) == 1 {
			delete(a.mu.staged, p.key())
		}
	}
	return nil
}

func (a *Archives) settleLocked(id string, logCut entry.Cut) error {
	n, _ := parseIdentity(id)
	log := a.opts.Logger.With("archive", id, "cut", n.cut, "log_cut", logCut)
	if n.cut != logCut {
		if err := a.discardLocked(id+suffixStaged, id); err != nil {
			return err
		}
		log.Info("archive removed: its records were never cut")
		return nil
	}
	if err := a.renameLocked(id+suffixStaged, id); err != nil {
		return err
	}
	bytes, err := a.sizeOf(id)
	if err != nil {
		a.mu.known = false
		return fmt.Errorf("archive: %s: %w", id, err)
	}
	a.mu.sealed[id] = bytes
	log.Warn("lost records archived", "bytes", bytes)
	return nil
}

// renameLocked gives a folder another name, durably. After a failure the folder is read again by whoever comes next.
func (a *Archives) renameLocked(from, to string) error {
	a.mu.known = false
	err := a.fs.Rename(path.Join(a.root, from), path.Join(a.root, to))
	if err == nil {
		err = a.fs.SyncDir(a.root)
	}
	if err != nil {
		return fmt.Errorf("archive: rename %s to %s: %w", from, to, err)
	}
	a.mu.known = true
	return nil
}

// discardLocked removes the folder name of the archive id. It is renamed first: a crash must not leave a part of it that counts.
func (a *Archives) discardLocked(name, id string) error {
	gone := id + suffixUnfinished
	if err := a.fs.RemoveAll(path.Join(a.root, gone)); err != nil {
		return fmt.Errorf("archive: remove %s: %w", gone, err)
	}
	if err := a.renameLocked(name, gone); err != nil {
		return err
	}
	if err := a.fs.RemoveAll(path.Join(a.root, gone)); err != nil { // the next start tries again
		a.opts.Logger.Warn("a removed archive still takes space", "archive", id, "err", err)
	}
	return nil
}
