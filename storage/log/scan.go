package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"sync"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

const (
	headerBufLen = 4 << 10  // what a scan reads at a time where batches are small
	crcBufLen    = 64 << 10 // what a CRC check reads at a time
	crcPos       = 17       // of the CRC in a batch; it covers all behind it
	crcCovers    = crcPos + 4
)

var (
	headerBufs = sync.Pool{New: func() any { return new([headerBufLen]byte) }}
	crcBufs    = sync.Pool{New: func() any { return new([crcBufLen]byte) }}
)

// header is what the log needs of a batch.
type header struct {
	pos       int64 // in the segment
	length    int64 // bytes, prefix included
	base      int64
	last      int64
	maxTs     int64 // ms
	epoch     int32
	crc       uint32
	attribute int16
	records   int32 // that the batch claims; set by a scan
}

func (h *header) end() int64 { return h.pos + h.length }

// scanner walks the batch headers of a segment file, with few and small reads. It checks what a header alone can tell: framing,
// and that offsets rise. Not safe for concurrent use; close returns its buffer.
type scanner struct {
	f     vfs.File
	pos   int64 // of the next batch
	end   int64 // the file is believed up to here
	floor int64 // offsets must be above it
	upper int64 // and below this

	buf *[headerBufLen]byte
	at  int64 // position of buf in the file
	n   int   // bytes in buf
}

func newScanner(f vfs.File, pos, end, floor int64) *scanner {
	return &scanner{f: f, pos: pos, end: end, floor: floor, upper: math.MaxInt64, buf: headerBufs.Get().(*[headerBufLen]byte)}
}

func (s *scanner) close() {
	headerBufs.Put(s.buf)
	s.buf = nil
}

func (s *scanner) corrupt(format string, args ...any) error {
	return &CorruptError{File: s.f.Name(), Pos: s.pos, Reason: fmt.Sprintf(format, args...)}
}

// next returns the batch at the scanner's position and moves behind it. ok is false at the end.
func (s *scanner) next() (h header, ok bool, err error) {
	if s.pos >= s.end {
		return h, false, nil
	}
	if s.end-s.pos < record.HeaderLen {
		return h, false, s.corrupt("%d bytes left, less than a batch header", s.end-s.pos)
	}
	b, err := s.peek()
	if err != nil {
		return h, false, err
	}
	if h, err = parseHeader(b, headerPlace{s.f.Name(), s.pos, s.end, s.floor, s.upper}); err != nil {
		return h, false, err
	}
	s.pos += h.length
	s.floor = h.last
	return h, true, nil
}

// headerPlace is where a header was found, and what is known about that place.
type headerPlace struct {
	file         string
	pos, end     int64 // the file is believed up to end
	floor, upper int64 // offsets must be above floor and below upper
}

// parseHeader checks what a header alone can tell. Errors: ErrCorrupt.
func parseHeader(b []byte, p headerPlace) (h header, err error) {
	corrupt := func(format string, args ...any) (header, error) {
		return header{}, &CorruptError{File: p.file, Pos: p.pos, Reason: fmt.Sprintf(format, args...)}
	}
	if len(b) < record.HeaderLen {
		return corrupt("%d bytes left, less than a batch header", len(b))
	}
	length := int64(int32(binary.BigEndian.Uint32(b[8:]))) + record.OverheadLen
	batch := record.Batch(b)
	switch {
	case batch.Magic() != 2:
		return corrupt("magic %d", batch.Magic())
	case length < record.HeaderLen || length > p.end-p.pos:
		return corrupt("batch of %d bytes, %d are left", length, p.end-p.pos)
	case batch.LastOffsetDelta() < 0 || batch.BaseOffset() <= p.floor || batch.LastOffset() < batch.BaseOffset() ||
		batch.LastOffset() >= p.upper:
		return corrupt("offset %d and %d more, behind offset %d and below %d", batch.BaseOffset(), batch.LastOffsetDelta(), p.floor, p.upper)
	}
	return header{pos: p.pos, length: length, base: batch.BaseOffset(), last: batch.LastOffset(), maxTs: batch.MaxTimestamp(),
		epoch: batch.LeaderEpoch(), crc: batch.CRC(), attribute: batch.Attributes(), records: batch.RecordCount()}, nil
}

