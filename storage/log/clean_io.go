package log

import (
	"errors"
	"fmt"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/vfs"
)

// How much a rewritten segment may be ahead of the disk, bytes: one large sync at the end would hold up everybody else's. Where
// somebody else syncs, theirs wait for ours, so those are small.
const (
	syncBytes     = 8 << 20
	syncBytesBusy = 512 << 10
)

// rewriter writes one segment under the names that Replace expects. As long as all is as it was in the only source, nothing is
// written.
type rewriter struct {
	c      *cleaner
	base   int64
	source *source // being read
	filter record.Filter

	same    bool // so far it is byte for byte the only source
	file    vfs.File
	made    bool // there are files to remove
	index   indexes
	aborted []AbortedTxn
	buf     []byte
	pos     int64 // behind buf
	written int64 // to the file
	synced  int64
	syncing chan error // of the sync that runs beside; nil = none
}

func (w *rewriter) reset(c *cleaner, base int64, alone bool) {
	*w = rewriter{c: c, base: base, filter: w.filter, buf: w.buf[:0], same: alone, index: newIndexes(base)}
}

// drop leaves a batch out.
func (w *rewriter) drop() error { return w.differ() }

// differ is called before the first byte that is not as in the source.
func (w *rewriter) differ() error {
	if !w.same {
		return nil
	}
	w.same = false
	if w.pos == 0 {
		return nil
	}
	end := w.pos
	w.pos = 0
	for w.pos < end {
		n := min(end-w.pos, int64(w.c.o.BufferBytes))
		at := len(w.buf)
		w.buf = append(w.buf, make([]byte, n)...)
		if err := readFull(w.source.file, w.buf[at:], w.pos); err != nil {
			return err
		}
		w.pos += n
		if err := w.flush(w.c.o.BufferBytes); err != nil {
			return err
		}
	}
	return nil
}

// write adds a batch; old is what it was.
func (w *rewriter) write(old, b record.Batch) error {
	if &old[0] != &b[0] {
		if err := w.differ(); err != nil {
			return err
		}
		if w.pos+int64(len(b)) > posMax && len(b) > len(old) {
			b = old // packed anew it got larger, and there is no room
		}
	}
	if w.pos+int64(len(b)) > posMax {
		return fmt.Errorf("%w: the compacted segment %d would have more than %d bytes", ErrInvalid, w.base, posMax)
	}
	h := header{pos: w.pos, length: int64(len(b)), base: b.BaseOffset(), last: b.LastOffset(), maxTs: b.MaxTimestamp(),
		epoch: b.LeaderEpoch()}
	w.index.add(&h, int64(w.c.l.options().IndexIntervalBytes))
	w.pos += h.length
	if w.same {
		return nil
	}
	w.buf = append(w.buf, b...)
	return w.flush(w.c.o.BufferBytes)
}

// flush writes the buffer once it has limit bytes.
func (w *rewriter) flush(limit int) error {
	if len(w.buf) < limit {
		return nil
	}
	if err := w.open(); err != nil {
		return err
	}
	if _, err := w.file.WriteAt(w.buf, w.written); err != nil {
		return err
	}
	n := int64(len(w.buf))
	w.written += n
	w.buf = w.buf[:0]
	w.c.l.options().Counters.Bytes.Add(n)
	if err := w.syncSome(); err != nil {
		return err
	}
	return w.c.moved(&w.c.done.BytesWritten, n)
}

// syncSome keeps the file from getting far ahead of the disk: beside the next writes while the disk is ours, else at once.
func (w *rewriter) syncSome() error {
	busy := w.c.busy()
	if w.written-w.synced < syncBytes && (!busy || w.written-w.synced < syncBytesBusy) {
		return nil
	}
	if err := w.await(); err != nil {
		return err
	}
	w.synced = w.written
	if busy {
		return w.sync(w.file)
	}
	f, done := w.file, make(chan error, 1)
	w.syncing = done
	go func() { done <- w.sync(f) }() // awaited by await
	return nil
}

// await waits for the sync that runs beside.
func (w *rewriter) await() error {
	if w.syncing == nil {
		return nil
	}
	err := <-w.syncing
	w.syncing = nil
	return err
}

func (w *rewriter) open() (err error) {
	if w.file == nil {
		w.made = true
		w.file, err = w.c.l.SwapFile(w.base, suffixLog)
	}
	return err
}

func (w *rewriter) sync(f vfs.File) error {
	w.c.l.options().Counters.Syncs.Add(1)
	return f.Sync()
}

// finish makes all four files durable under their .swap names and returns the size of the .log.
func (w *rewriter) finish() (int64, error) {
	if err := w.open(); err != nil {
		return 0, err
	}
	if len(w.buf) > 0 {
		if err := w.flush(0); err != nil {
			return 0, err
		}
	}
	if err := w.await(); err != nil {
		return 0, err
	}
	err := w.sync(w.file)
	if err = errors.Join(err, w.file.Close()); err != nil {
		w.file = nil
		return 0, err
	}
	w.file = nil
	w.index.addTime()
	for suffix, content := range map[string][]byte{
		suffixIndex: encodeOffsets(w.index.offsets), suffixTime: encodeTimes(w.index.times), suffixAborted: encodeAborted(w.aborted),
	} {
		if err := w.small(suffix, content); err != nil {
			return 0, err
		}
	}
	return w.written, w.c.l.SwapReady(w.base)
}

func (w *rewriter) small(suffix string, content []byte) error {
	f, err := w.c.l.SwapFile(w.base, suffix)
	if err != nil {
		return err
	}
	if len(content) > 0 {
		_, err = f.WriteAt(content, 0)
	}
	if err == nil {
		err = w.sync(f)
	}
	return errors.Join(err, f.Close())
}

// end closes what is open and, after a failure, removes what was made. What cannot be removed now, the next start removes.
func (w *rewriter) end(err error) {
	_ = w.await() // a failure of it was seen, or there was another
	if w.file != nil {
		_ = w.file.Close()
		w.file = nil
	}
	if err == nil || !w.made || w.c.l.writable() != nil {
		return // replaced, or not ours any more: a start has to find what it was told of
	}
	for _, suffix := range swapped {
		name := fileName(w.c.l.dir, w.base, suffix)
		for _, late := range []string{suffixCleaned, suffixSwap} {
			_ = removeIfThere(w.c.l.fsys, name+late)
		}
	}
}
