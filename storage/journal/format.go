package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/tandembroker/tandem/storage/entry"
)

// The record header (docs/formats.md section 5):
//
//	 0  4 magic       16  8 sequence           64  8 term             112  8 index of the record before
//	 4  1 version     24  4 header CRC before  72  8 previous index   120  8 sequence of the group's record before
//	 5  1 kind        28  4 inline offset      80  8 mark             128  4 reserved
//	 6  1 class       32 24 Raft group         88 24 group before     132  4 CRC of bytes 0 to 131
//	 7  1 Raft type   56  8 index
//	 8  4 length
//	12  4 body CRC
const (
	magic   = "TJR1"
	version = 1

	HeaderLen = 136 // bytes in front of the body

	entryFixedLen = 32 // of an entry's body, in front of its data

	// EntryOverhead is what an entry costs in the journal besides its data and inline payload, in bytes (framing included).
	EntryOverhead = HeaderLen + entryFixedLen + 3

	// RecordBytesMax bounds one record: the body of an entry header and an inline payload, each at most 16 MiB, with room.
	RecordBytesMax = 48 << 20

	prefixLenMax = 4 // of the length prefix of a record of RecordBytesMax
)

var (
	ErrClosed   = errors.New("journal: closed")
	ErrFailed   = errors.New("journal: failed")
	ErrTooLarge = errors.New("journal: record too large")
	ErrCorrupt  = errors.New("journal: corrupt")
	ErrVersion  = errors.New("journal: unknown version")
	ErrKind     = errors.New("journal: unknown kind")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is a decoded record header.
type header struct {
	kind      Kind
	class     entry.Class
	logType   uint8
	length    uint32 // of the whole record
	bodyCRC   uint32
	sequence  uint64
	crcBefore uint32
	inline    uint32 // offset in the body; 0 = none
	group     entry.GroupID
	index     uint64
	term      uint64
	prevIndex uint64
	mark      uint64

	groupBefore entry.GroupID // of the record before in the journal; known only when crcBefore is not 0
	indexBefore uint64

	prevSequence uint64 // of this Raft group's record before; 0 = none

	crc uint32 // of this header
}

// put encodes h into b, HeaderLen bytes, and sets h.crc.
func (h *header) put(b []byte) {
	_ = b[HeaderLen-1]
	copy(b, magic)
	b[4], b[5], b[6], b[7] = version, byte(h.kind), byte(h.class), h.logType
	binary.BigEndian.PutUint32(b[8:], h.length)
	binary.BigEndian.PutUint32(b[12:], h.bodyCRC)
	binary.BigEndian.PutUint64(b[16:], h.sequence)
	binary.BigEndian.PutUint32(b[24:], h.crcBefore)
	binary.BigEndian.PutUint32(b[28:], h.inline)
	putGroup(b[32:], h.group)
	binary.BigEndian.PutUint64(b[56:], h.index)
	binary.BigEndian.PutUint64(b[64:], h.term)
	binary.BigEndian.PutUint64(b[72:], h.prevIndex)
	binary.BigEndian.PutUint64(b[80:], h.mark)
	putGroup(b[88:], h.groupBefore)
	binary.BigEndian.PutUint64(b[112:], h.indexBefore)
	binary.BigEndian.PutUint64(b[120:], h.prevSequence)
	binary.BigEndian.PutUint32(b[128:], 0)
	h.crc = crc32.Checksum(b[:132], castagnoli)
	binary.BigEndian.PutUint32(b[132:], h.crc)
}

func putGroup(b []byte, id entry.GroupID) {
	copy(b, id.Topic[:])
	binary.BigEndian.PutUint32(b[16:], uint32(id.Partition))
	binary.BigEndian.PutUint32(b[20:], id.Incarnation)
}

// parse decodes the header at the start of b. false where b is too short, or magic or CRC is wrong: then h is undefined.
// A header with a good CRC is returned whatever its version is; unknown tells.
func (h *header) parse(b []byte) bool {
	if len(b) < HeaderLen || string(b[:4]) != magic {
		return false
	}
	crc := crc32.Checksum(b[:132], castagnoli)
	if binary.BigEndian.Uint32(b[132:]) != crc {
		return false
	}
	*h = header{
		kind: Kind(b[5]), class: entry.Class(b[6]), logType: b[7],
		length:       binary.BigEndian.Uint32(b[8:]),
		bodyCRC:      binary.BigEndian.Uint32(b[12:]),
		sequence:     binary.BigEndian.Uint64(b[16:]),
		crcBefore:    binary.BigEndian.Uint32(b[24:]),
		inline:       binary.BigEndian.Uint32(b[28:]),
		group:        entry.ParseGroupID(b[32:]),
		index:        binary.BigEndian.Uint64(b[56:]),
		term:         binary.BigEndian.Uint64(b[64:]),
		prevIndex:    binary.BigEndian.Uint64(b[72:]),
		mark:         binary.BigEndian.Uint64(b[80:]),
		groupBefore:  entry.ParseGroupID(b[88:]),
		indexBefore:  binary.BigEndian.Uint64(b[112:]),
		prevSequence: binary.BigEndian.Uint64(b[120:]),
		crc:          crc,
	}
	return true
}

// unknown is why this binary must not go on at a record whose header CRC holds; nil = it may. b begins with the header.
func unknown(b []byte) error {
	if b[4] != version {
		return fmt.Errorf("%w %d, this binary knows %d", ErrVersion, b[4], version)
	}
	k := Kind(b[5])
	if k&MaySkip == 0 && !k.known() {
		return fmt.Errorf("%w %d", ErrKind, k)
	}
	return nil
}

// plausible says whether a header with a good CRC can be one of ours: nothing is sized or skipped by it before.
func (h *header) plausible() bool {
	return h.length >= HeaderLen && h.length <= RecordBytesMax && h.sequence > 0 && h.mark < h.sequence
}

// appendPrefix appends the length prefix with which the library frames a record of n bytes.
func appendPrefix(dst []byte, n uint32) []byte { return binary.AppendUvarint(dst, uint64(n)) }

// prefixOf decodes a length prefix. ok only for the form that the library writes, and a length that a record can have.
func prefixOf(b []byte) (n uint32, size int, ok bool) {
	v, size := binary.Uvarint(b[:min(len(b), prefixLenMax)])
	if size <= 0 || v < HeaderLen || v > RecordBytesMax || prefixLen(uint32(v)) != size {
		return 0, 0, false
	}
	return uint32(v), size, true
}

func prefixLen(n uint32) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

// hasPrefix says whether b ends in the length prefix of a record of n bytes.
func hasPrefix(b []byte, n uint32) bool {
	var buf [binary.MaxVarintLen32]byte
	return bytes.HasSuffix(b, appendPrefix(buf[:0], n))
}
