package archive

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/vfs"
)

const (
	scanBytes = 64 << 10 // what is read at a time
	crcCovers = 21       // position in a batch from which on its CRC covers it
)

// header is what a batch says of itself.
type header struct {
	pos     int64
	length  int64 // bytes, within the file
	batch   record.Batch
	misfits string // why its offsets cannot be; "" = they may
}

// scanner walks the batches of a file in order. After each header comes exactly one of sum, read and skip.
type scanner struct {
	name  string
	size  int64
	pos   int64
	last  int64 // offset of the last record before pos; -1 = none
	upper int64 // no record is above it
	file  *io.SectionReader
	whole *summed
	in    *bufio.Reader
	head  [record.HeaderLen]byte
	buf   []byte // of sum
}

// summed is a reader that keeps the CRC32C of what went through.
type summed struct {
	io.Reader
	sum uint32
}

func (s *summed) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	s.sum = crc32.Update(s.sum, entry.Castagnoli, b[:n])
	return n, err
}

func newScanner(f vfs.File, size, upper int64) *scanner {
	s := &scanner{name: f.Name(), size: size, last: -1, upper: upper, file: io.NewSectionReader(f, 0, size)}
	s.whole = &summed{Reader: s.file}
	s.in = bufio.NewReaderSize(s.whole, scanBytes)
	return s
}

// next finds the header at the position. It is valid until the next call; ok is false at the end of the file. A DamageError says that
// no batch begins here, so that nothing behind can be found either.
func (s *scanner) next() (h header, ok bool, err error) {
	if s.pos == s.size {
		return h, false, nil
	}
	damaged := func(format string, args ...any) (header, bool, error) {
		return header{}, false, &DamageError{File: s.name, Pos: s.pos, Reason: fmt.Sprintf(format, args...)}
	}
	if s.size-s.pos < record.HeaderLen {
		return damaged("%d bytes left, less than a batch header", s.size-s.pos)
	}
	b, err := s.in.Peek(record.HeaderLen)
	if err != nil {
		return h, false, s.failed(err)
	}
	copy(s.head[:], b)
	batch := record.Batch(s.head[:])
	length := int64(int32(binary.BigEndian.Uint32(b[8:]))) + record.OverheadLen
	switch {
	case batch.Magic() != 2:
		return damaged("magic %d", batch.Magic())
	case length < record.HeaderLen || length > s.size-s.pos:
		return damaged("batch of %d bytes, %d are left", length, s.size-s.pos)
	}
	h = header{pos: s.pos, length: length, batch: batch}
	if batch.LastOffsetDelta() < 0 || batch.BaseOffset() <= s.last || batch.LastOffset() < batch.BaseOffset() || batch.LastOffset() > s.upper {
		h.misfits = fmt.Sprintf("offset %d and %d more, behind offset %d and up to %d", batch.BaseOffset(), batch.LastOffsetDelta(), s.last, s.upper)
	} else {
		s.last = batch.LastOffset()
	}
	s.pos += length
	return h, true, nil
}

// failed is err as damage where the file has become shorter.
func (s *scanner) failed(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &DamageError{File: s.name, Pos: s.pos, Reason: "the file ends before"}
	}
	return fmt.Errorf("archive: read %s: %w", s.name, err)
}

// sum is the CRC of the batch of h. It reads the batch in small parts: its length is not proven yet.
func (s *scanner) sum(h *header) (sum uint32, err error) {
	if s.buf == nil {
		s.buf = make([]byte, scanBytes)
	}
	at := int64(0)
	for at < h.length {
		b := s.buf[:min(h.length-at, scanBytes)]
		if _, err := io.ReadFull(s.in, b); err != nil {
			return 0, s.failed(err)
		}
		if at == 0 {
			sum = crc32.Checksum(b[crcCovers:], entry.Castagnoli) // a header is less than a part
		} else {
			sum = crc32.Update(sum, entry.Castagnoli, b)
		}
		at += int64(len(b))
	}
	return sum, nil
}

// read returns the batch of h in buf, which grows for it: the caller knows that its length can be. Its CRC is not checked.
func (s *scanner) read(h *header, buf *[]byte) (record.Batch, error) {
	*buf = slices.Grow((*buf)[:0], int(h.length))[:h.length]
	if _, err := io.ReadFull(s.in, *buf); err != nil {
		return nil, s.failed(err)
	}
	batch, _, err := record.Next(*buf)
	if err != nil {
		return nil, &DamageError{File: s.name, Pos: h.pos, Reason: err.Error()}
	}
	return batch, nil
}

// skipSummed passes over the batch of h, and reads it for the sum of the whole file.
func (s *scanner) skipSummed(h *header) error {
	_, err := s.sum(h)
	return err
}

// skip passes over the batch of h. The sum of the whole file is lost.
func (s *scanner) skip(h *header) error {
	if h.length <= int64(s.in.Buffered()) {
		_, err := s.in.Discard(int(h.length))
		return err
	}
	if _, err := s.file.Seek(s.pos, io.SeekStart); err != nil {
		return s.failed(err)
	}
	s.in.Reset(s.whole)
	return nil
}

// wholeSum is the CRC of the file, what is behind the position included.
func (s *scanner) wholeSum(ctx context.Context) (uint32, error) {
	for {
		if err := ctx.Err(); err != nil {
			return 0, fmt.Errorf("archive: read %s: %w", s.name, err)
		}
		_, err := s.in.Discard(scanBytes)
		if errors.Is(err, io.EOF) {
			return s.whole.sum, nil
		}
		if err != nil {
			return 0, s.failed(err)
		}
	}
}
