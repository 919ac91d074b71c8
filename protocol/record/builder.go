package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Builder makes batches from records. Set the exported fields, Append, then Batch; Reset starts the next batch and keeps the
// buffers. Not safe for concurrent use.
type Builder struct {
	BaseOffset    int64
	LeaderEpoch   int32
	Codec         Codec
	Transactional bool
	Control       bool
	ProducerID    int64 // NoProducerID = none
	ProducerEpoch int16
	BaseSequence  int32

	records        []byte // as they stand uncompressed in the batch
	body           []byte // scratch: one record
	out            []byte
	count          int32
	lastDelta      int32
	firstTimestamp int64
	maxTimestamp   int64
}

// NewBuilder returns a Builder for batches without a producer id, of leader epoch -1 (none).
func NewBuilder() *Builder {
	b := &Builder{LeaderEpoch: -1, ProducerID: NoProducerID, ProducerEpoch: -1, BaseSequence: NoSequence}
	b.Reset()
	return b
}

// Reset drops the records; the exported fields stay. Batches that were returned become invalid.
func (b *Builder) Reset() {
	b.records, b.count, b.lastDelta = b.records[:0], 0, -1
	b.firstTimestamp, b.maxTimestamp = NoTimestamp, NoTimestamp
}

// Len is the size of the batch so far, uncompressed, in bytes.
func (b *Builder) Len() int { return HeaderLen + len(b.records) }

// Count is the number of records so far.
func (b *Builder) Count() int { return int(b.count) }

// Append adds a record at the next offset. timestamp is in ms; nil key or value is null. Everything is copied.
func (b *Builder) Append(timestamp int64, key, value []byte, headers ...Header) {
	b.append(b.lastDelta+1, timestamp, key, value, headers)
}

// AppendRecord adds r at its own offset, which must be above the last one and within 2^31 of BaseOffset. Everything is copied.
func (b *Builder) AppendRecord(r Record) error {
	delta := r.Offset - b.BaseOffset
	if delta <= int64(b.lastDelta) || delta > math.MaxInt32 {
		return fmt.Errorf("record: offset %d does not follow %d", r.Offset, b.BaseOffset+int64(b.lastDelta))
	}
	b.append(int32(delta), r.Timestamp, r.Key, r.Value, r.Headers)
	return nil
}

func (b *Builder) append(delta int32, timestamp int64, key, value []byte, headers []Header) {
	if b.count == 0 {
		b.firstTimestamp = timestamp
	}
	b.maxTimestamp = max(b.maxTimestamp, timestamp)
	body := append(b.body[:0], 0)
	body = binary.AppendVarint(body, timestamp-b.firstTimestamp)
	body = binary.AppendVarint(body, int64(delta))
	body = appendBytes(body, key)
	body = appendBytes(body, value)
	body = binary.AppendVarint(body, int64(len(headers)))
	for _, h := range headers {
		body = binary.AppendVarint(body, int64(len(h.Key))) // never null
		body = append(body, h.Key...)
		body = appendBytes(body, h.Value)
	}
	b.records = binary.AppendVarint(b.records, int64(len(body)))
	b.records = append(b.records, body...)
	b.body, b.lastDelta = body, delta
	b.count++
}

func appendBytes(dst, v []byte) []byte {
	if v == nil {
		return binary.AppendVarint(dst, -1)
	}
	dst = binary.AppendVarint(dst, int64(len(v)))
	return append(dst, v...)
}

