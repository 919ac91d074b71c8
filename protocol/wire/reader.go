package wire

import "encoding/binary"

// reader consumes wire primitives. The first read past the end, or of a malformed number, makes it bad: it is then empty, and
// every further read returns zero, so that loops over a count must look at bad (hazard K1 was a loop that did not).
type reader struct {
	src []byte
	bad bool
}

func (r *reader) fail() { r.src, r.bad = nil, true }

// span returns the next n bytes, borrowed.
func (r *reader) span(n int) []byte {
	if n < 0 || n > len(r.src) {
		r.fail()
		return nil
	}
	b := r.src[:n:n]
	r.src = r.src[n:]
	return b
}

func (r *reader) uint8() uint8 {
	if b := r.span(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) int16() int16 {
	if b := r.span(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *reader) int32() int32 {
	if b := r.span(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

// uvarint reads an unsigned varint of 32 bits: at most 5 bytes. Longer than needed is legal, as in Kafka's ByteUtils.
func (r *reader) uvarint() uint32 {
	var v uint32
	for i := range 5 {
		if i == len(r.src) {
			break
		}
		b := r.src[i]
		if i == 4 && b > 0x0f { // does not fit, or does not end
			break
		}
		v |= uint32(b&0x7f) << (7 * i)
		if b < 0x80 {
			r.src = r.src[i+1:]
			return v
		}
	}
	r.fail()
	return 0
}

// skipTags passes over a tag section.
func (r *reader) skipTags() {
	for count := r.uvarint(); count > 0 && !r.bad; count-- {
		r.uvarint()
		r.span(int(r.uvarint()))
	}
}
