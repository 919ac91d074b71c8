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

// uvarint64 reads an unsigned varint at pos. next is -1 where pos is, where the bytes end first, or where the value needs more
// than 64 bits.
func uvarint64(b []byte, pos int) (v uint64, next int) {
	for shift := uint(0); shift < 64; shift += 7 {
		if uint(pos) >= uint(len(b)) {
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
	return longVarint32(b, pos)
}

// longVarint32 is varint32 where it is not one byte.
func longVarint32(b []byte, pos int) (v int32, next int) {
	if pos >= 0 && pos < len(b)-1 && b[pos+1] < 0x80 { // lengths of records and values from 64 to 8,191
		u := uint32(b[pos]&0x7f) | uint32(b[pos+1])<<7
		return int32(u>>1) ^ -int32(u&1), pos + 2
	}
	u, next := uvarint64(b, pos)
	if next > pos+5 || u > 0xffffffff {
		return 0, -1
	}
	return int32(u>>1) ^ -int32(u&1), next
}

// notShort is a position behind the end of everything.
const notShort = 1 << 40

// short reads a zigzag varint of one or two bytes, which it does not decode further, with a byte behind it. next is notShort where
// it is longer, where the bytes end first, and where pos is behind them.
func short(b []byte, pos int) (zigzag uint32, next int) {
	if pos >= len(b)-1 {
		return 0, notShort
	}
	c := uint32(b[pos])
	if c < 0x80 {
		return c, pos + 1
	}
	d := uint32(b[pos+1])
	if d < 0x80 {
		return c&0x7f | d<<7, pos + 2
	}
	return 0, notShort
}

// skipBytes reads a length and passes over as many bytes. A negative length is null, any as in Kafka. next is -1 on failure.
func skipBytes(b []byte, pos int) (null bool, next int) {
	n, pos := varint32(b, pos)
	if pos < 0 || int(n) > len(b)-pos {
		return false, -1
	}
	return n < 0, pos + max(int(n), 0)
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

// scanned is what is known of one record whose structure was checked.
type scanned struct {
	timestampDelta     int64
	offsetDelta        int32
	keyNull, valueNull bool
	keyPos, keyEnd     int // where the key lies, in the record without its length prefix; the value's length follows it
}

// key aliases body, of which s tells; nil = null.
func (s *scanned) key(body []byte) []byte {
	if s.keyNull {
		return nil
	}
	return body[s.keyPos:s.keyEnd:s.keyEnd]
}

// scan checks the structure of one record without its length prefix: every length inside, nothing left over.
func scan(body []byte) (s scanned, ok bool) {
	var pos int
	s.timestampDelta, pos = varint64(body, 1) // behind the attributes, which Kafka does not look at
	s.offsetDelta, pos = varint32(body, pos)  // fails where the one before it has
	n, pos := varint32(body, pos)
	if pos < 0 || int(n) > len(body)-pos {
		return s, false
	}
	s.keyNull, s.keyPos = n < 0, pos
	pos += max(int(n), 0)
	s.keyEnd = pos
	n, pos = varint32(body, pos)
	if pos < 0 || int(n) > len(body)-pos {
		return s, false
	}
	s.valueNull = n < 0
	pos += max(int(n), 0)
	if pos == len(body)-1 && body[pos] == 0 { // most have no headers
		return s, true
	}
	return s, scanHeaders(body, pos)
}

// scanHeaders checks the headers of a record, from their count at pos on.
func scanHeaders(body []byte, pos int) bool {
	headers, pos := varint32(body, pos)
	if pos < 0 || headers < 0 || int(headers) > len(body)-pos {
		return false
	}
	for range headers {
		var null bool
		if null, pos = skipBytes(body, pos); pos < 0 || null {
			return false
		}
		if _, pos = skipBytes(body, pos); pos < 0 {
			return false
		}
	}
	return pos == len(body)
}

// parse fills r with what s tells of body; it reuses r.Headers. What scan has accepted cannot fail the second time.
func (r *Record) parse(body []byte, s *scanned) {
	r.Key = s.key(body)
	value, pos := takeBytes(body, s.keyEnd)
	r.Value = value
	headers, pos := varint32(body, pos)
	r.Headers = r.Headers[:0]
	for range headers {
		var h Header
		h.Key, pos = takeBytes(body, pos)
		h.Value, pos = takeBytes(body, pos)
		r.Headers = append(r.Headers, h)
	}
}
