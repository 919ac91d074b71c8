package log

import (
	"errors"
	"fmt"
	"sync"

	"github.com/tandembroker/tandem/storage/vfs"
)

// finishingMax is how many segments are finished at a time: one replaces others while the next is made durable.
const finishingMax = 2

// finishing is a segment that is being finished.
type finishing struct {
	done  chan struct{} // closed once err is known
	err   error
	count int // sources that it replaces
}

// finished is a rewritten segment that is to be made durable and to replace others. That takes several syncs, in which the next
// segment is rewritten. They replace others in the order of the log, one at a time.
type finished struct {
	l       *Log
	base    int64
	size    int64
	file    vfs.File // the .log; nil = closed
	index   indexes
	aborted []AbortedTxn
	ours    bool // its files are not to be removed: somebody else may count on them
}

// replace makes the segment durable and lets replace put it in the place of those up to last, once that in front of it, if before is
// not nil, is in place. Its files are removed where that fails, but not once somebody may count on them. Errors: before's too.
func (f *finished) replace(last int64, before *finishing, replace func(Replacement) error) (err error) {
	defer func() {
		if err != nil {
			f.discard()
		}
	}()
	if err := f.durable(); err != nil {
		return err
	}
	if before != nil {
		<-before.done // where it has failed, what a start finds is not to go on behind it
		if before.err != nil {
			return before.err
		}
	}
	if f.l.cutSinceCleaning() { // Replace refuses it too, but it need not be told to meta.db
		return errCleaningCut
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

// finish hands f over, once few enough are under way; an error of one of them is told then, or by finishAll. Where others wait for the
// disk it is one thing at a time.
func (c *cleaner) finish(f *finished, group []source) error {
	if err := c.finishUpTo(finishingMax - 1); err != nil {
		f.discard()
		return err
	}
	n := &finishing{done: make(chan struct{}), count: len(group)}
	var before *finishing
	if under := len(c.finishing); under > 0 {
		before = c.finishing[under-1]
	}
	c.finishing = append(c.finishing, n)
	last := group[len(group)-1].base
	go func() { // awaited by finishUpTo
		defer close(n.done)
		n.err = f.replace(last, before, c.o.Replace)
	}()
	if c.busy() { // one thing at a time, and what it takes counts as work that is rested from
		return errors.Join(c.finishAll(), c.moved(&c.done.BytesWritten, 0))
	}
	return nil
}

// finishAll waits for the segments that are being finished.
func (c *cleaner) finishAll() error { return c.finishUpTo(0) }

// finishUpTo waits until no more than most segments are being finished, or, after an error, none is.
func (c *cleaner) finishUpTo(most int) (err error) {
	for len(c.finishing) > most {
		n := c.finishing[0]
		c.finishing = c.finishing[1:]
		<-n.done
		if n.err == nil {
			c.done.Replaced += n.count
		} else if err == nil { // those behind it have the same
			err, most = n.err, 0
		}
	}
	return err
}