// peek returns the header bytes at the position, from the buffer where they are in it.
func (s *scanner) peek() ([]byte, error) {
	skip := s.pos - s.at
	if s.n == 0 || skip < 0 || skip+record.HeaderLen > int64(s.n) {
		want := int64(headerBufLen)
		if s.n > 0 && skip > headerBufLen { // batches are larger than the buffer: what follows the header is of no use
			want = record.HeaderLen
		}
		s.n = 0
		b := s.buf[:min(want, s.end-s.pos)]
		if err := readFull(s.f, b, s.pos); err != nil {
			return nil, err
		}
		s.at, s.n, skip = s.pos, len(b), 0
	}
	return s.buf[skip : skip+record.HeaderLen], nil
}

// readFull reads b at pos. A file that ends before is corrupt: positions come from what was written.
func readFull(f vfs.File, b []byte, pos int64) error {
	n, err := f.ReadAt(b, pos)
	switch {
	case n == len(b):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return &CorruptError{File: f.Name(), Pos: pos + int64(n), Reason: "the file ends here"}
	}
	return fmt.Errorf("log: read %s at byte %d: %w", f.Name(), pos, err)
}

// checkCRC compares the batch's CRC with its bytes, reading them once.
func (h *header) checkCRC(f vfs.File) error {
	got, err := checksum(f, h.pos+crcCovers, h.length-crcCovers)
	if err != nil {
		return err
	}
	if got != h.crc {
		return &CorruptError{File: f.Name(), Pos: h.pos, Reason: fmt.Sprintf("CRC %08x, the batch says %08x", got, h.crc)}
	}
	return nil
}

// checksum is the CRC32C of n bytes of f at pos.
func checksum(f vfs.File, pos, n int64) (uint32, error) {
	buf := crcBufs.Get().(*[crcBufLen]byte)
	defer crcBufs.Put(buf)
	var sum uint32
	for n > 0 {
		b := buf[:min(n, crcBufLen)]
		if err := readFull(f, b, pos); err != nil {
			return 0, err
		}
		sum = crc32.Update(sum, entry.Castagnoli, b)
		pos += int64(len(b))
		n -= int64(len(b))
	}
	return sum, nil
}

// readBatch reads the batch of h, whose length was checked against the file.
func (h *header) readBatch(f vfs.File) (record.Batch, error) {
	b := make([]byte, h.length)
	if err := readFull(f, b, h.pos); err != nil {
		return nil, err
	}
	batch, _, err := record.Next(b)
	if err != nil {
		return nil, &CorruptError{File: f.Name(), Pos: h.pos, Reason: err.Error()}
	}
	return batch, nil
}

// span is a range of bytes.
type span struct{ from, to int64 }

// spans are ranges in ascending order that do not touch each other.
type spans []span

// covers tells whether all of [from, to) is in one range.
func (s spans) covers(from, to int64) bool {
	if from >= to {
		return true
	}
	for i := len(s) - 1; i >= 0; i-- { // the newest is asked for most
		if s[i].from <= from {
			return to <= s[i].to
		}
	}
	return false
}

// add joins [from, to) to s.
func (s spans) add(from, to int64) spans {
	if from >= to {
		return s
	}
	if n := len(s); n > 0 && s[n-1].from <= from && from <= s[n-1].to { // an append
		s[n-1].to = max(s[n-1].to, to)
		return s
	}
	merged := make(spans, 0, len(s)+1)
	i := 0
	for ; i < len(s) && s[i].to < from; i++ {
		merged = append(merged, s[i])
	}
	for ; i < len(s) && s[i].from <= to; i++ {
		from, to = min(from, s[i].from), max(to, s[i].to)
	}
	merged = append(merged, span{from, to})
	return append(merged, s[i:]...)
}

// cut removes everything at or above pos.
func (s spans) cut(pos int64) spans {
	for len(s) > 0 && s[len(s)-1].from >= pos {
		s = s[:len(s)-1]
	}
	if n := len(s); n > 0 {
		s[n-1].to = min(s[n-1].to, pos)
	}
	return s
}
