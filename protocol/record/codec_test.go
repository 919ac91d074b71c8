package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

var codecs = []Codec{None, Gzip, Snappy, LZ4, Zstd}

func TestCodecRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, codec := range codecs {
		for _, n := range []int{0, 1, 100, xerialBlockLen, xerialBlockLen + 1, 300_000} {
			src := make([]byte, n)
			for i := range src {
				src[i] = byte(rng.IntN(4))
			}
			packed, err := Compress([]byte("before"), codec, src)
			if err != nil {
				t.Fatal(err)
			}
			got, err := decompress([]byte("front"), codec, packed[6:], 0)
			if err != nil || !bytes.Equal(got, append([]byte("front"), src...)) {
				t.Fatalf("%v, %d bytes: %v", codec, n, err)
			}
			if n <= 1 { // a budget of 0 means the default
				continue
			}
			if _, err := decompress(nil, codec, packed[6:], int64(n)); err != nil {
				t.Fatalf("%v, %d bytes, budget just enough: %v", codec, n, err)
			}
			if _, err := decompress(nil, codec, packed[6:], int64(n)-1); !errors.Is(err, ErrTooLarge) {
				t.Fatalf("%v, %d bytes, budget one less: %v", codec, n, err)
			}
		}
	}
	if _, err := decompress(nil, 5, []byte("x"), 0); !errors.Is(err, ErrCodec) || errors.Is(err, ErrInvalid) {
		t.Fatalf("codec 5: %v", err)
	}
}

func TestCutInput(t *testing.T) {
	src := bytes.Repeat([]byte("some words that repeat, "), 200)
	for _, codec := range []Codec{Gzip, Snappy, LZ4, Zstd} {
		packed, _ := Compress(nil, codec, src)
		for n := range len(packed) {
			got, err := decompress(nil, codec, packed[:n], 0)
			if err == nil && len(got) > 0 {
				t.Fatalf("%v cut to %d of %d bytes unpacks to %d bytes", codec, n, len(packed), len(got))
			}
			if err != nil && !errors.Is(err, ErrInvalid) {
				t.Fatalf("%v: %v", codec, err)
			}
		}
	}
}

// What other clients send, beyond what Compress writes (the golden files hold more).
func TestForeignEncodings(t *testing.T) {
	src := bytes.Repeat([]byte("abcdefgh"), 1000)
	half := len(src) / 2
	join := func(codec Codec) []byte {
		a, _ := Compress(nil, codec, src[:half])
		b, _ := Compress(nil, codec, src[half:])
		return append(a, b...)
	}
	frame := func(options ...lz4.Option) []byte {
		var out bytes.Buffer
		w := lz4.NewWriter(&out)
		if err := w.Apply(options...); err != nil {
			t.Fatal(err)
		}
		w.Write(src)
		w.Close()
		return out.Bytes()
	}
	level := func(window int) []byte {
		var out bytes.Buffer
		e, err := zstd.NewWriter(&out, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1), zstd.WithSingleSegment(false))
		if err != nil {
			t.Fatal(err)
		}
		e.Write(src[:half])
		e.Flush() // streaming: no content size in the header
		e.Write(src[half:])
		e.Close()
		return out.Bytes()
	}
	for name, c := range map[string]struct {
		codec Codec
		b     []byte
	}{
		"raw snappy":                 {Snappy, s2.EncodeSnappy(nil, src)},
		"two xerial streams":         {Snappy, join(Snappy)},
		"two gzip members":           {Gzip, join(Gzip)},
		"two zstd frames":            {Zstd, join(Zstd)},
		"lz4, 4 MiB blocks and sums": {LZ4, frame(lz4.BlockSizeOption(lz4.Block4Mb), lz4.BlockChecksumOption(true), lz4.ChecksumOption(true))},
		"lz4 with content size":      {LZ4, frame(lz4.SizeOption(uint64(len(src))))},
		"zstd window of 1 KiB":       {Zstd, level(1 << 10)},
		"zstd window of 8 MiB":       {Zstd, level(8 << 20)},
		"zstd window of 128 MiB":     {Zstd, level(128 << 20)},
	} {
		got, err := decompress(nil, c.codec, c.b, 0)
		if err != nil || !bytes.Equal(got, src) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if got, err := decompress(nil, LZ4, frame(lz4.LegacyOption(true)), 0); !errors.Is(err, ErrInvalid) {
		t.Errorf("lz4 legacy frame: %d bytes, %v", len(got), err)
	}
}

