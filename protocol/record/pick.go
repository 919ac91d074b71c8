package record

import (
	"encoding/binary"
	"math"
)

// Pick is Apply for an uncompressed batch whose records EachKeyed has accepted and of which none is a tombstone, where it is known
// which offsets stay: bit i of stay[i/64], the lowest first, says it of the i-th offset behind the base. Of a record it looks at
// no more than length, timestamp and offset. The result is that of Apply with a Keep of the same bits and without the rest of a
// Rule. Errors: ErrInvalid, that of what it looks at something is not as EachKeyed must have found it.
func (f *Filter) Pick(b Batch, stay []uint64) (Filtered, error) {
	f.out = append(f.out[:0], b[:HeaderLen]...)
	plain, most, count := b.Records(), b.LastOffsetDelta(), b.RecordCount()
	if b.Codec() != None || int(most)/64 >= len(stay) || most < 0 {
		return Filtered{}, invalid(0, "not to be picked from")
	}
	kept, maxTime, last := int32(0), int64(math.MinInt64), int32(-1)
	pos, from := 0, 0 // plain[from:pos] stays and was not copied
	first := b.FirstTimestamp()
	for i := range count {
		begin := pos
		timestamp, offset, end := outline(plain, pos)
		if end < 0 || offset <= last || offset > most {
			return Filtered{}, invalid(i, "malformed")
		}
		pos, last = end, offset
		if stay[uint32(offset)/64]>>(uint32(offset)%64)&1 != 0 {
			kept++
			maxTime = max(maxTime, first+timestamp)
			continue
		}
		f.out = append(f.out, plain[from:begin]...)
		from = pos
	}
	switch {
	case pos != len(plain):
		return Filtered{}, invalid(count, "bytes behind the last record")
	case kept == 0:
		return Filtered{}, nil
	case kept == count:
		return Filtered{Batch: b, Kept: kept}, nil
	}
	f.out = append(f.out, plain[from:]...)
	out := Batch(f.out)
	binary.BigEndian.PutUint32(out[posLength:], uint32(len(out)-OverheadLen))
	if !b.IsLogAppendTime() {
		binary.BigEndian.PutUint64(out[posMaxTimestamp:], uint64(maxTime))
	}
	binary.BigEndian.PutUint32(out[posRecordCount:], uint32(kept))
	out.setCRC()
	return Filtered{Batch: out, Kept: kept}, nil
}

// outline reads what Pick looks at of the record at pos, and where that ends; end is -1 on failure.
func outline(plain []byte, pos int) (timestampDelta int64, offsetDelta int32, end int) {
	n, body := short(plain, pos) // most numbers take no more than two bytes
	timestamp, at := short(plain, body+1)
	offset, at := short(plain, at)
	if end = body + int(n>>1); n&1 == 0 && at < end && end <= len(plain) {
		return int64(timestamp>>1) ^ -int64(timestamp&1), int32(offset>>1) ^ -int32(offset&1), end
	}
	return longOutline(plain, pos)
}

// longOutline is outline for records of any kind.
func longOutline(plain []byte, pos int) (timestampDelta int64, offsetDelta int32, end int) {
	n, at := varint32(plain, pos)
	if at < 0 || n < 0 || int(n) > len(plain)-at {
		return 0, 0, -1
	}
	end = at + int(n)
	timestampDelta, at = varint64(plain[:end], at+1) // behind the attributes
	if offsetDelta, at = varint32(plain[:end], at); at < 0 {
		return 0, 0, -1
	}
	return timestampDelta, offsetDelta, end
}
