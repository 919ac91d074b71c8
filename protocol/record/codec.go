package record

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Codec is how the records of a batch are compressed: attribute bits 0-2.
type Codec int8

// The codecs of Kafka. Values 5-7 fit the attribute bits but do not exist.
const (
	None   Codec = 0
	Gzip   Codec = 1
	Snappy Codec = 2 // written with xerial framing, read with or without
	LZ4    Codec = 3 // LZ4 frame
	Zstd   Codec = 4
)

// String is the name in Kafka's compression.type.
func (c Codec) String() string {
	switch c {
	case None:
		return "none"
	case Gzip:
		return "gzip"
	case Snappy:
		return "snappy"
	case LZ4:
		return "lz4"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("codec(%d)", int8(c))
}

// sliceWriter appends to a slice.
type sliceWriter struct{ b []byte }

func (w *sliceWriter) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}

var (
	gzipWriters = sync.Pool{New: func() any { return gzip.NewWriter(io.Discard) }}
	lz4Writers  = sync.Pool{New: func() any { return newLZ4Writer() }}
	zstdWriters = sync.Pool{New: func() any { return newZstdEncoder() }}
)

// newLZ4Writer makes frames as the Java client does: independent 64 KiB blocks without checksums (the batch has its CRC).
func newLZ4Writer() *lz4.Writer {
	w := lz4.NewWriter(io.Discard)
	if err := w.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false), lz4.ConcurrencyOption(1)); err != nil {
		panic("record: lz4 options: " + err.Error()) // constant options; a bug
	}
	return w
}

func newZstdEncoder() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true), zstd.WithEncoderCRC(false))
	if err != nil {
		panic("record: zstd options: " + err.Error()) // constant options; a bug
	}
	return e
}

// Compress appends src, compressed, to dst, which may be nil; src is borrowed until return. Errors: ErrCodec.
func Compress(dst []byte, codec Codec, src []byte) ([]byte, error) {
	switch codec {
	case None:
		return append(dst, src...), nil
	case Gzip:
		w := gzipWriters.Get().(*gzip.Writer)
		defer gzipWriters.Put(w)
		return writeThrough(dst, src, w)
	case Snappy:
		return appendXerial(dst, src), nil
	case LZ4:
		w := lz4Writers.Get().(*lz4.Writer)
		defer lz4Writers.Put(w)
		return writeThrough(dst, src, w)
	case Zstd:
		e := zstdWriters.Get().(*zstd.Encoder)
		defer zstdWriters.Put(e)
		return e.EncodeAll(src, dst), nil
	}
	return dst, fmt.Errorf("%w: %v", ErrCodec, codec)
}

func writeThrough(dst, src []byte, w interface {
	io.WriteCloser
	Reset(io.Writer)
}) ([]byte, error) {
	out := &sliceWriter{b: dst}
	w.Reset(out)
	if _, err := w.Write(src); err != nil {
		return dst, err
	}
	if err := w.Close(); err != nil {
		return dst, err
	}
	w.Reset(io.Discard) // the pooled writer must not keep the caller's buffer
	return out.b, nil
}

// bad turns a codec's error into ours. The reader below never fails, so every error is the data's fault.
func bad(codec Codec, err error) error {
	if err == nil || errors.Is(err, ErrTooLarge) || errors.Is(err, ErrInvalid) || errors.Is(err, ErrCodec) {
		return err
	}
	return fmt.Errorf("%w: %v: %w", ErrInvalid, codec, err)
}