// allocated runs fn and returns the bytes it took from the heap.
func allocated(fn func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// bombs are inputs of at most a few hundred KB that would unpack to 64 MiB and more, or say so.
func bombs(t testing.TB) map[string]struct {
	codec Codec
	b     []byte
} {
	zeros := make([]byte, 64<<20)
	type bomb = struct {
		codec Codec
		b     []byte
	}
	all := map[string]bomb{
		"snappy header that claims 4 GiB":          {Snappy, binary.AppendUvarint(nil, 1<<32-1)},
		"snappy header that claims 1 GiB":          {Snappy, append(binary.AppendUvarint(nil, 1<<30), 0, 0, 0, 0)},
		"xerial block that claims 1 GiB":           {Snappy, append(append(bytes.Clone(xerialHeader[:]), 0, 0, 0, 5), binary.AppendUvarint(nil, 1<<30)...)},
		"xerial block length of 4 GiB":             {Snappy, append(bytes.Clone(xerialHeader[:]), 0xff, 0xff, 0xff, 0xff, 1)},
		"zstd frame that claims 2^63 bytes":        {Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x80, 1, 0, 0}},
		"zstd frame with a window of 3.75 TiB":     {Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff, 0x09, 0, 0, 'x'}},
		"zstd single segment that claims 60 MiB":   {Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0xc0, 0x03, 0x09, 0, 0, 'x'}},
		"zstd second frame with a 128 MiB window":  {Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x00, 0x09, 0, 0, 'x', 0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x88, 0x09, 0, 0, 'x'}},
		"record length of 2 GiB, behind the codec": {Gzip, mustCompress(t, Gzip, binary.AppendVarint(nil, 1<<31-1))},
	}
	for _, codec := range []Codec{Gzip, LZ4, Zstd} {
		all[fmt.Sprintf("%v of zeros", codec)] = bomb{codec, mustCompress(t, codec, zeros)}
	}
	return all
}

func mustCompress(t testing.TB, codec Codec, src []byte) []byte {
	t.Helper()
	b, err := Compress(nil, codec, src)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Hazard K4: whatever a few bytes claim or hold, opening them costs little memory.
func TestBombsAreRefusedInLittleMemory(t *testing.T) {
	const budget, memoryMax = 2 << 20, 5 << 20
	for name, bomb := range bombs(t) {
		h := hand{attributes: int16(bomb.codec), count: 1, producer: NoProducerID, sequence: NoSequence, records: bomb.b}
		batch := h.batch()
		var err error
		if n := allocated(func() { err = batch.Each(budget, func(Record) error { return nil }) }); n > memoryMax {
			t.Errorf("%s: %d bytes allocated", name, n)
		}
		if !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if n := allocated(func() { _, err = decompress(nil, bomb.codec, bomb.b, budget) }); n > 4*memoryMax { // a sum over a buffer that doubles, twice as much under the race detector
			t.Errorf("%s: %d bytes allocated by decompress", name, n)
		}
		// "record length" alone is honest gzip.
		if !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrInvalid) && name != "record length of 2 GiB, behind the codec" && name != "zstd frame with a window of 3.75 TiB" {
			t.Errorf("%s: decompress: %v", name, err)
		}
	}
}

func TestRatioLimit(t *testing.T) {
	bomb := mustCompress(t, Zstd, make([]byte, 16<<20))
	if _, err := decompress(nil, Zstd, bomb, 64<<20); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("%d bytes to 16 MiB: %v", len(bomb), err)
	}
	if _, err := decompress(nil, Zstd, mustCompress(t, Zstd, make([]byte, ratioFloor)), 64<<20); err != nil {
		t.Fatalf("below the floor: %v", err)
	}
}

// A record larger than the stream's first window, and a failed walk, must leave the pool usable for the next one.
func TestPoolIsCleanAfterErrors(t *testing.T) {
	for _, codec := range codecs {
		good := testBatch(t, codec, 20, 10_000)
		for n := range 50 {
			broken := bytes.Clone(good)
			broken = broken[:len(broken)-1-n*7]
			binary.BigEndian.PutUint32(broken[posLength:], uint32(len(broken)-OverheadLen))
			if b, _, err := Next(broken); err != nil || b.Each(0, func(Record) error { return nil }) == nil {
				t.Fatalf("%v: a cut batch was read to its end (%v)", codec, err)
			}
			count := 0
			stop := errors.New("stop")
			if err := good.Each(0, func(Record) error {
				if count++; count == n%20+1 {
					return stop
				}
				return nil
			}); err != stop {
				t.Fatalf("%v: %v", codec, err)
			}
		}
		count := 0
		if err := good.Each(0, func(Record) error { count++; return nil }); err != nil || count != 20 {
			t.Fatalf("%v: %d records, %v", codec, count, err)
		}
	}
}

// decompress appends src, unpacked, to dst, which may be nil; src is borrowed until return. It gives at most budget bytes
// (0 = DecompressedMax) and stops at the ratio that openStream knows; dst grows as data comes, not as headers promise.
// Errors: ErrInvalid (src is not what the codec writes), ErrTooLarge, ErrCodec.
func decompress(dst []byte, codec Codec, src []byte, budget int64) ([]byte, error) {
	s, err := openStream(codec, src, budget)
	if err != nil {
		return dst, err
	}
	defer s.close()
	out := bytes.NewBuffer(dst)
	if _, err := out.ReadFrom(s); err != nil {
		return dst, err
	}
	return out.Bytes(), nil
}
