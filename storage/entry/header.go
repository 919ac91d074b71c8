package entry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Kind is what a command does. Kinds from Promote to TruncateTo and VoidTransactions are reserved at format level 1.
type Kind uint8

const (
	Data             Kind = 1
	Void             Kind = 2
	EpochBase        Kind = 3
	Promote          Kind = 4
	Follow           Kind = 5
	Fence            Kind = 6
	Unfence          Kind = 7
	TruncateTo       Kind = 8
	LogStart         Kind = 9
	VoidTransactions Kind = 10
	Metadata         Kind = 11
)

// MaySkip marks a kind that an older binary may pass over.
const MaySkip Kind = 0x80

// Class says what an acknowledgement of the entry means.
type Class uint8

const (
	Synced Class = 0 // on disk on a quorum
	Cached Class = 1 // in the page cache of a quorum (write.caching=true)
)

const (
	version    = 1
	headerLen  = 40
	rowLen     = 64
	RowsMax    = 4096
	BodyMax    = 16 << 20
	unassigned = -1
)

// Row describes one record batch of the payload: all that the machine behind Raft may know of it.
type Row struct {
	Pos              uint32 // of the batch in the payload, bytes
	Length           uint32 // bytes, with the 12-byte prefix
	BaseOffset       int64  // -1 until stamped
	LastOffset       int64  // -1 until stamped
	LeaderEpoch      int32  // -1 until stamped
	CoordinatorEpoch int32  // control batches; else -1
	ProducerID       int64  // -1 = none
	MaxTimestamp     int64  // ms
	BaseSequence     int32  // -1 = none
	ProducerEpoch    int16  // -1 = none
	Attributes       int16
	ControlType      int8 // -1 none, 0 abort, 1 commit
	LastOffsetDelta  int32
}

// Header is the decoded form of a command's Data.
type Header struct {
	Kind           Kind
	Class          Class
	SiteEpoch      uint32
	ValidatedTerm  uint64
	AppendSequence uint64
	PayloadLength  uint32
	PayloadCRC     uint32
	Rows           []Row
	Body           []byte
}

var (
	ErrCorrupt = errors.New("entry: corrupt header")
	ErrVersion = errors.New("entry: unknown version")
	ErrKind    = errors.New("entry: unknown kind")
)

// Castagnoli is the CRC32C table that every format of Tandem uses.
var Castagnoli = crc32.MakeTable(crc32.Castagnoli)

// KindOf is the kind of an encoded header, 0 for what is none.
func KindOf(data []byte) Kind {
	if len(data) < headerLen {
		return 0
	}
	return Kind(data[1])
}

// Size is the encoded length in bytes.
func (h *Header) Size() int { return headerLen + rowLen*len(h.Rows) + len(h.Body) }

// Append encodes h behind dst and returns the extended slice.
func (h *Header) Append(dst []byte) []byte {
	dst = append(dst, version, byte(h.Kind), byte(h.Class), 0)
	dst = binary.BigEndian.AppendUint32(dst, h.SiteEpoch)
	dst = binary.BigEndian.AppendUint64(dst, h.ValidatedTerm)
	dst = binary.BigEndian.AppendUint64(dst, h.AppendSequence)
	dst = binary.BigEndian.AppendUint32(dst, h.PayloadLength)
	dst = binary.BigEndian.AppendUint32(dst, h.PayloadCRC)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(h.Rows)))
	dst = append(dst, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(h.Body)))
	for i := range h.Rows {
		dst = h.Rows[i].append(dst)
	}
	return append(dst, h.Body...)
}

func (r *Row) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, r.Pos)
	dst = binary.BigEndian.AppendUint32(dst, r.Length)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.BaseOffset))
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.LastOffset))
	dst = binary.BigEndian.AppendUint32(dst, uint32(r.LeaderEpoch))
	dst = binary.BigEndian.AppendUint32(dst, uint32(r.CoordinatorEpoch))
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.ProducerID))
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.MaxTimestamp))
	dst = binary.BigEndian.AppendUint32(dst, uint32(r.BaseSequence))
	dst = binary.BigEndian.AppendUint16(dst, uint16(r.ProducerEpoch))
	dst = binary.BigEndian.AppendUint16(dst, uint16(r.Attributes))
	dst = append(dst, byte(r.ControlType), 0, 0, 0)
	return binary.BigEndian.AppendUint32(dst, uint32(r.LastOffsetDelta))
}

