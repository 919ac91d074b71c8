package verify

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/broker/sites/operator"
)

// Side computes Sums at one site.
type Side interface {
	Sum(ctx context.Context, r Range) (Sum, error)
}

// Partition is one that is compared.
type Partition struct {
	Topic   string
	TopicID uuid.UUID
	Index   int32
	// Compacted: each site has a cleaner of its own, so batches may differ where records are the same. It is compared, and a difference is
	// told in Skipped instead.
	Compacted bool
	// Halted is why its link has stopped; "" = it has not. What one site holds beyond the other is no lag then, and nobody knows what it is.
	Halted string
}

func (p Partition) String() string { return fmt.Sprintf("%s-%d", p.Topic, p.Index) }

// Options of a comparison; the zero value works.
type Options struct {
	RangeBytes int64 // that are summed up at a time; 0 = 32 MiB
	// Progress is told of each partition that is done, and of each range; it must not wait. nil = nobody asks.
	Progress func(operator.Verification)
}

const (
	rangeBytesDefault = 32 << 20
	retriesMax        = 5 // of a range in which something moved
)

// Compare compares partitions until the first difference. here and there are named in a Difference by what they have. Partitions that cannot be
// compared now are told in Skipped. Errors: of a side, of ctx.
func Compare(ctx context.Context, here, there Side, partitions []Partition, o Options) (operator.Verification, error) {
	if o.RangeBytes == 0 {
		o.RangeBytes = rangeBytesDefault
	}
	c := comparison{here: here, there: there, options: o, result: operator.Verification{State: operator.Running, Partitions: len(partitions)}}
	for _, p := range partitions {
		if err := c.partition(ctx, p); err != nil {
			return c.result, fmt.Errorf("compare %s: %w", p, err)
		}
		c.result.PartitionsDone++
		c.tell()
		if c.result.Difference != nil {
			break
		}
	}
	c.result.State = operator.Done
	return c.result, nil
}

type comparison struct {
	here, there Side
	options     Options
	result      operator.Verification
}

func (c *comparison) tell() {
	if c.options.Progress != nil {
		c.options.Progress(c.result)
	}
}

// pair is what both sides have of a range.
type pair struct{ here, there Sum }

// ask asks here first, because it may end the range earlier, then there for the same.
func (c *comparison) ask(ctx context.Context, r Range) (p pair, err error) {
	if p.here, err = c.here.Sum(ctx, r); err != nil || p.here.Busy != "" {
		return p, err
	}
	if r.BytesMax > 0 {
		r.To, r.BytesMax = p.here.To, 0
	}
	p.there, err = c.there.Sum(ctx, r)
	if err == nil && (len(p.there.Each) > batchesMax || len(p.here.Each) > batchesMax) {
		err = fmt.Errorf("a side tells of more than %d batches", batchesMax)
	}
	return p, err
}

func (p *pair) equal() bool {
	return p.here.Batches == p.there.Batches && p.here.Bytes == p.there.Bytes && bytes.Equal(p.here.SHA256, p.there.SHA256)
}

// within says that both have all of [from, to) now.
func (p *pair) within(from, to int64) bool {
	return max(p.here.Start, p.there.Start) <= from && min(p.here.End, p.there.End) >= to
}

func (p *pair) busy() string {
	if p.here.Busy != "" {
		return p.here.Busy
	}
	return p.there.Busy
}

