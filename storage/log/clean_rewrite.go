package log

import (
	"errors"
	"fmt"

	"github.com/tandembroker/tandem/protocol/record"
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

// unreadable says that the records of a batch cannot be read although its CRC is right: it was written while nobody had to open
// it. It stays as it is.
func unreadable(err error) bool {
	return errors.Is(err, record.ErrInvalid) || errors.Is(err, record.ErrTooLarge) || errors.Is(err, record.ErrCodec)
}

// walk hands every batch of s to fn, checked by all that can be checked.
func (c *cleaner) walk(s *source, fn func(*header, record.Batch) error) error {
	return c.reading(s, func() error { return c.walkOpen(s, fn) })
}

func (c *cleaner) walkOpen(s *source, fn func(*header, record.Batch) error) error {
	c.l.mu.RLock()
	epochs := c.l.mu.epochs
	c.l.mu.RUnlock()
	c.batches.begin(s, c.blockBytes, c.stepNow, func(stop <-chan struct{}) { c.readAhead(s.next, stop) })
	defer c.batches.end()
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

// rewrite makes one segment of the sources, which is put in their place beside what follows.
func (c *cleaner) rewrite(group []source) (err error) {
	var size int64
	for i := range group {
		size += group[i].size
	}
	if size == 0 && len(group) == 1 {
		return nil
	}
	if err := c.room(size); errors.Is(err, ErrSpace) { // what is being replaced still takes its place
		if err := errors.Join(c.finishAll(), c.room(size)); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	c.out.reset(c, group[0].base, len(group) == 1)
	defer c.out.end()
	for i := range group {
		c.out.source = &group[i]
		if err := c.walk(&group[i], c.rewriteBatch); err != nil {
			return err
		}
	}
	if c.out.same {
		return nil
	}
	f, err := c.out.finish()
	if err != nil {
		return err
	}
	return c.finish(f, group)
}

// room says whether there is space for a segment of size bytes. Errors: ErrSpace, I/O.
func (c *cleaner) room(size int64) error {
	free, err := c.l.fsys.Free(c.l.dir)
	if err != nil {
		return err
	}
	if free < uint64(size+c.o.ReserveBytes) {
		return fmt.Errorf("%w: %d bytes are free, %d needed, %d reserved", ErrSpace, free, size, c.o.ReserveBytes)
	}
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
		switch all, none, sure := c.whole(b); {
		case none && !rule.KeepLast:
			return c.out.drop()
		case all:
			c.done.RecordsKept += int64(b.RecordCount())
			return c.out.write(b, b)
		case sure && !none && b.Codec() == record.None:
			return c.pick(b)
		}
		c.lookUp(b)
		rule.Keep = func(k record.Keyed) bool { return c.keeps(k, expired) }
	case !rule.Marker:
		c.done.RecordsKept += int64(b.RecordCount())
		return c.out.write(b, b)
	}
	left, err := c.out.filter.Apply(b, rule)
	return c.writeLeft(b, left, err)
}

// writeLeft writes what is left of b; err is why that is not known.
func (c *cleaner) writeLeft(b record.Batch, left record.Filtered, err error) error {
	if err != nil && unreadable(err) {
		c.done.Unreadable++
		c.hidden = true
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

// lookUp finds the last offsets of the keys of b together, for keeps, where they are not marked. What is compressed is not
// unpacked for that.
func (c *cleaner) lookUp(b record.Batch) {
	c.found, c.next = c.found[:0], 0
	if b.Codec() != record.None || b.BaseOffset() >= c.dirty.First {
		return
	}
	// What cannot be read ends the walk that follows at the same record.
	_ = b.EachKeyed(0, func(k record.Keyed) error {
		c.o.Map.Hash(&c.keys, k.Key, 0)
		return nil
	})
	c.found = c.o.Map.GetAll(c.found, &c.keys)
}

// keeps is Kafka's Cleaner.shouldRetainRecord; expired: tombstones of the batch may go. But behind a batch that could not be opened
// they stay: a value in it, which readers may well be able to read, would be the key's last one again. It is asked for each record
// of a batch in order.
func (c *cleaner) keeps(k record.Keyed, expired bool) bool {
	place := c.next
	c.next++
	switch {
	case k.Offset > c.o.Map.Latest():
		return true
	case k.Key == nil:
		c.done.NoKey++
		return false
	case k.Tombstone && expired && !c.hidden:
		return false
	case place < len(c.found):
		return k.Offset >= c.found[place]
	}
	if last, known := c.o.Map.IsLast(k.Offset); known {
		return last
	}
	return k.Offset >= c.o.Map.Get(k.Key)
}
