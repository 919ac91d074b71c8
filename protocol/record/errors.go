package record

import (
	"errors"
	"fmt"
)

// What is wrong with a batch. Each one names the Kafka error that a producer expects. Errors returned by this package wrap
// exactly one of them; test with errors.Is.
var (
	// ErrTruncated: the bytes end before the batch does. Kafka drops a partial batch and then misses one: INVALID_RECORD.
	// In a log it is a torn tail.
	ErrTruncated = errors.New("record: truncated batch")
	// ErrMagic: a message set of magic 0 or 1, which Kafka 4 no longer takes: INVALID_RECORD (ProduceRequest.validateRecords).
	ErrMagic = errors.New("record: message format below magic 2")
	// ErrCorrupt: impossible length, unknown magic, wrong CRC: CORRUPT_MESSAGE. Clients send it again.
	ErrCorrupt = errors.New("record: corrupt batch")
	// ErrInvalid: well-formed but against the rules, or records that do not parse: INVALID_RECORD. Clients give up.
	ErrInvalid = errors.New("record: invalid record")
	// ErrTimestamp: outside the topic's limits, or log append time set by a client: INVALID_TIMESTAMP.
	ErrTimestamp = errors.New("record: invalid timestamp")
	// ErrTooLarge: above max.message.bytes, or it would unpack to more than the budget or ratio: MESSAGE_TOO_LARGE, on which
	// clients split the batch.
	ErrTooLarge = errors.New("record: batch too large")
	// ErrCodec: codec 5-7, or zstd in a request below version 7: UNSUPPORTED_COMPRESSION_TYPE.
	ErrCodec = errors.New("record: unsupported compression")
)

// RecordError says which record of a batch was refused; Kafka reports it in RecordErrors of a produce response (v8+).
type RecordError struct {
	Index  int32  // of the record in its batch, from 0
	Reason string // for a person
	Err    error  // ErrInvalid or ErrTimestamp; ErrTimestamp where one of several has it
	// More are the other records of the batch that were refused, in order; recordErrorsMax are told in all.
	More []RecordError
}

// recordErrorsMax bounds how many refused records one batch is answered with.
const recordErrorsMax = 1000

// Error implements error.
func (e *RecordError) Error() string {
	return fmt.Sprintf("%v: record %d: %s", e.Err, e.Index, e.Reason)
}

// Unwrap returns the sentinel.
func (e *RecordError) Unwrap() error { return e.Err }
