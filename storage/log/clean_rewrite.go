package log

import (
	"errors"
	"fmt"
	"math"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/vfs"
)

// reach moves the walk to offset.
func (t *transactions) reach(offset int64) {
	for len(t.coming) > 0 && t.coming[0].FirstOffset <= offset {
		next := t.coming[0]
		t.coming = t.coming[1:]
		if t.aborted[next.ProducerID] == nil {
			t.aborted[next.ProducerID] = &abortion{txn: next}
		}
	}
}

// data says whether a batch of records belongs to an aborted transaction.
func (t *transactions) data(b record.Batch) bool {
	t.reach(b.LastOffset())
	if !b.IsTransactional() {
		return false
	}
	if a := t.aborted[b.ProducerID()]; a != nil {
		a.seen = true
		return true
	}
	t.committed[b.ProducerID()] = true
	return false
}

// marker says whether a control batch has nothing left that it is for, and the aborted transaction that stays in the index with
// it.
func (t *transactions) marker(b record.Batch) (idle bool, txn *AbortedTxn) {
	t.reach(b.LastOffset())
	if b.RecordCount() == 0 { // emptied by another broker's compaction
		return true, nil
	}
	c, err := b.ReadControl()
	if err != nil {
		return false, nil // of a type or version that is not known here: it stays
	}
	id := b.ProducerID()
	switch c.Type {
	case record.Abort:
		a := t.aborted[id]
		delete(t.aborted, id)
		if a != nil && a.seen {
			return false, &a.txn
		}
		return true, nil
	case record.Commit:
		seen := t.committed[id]
		delete(t.committed, id)
		return !seen, nil
	}
	return false, nil
}

// errFull ends the walk that fills the map.
var errFull = errors.New("log: the map is full")

// fillMap takes in the last offset of each key of the dirty part, and returns the offset behind what has fit.
func (c *cleaner) fillMap() (end int64, err error) {
	var sources []source
	for i := range c.sources {
		if c.sources[i].upper > c.dirty.First {
			sources = c.sources[i:]
			break
		}
	}
	m := c.o.Map
	records, err := c.countRecords(sources, c.o.MapBytes)
	if err != nil {
		return 0, err
	}
	m.Reset(c.o.MapBytes, records, c.o.MapLoad)
	last := &sources[len(sources)-1]
	txns := newTransactions(c.l.AbortedIn(sources[0].base, last.upper))
	for i := range sources {
		err := c.walk(&sources[i], func(_ *header, b record.Batch) error { return c.mapBatch(txns, b) })
		if errors.Is(err, errFull) {
			break
		}
		if err != nil {
			return 0, err
		}
		m.SetLatest(sources[i].upper - 1)
	}
	c.done.Keys = m.Len()
	return m.Latest() + 1, nil
}

// countRecords is an upper bound for the keys in the sources, or any number of which enough does not hold the keys.
func (c *cleaner) countRecords(sources []source, enough int64) (records int64, err error) {
	for i := range sources {
		s := &sources[i]
		sc := newScanner(s.file, 0, s.size, s.base-1)
		for err == nil && records < enough {
			var h header
			var ok bool
			if h, ok, err = sc.next(); !ok {
				break
			}
			records += int64(h.records)
		}
		sc.close()
		if err == nil {
			err = c.stopped()
		}
		if err != nil || records >= enough {
			break
		}
	}
	return records, err
}

// mapBatch takes in one batch.
func (c *cleaner) mapBatch(txns *transactions, b record.Batch) error {
	if b.IsControl() {
		txns.marker(b)
	} else if !txns.data(b) && b.LastOffset() >= c.dirty.First {
		err := b.EachKeyed(0, func(k record.Keyed) error {
			if k.Key != nil && k.Offset >= c.dirty.First && !c.o.Map.Put(k.Key, k.Offset) {
				return errFull
			}
			return nil
		})
		if err != nil && !unreadable(err) {
			return err
		}
	}
	if last := b.LastOffset(); last >= c.dirty.First {
		c.o.Map.SetLatest(last)
	}
	return nil
}

// unreadable says that the records of a batch cannot be read although its CRC is right: it was written while nobody had to open
// it. It stays as it is.
func unreadable(err error) bool {
	return errors.Is(err, record.ErrInvalid) || errors.Is(err, record.ErrTooLarge) || errors.Is(err, record.ErrCodec)
}

// walk hands every batch of s to fn, checked by all that can be checked.
func (c *cleaner) walk(s *source, fn func(*header, record.Batch) error) error {
	c.l.mu.RLock()
	epochs := c.l.mu.epochs
	c.l.mu.RUnlock()
	c.batches.reset(s, c.o.BufferBytes)
	for {
		h, b, ok, err := c.batches.next(c.read)
		if err == nil && ok {
			if err = epochs.check(s.file, &h); err == nil {
				err = fn(&h, b)
			}
		}
		if err != nil || !ok {
			return err
		}
	}
}

