package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/tandembroker/tandem/storage/entry"
)

// ValueVersion is the version byte of every value that this binary writes, but for checkpoints of Raft groups.
const ValueVersion = 1

// valueOverhead is the length of CRC and version in front of a value.
const valueOverhead = 5

var (
	ErrCorrupt = errors.New("meta: corrupt")
	ErrVersion = errors.New("meta: unknown version")
	// ErrNoSpace: the disk is full. Nothing of the transaction happened, and the file is as it was.
	ErrNoSpace = errors.New("meta: disk full")
)

// seal frames a value: CRC u32 | version u8 | value. The CRC covers version and value.
func seal(value []byte) []byte { return sealAs(ValueVersion, value) }

func sealAs(version byte, value []byte) []byte {
	b := make([]byte, valueOverhead+len(value))
	b[4] = version
	copy(b[valueOverhead:], value)
	binary.BigEndian.PutUint32(b, crc32.Checksum(b[4:], entry.Castagnoli))
	return b
}

// open checks a framed value and returns a copy of what is inside.
func open(b []byte) ([]byte, error) {
	value, _, err := openUpTo(ValueVersion, b)
	return value, err
}

// openUpTo is open for values that have versions from 1 to newest.
func openUpTo(newest byte, b []byte) (value []byte, version byte, err error) {
	if len(b) < valueOverhead {
		return nil, 0, fmt.Errorf("%w: value of %d bytes", ErrCorrupt, len(b))
	}
	if crc := crc32.Checksum(b[4:], entry.Castagnoli); crc != binary.BigEndian.Uint32(b) {
		return nil, 0, fmt.Errorf("%w: value CRC %08x, stored %08x", ErrCorrupt, crc, binary.BigEndian.Uint32(b))
	}
	if b[4] < 1 || b[4] > newest {
		return nil, 0, fmt.Errorf("%w %d of a value, this binary knows %d", ErrVersion, b[4], newest)
	}
	return append(make([]byte, 0, len(b)-valueOverhead), b[valueOverhead:]...), b[4], nil
}
