package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// TruncateFront unlinks the files whose records are all below keep, and syncs the folder. The file being written to stays. The
// caller has made keep durable as FirstKept before: unlinks reorder at power loss. The library is not asked: it keeps nothing
// of older files but their names, and forgets those at the next roll. A file with damage is renamed to NAME.damaged instead.
// Errors: ErrClosed, else the journal has failed.
func (j *Journal) TruncateFront(keep uint64) error {
	j.files.truncating.Lock()
	defer j.files.truncating.Unlock()
	j.mu.Lock()
	err := j.unusableLocked()
	j.mu.Unlock()
	if err != nil {
		return err
	}
	removed := 0
	for {
		f, ok := j.leading(keep)
		if !ok {
			break
		}
		if err := j.remove(f); err != nil {
			return j.fail(err)
		}
		j.files.Lock()
		j.files.list = j.files.list[1:]
		j.files.Unlock()
		removed++
	}
	if removed == 0 {
		return nil
	}
	if err := j.syncDir(); err != nil {
		return j.fail(err)
	}
	return nil
}

// leading is the first file, where all its records are below keep.
func (j *Journal) leading(keep uint64) (file, bool) {
	j.files.Lock()
	defer j.files.Unlock()
	if l := j.files.list; len(l) > 1 && l[1].first <= keep {
		return l[0], true
	}
	return file{}, false
}

func (j *Journal) remove(f file) error {
	name := filepath.Join(j.dir, fileName(f.first))
	if f.damaged {
		if err := j.opts.FS.Rename(name, name+".damaged"); err != nil {
			return fmt.Errorf("keep %s: %w", name, err)
		}
		j.opts.Logger.Warn("damaged journal file kept as evidence; remove it when it is not needed", "file", name+".damaged")
		return nil
	}
	if err := j.opts.FS.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unlink %s: %w", name, err)
	}
	return nil
}
