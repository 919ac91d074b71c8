package log

import (
	"errors"
	"fmt"

	"github.com/tandembroker/tandem/storage/vfs"
)

// finished is a rewritten segment that is to be made durable and to replace others. That takes several syncs, in which the next
// segment is rewritten: at most one is finished at a time, and in the order of the log.
type finished struct {
	l       *Log
	base    int64
	size    int64
	file    vfs.File // the .log; nil = closed
	index   indexes
	aborted []AbortedTxn
	ours    bool // its files are not to be removed: somebody else may count on them
}

// replace makes the segment durable and lets replace put it in the place of those up to last. Its files are removed where that
// fails, but not once somebody may count on them.
func (f *finished) replace(last int64, replace func(Replacement) error) (err error) {
	defer func() {
		if err != nil {
			f.discard()
		}
	}()
	if err := f.durable(); err != nil {
		return err
	}
	r := Replacement{First: f.base, Last: last, Size: f.size}
	if err := replace(r); err != nil {
		f.ours = errors.Is(err, ErrReplacing)
		return fmt.Errorf("replace segments %d to %d: %w", r.First, r.Last, err)
	}
	return nil
}

// durable syncs all four files under their .swap names.
func (f *finished) durable() error {
	err := syncFile(f.l, f.file)
	err = errors.Join(err, f.file.Close())
	if f.file = nil; err != nil {
		return err
	}
	for suffix, content := range map[string][]byte{
		suffixIndex: encodeOffsets(f.index.offsets), suffixTime: encodeTimes(f.index.times), suffixAborted: encodeAborted(f.aborted),
	} {
		if err := f.small(suffix, content); err != nil {
			return err
		}
	}
	return f.l.SwapReady(f.base)
}

func (f *finished) small(suffix string, content []byte) error {
	file, err := f.l.SwapFile(f.base, suffix)
	if err != nil {
		return err
	}
	if len(content) > 0 {
		_, err = file.WriteAt(content, 0)
	}
	if err == nil {
		err = syncFile(f.l, file)
	}
	return errors.Join(err, file.Close())
}

// discard closes the file and removes all that was made.
func (f *finished) discard() {
	if f.file != nil {
		_ = f.file.Close()
		f.file = nil
	}
	if f.ours || f.l.writable() != nil {
		return // a start has to find what it was told of
	}
	for _, suffix := range swapped {
		name := fileName(f.l.dir, f.base, suffix)
		for _, late := range []string{suffixCleaned, suffixSwap} {
			_ = removeIfThere(f.l.fsys, name+late)
		}
	}
}

// finish hands f over, once the one before is done; its error is told then, or by finishAll.
func (c *cleaner) finish(f *finished, group []source) error {
	if err := c.finishAll(); err != nil {
		f.discard()
		return err
	}
	last, n, done := group[len(group)-1].base, len(group), make(chan error, 1)
	c.finishing, c.finishingCount = done, n
	go func() { done <- f.replace(last, c.o.Replace) }() // awaited by finishAll
	return nil
}

// finishAll waits for the segment that is being finished.
func (c *cleaner) finishAll() error {
	if c.finishing == nil {
		return nil
	}
	err := <-c.finishing
	c.finishing = nil
	if err == nil {
		c.done.Replaced += c.finishingCount
	}
	return err
}
