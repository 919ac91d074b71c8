package wire

import "encoding/binary"

// encoder appends wire primitives to dst, compact ones in flexible versions.
type encoder struct {
	dst      []byte
	flexible bool
}

func (e *encoder) int16(v int16) { e.dst = binary.BigEndian.AppendUint16(e.dst, uint16(v)) }
func (e *encoder) int32(v int32) { e.dst = binary.BigEndian.AppendUint32(e.dst, uint32(v)) }
func (e *encoder) int64(v int64) { e.dst = binary.BigEndian.AppendUint64(e.dst, uint64(v)) }

func (e *encoder) uvarint(v uint32) { e.dst = binary.AppendUvarint(e.dst, uint64(v)) }

func (e *encoder) string(s string) {
	if e.flexible {
		e.uvarint(uint32(len(s)) + 1)
	} else {
		e.int16(int16(len(s)))
	}
	e.dst = append(e.dst, s...)
}

// arrayLen begins an array of n elements.
func (e *encoder) arrayLen(n int) {
	if e.flexible {
		e.uvarint(uint32(n) + 1)
	} else {
		e.int32(int32(n))
	}
}

func (e *encoder) nullArray() { e.arrayLen(-1) }

// bytesLen begins a byte field of n bytes.
func (e *encoder) bytesLen(n int) { e.arrayLen(n) }

// emptyTags writes a tag section without tags, where the version has one.
func (e *encoder) emptyTags() {
	if e.flexible {
		e.dst = append(e.dst, 0)
	}
}
