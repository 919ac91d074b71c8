package record

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

// Positions of header fields, in bytes from the start of the batch.
const (
	posBaseOffset      = 0
	posLength          = 8
	posLeaderEpoch     = 12
	posMagic           = 16
	posCRC             = 17
	posAttributes      = 21 // the CRC covers from here to the end
	posLastOffsetDelta = 23
	posFirstTimestamp  = 27
	posMaxTimestamp    = 35
	posProducerID      = 43
	posProducerEpoch   = 51
	posBaseSequence    = 53
	posRecordCount     = 57
)

const (
	// HeaderLen is the size of a batch without records, bytes.
	HeaderLen = 61
	// OverheadLen is the size of base offset and length, which the length field does not count, bytes.
	OverheadLen = 12

	magic = 2
	// legacyLengthMin is the smallest length field of any magic (an empty message of magic 0), as in Kafka.
	legacyLengthMin = 14
)

// Attribute bits.
const (
	attrCodec         = 0x07
	attrLogAppendTime = 0x08
	attrTransactional = 0x10
	attrControl       = 0x20
	attrDeleteHorizon = 0x40
)

// NoProducerID, NoSequence and NoTimestamp are what Kafka writes where there is none.
const (
	NoProducerID = -1
	NoSequence   = -1
	NoTimestamp  = -1
)

// castagnoli is read-only after initialisation; crc32 picks the processor's own instruction for it.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batch is a view of exactly one record batch of magic 2. The bytes are borrowed: they belong to whoever owns the buffer that
// Next was given. Methods may be called only on batches that came from Next, Single, Builder or ControlBatch.
type Batch []byte

// Next splits the batch at the front of b from the rest. It checks framing only: the length field, the magic, and that the
// whole batch lies in b. The CRC is CheckCRC's, the content ValidateProduce's. Both results alias b.
// Errors: ErrTruncated, ErrMagic, ErrCorrupt.
func Next(b []byte) (batch Batch, rest []byte, err error) {
	if len(b) < OverheadLen {
		return nil, nil, fmt.Errorf("%w: %d bytes, less than a batch prefix", ErrTruncated, len(b))
	}
	length := int32(binary.BigEndian.Uint32(b[posLength:]))
	if length < legacyLengthMin {
		return nil, nil, fmt.Errorf("%w: length field %d", ErrCorrupt, length)
	}
	if len(b) <= posMagic {
		return nil, nil, fmt.Errorf("%w: %d bytes, no magic", ErrTruncated, len(b))
	}
	switch m := int8(b[posMagic]); m {
	case magic:
	case 0, 1:
		return nil, nil, fmt.Errorf("%w: magic %d", ErrMagic, m)
	default:
		return nil, nil, fmt.Errorf("%w: magic %d", ErrCorrupt, m)
	}
	total := int64(length) + OverheadLen
	if total < HeaderLen {
		return nil, nil, fmt.Errorf("%w: length field %d is less than a header", ErrCorrupt, length)
	}
	if total > int64(len(b)) {
		return nil, nil, fmt.Errorf("%w: %d of %d bytes", ErrTruncated, len(b), total)
	}
	return Batch(b[:total:total]), b[total:], nil
}

func (b Batch) int16At(pos int) int16 { return int16(binary.BigEndian.Uint16(b[pos:])) }
func (b Batch) int32At(pos int) int32 { return int32(binary.BigEndian.Uint32(b[pos:])) }
func (b Batch) int64At(pos int) int64 { return int64(binary.BigEndian.Uint64(b[pos:])) }

// BaseOffset is the offset of the first record.
func (b Batch) BaseOffset() int64 { return b.int64At(posBaseOffset) }

// Length is the size of the whole batch in bytes, OverheadLen included.
func (b Batch) Length() int { return len(b) }

// DeclaredLength is the size of the whole batch in bytes as its length field says, OverheadLen included; of a batch that is cut short too.
func (b Batch) DeclaredLength() int64 { return int64(b.int32At(posLength)) + OverheadLen }

// LeaderEpoch is the partition leader epoch, as the leader stamped it.
func (b Batch) LeaderEpoch() int32 { return b.int32At(posLeaderEpoch) }

// Magic is the format version: always 2.
func (b Batch) Magic() int8 { return int8(b[posMagic]) }

// CRC is the checksum that the batch claims.
func (b Batch) CRC() uint32 { return binary.BigEndian.Uint32(b[posCRC:]) }

// Attributes are the raw attribute bits.
func (b Batch) Attributes() int16 { return b.int16At(posAttributes) }

// LastOffsetDelta is the last offset less the base offset; compaction keeps it when it removes records.
func (b Batch) LastOffsetDelta() int32 { return b.int32At(posLastOffsetDelta) }

// LastOffset is the offset of the last record that the batch was written with.
func (b Batch) LastOffset() int64 { return b.BaseOffset() + int64(b.LastOffsetDelta()) }