// Batch returns the finished batch, valid until the next Reset or Batch. A batch without records is legal in a log (Kafka's
// compaction keeps such) but not in a produce request. Errors: ErrCodec, ErrTooLarge (above 2 GiB).
func (b *Builder) Batch() (Batch, error) {
	out := append(b.out[:0], make([]byte, HeaderLen)...)
	out, err := Compress(out, b.Codec, b.records)
	if err != nil {
		return nil, err
	}
	if len(out)-OverheadLen > math.MaxInt32 {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(out))
	}
	b.out = out
	attributes := uint16(b.Codec)
	if b.Transactional {
		attributes |= attrTransactional
	}
	if b.Control {
		attributes |= attrControl
	}
	binary.BigEndian.PutUint64(out[posBaseOffset:], uint64(b.BaseOffset))
	binary.BigEndian.PutUint32(out[posLength:], uint32(len(out)-OverheadLen))
	binary.BigEndian.PutUint32(out[posLeaderEpoch:], uint32(b.LeaderEpoch))
	out[posMagic] = magic
	binary.BigEndian.PutUint16(out[posAttributes:], attributes)
	binary.BigEndian.PutUint32(out[posLastOffsetDelta:], uint32(max(b.lastDelta, 0)))
	binary.BigEndian.PutUint64(out[posFirstTimestamp:], uint64(b.firstTimestamp))
	binary.BigEndian.PutUint64(out[posMaxTimestamp:], uint64(b.maxTimestamp))
	binary.BigEndian.PutUint64(out[posProducerID:], uint64(b.ProducerID))
	binary.BigEndian.PutUint16(out[posProducerEpoch:], uint16(b.ProducerEpoch))
	binary.BigEndian.PutUint32(out[posBaseSequence:], uint32(b.BaseSequence))
	binary.BigEndian.PutUint32(out[posRecordCount:], uint32(b.count))
	batch := Batch(out)
	batch.setCRC()
	return batch, nil
}

// ControlType is what a transaction marker says.
type ControlType int16

// The transaction markers of Kafka. Other types exist in Kafka's own metadata log.
const (
	Abort  ControlType = 0
	Commit ControlType = 1
)

// Control is a transaction marker, the only record of a control batch.
type Control struct {
	Type             ControlType
	BaseOffset       int64
	LeaderEpoch      int32
	Timestamp        int64 // ms
	ProducerID       int64
	ProducerEpoch    int16
	CoordinatorEpoch int32
}

// controlVersion is the version of key and value of a marker that Kafka writes.
const controlVersion = 0

var errNotControl = errors.New("not a transaction marker")

// ControlBatch returns a new batch with the marker c, byte for byte what Kafka writes (EndTransactionMarker).
func ControlBatch(c Control) Batch {
	b := NewBuilder()
	b.BaseOffset, b.LeaderEpoch, b.Transactional, b.Control = c.BaseOffset, c.LeaderEpoch, true, true
	b.ProducerID, b.ProducerEpoch = c.ProducerID, c.ProducerEpoch
	key := binary.BigEndian.AppendUint16(nil, controlVersion)
	key = binary.BigEndian.AppendUint16(key, uint16(c.Type))
	value := binary.BigEndian.AppendUint16(nil, controlVersion)
	value = binary.BigEndian.AppendUint32(value, uint32(c.CoordinatorEpoch))
	b.Append(c.Timestamp, key, value)
	batch, err := b.Batch()
	if err != nil {
		panic("record: control batch: " + err.Error()) // uncompressed and small: cannot fail
	}
	return batch
}

// ReadControl reads the marker of a control batch. Versions above ours are read as far as ours goes, as Kafka does.
// Errors: ErrInvalid.
func (b Batch) ReadControl() (c Control, err error) {
	c = Control{BaseOffset: b.BaseOffset(), LeaderEpoch: b.LeaderEpoch(), ProducerID: b.ProducerID(), ProducerEpoch: b.ProducerEpoch()}
	if !b.IsControl() || b.RecordCount() != 1 {
		return c, fmt.Errorf("%w: %w", ErrInvalid, errNotControl)
	}
	err = b.Each(0, func(r Record) error {
		if len(r.Key) < 4 || len(r.Value) < 6 || int16(binary.BigEndian.Uint16(r.Key)) < 0 {
			return fmt.Errorf("%w: %w", ErrInvalid, errNotControl)
		}
		c.Type = ControlType(binary.BigEndian.Uint16(r.Key[2:]))
		c.Timestamp = r.Timestamp
		c.CoordinatorEpoch = int32(binary.BigEndian.Uint32(r.Value[2:]))
		return nil
	})
	return c, err
}