// rewrite makes one segment of the sources and puts it in their place.
func (c *cleaner) rewrite(group []source) (err error) {
	var size int64
	for i := range group {
		size += group[i].size
	}
	if size == 0 && len(group) == 1 {
		return nil
	}
	if free, err := c.l.fsys.Free(c.l.dir); err != nil || free < uint64(size+c.o.ReserveBytes) {
		return errors.Join(err, fmt.Errorf("%w: %d bytes are free, %d needed, %d reserved", ErrSpace, free, size, c.o.ReserveBytes))
	}
	base := group[0].base
	c.out.reset(c, base, len(group) == 1)
	defer func() { c.out.end(err) }()
	for i := range group {
		c.out.source = &group[i]
		if err := c.walk(&group[i], c.rewriteBatch); err != nil {
			return err
		}
	}
	if c.out.same {
		return nil
	}
	written, err := c.out.finish()
	if err != nil {
		return err
	}
	r := Replacement{First: base, Last: group[len(group)-1].base, Size: written}
	if err := c.o.Replace(r); err != nil {
		return fmt.Errorf("replace segments %d to %d: %w", r.First, r.Last, err)
	}
	c.done.Replaced += len(group)
	return nil
}

// rewriteBatch writes what stays of one batch. Source: Kafka's Cleaner.cleanInto. Unlike there no batch is ever left empty: the
// last one of the round keeps a record instead (docs/adr/0007).
func (c *cleaner) rewriteBatch(h *header, b record.Batch) error {
	var idle bool
	if b.IsControl() {
		var txn *AbortedTxn
		if idle, txn = c.txns.marker(b); txn != nil {
			c.out.aborted = append(c.out.aborted, *txn)
		}
	} else {
		idle = c.txns.data(b)
	}
	expired := b.HasDeleteHorizon() && b.FirstTimestamp() <= c.now
	discard := idle && (!b.IsControl() || expired)
	c.done.RecordsRead += int64(b.RecordCount())
	rule := record.Rule{KeepLast: h.last == c.keepLast, Horizon: c.horizon(), Marker: idle && b.IsControl()}
	switch {
	case discard && !rule.KeepLast:
		return c.out.drop()
	case discard:
		rule.Keep = func(record.Keyed) bool { return false }
	case !b.IsControl():
		rule.Keep = func(k record.Keyed) bool { return c.keeps(k, expired) }
	case !rule.Marker:
		c.done.RecordsKept += int64(b.RecordCount())
		return c.out.write(b, b)
	}
	left, err := c.out.filter.Apply(b, rule)
	if err != nil && unreadable(err) {
		c.done.Unreadable++
		left, err = record.Filtered{Batch: b, Kept: b.RecordCount()}, nil
	}
	if err != nil {
		return err
	}
	c.done.RecordsKept += int64(left.Kept)
	if left.Batch == nil {
		return c.out.drop()
	}
	return c.out.write(b, left.Batch)
}

// keeps is Kafka's Cleaner.shouldRetainRecord; expired: tombstones of the batch may go.
func (c *cleaner) keeps(k record.Keyed, expired bool) bool {
	if k.Offset > c.o.Map.Latest() {
		return true
	}
	if k.Key == nil {
		c.done.NoKey++
		return false
	}
	return k.Offset >= c.o.Map.Get(k.Key) && !(k.Tombstone && expired)
}

// syncBytes is how much a rewritten segment may be ahead of the disk: one large sync at the end would hold up everybody else's.
const syncBytes = 8 << 20

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
	if w.written-w.synced >= syncBytes {
		if err := w.sync(w.file); err != nil {
			return err
		}
		w.synced = w.written
	}
	return w.c.moved(&w.c.done.BytesWritten, n)
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

// batchReader reads a segment from the beginning, in large reads.
type batchReader struct {
	source *source
	buf    []byte
	at, n  int64 // buf holds n bytes of the file from position at
	pos    int64
	floor  int64
}

func (r *batchReader) reset(s *source, bufferBytes int) {
	if len(r.buf) != bufferBytes {
		r.buf = make([]byte, bufferBytes)
	}
	*r = batchReader{source: s, buf: r.buf, floor: s.base - 1}
}

// next returns the next batch, its CRC checked; it is valid until the next call.
func (r *batchReader) next(account func(int64) error) (h header, b record.Batch, ok bool, err error) {
	left := r.source.size - r.pos
	if left <= 0 {
		return h, nil, false, nil
	}
	head, err := r.take(min(left, record.HeaderLen), account)
	if err != nil {
		return h, nil, false, err
	}
	if h, err = parseHeader(head, headerPlace{r.source.file.Name(), r.pos, r.source.size, r.floor, r.source.upper}); err != nil {
		return h, nil, false, err
	}
	if b, err = r.take(h.length, account); err != nil {
		return h, nil, false, err
	}
	if err := b.CheckCRC(); err != nil {
		return h, nil, false, &CorruptError{File: r.source.file.Name(), Pos: r.pos, Reason: err.Error()}
	}
	r.pos, r.floor = h.end(), h.last
	return h, b, true, nil
}

// take returns n bytes at the position, which the file has.
func (r *batchReader) take(n int64, account func(int64) error) ([]byte, error) {
	if skip := r.pos - r.at; skip >= 0 && skip+n <= r.n {
		return r.buf[skip : skip+n : skip+n], nil
	}
	if n > int64(len(r.buf)) {
		grown := make([]byte, min(n+n/4, math.MaxInt32))
		copy(grown, r.buf[r.pos-r.at:r.n])
		r.n, r.at, r.buf = r.n-(r.pos-r.at), r.pos, grown
	} else {
		copy(r.buf, r.buf[r.pos-r.at:r.n])
		r.n, r.at = r.n-(r.pos-r.at), r.pos
	}
	from := r.at + r.n
	more := r.buf[r.n:min(int64(len(r.buf)), r.source.size-r.at)]
	if err := readFull(r.source.file, more, from); err != nil {
		return nil, err
	}
	r.n += int64(len(more))
	return r.buf[:n:n], account(int64(len(more)))
}
