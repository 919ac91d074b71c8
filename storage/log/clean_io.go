package log

import (
	"fmt"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/vfs"
)

// How much of a rewritten segment may be on its way to the disk, bytes: one large sync at the end would hold up everybody else's.
// Where somebody else syncs, theirs wait for ours, so that is little.
const (
	aheadBytes     = 8 << 20
	aheadBytesBusy = 512 << 10
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
	spare   []byte     // the buffer that writing has, or had
	pos     int64      // behind buf
	handed  int64      // to writing
	writing chan error // of the write that runs beside; nil = none

	synced int64 // bytes that a sync has seen; for writing, or who has awaited it
}

func (w *rewriter) reset(c *cleaner, base int64, alone bool) {
	*w = rewriter{c: c, base: base, filter: w.filter, buf: w.buf[:0], spare: w.spare, same: alone, index: newIndexes(base)}
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
		n := min(end-w.pos, int64(w.c.step))
		at := len(w.buf)
		w.buf = append(w.buf, make([]byte, n)...)
		if err := readFull(w.source.file, w.buf[at:], w.pos); err != nil {
			return err
		}
		w.pos += n
		if err := w.flush(w.c.step); err != nil {
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
	return w.flush(w.c.step)
}

// flush writes the buffer once it has limit bytes: beside what follows while the disk is ours, else at once.
func (w *rewriter) flush(limit int) error {
	if len(w.buf) < max(limit, 1) {
		return nil
	}
	if err := w.open(); err != nil {
		return err
	}
	if err := w.await(); err != nil {
		return err
	}
	b, pos, busy, done := w.buf, w.handed, w.c.busy(), make(chan error, 1)
	w.buf, w.spare = w.spare[:0], b
	w.handed += int64(len(b))
	w.writing = done
	go func() { done <- w.put(b, pos, busy) }() // awaited by await
	if busy {
		if err := w.await(); err != nil {
			return err
		}
	}
	return w.c.moved(&w.c.done.BytesWritten, int64(len(b)))
}

// put writes b at pos and keeps the file from getting far ahead of the disk.
func (w *rewriter) put(b []byte, pos int64, busy bool) error {
	if _, err := w.file.WriteAt(b, pos); err != nil {
		return err
	}
	w.c.l.options().Counters.Bytes.Add(int64(len(b)))
	ahead, end := int64(aheadBytes), pos+int64(len(b))
	if busy {
		ahead = aheadBytesBusy
	}
	if done, err := vfs.WriteBack(w.file, pos, int64(len(b)), ahead); done || err != nil {
		return err
	}
	if end-w.synced < ahead {
		return nil
	}
	w.synced = end
	return w.sync(w.file)
}

// await waits for the write that runs beside.
func (w *rewriter) await() error {
	if w.writing == nil {
		return nil
	}
	err := <-w.writing
	w.writing = nil
	return err
}

func (w *rewriter) open() (err error) {
	if w.file == nil {
		w.made = true
		w.file, err = w.c.l.SwapFile(w.base, suffixLog)
	}
	return err
}

func (w *rewriter) sync(f vfs.File) error { return syncFile(w.c.l, f) }

func syncFile(l *Log, f vfs.File) error {
	l.options().Counters.Syncs.Add(1)
	return f.Sync()
}

// finish writes what is left and hands over the segment, whose file is the caller's then.
func (w *rewriter) finish() (*finished, error) {
	if err := w.open(); err != nil { // perhaps nothing stays
		return nil, err
	}
	if err := w.flush(0); err != nil {
		return nil, err
	}
	if err := w.await(); err != nil {
		return nil, err
	}
	w.index.addTime()
	f := &finished{l: w.c.l, base: w.base, size: w.handed, file: w.file, index: w.index, aborted: w.aborted}
	w.file, w.made = nil, false
	return f, nil
}

// end closes what is open and removes what was made, where the segment was not handed over. What cannot be removed now, the next
// start removes.
func (w *rewriter) end() {
	_ = w.await() // a failure of it was seen, or there was another
	if w.made {
		(&finished{l: w.c.l, base: w.base, file: w.file}).discard()
		w.file, w.made = nil, false
	}
}
