package record

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Keyed is what compaction looks at in a record. Key aliases an uncompressed batch, for which it is valid as long as that is, or a
// buffer that is reused, for which it is valid until the callback that got it returns; nil is Kafka's null.
type Keyed struct {
	Offset    int64
	Key       []byte
	Tombstone bool // the value is null
}

// EachKeyed calls fn for every record in order, as Each does, with what compaction needs of it. budget and errors are Each's.
func (b Batch) EachKeyed(budget int64, fn func(Keyed) error) error {
	var w walker
	if err := w.open(b, budget); err != nil {
		return err
	}
	defer w.close()
	base := b.BaseOffset()
	for i := range b.RecordCount() {
		body, err := w.step(i)
		if err != nil {
			return err
		}
		if err := fn(w.keyed(base, body)); err != nil {
			return err
		}
	}
	return w.end()
}

// keyed is the record that step has returned.
func (w *walker) keyed(base int64, body []byte) Keyed {
	return Keyed{Offset: base + int64(w.offsetDelta), Key: w.key(body), Tombstone: w.valueNull}
}

// Rule says what Filter keeps of a batch.
type Rule struct {
	// Keep decides over each record; nil keeps all.
	Keep func(Keyed) bool
	// KeepLast keeps the last record where Keep keeps none, so that the batch still says where it ends.
	KeepLast bool
	// Horizon is the delete horizon in ms that a batch without one gets when a tombstone stays in it; NoTimestamp = none.
	Horizon int64
	// Marker gives it the horizon although it has no tombstone: it is the marker of a transaction that has no records left.
	Marker bool
	// Budget bounds what a compressed batch may unpack to, bytes; 0 = DecompressedMax.
	Budget int64
}

// Filter rewrites batches with fewer records, as Kafka's compaction does (MemoryRecords.filterTo). The zero Filter is ready; it
// keeps its buffers between calls. Not safe for concurrent use.
type Filter struct {
	plain, shifted, out []byte
	last                []byte // the last record, while none is kept
}

// Filtered is what is left of a batch.
type Filtered struct {
	// Batch is the batch that was given where nothing changed, nil where no record is left, else a new one that is valid until
	// the next Apply.
	Batch Batch
	Kept  int32 // records
}

// kept describes the records that stay.
type kept struct {
	count     int32
	maxTime   int64
	tombstone bool
}

func (p *kept) add(timestamp int64, tombstone bool) {
	if p.count == 0 || timestamp > p.maxTime {
		p.maxTime = timestamp
	}
	p.tombstone = p.tombstone || tombstone
	p.count++
}

// Apply returns b without the records that r does not keep. Base offset, last offset, leader epoch, producer id, epoch and
// sequence, the kinds of batch and timestamp, and the codec stay; records stay as they are, byte for byte, but for the timestamp
// deltas where a delete horizon (KIP-534) takes the place of the timestamp that they count from. b is borrowed until return; its
// CRC must have been checked, because the result gets a new one. A batch that came without records is returned as it is, or as
// none without KeepLast. Errors: those of Each, ErrTooLarge above 2 GiB.
func (f *Filter) Apply(b Batch, r Rule) (Filtered, error) {
	left, p, err := f.collect(b, &r)
	if err != nil {
		return Filtered{}, err
	}
	if p.count == 0 && !(r.KeepLast && b.RecordCount() == 0) {
		return Filtered{}, nil
	}
	horizon := r.Horizon != NoTimestamp && !b.HasDeleteHorizon() && (p.tombstone || r.Marker)
	if p.count == b.RecordCount() && !horizon {
		return Filtered{Batch: b, Kept: p.count}, nil
	}
	if horizon {
		left = f.shift(left, b.FirstTimestamp(), r.Horizon)
	}
	out, err := Compress(append(f.out[:0], b[:HeaderLen]...), b.Codec(), left)
	if err != nil {
		return Filtered{}, err
	}
	f.out = out
	if len(out)-OverheadLen > math.MaxInt32 {
		return Filtered{}, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(out))
	}
	result := Batch(out)
	binary.BigEndian.PutUint32(out[posLength:], uint32(len(out)-OverheadLen))
	if horizon {
		binary.BigEndian.PutUint16(out[posAttributes:], uint16(b.Attributes()|attrDeleteHorizon))
		binary.BigEndian.PutUint64(out[posFirstTimestamp:], uint64(r.Horizon))
	}
	if !b.IsLogAppendTime() {
		binary.BigEndian.PutUint64(out[posMaxTimestamp:], uint64(p.maxTime))
	}
	binary.BigEndian.PutUint32(out[posRecordCount:], uint32(p.count))
	result.setCRC()
	return Filtered{Batch: result, Kept: p.count}, nil
}

// collect returns the records that stay, as they are, each with its length: valid until the next collect. Those of an
// uncompressed batch of which all stay are b's own.
func (f *Filter) collect(b Batch, r *Rule) (left []byte, p kept, err error) {
	var w walker
	if err := w.open(b, r.Budget); err != nil {
		return nil, p, err
	}
	defer w.close()
	f.plain, f.last = f.plain[:0], f.last[:0]
	var last kept
	base, first, from := b.BaseOffset(), b.FirstTimestamp(), 0 // w.plain[from:] stays and was not copied
	for i := range b.RecordCount() {
		body, err := w.step(i)
		if err != nil {
			return nil, p, err
		}
		switch timestamp := first + w.timestampDelta; {
		case r.Keep == nil || r.Keep(w.keyed(base, body)):
			p.add(timestamp, w.valueNull)
			if w.in != nil {
				f.plain = append(f.plain, w.raw...)
			}
			continue
		case r.KeepLast && p.count == 0:
			f.last = append(f.last[:0], w.raw...)
			last = kept{}
			last.add(timestamp, w.valueNull)
		}
		if w.in == nil {
			f.plain = append(f.plain, w.plain[from:w.pos-len(w.raw)]...)
			from = w.pos
		}
	}
	if err := w.end(); err != nil {
		return nil, p, err
	}
	switch {
	case w.in == nil && from == 0:
		return w.plain, p, nil
	case p.count == 0 && last.count > 0:
		return f.last, last, nil
	}
	f.plain = append(f.plain, w.plain[from:]...)
	return f.plain, p, nil
}

// shift rewrites records so that their timestamps count from to instead of from.
func (f *Filter) shift(records []byte, from, to int64) []byte {
	f.shifted = f.shifted[:0]
	var delta [binary.MaxVarintLen64]byte
	for rest := records; len(rest) > 0; {
		n, pos := varint32(rest, 0)
		body := rest[pos : pos+int(n)]
		rest = rest[pos+int(n):]
		old, after := varint64(body, 1)
		d := binary.AppendVarint(delta[:0], from+old-to) // both wrap alike, so the sum is exact again when it is read
		f.shifted = binary.AppendVarint(f.shifted, int64(1+len(d)+len(body)-after))
		f.shifted = append(f.shifted, body[0])
		f.shifted = append(f.shifted, d...)
		f.shifted = append(f.shifted, body[after:]...)
	}
	return f.shifted
}
