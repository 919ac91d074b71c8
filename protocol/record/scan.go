package record

// Record is one record of a batch. Key, Value and Headers alias the batch or a buffer that is reused: they are valid until the
// callback that got them returns. A nil Key or Value is Kafka's null, an empty one is not.
type Record struct {
	Offset    int64
	Timestamp int64 // ms; the batch's log append time where that is set
	Key       []byte
	Value     []byte
	Headers   []Header
}

// Header is a record header; Value nil = null.
type Header struct {
	Key   []byte
	Value []byte
}

// uvarint64 reads an unsigned varint at pos. next is -1 where the bytes end first or the value needs more than 64 bits.
func uvarint64(b []byte, pos int) (v uint64, next int) {
	for shift := uint(0); shift < 64; shift += 7 {
		if pos >= len(b) {
			return 0, -1
		}
		c := b[pos]
		pos++
		if c < 0x80 {
			if shift == 63 && c > 1 {
				return 0, -1
			}
			return v | uint64(c)<<shift, pos
		}
		v |= uint64(c&0x7f) << shift
	}
	return 0, -1
}

// varint64 reads a zigzag varint; next is -1 on failure.
func varint64(b []byte, pos int) (v int64, next int) {
	if uint(pos) < uint(len(b)) && b[pos] < 0x80 { // most are one byte
		u := b[pos]
		return int64(u>>1) ^ -int64(u&1), pos + 1
	}
	u, next := uvarint64(b, pos)
	return int64(u>>1) ^ -int64(u&1), next
}

// varint32 reads a zigzag varint of at most 32 bits and 5 bytes, as Kafka does; next is -1 on failure.
func varint32(b []byte, pos int) (v int32, next int) {
	if uint(pos) < uint(len(b)) && b[pos] < 0x80 {
		u := b[pos]
		return int32(u>>1) ^ -int32(u&1), pos + 1
	}
	u, next := uvarint64(b, pos)
	if next > pos+5 || u > 0xffffffff {
		return 0, -1
	}
	return int32(u>>1) ^ -int32(u&1), next
}

// skipBytes reads a length and passes over as many bytes. A negative length is null, any as in Kafka. next is -1 on failure.
func skipBytes(b []byte, pos int) (null bool, next int) {
	n, pos := varint32(b, pos)
	if pos < 0 {
		return false, -1
	}
	if n < 0 {
		return true, pos
	}
	if int(n) > len(b)-pos {
		return false, -1
	}
	return false, pos + int(n)
}

// takeBytes is skipBytes that returns the bytes; next is -1 on failure.
func takeBytes(b []byte, pos int) (v []byte, next int) {
	n, pos := varint32(b, pos)
	switch {
	case pos < 0 || int(n) > len(b)-pos:
		return nil, -1
	case n < 0:
		return nil, pos
	}
	next = pos + int(n)
	return b[pos:next:next], next
}

// scanned is what validation needs of one record.
type scanned struct {
	timestampDelta int64
	offsetDelta    int32
	keyNull        bool
}

// scan checks the structure of one record without its length prefix: every length inside, nothing left over.
func scan(body []byte) (s scanned, ok bool) {
	if len(body) == 0 {
		return s, false
	}
	pos := 1 // attributes, which Kafka does not look at
	if s.timestampDelta, pos = varint64(body, pos); pos < 0 {
		return s, false
	}
	if s.offsetDelta, pos = varint32(body, pos); pos < 0 {
		return s, false
	}
	if s.keyNull, pos = skipBytes(body, pos); pos < 0 {
		return s, false
	}
	if _, pos = skipBytes(body, pos); pos < 0 {
		return s, false
	}
	headers, pos := varint32(body, pos)
	if pos < 0 || headers < 0 || int(headers) > len(body)-pos {
		return s, false
	}
	for range headers {
		var null bool
		if null, pos = skipBytes(body, pos); pos < 0 || null {
			return s, false
		}
		if _, pos = skipBytes(body, pos); pos < 0 {
			return s, false
		}
	}
	return s, pos == len(body)
}

// keyPos is where the key of a record begins that scan has accepted.
func keyPos(body []byte) int {
	_, pos := varint64(body, 1)
	_, pos = varint32(body, pos)
	return pos
}

// parse is scan that fills r; it reuses r.Headers. What scan has accepted cannot fail the second time.
func (r *Record) parse(body []byte) (s scanned, ok bool) {
	if s, ok = scan(body); !ok {
		return s, false
	}
	key, pos := takeBytes(body, keyPos(body))
	r.Key = key
	r.Value, pos = takeBytes(body, pos)
	headers, pos := varint32(body, pos)
	r.Headers = r.Headers[:0]
	for range headers {
		var h Header
		h.Key, pos = takeBytes(body, pos)
		h.Value, pos = takeBytes(body, pos)
		r.Headers = append(r.Headers, h)
	}
	return s, true
}
