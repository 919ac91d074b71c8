package log

import (
	"errors"
	"fmt"
	"sync"

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

// durable writes the other three files and syncs all four under their .swap names: together, so that the file system commits its
// journal once or twice and not four times. Each commit is one that the syncs of others wait for.
func (f *finished) durable() error {
	files, err := f.small()
	files = append(files, f.file)
	f.file = nil
	errs := make([]error, len(files)+1)
	errs[len(files)] = err
	var wg sync.WaitGroup
	for i, file := range files {
		if err == nil {
			wg.Go(func() { errs[i] = syncFile(f.l, file) })
		}
	}
	wg.Wait()
	for _, file := range files {
		errs = append(errs, file.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return f.l.SwapReady(f.base)
}

// small writes the files beside the .log, and returns those that are open, after an error too.
func (f *finished) small() (files []vfs.File, err error) {
	for _, s := range []struct {
		suffix  string
		content []byte
	}{{suffixIndex, encodeOffsets(f.index.offsets)}, {suffixTime, encodeTimes(f.index.times)}, {suffixAborted, encodeAborted(f.aborted)}} {
		file, err := f.l.SwapFile(f.base, s.suffix)
		if err != nil {
			return files, err
		}
		files = append(files, file)
		if len(s.content) == 0 {
			continue
		}
		if _, err := file.WriteAt(s.content, 0); err != nil {
			return files, err
		}
	}
	return files, nil
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

// finish hands f over, once the one before is done; its error is told then, or by finishAll. Where others wait for the disk it is
// one thing at a time.
func (c *cleaner) finish(f *finished, group []source) error {
	if err := c.finishAll(); err != nil {
		f.discard()
		return err
	}
	last, n, done := group[len(group)-1].base, len(group), make(chan error, 1)
	c.finishing, c.finishingCount = done, n
	go func() { done <- f.replace(last, c.o.Replace) }() // awaited by finishAll
	if c.busy() {                                        // one thing at a time, and what it takes counts as work that is rested from
		return errors.Join(c.finishAll(), c.moved(&c.done.BytesWritten, 0))
	}
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