// Decode reads a header that fills b exactly. Rows are copied; Body borrows from b.
// Errors: ErrVersion, ErrKind, ErrCorrupt, each wrapped with what was found.
func (h *Header) Decode(b []byte) error {
	if len(b) < headerLen {
		return fmt.Errorf("%w: %d bytes", ErrCorrupt, len(b))
	}
	if b[0] != version {
		return fmt.Errorf("%w %d", ErrVersion, b[0])
	}
	h.Kind = Kind(b[1])
	if (h.Kind < Data || h.Kind > Metadata) && h.Kind&MaySkip == 0 {
		return fmt.Errorf("%w %d", ErrKind, b[1])
	}
	h.Class = Class(b[2])
	rows := int(binary.BigEndian.Uint16(b[32:]))
	body := int64(binary.BigEndian.Uint32(b[36:]))
	if h.Class > Cached || b[3] != 0 || b[34] != 0 || b[35] != 0 || rows > RowsMax || body > BodyMax ||
		int64(len(b)) != int64(headerLen+rowLen*rows)+body {
		return fmt.Errorf("%w: %d rows and %d bytes of body in %d bytes", ErrCorrupt, rows, body, len(b))
	}
	h.SiteEpoch = binary.BigEndian.Uint32(b[4:])
	h.ValidatedTerm = binary.BigEndian.Uint64(b[8:])
	h.AppendSequence = binary.BigEndian.Uint64(b[16:])
	h.PayloadLength = binary.BigEndian.Uint32(b[24:])
	h.PayloadCRC = binary.BigEndian.Uint32(b[28:])
	h.Rows = h.Rows[:0]
	for i := range rows {
		var r Row
		if !r.decode(b[headerLen+i*rowLen:]) {
			return fmt.Errorf("%w: reserved bytes of row %d", ErrCorrupt, i)
		}
		h.Rows = append(h.Rows, r)
	}
	h.Body = b[headerLen+rowLen*rows:]
	return h.checkRows()
}

func (r *Row) decode(b []byte) bool {
	r.Pos = binary.BigEndian.Uint32(b)
	r.Length = binary.BigEndian.Uint32(b[4:])
	r.BaseOffset = int64(binary.BigEndian.Uint64(b[8:]))
	r.LastOffset = int64(binary.BigEndian.Uint64(b[16:]))
	r.LeaderEpoch = int32(binary.BigEndian.Uint32(b[24:]))
	r.CoordinatorEpoch = int32(binary.BigEndian.Uint32(b[28:]))
	r.ProducerID = int64(binary.BigEndian.Uint64(b[32:]))
	r.MaxTimestamp = int64(binary.BigEndian.Uint64(b[40:]))
	r.BaseSequence = int32(binary.BigEndian.Uint32(b[48:]))
	r.ProducerEpoch = int16(binary.BigEndian.Uint16(b[52:]))
	r.Attributes = int16(binary.BigEndian.Uint16(b[54:]))
	r.ControlType = int8(b[56])
	r.LastOffsetDelta = int32(binary.BigEndian.Uint32(b[60:]))
	return b[57] == 0 && b[58] == 0 && b[59] == 0
}

// checkRows verifies that the rows tile the payload and that stamped offsets rise.
func (h *Header) checkRows() error {
	var end uint64
	last := int64(unassigned)
	for i := range h.Rows {
		r := &h.Rows[i]
		stamped := r.BaseOffset >= 0
		switch {
		case uint64(r.Pos) != end:
			return fmt.Errorf("%w: row %d at byte %d of the payload, expected %d", ErrCorrupt, i, r.Pos, end)
		case r.LastOffsetDelta < 0:
			return fmt.Errorf("%w: row %d has last offset delta %d", ErrCorrupt, i, r.LastOffsetDelta)
		case stamped && (r.BaseOffset <= last || r.LastOffset != r.BaseOffset+int64(r.LastOffsetDelta)):
			return fmt.Errorf("%w: row %d covers offsets %d to %d behind %d", ErrCorrupt, i, r.BaseOffset, r.LastOffset, last)
		}
		end += uint64(r.Length)
		last = r.LastOffset
	}
	if end != uint64(h.PayloadLength) {
		return fmt.Errorf("%w: rows cover %d bytes of a payload of %d", ErrCorrupt, end, h.PayloadLength)
	}
	if h.Kind == Data && len(h.Rows) == 0 {
		return fmt.Errorf("%w: data entry without rows", ErrCorrupt)
	}
	return nil
}
