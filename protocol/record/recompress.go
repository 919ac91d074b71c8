package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Compression is how a topic wants its batches stored: Kafka's compression.type and compression.*.level.
type Compression struct {
	Codec Codec
	Level int // gzip -1 (default) or 1 to 9, lz4 1 to 17, zstd -131072 to 22; the others have none
}

// Recompress returns a new batch, the caller's, with the same records and header fields as b, stored as c says. b is borrowed
// until return and must have passed ValidateProduce. Records are unpacked and packed as streams, so that memory is bounded by
// what comes out, at most bytesMax. Errors: ErrTooLarge for a batch above bytesMax, or one that unpacks to more than budget
// (0 = DecompressedMax); ErrInvalid, ErrCodec.
func (b Batch) Recompress(c Compression, bytesMax int, budget int64) (Batch, error) {
	in, err := openStream(b.Codec(), b.Records(), budget)
	if err != nil {
		return nil, err
	}
	defer in.close()
	out := &limitedWriter{b: append(make([]byte, 0, len(b)), b[:HeaderLen]...), limit: bytesMax}
	if err := compressStream(out, c, in); err != nil {
		return nil, err
	}
	n := Batch(out.b)
	binary.BigEndian.PutUint32(n[posLength:], uint32(len(n)-OverheadLen))
	binary.BigEndian.PutUint16(n[posAttributes:], uint16(b.Attributes())&^attrCodec|uint16(c.Codec))
	n.setCRC()
	return n, nil
}

// limitedWriter appends to a slice, up to a limit.
type limitedWriter struct {
	b     []byte
	limit int
}

// Write implements io.Writer.
func (w *limitedWriter) Write(p []byte) (int, error) {
	if len(w.b)+len(p) > w.limit {
		return 0, fmt.Errorf("%w: above %d bytes in the topic's compression", ErrTooLarge, w.limit)
	}
	w.b = append(w.b, p...)
	return len(p), nil
}

// gzipLevels is how many levels gzip has: -1 to 9.
const gzipLevels = 11

// Writers of each level that was asked for; those of a level are reused for it.
var (
	gzipLeveled [gzipLevels]sync.Pool
	zstdLeveled [zstd.SpeedBestCompression + 1]sync.Pool
)

func compressStream(out io.Writer, c Compression, in io.Reader) error {
	switch c.Codec {
	case None:
		_, err := io.Copy(out, in)
		return err
	case Gzip:
		pool := &gzipLeveled[min(max(c.Level, -1), 9)+1]
		w, _ := pool.Get().(*gzip.Writer)
		if w == nil {
			var err error
			if w, err = gzip.NewWriterLevel(io.Discard, min(max(c.Level, -1), 9)); err != nil {
				return err
			}
		}
		defer pool.Put(w)
		return pump(w, out, in)
	case Snappy:
		return pumpXerial(out, in)
	case LZ4:
		w := lz4Writers.Get().(*lz4.Writer)
		defer func() {
			w.Reset(io.Discard)
			_ = w.Apply(lz4.CompressionLevelOption(lz4.Fast)) // constant option of a writer at rest: cannot fail
			lz4Writers.Put(w)
		}()
		w.Reset(out)
		if err := w.Apply(lz4.CompressionLevelOption(lz4Level(c.Level))); err != nil {
			return err
		}
		if _, err := io.Copy(w, in); err != nil {
			return err
		}
		return w.Close()
	case Zstd:
		level := zstd.EncoderLevelFromZstd(c.Level)
		pool := &zstdLeveled[level]
		w, _ := pool.Get().(*zstd.Encoder)
		if w == nil {
			var err error
			w, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true), zstd.WithEncoderCRC(false),
				zstd.WithWindowSize(zstdWindowMax), zstd.WithEncoderLevel(level))
			if err != nil {
				return err
			}
		}
		defer pool.Put(w)
		return pump(w, out, in)
	}
	return fmt.Errorf("%w: %v", ErrCodec, c.Codec)
}

// lz4Level maps Kafka's 1 to 17 to the library's nine.
func lz4Level(level int) lz4.CompressionLevel {
	levels := [...]lz4.CompressionLevel{lz4.Level1, lz4.Level2, lz4.Level3, lz4.Level4, lz4.Level5, lz4.Level6, lz4.Level7, lz4.Level8, lz4.Level9}
	return levels[min(max(level, 1), len(levels))-1]
}

// pump sends all of in through w to out; w keeps neither.
func pump(w interface {
	io.WriteCloser
	Reset(io.Writer)
}, out io.Writer, in io.Reader) error {
	w.Reset(out)
	defer w.Reset(io.Discard)
	// Not w's own ReadFrom, which may close or start goroutines.
	if _, err := io.Copy(struct{ io.Writer }{w}, in); err != nil {
		return err
	}
	return w.Close()
}

// pumpXerial writes in as appendXerial does, without having all of it at once.
func pumpXerial(out io.Writer, in io.Reader) error {
	if _, err := out.Write(xerialHeader[:]); err != nil {
		return err
	}
	plain := make([]byte, xerialBlockLen)
	var block []byte
	for {
		n, err := io.ReadFull(in, plain)
		if n > 0 {
			block = s2.EncodeSnappy(block[:cap(block)], plain[:n])
			var size [4]byte
			binary.BigEndian.PutUint32(size[:], uint32(len(block)))
			if _, err := out.Write(append(size[:], block...)); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		}
	}
}
