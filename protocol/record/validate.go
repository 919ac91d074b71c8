package record

import (
	"errors"
	"fmt"
	"math"
)

const (
	// BytesMaxDefault is Kafka's default of max.message.bytes.
	BytesMaxDefault = 1048588
	// AfterMaxMsDefault is Kafka 4's default of message.timestamp.after.max.ms, one hour.
	AfterMaxMsDefault = 3_600_000
)

// Limits are the topic's rules for what a client sends. Start from DefaultLimits: here 0 is a legal limit of its own.
//
// A compressed batch stays closed unless OpenCompressed, KeysRequired, a finite BeforeMaxMs or a claimed record count that its
// size does not make likely asks to look inside. A closed batch must begin as its codec does, and its header is believed for
// record count, offsets and timestamps; Kafka would have found records that do not unpack or parse, and offset deltas and a
// MaxTimestamp that differ from the header (it rewrites those).
type Limits struct {
	BytesMax       int   // max.message.bytes: the whole batch as sent; 0 = BytesMaxDefault
	NowMs          int64 // the clock, ms since 1970
	BeforeMaxMs    int64 // message.timestamp.before.max.ms; MaxInt64 = none
	AfterMaxMs     int64 // message.timestamp.after.max.ms; MaxInt64 = none
	LogAppendTime  bool  // message.timestamp.type: timestamps of records are not looked at; the caller stamps (SetLogAppendTime)
	KeysRequired   bool  // cleanup.policy has compact
	OpenCompressed bool  // look into every compressed batch
	DecompressMax  int64 // budget for looking, bytes; 0 = DecompressedMax
}

// DefaultLimits are those of a Kafka 4 topic without configuration.
func DefaultLimits(nowMs int64) Limits {
	return Limits{BytesMax: BytesMaxDefault, NowMs: nowMs, BeforeMaxMs: math.MaxInt64, AfterMaxMs: AfterMaxMsDefault}
}

// Single returns the one batch of a partition in a produce request of the given version; aliases b. As in Kafka there must be
// exactly one, of magic 2, and zstd only from version 7. A partial batch behind it is refused, where Kafka cuts it off unsaid; but
// a batch that such a cut has damaged is corrupt, as it is there: its length field is what lies.
// Errors: ErrInvalid, ErrTruncated, ErrMagic, ErrCorrupt, ErrCodec.
func Single(b []byte, version int16) (Batch, error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: no batch", ErrInvalid)
	}
	batch, rest, err := Next(b)
	if err != nil {
		return nil, err
	}
	if version < 7 && batch.Codec() == Zstd {
		return nil, fmt.Errorf("%w: zstd in a produce request of version %d", ErrCodec, version)
	}
	if len(rest) > 0 {
		if _, _, err := Next(rest); err != nil {
			if err := batch.CheckCRC(); err != nil {
				return nil, err
			}
		}
		return nil, fmt.Errorf("%w: %d bytes behind the batch", ErrInvalid, len(rest))
	}
	return batch, nil
}

// ValidateProduce says what Kafka's LogValidator says to a batch from a client: size, CRC, codec, offset range and count,
// control and transactional flags, sequence, and each record's structure, offset delta, key and timestamp. As Kafka does, it
// corrects a MaxTimestamp that is not the largest of the records and a timestamp type that is not the topic's (bytes and CRC of
// b change). Unlike Kafka, which takes or rewrites them, it refuses offset deltas other than 0, 1, 2, ... and transactional
// batches without a producer id. An uncompressed batch is read twice (CRC, walk) without allocation.
// Errors: ErrCorrupt, ErrInvalid, ErrTimestamp, ErrTooLarge, ErrCodec; a *RecordError where one record is at fault.
func (b Batch) ValidateProduce(l Limits) error {
	if err := b.validateHeader(l); err != nil {
		return err
	}
	var err error
	if b.Codec() == None || l.mustOpen(b) {
		err = b.validateRecords(l)
	} else if err = checkMark(b.Codec(), b.Records()); err == nil {
		err = l.checkTimestamp(b.RecordCount()-1, b.MaxTimestamp(), b.IsLogAppendTime())
		if err != nil { // opened to tell which records it is
			if each := b.validateRecords(l); each != nil {
				err = each
			}
		} else if !l.LogAppendTime {
			b.setTimestamp(0, b.MaxTimestamp())
		}
	}
	if err == nil && b.IsTransactional() && !b.HasProducerID() {
		return fmt.Errorf("%w: transactional batch without a producer id", ErrInvalid)
	}
	return err
}

// validateHeader checks in Kafka's order, so that a batch with two faults gets Kafka's error.
func (b Batch) validateHeader(l Limits) error {
	if b.BaseOffset() != 0 {
		return fmt.Errorf("%w: base offset %d from a client", ErrInvalid, b.BaseOffset())
	}
	bytesMax := l.BytesMax
	if bytesMax == 0 {
		bytesMax = BytesMaxDefault
	}
	if b.Length() > bytesMax {
		return fmt.Errorf("%w: %d bytes, max.message.bytes is %d", ErrTooLarge, b.Length(), bytesMax)
	}
	if err := b.CheckCRC(); err != nil {
		return err
	}
	if b.Codec() > Zstd {
		return fmt.Errorf("%w: codec %d", ErrCodec, b.Codec())
	}
	count, delta := b.RecordCount(), b.LastOffsetDelta()
	switch {
	case delta < 0:
		return fmt.Errorf("%w: last offset delta %d", ErrInvalid, delta)
	case count <= 0:
		return fmt.Errorf("%w: record count %d", ErrInvalid, count)
	case int64(delta)+1 != int64(count):
		return fmt.Errorf("%w: record count %d, last offset delta %d", ErrInvalid, count, delta)
	case b.IsControl():
		return fmt.Errorf("%w: control batch from a client", ErrInvalid)
	case b.HasProducerID() && b.BaseSequence() < 0:
		return fmt.Errorf("%w: base sequence %d of producer id %d", ErrInvalid, b.BaseSequence(), b.ProducerID())
	case b.HasProducerID() && b.ProducerEpoch() < 0: // Kafka takes the first of these, and fails on the second
		return fmt.Errorf("%w: epoch %d of producer id %d", ErrInvalid, b.ProducerEpoch(), b.ProducerID())
	}
	return nil
}