// partition compares one partition up to where both are durable at the beginning.
func (c *comparison) partition(ctx context.Context, p Partition) error {
	r := Range{TopicID: p.TopicID, Partition: p.Index}
	ends, err := c.ask(ctx, r)
	if err != nil {
		return err
	}
	if why := ends.busy(); why != "" {
		c.skip(p, why)
		c.result.NotCompared++
		return nil
	}
	skipped := len(c.result.Skipped)
	at, end := max(ends.here.Start, ends.there.Start), min(ends.here.End, ends.there.End)
	for moved := 0; at < end; {
		r.From, r.To, r.BytesMax = at, end, c.options.RangeBytes
		got, err := c.ask(ctx, r)
		if err != nil {
			return err
		}
		to := got.here.To
		switch why := got.busy(); {
		case why != "":
			c.skip(p, why)
			c.result.NotCompared++
			return nil
		case !got.within(at, to): // retention, or a cut
			if moved++; moved > retriesMax {
				c.skip(p, "it moves faster than it is compared")
				return nil
			}
			at, end = max(at, got.here.Start, got.there.Start), min(end, got.here.End, got.there.End)
		case got.equal() && to > at:
			c.result.Batches, c.result.Bytes = c.result.Batches+got.here.Batches, c.result.Bytes+got.here.Bytes
			c.tell()
			at, moved = to, 0
		case to <= at:
			return fmt.Errorf("the range from offset %d on does not end behind it", at)
		default:
			found, err := c.narrow(ctx, p, at, to)
			if err != nil || found {
				return err
			}
			if len(c.result.Skipped) > skipped {
				return nil
			}
			if moved++; moved > retriesMax {
				c.skip(p, "it moves faster than it is compared")
				return nil
			}
		}
	}
	if p.Halted != "" {
		c.skip(p, fmt.Sprintf("its link has stopped (%s): the one log ends at offset %d, the other at %d, and only what is below both was compared", p.Halted,
			ends.here.End, ends.there.End))
		c.result.NotCompared++
	}
	return nil
}

func (c *comparison) skip(p Partition, why string) {
	c.result.Skipped = append(c.result.Skipped, p.String()+": "+why)
}

// narrow finds the first batch that differs in [from, to). found is false where there is no difference any more.
func (c *comparison) narrow(ctx context.Context, p Partition, from, to int64) (found bool, err error) {
	r := Range{TopicID: p.TopicID, Partition: p.Index}
	for {
		r.From, r.To, r.Each = from, to, false
		got, err := c.ask(ctx, r)
		if err != nil || got.busy() != "" || !got.within(from, to) || got.equal() {
			return false, err
		}
		if max(got.here.Batches, got.there.Batches) <= batchesMax || to-from == 1 {
			break
		}
		middle := from + (to-from)/2
		r.To = middle
		if got, err = c.ask(ctx, r); err != nil || got.busy() != "" {
			return false, err
		}
		if got.equal() {
			from = middle
		} else {
			to = middle
		}
	}
	r.From, r.To, r.Each = from, to, true
	got, err := c.ask(ctx, r)
	if err != nil || got.busy() != "" || !got.within(from, to) || got.equal() {
		return false, err
	}
	d := first(p, got)
	if p.Compacted {
		c.skip(p, fmt.Sprintf("from offset %d on, it is compacted, and not alike at both sites", d.Offset))
		return false, nil
	}
	c.result.Difference = d
	return true, nil
}

// first is the first batch that differs, nil where the lines are alike.
func first(p Partition, got pair) *operator.Difference {
	here, there := got.here.Each, got.there.Each
	for i := range max(len(here), len(there)) {
		d := &operator.Difference{Topic: p.Topic, Partition: p.Index, Here: "no batch", There: "no batch"}
		d.Offset = -1
		if i < len(here) {
			d.Here, d.Offset = told(&here[i]), here[i].Base
		}
		if i < len(there) {
			d.There = told(&there[i])
			if d.Offset < 0 || there[i].Base < d.Offset {
				d.Offset = there[i].Base
			}
		}
		if d.Here != d.There {
			return d
		}
	}
	return &operator.Difference{Topic: p.Topic, Partition: p.Index, Here: "batches that are told alike", There: "and sum up differently"}
}

func told(b *BatchLine) string {
	return fmt.Sprintf("offsets %d to %d of leader epoch %d, %d bytes, sha256 %s", b.Base, b.Last, b.Epoch, b.Length, hex.EncodeToString(b.SHA256))
}
