package record

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

const (
	// DecompressedMax is the default budget for unpacking one batch, bytes.
	DecompressedMax = 64 << 20
	// ratioMax is how many bytes a compressed byte may unpack to, once the output is above ratioFloor. Real data stays far
	// below; zstd alone can do more than gzip's 1,032 (hazard K4).
	ratioMax   = 1024
	ratioFloor = 1 << 20

	windowMin  = 4 << 10
	windowKept = 1 << 20 // a larger window is left to the garbage collector
)

// stream unpacks one compressed block and hands out its records. It is pooled; close returns it.
type stream struct {
	codec Codec
	in    bytes.Reader
	src   io.Reader // the decoder in use: one of those below
	gzip  *gzip.Reader
	lz4   *lz4.Reader
	zstd  *zstd.Decoder
	xerial
	patched zstdSource

	left int64  // bytes that may still come out
	buf  []byte // buf[r:w] is unpacked and not handed out yet
	r, w int
}

var streams = sync.Pool{New: func() any { return new(stream) }}

// openStream starts to unpack src, which is borrowed until close. Output is limited to budget bytes (0 = DecompressedMax) and
// to ratioMax times the input, whichever is less; reading more fails with ErrTooLarge. Nothing is allocated by a size that the
// data merely claims. Errors: ErrCodec, ErrInvalid, ErrTooLarge.
func openStream(codec Codec, src []byte, budget int64) (*stream, error) {
	if budget == 0 {
		budget = DecompressedMax
	}
	s := streams.Get().(*stream)
	s.codec, s.r, s.w = codec, 0, 0
	s.left = min(budget, max(ratioFloor, ratioMax*int64(len(src))))
	s.in.Reset(src)
	if err := s.start(src); err != nil {
		s.close()
		return nil, bad(codec, err)
	}
	return s, nil
}

func (s *stream) start(src []byte) (err error) {
	switch s.codec {
	case None:
		s.src = &s.in
	case Gzip:
		if s.gzip == nil {
			s.gzip = new(gzip.Reader)
		}
		s.src, err = s.gzip, s.gzip.Reset(&s.in)
	case Snappy:
		s.xerial.reset(src, s.left)
		s.src = &s.xerial
	case LZ4:
		err = s.startLZ4(src)
	case Zstd:
		err = s.startZstd(src)
	default:
		return fmt.Errorf("%w: %v", ErrCodec, s.codec)
	}
	return err
}

// startLZ4 takes LZ4 frames of independent blocks, as Kafka does. The legacy frame, which the library would also read, has
// 8 MiB blocks. The reader is not pooled: Reset of the library's keeps the dictionary of dependent blocks, so that a later frame
// behind the first could unpack to bytes of another client's batch.
func (s *stream) startLZ4(src []byte) error {
	if err := checkLZ4(src); err != nil {
		return err
	}
	s.lz4 = lz4.NewReader(&s.in)
	s.src = s.lz4
	return s.lz4.Apply(lz4.ConcurrencyOption(1))
}

// checkLZ4 checks the first bytes of what startLZ4 takes.
func checkLZ4(src []byte) error {
	const flagsPos, independent = 4, 1 << 5
	if len(src) <= flagsPos || !bytes.HasPrefix(src, []byte{0x04, 0x22, 0x4d, 0x18}) {
		return errors.New("no frame magic")
	}
	if src[flagsPos]&independent == 0 {
		return errors.New("dependent blocks")
	}
	return nil
}

// close gives the stream and its buffers back; the bytes of the last record are invalid from here on.
func (s *stream) close() {
	s.in.Reset(nil)
	s.xerial.reset(nil, 0)
	s.patched = zstdSource{}
	s.src = nil
	if s.lz4 != nil {
		s.lz4.Reset(nil) // gives its block buffer back
		s.lz4 = nil
	}
	if s.zstd != nil {
		_ = s.zstd.Reset(nil) // lets go of the input; the error says that there is none
	}
	if cap(s.buf) > windowKept {
		s.buf = nil
	}
	scribble(s.buf[:s.w])
	streams.Put(s)
}

// Read unpacks into p and charges the budget. Errors: io.EOF, ErrInvalid, ErrTooLarge.
func (s *stream) Read(p []byte) (int, error) {
	if int64(len(p)) > s.left+1 {
		p = p[:s.left+1] // one more than allowed shows that there is more
	}
	n, err := s.src.Read(p)
	if int64(n) > s.left {
		return 0, fmt.Errorf("%w: %v unpacks to more than the limit", ErrTooLarge, s.codec)
	}
	s.left -= int64(n)
	if err != nil && err != io.EOF {
		err = bad(s.codec, err)
	}
	return n, err
}

// fill makes at least n unread bytes available, or fails with io.ErrUnexpectedEOF (io.EOF where there is not one byte), or
// with Read's error. The buffer doubles only when it is full of data, so a lying n costs no memory.
func (s *stream) fill(n int) error {
	for empty := 0; s.w-s.r < n; {
		if s.r > 0 {
			s.w = copy(s.buf, s.buf[s.r:s.w])
			s.r = 0
		}
		if s.w == len(s.buf) {
			grown := make([]byte, max(windowMin, 2*len(s.buf)))
			copy(grown, s.buf)
			s.buf = grown
		}
		read, err := s.Read(s.buf[s.w:])
		s.w += read
		switch {
		case err == io.EOF && s.w-s.r >= n:
			return nil
		case err == io.EOF && s.w > s.r:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		case read > 0:
			empty = 0
		default:
			if empty++; empty == 100 {
				return bad(s.codec, io.ErrNoProgress)
			}
		}
	}
	return nil
}

// record returns the next record with its length prefix and without it, valid until the next call. Errors: ErrInvalid,
// ErrTooLarge.
func (s *stream) record() (raw, body []byte, err error) {
	const prefixMax = 5
	if err := s.fill(prefixMax); err != nil && err != io.ErrUnexpectedEOF {
		return nil, nil, endOf(err)
	}
	n, prefix := varint32(s.buf[s.r:s.w], 0)
	if prefix < 0 || n < 0 {
		return nil, nil, fmt.Errorf("%w: record length", ErrInvalid)
	}
	whole := prefix + int(n)
	if missing := int64(whole) - int64(s.w-s.r); missing > s.left {
		return nil, nil, fmt.Errorf("%w: record of %d bytes", ErrTooLarge, n)
	}
	if err := s.fill(whole); err != nil {
		return nil, nil, endOf(err)
	}
	raw = s.buf[s.r : s.r+whole]
	s.r += whole
	return raw, raw[prefix:], nil
}

// end checks that the block ends here. Errors: ErrInvalid, ErrTooLarge.
func (s *stream) end() error {
	switch err := s.fill(1); err {
	case io.EOF:
		return nil
	case nil:
		return fmt.Errorf("%w: bytes behind the last record", ErrInvalid)
	default:
		return endOf(err)
	}
}

func endOf(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: fewer records than the batch claims", ErrInvalid)
	}
	return err
}