// mustOpen tells whether a compressed batch has to be looked into. recordLenMin times the count is the least that the records
// can unpack to: a claim that would need an unusual ratio is verified, because a count that is believed uses up offsets, and a
// few bytes must not take 2^31 of them.
func (l Limits) mustOpen(b Batch) bool {
	const recordLenMin, usualRatio, slack = 7, 16, 1024
	return l.OpenCompressed || l.KeysRequired || l.BeforeMaxMs != math.MaxInt64 && !l.LogAppendTime ||
		recordLenMin*int64(b.RecordCount()) > usualRatio*int64(len(b.Records()))+slack
}

// faults are the records that break a rule, each with the first that it breaks. Kafka walks a batch to its end before it reports them,
// so that a batch that does not parse is INVALID_RECORD whatever its timestamps say, and one timestamp makes INVALID_TIMESTAMP of all.
type faults struct {
	refused []RecordError
	err     error // ErrTimestamp, or ErrInvalid
	order   error // the first whose offset delta is not its index: our own rule, after Kafka's
}

func (f *faults) add(err error) {
	if err == nil {
		return
	}
	var e *RecordError
	if !errors.As(err, &e) {
		return
	}
	if f.err == nil || errors.Is(e.Err, ErrTimestamp) {
		f.err = e.Err
	}
	if len(f.refused) < recordErrorsMax {
		f.refused = append(f.refused, *e)
	}
}

func (f *faults) all() error {
	if len(f.refused) == 0 {
		return f.order
	}
	e := f.refused[0]
	e.Err, e.More = f.err, f.refused[1:]
	return &e
}

func (b Batch) validateRecords(l Limits) error {
	var w walker
	if err := w.open(b, l.DecompressMax); err != nil {
		return err
	}
	defer w.close()
	var found faults
	first, appendTime, stamped := b.FirstTimestamp(), b.MaxTimestamp(), b.IsLogAppendTime()
	maxTimestamp := int64(NoTimestamp)
	for i := range b.RecordCount() {
		body, err := w.next(i)
		if err != nil {
			return unparsed(err)
		}
		s, ok := scan(body)
		if !ok {
			return unparsed(invalid(i, "malformed"))
		}
		timestamp := first + s.timestampDelta
		if stamped {
			timestamp = appendTime
		}
		maxTimestamp = max(maxTimestamp, timestamp)
		if l.KeysRequired && s.keyNull {
			found.add(invalid(i, "a compacted topic needs keys"))
		} else {
			found.add(l.checkTimestamp(i, timestamp, stamped))
		}
		if s.offsetDelta != i && found.order == nil {
			found.order = invalid(i, "offset delta is not the record's index")
		}
	}
	if err := w.end(); err != nil {
		return err
	}
	if err := found.all(); err != nil {
		return err
	}
	if !l.LogAppendTime {
		b.setTimestamp(0, maxTimestamp)
	}
	return nil
}

// unparsed makes the error of a record that does not parse one of the batch: Kafka names single records only where it could read them.
func unparsed(err error) error {
	if e := (*RecordError)(nil); errors.As(err, &e) {
		return fmt.Errorf("%w: record %d: %s", e.Err, e.Index, e.Reason)
	}
	return err
}

// checkTimestamp holds one timestamp to the limits. stamped: the client claims log append time, which is taken (and cleared)
// only where there is a timestamp to compare.
func (l Limits) checkTimestamp(index int32, timestamp int64, stamped bool) error {
	switch {
	case !l.LogAppendTime && timestamp != NoTimestamp:
		if !l.timestampOK(timestamp) {
			return l.badTimestamp(index, timestamp)
		}
	case stamped:
		return &RecordError{Index: index, Reason: "a producer must not set log append time", Err: ErrTimestamp}
	}
	return nil
}

func (l Limits) badTimestamp(index int32, timestamp int64) error {
	return &RecordError{Index: index, Reason: fmt.Sprintf("timestamp %d is more than %d ms before or %d ms after %d", timestamp,
		l.BeforeMaxMs, l.AfterMaxMs, l.NowMs), Err: ErrTimestamp}
}

// timestampOK compares without overflow, which Kafka's arithmetic does not. A limit of MaxInt64 is none.
func (l Limits) timestampOK(timestamp int64) bool {
	limit, distance := l.AfterMaxMs, uint64(timestamp)-uint64(l.NowMs)
	if timestamp <= l.NowMs {
		limit, distance = l.BeforeMaxMs, uint64(l.NowMs)-uint64(timestamp)
	}
	return limit == math.MaxInt64 || distance <= uint64(max(limit, 0))
}
