package log

import (
	"errors"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/compact"
)

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
	if _, err := m.Reset(c.o.MapBytes, recordsIn(sources, c.dirty.First), c.o.MapLoad); err != nil {
		return 0, err
	}
	last := &sources[len(sources)-1]
	m.Mark(c.dirty.First, last.upper)
	feed := mapFeed{c: c, txns: newTransactions(c.l.AbortedIn(sources[0].base, last.upper))}
	if err := feed.walk(sources); err != nil && !errors.Is(err, errFull) {
		return 0, err
	}
	c.done.Keys = m.Len()
	return m.Latest() + 1, nil
}

// recordsIn is about how many records from offset first on are in the sources, by what is known without reading them: as many as
// there are offsets, but where those have large gaps no more than there are bytes. Too small a number only makes a map that is
// full sooner.
func recordsIn(sources []source, first int64) (records int64) {
	for i := range sources {
		s := &sources[i]
		records += min(max(s.last+1-max(s.base, first), 0), s.size)
	}
	return records
}

// mapFeed fills the map. While the keys of some batches are put into it, the next batches are read and their keys hashed: each of
// the two takes about as long. For one goroutine.
type mapFeed struct {
	c       *cleaner
	txns    *transactions
	keys    compact.Hashed // not handed over yet
	spare   compact.Hashed // what putting has, or had
	putting chan error     // of the keys that are put beside; nil = none
}

// walk returns when nothing is put beside any more. Errors: errFull; else as cleaner.walk.
func (f *mapFeed) walk(sources []source) error {
	for i := range sources {
		if err := f.c.walk(&sources[i], func(_ *header, b record.Batch) error { return f.batch(b) }); err != nil {
			return errors.Join(err, f.await())
		}
		f.keys.SetLatest(sources[i].upper - 1)
	}
	return errors.Join(f.hand(), f.await())
}

// batch takes in one batch. Where the map gets full, that is said with a later one, of which nothing is in it then.
func (f *mapFeed) batch(b record.Batch) error {
	c := f.c
	if b.IsControl() {
		f.txns.marker(b)
	} else if !f.txns.data(b) && b.LastOffset() >= c.dirty.First {
		odd, err := f.hash(b)
		if err != nil {
			return err
		}
		if odd {
			c.odd.note(b)
		}
	}
	if last := b.LastOffset(); last >= c.dirty.First {
		f.keys.SetLatest(last)
	}
	return nil
}

// hash takes in the keys of b, two at a time where they stay where they are. odd: b is one of oddBatches.
func (f *mapFeed) hash(b record.Batch) (odd bool, err error) {
	c, m := f.c, f.c.o.Map
	twos := b.Codec() == record.None
	var held record.Keyed // until there are two; Key nil = none
	err = b.EachKeyed(0, func(k record.Keyed) error {
		odd = odd || k.Tombstone || k.Key == nil
		switch {
		case k.Key == nil || k.Offset < c.dirty.First:
			return nil
		case !twos:
			m.Hash(&f.keys, k.Key, k.Offset)
		case held.Key == nil:
			held = k
			return nil
		default:
			m.HashTwo(&f.keys, held.Key, held.Offset, k.Key, k.Offset)
			held.Key = nil
		}
		return f.handFull()
	})
	if err != nil && !unreadable(err) {
		return odd, err
	}
	if held.Key != nil { // those in front of what cannot be read count too
		m.Hash(&f.keys, held.Key, held.Offset)
	}
	return odd || err != nil, nil
}

func (f *mapFeed) handFull() error {
	if f.keys.Len()*compact.EntryLen < f.c.step {
		return nil
	}
	return f.hand()
}

// hand has the keys put, once those before them are: beside what follows while the disk is ours, else at once, because who waits for
// the disk needs a processor too. Errors: errFull, that those before did not fit.
func (f *mapFeed) hand() error {
	if err := f.await(); err != nil {
		return err
	}
	f.keys, f.spare = f.spare, f.keys
	if f.c.busy() {
		return f.put()
	}
	done := make(chan error, 1)
	f.putting = done
	go func() { done <- f.put() }() // awaited by await
	return nil
}

func (f *mapFeed) put() error {
	if !f.c.o.Map.PutAll(&f.spare) {
		return errFull
	}
	return nil
}

// await waits for the keys that are put beside.
func (f *mapFeed) await() error {
	if f.putting == nil {
		return nil
	}
	err := <-f.putting
	f.putting = nil
	return err
}
