package log

import "github.com/tandembroker/tandem/protocol/record"

// oddMax bounds how many batches a round notes as odd; behind them all are opened.
const oddMax = 1 << 16

// oddBatches are those of the part that the map is filled from which have to be opened a second time whatever the map says of
// their offsets, in the order of the log: they hold tombstones, which get and lose their time, or records without a key, or cannot
// be read.
type oddBatches struct {
	bases []int64
	next  int // of bases, for the walk that rewrites
}

func (o *oddBatches) note(b record.Batch) {
	if len(o.bases) < oddMax {
		o.bases = append(o.bases, b.BaseOffset())
	}
}

// has says whether b was noted, or may have been had there been room. It is asked in the order of the log.
func (o *oddBatches) has(b record.Batch) bool {
	base := b.BaseOffset()
	for o.next < len(o.bases) && o.bases[o.next] < base {
		o.next++
	}
	return o.next == oddMax || o.next < len(o.bases) && o.bases[o.next] == base
}

// whole says of a batch that was taken into the map whether all of its records stay, or none, where that is known without opening
// it. sure: if it is known at all, and thus of each of its offsets.
func (c *cleaner) whole(b record.Batch) (all, none, sure bool) {
	if b.BaseOffset() < c.dirty.First || c.odd.has(b) {
		return false, false, false
	}
	n, known := c.o.Map.CountLast(b.BaseOffset(), b.LastOffset())
	return known && n == int(b.RecordCount()), known && n == 0, known
}

// pick writes what stays of an uncompressed batch of which some records do by what the map says of its offsets, which the keys are
// not needed for. The walk that has filled the map has read all of it.
func (c *cleaner) pick(b record.Batch) error {
	c.stay, _ = c.o.Map.LastOf(c.stay[:0], b.BaseOffset(), b.LastOffset())
	left, err := c.out.filter.Pick(b, c.stay)
	return c.writeLeft(b, left, err)
}