// FirstTimestamp is what timestamp deltas count from, ms; a delete horizon when HasDeleteHorizon.
func (b Batch) FirstTimestamp() int64 { return b.int64At(posFirstTimestamp) }

// MaxTimestamp is the largest timestamp in the batch, or the log append time, ms.
func (b Batch) MaxTimestamp() int64 { return b.int64At(posMaxTimestamp) }

// ProducerID is the idempotent producer's id, or NoProducerID.
func (b Batch) ProducerID() int64 { return b.int64At(posProducerID) }

// HasProducerID tells whether an idempotent producer wrote the batch. Kafka takes every id below 0 as none.
func (b Batch) HasProducerID() bool { return b.ProducerID() > NoProducerID }

// ProducerEpoch is the producer's epoch, -1 = none.
func (b Batch) ProducerEpoch() int16 { return b.int16At(posProducerEpoch) }

// BaseSequence is the sequence number of the first record, or NoSequence.
func (b Batch) BaseSequence() int32 { return b.int32At(posBaseSequence) }

// LastSequence is the sequence number of the last record, or NoSequence. Sequences go from MaxInt32 to 0.
func (b Batch) LastSequence() int32 {
	base := b.BaseSequence()
	if base == NoSequence {
		return NoSequence
	}
	return IncrementSequence(base, b.LastOffsetDelta())
}

// IncrementSequence is sequence plus n, wrapped as Kafka does: MaxInt32 is followed by 0.
func IncrementSequence(sequence, n int32) int32 {
	if sequence > math.MaxInt32-n {
		return n - (math.MaxInt32 - sequence) - 1
	}
	return sequence + n
}

// RecordCount is how many records the batch claims to hold; 0 after compaction removed all.
func (b Batch) RecordCount() int32 { return b.int32At(posRecordCount) }

// Records is what follows the header: the records, or one compressed block. Aliases the batch.
func (b Batch) Records() []byte { return b[HeaderLen:] }

// Codec is how the records are compressed; values above Zstd are unknown codecs.
func (b Batch) Codec() Codec { return Codec(b[posAttributes+1] & attrCodec) }

// IsControl tells whether the batch holds a transaction marker.
func (b Batch) IsControl() bool { return b.Attributes()&attrControl != 0 }

// IsTransactional tells whether the batch belongs to a transaction.
func (b Batch) IsTransactional() bool { return b.Attributes()&attrTransactional != 0 }

// IsLogAppendTime tells whether MaxTimestamp is the timestamp of every record.
func (b Batch) IsLogAppendTime() bool { return b.Attributes()&attrLogAppendTime != 0 }

// HasDeleteHorizon tells whether FirstTimestamp is the time after which compaction may drop tombstones and markers (KIP-534).
func (b Batch) HasDeleteHorizon() bool { return b.Attributes()&attrDeleteHorizon != 0 }

// SetBaseOffset stamps the base offset, which the CRC does not cover.
func (b Batch) SetBaseOffset(offset int64) {
	binary.BigEndian.PutUint64(b[posBaseOffset:], uint64(offset))
}

// SetLeaderEpoch stamps the leader epoch, which the CRC does not cover.
func (b Batch) SetLeaderEpoch(epoch int32) {
	binary.BigEndian.PutUint32(b[posLeaderEpoch:], uint32(epoch))
}

// SetLogAppendTime makes ms the timestamp of every record: attribute bit 3, MaxTimestamp and a new CRC. The records keep their
// own timestamps below it, as in Kafka. Reads the whole batch once, unless nothing changes.
func (b Batch) SetLogAppendTime(ms int64) { b.setTimestamp(attrLogAppendTime, ms) }

// setTimestamp is Kafka's DefaultRecordBatch.setMaxTimestamp: where it changes anything, it also clears the attribute bits
// that Kafka does not know.
func (b Batch) setTimestamp(kind int16, ms int64) {
	attributes := b.Attributes()
	if attributes&attrLogAppendTime == kind && b.MaxTimestamp() == ms {
		return
	}
	attributes = attributes&(attrCodec|attrTransactional|attrControl|attrDeleteHorizon) | kind
	binary.BigEndian.PutUint16(b[posAttributes:], uint16(attributes))
	binary.BigEndian.PutUint64(b[posMaxTimestamp:], uint64(ms))
	b.setCRC()
}

func (b Batch) computeCRC() uint32 { return crc32.Checksum(b[posAttributes:], castagnoli) }

func (b Batch) setCRC() { binary.BigEndian.PutUint32(b[posCRC:], b.computeCRC()) }

// CheckCRC reads the whole batch and compares its checksum. Base offset, length and leader epoch are outside it.
// Errors: ErrCorrupt.
func (b Batch) CheckCRC() error {
	if got, want := b.computeCRC(), b.CRC(); got != want {
		return fmt.Errorf("%w: CRC %08x, stored %08x", ErrCorrupt, got, want)
	}
	return nil
}
