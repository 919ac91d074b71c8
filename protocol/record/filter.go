package record

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Keyed is what compaction looks at in a record. Key aliases the batch or a buffer that is reused: it is valid until the callback
// that got it returns; nil is Kafka's null.
type Keyed struct {
	Offset    int64
	Key       []byte
	Tombstone bool // the value is null
}

// EachKeyed calls fn for every record in order, as Each does, with what compaction needs of it. budget and errors are Each's.
func (b Batch) EachKeyed(budget int64, fn func(Keyed) error) error {
	return b.eachKeyed(budget, func(k *keyed) error { return fn(k.Keyed) })
}

// keyed is one record of a walk.
type keyed struct {
	Keyed
	timestamp int64  // as it stands in the record
	body      []byte // without its length
}

func (b Batch) eachKeyed(budget int64, fn func(*keyed) error) error {
	w := walker{last: -1}
	if err := w.open(b, budget); err != nil {
		return err
	}
	defer w.close()
	base, first, lastDelta := b.BaseOffset(), b.FirstTimestamp(), b.LastOffsetDelta()
	var k keyed
	for i := range b.RecordCount() {
		body, err := w.next(i)
		if err != nil {
			return err
		}
		s, ok := k.parse(body)
		if !ok {
			return invalid(i, "malformed")
		}
		if s.offsetDelta <= w.last || s.offsetDelta > lastDelta {
			return invalid(i, "offset delta out of order")
		}
		w.last = s.offsetDelta
		k.Offset, k.timestamp, k.body = base+int64(s.offsetDelta), first+s.timestampDelta, body
		if err := fn(&k); err != nil {
			return err
		}
	}
	return w.end()
}

// parse is scan that fills key and tombstone. What scan has accepted cannot fail the second time.
func (k *keyed) parse(body []byte) (s scanned, ok bool) {
	if s, ok = scan(body); !ok {
		return s, false
	}
	key, pos := takeBytes(body, keyPos(body))
	k.Key = key
	k.Tombstone, _ = skipBytes(body, pos)
	return s, true
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

// kept describes the records in Filter.plain.
type kept struct {
	count     int32
	maxTime   int64
	tombstone bool
}

func (p *kept) add(k *keyed) {
	if p.count == 0 || k.timestamp > p.maxTime {
		p.maxTime = k.timestamp
	}
	p.tombstone = p.tombstone || k.Tombstone
	p.count++
}

// Apply returns b without the records that r does not keep. Base offset, last offset, leader epoch, producer id, epoch and
// sequence, the kinds of batch and timestamp, and the codec stay; records stay as they are, byte for byte, but for the timestamp
// deltas where a delete horizon (KIP-534) takes the place of the timestamp that they count from. b is borrowed until return; its
// CRC must have been checked, because the result gets a new one. A batch that came without records is returned as it is, or as
// none without KeepLast. Errors: those of Each, ErrTooLarge above 2 GiB.
func (f *Filter) Apply(b Batch, r Rule) (Filtered, error) {
	p, err := f.collect(b, &r)
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
	out := f.plain
	if horizon {
		out = f.shift(b.FirstTimestamp(), r.Horizon)
	}
	if b.Codec() != None {
		if f.out, err = Compress(append(f.out[:0], out[:HeaderLen]...), b.Codec(), out[HeaderLen:]); err != nil {
			return Filtered{}, err
		}
		out = f.out
	}
	if len(out)-OverheadLen > math.MaxInt32 {
		return Filtered{}, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(out))
	}
	copy(out, b[:HeaderLen])
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

// collect puts the records that stay into f.plain, each with its length, behind room for a header.
func (f *Filter) collect(b Batch, r *Rule) (kept, error) {
	var room [HeaderLen]byte
	f.plain, f.last = append(f.plain[:0], room[:]...), f.last[:0]
	var p, last kept
	err := b.eachKeyed(r.Budget, func(k *keyed) error {
		if r.Keep == nil || r.Keep(k.Keyed) {
			f.plain = appendRecord(f.plain, k.body)
			p.add(k)
		} else if r.KeepLast && p.count == 0 {
			f.last = appendRecord(f.last[:0], k.body)
			last = kept{}
			last.add(k)
		}
		return nil
	})
	if err == nil && p.count == 0 && last.count > 0 {
		f.plain = append(f.plain, f.last...)
		p = last
	}
	return p, err
}

func appendRecord(dst, body []byte) []byte {
	return append(binary.AppendVarint(dst, int64(len(body))), body...)
}

// shift rewrites the records in f.plain so that their timestamps count from to instead of from.
func (f *Filter) shift(from, to int64) []byte {
	f.shifted = append(f.shifted[:0], f.plain[:HeaderLen]...)
	var delta [binary.MaxVarintLen64]byte
	for rest := f.plain[HeaderLen:]; len(rest) > 0; {
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
