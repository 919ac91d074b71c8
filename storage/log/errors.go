package log

import (
	"errors"
	"fmt"
)

var (
	// ErrFailed: a write, sync or truncation has failed before; nothing is written any more. It wraps the first failure.
	ErrFailed = errors.New("log: failed")
	// ErrNoSpace: the disk is too full for what a checkpoint writes beside the segments. Nothing is broken, and it may be tried again.
	ErrNoSpace = errors.New("log: disk full")
	// ErrClosed: the log is closed or deleted.
	ErrClosed = errors.New("log: closed")
	// ErrNotRecovered: Open was not followed by Recover.
	ErrNotRecovered = errors.New("log: not recovered yet")
	// ErrOffsetOutOfRange: below the log start offset or above the log end offset.
	ErrOffsetOutOfRange = errors.New("log: offset out of range")
	// ErrCorrupt: bytes on disk are not what they must be. It comes as a CorruptError.
	ErrCorrupt = errors.New("log: corrupt")
	// ErrInvalid: an append whose rows and payload do not agree, or that goes back. Nothing was written.
	ErrInvalid = errors.New("log: invalid append")

	errMoved = errors.New("log: truncated or deleted meanwhile") // the caller looks again
)

// CorruptError names the damage. It is ErrCorrupt.
type CorruptError struct {
	File   string
	Pos    int64 // byte in File
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("log: corrupt: %s, byte %d: %s", e.File, e.Pos, e.Reason)
}

// Unwrap makes errors.Is(err, ErrCorrupt) hold.
func (e *CorruptError) Unwrap() error { return ErrCorrupt }
