package wire

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// frameOf returns a frame of n bytes behind its size prefix: a Produce v9 header, then noise.
func frameOf(n int) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(n))
	b = append(b, 0, 0, 0, 9, 0, 0, 0, 1)
	rng := rand.New(rand.NewPCG(1, 1))
	for len(b) < framePrefix+n {
		b = append(b, byte(rng.Uint32()))
	}
	return b
}

func TestReadFrame(t *testing.T) {
	pool := NewPool(PoolOptions{})
	sizes := []int{8, 9, 511, 512, 513, 4096, 70_000, firstReadMax, firstReadMax + 1, 3*firstReadMax + 17, 4 * firstReadMax, 20 << 20}
	var stream []byte
	var frames [][]byte
	for _, n := range sizes {
		frames = append(frames, frameOf(n))
		stream = append(stream, frames[len(frames)-1]...)
	}
	for name, r := range map[string]io.Reader{
		"whole":     bytes.NewReader(stream),
		"halves":    iotest.HalfReader(bytes.NewReader(stream)),
		"data+EOF":  iotest.DataErrReader(bytes.NewReader(stream)),
		"odd bytes": &shortReader{stream},
	} {
		br := bufio.NewReader(r)
		for i, n := range sizes {
			b, err := ReadFrame(br, 32<<20, pool)
			if err != nil {
				t.Fatalf("%s, %d bytes: %v", name, n, err)
			}
			if !bytes.Equal(b.Bytes(), frames[i][framePrefix:]) {
				t.Fatalf("%s, %d bytes: other content", name, n)
			}
			b.Release()
		}
		if _, err := ReadFrame(br, 32<<20, pool); err != io.EOF {
			t.Fatalf("%s: at the end: %v", name, err)
		}
	}
}

// shortReader returns 1 to 977 bytes a call.
type shortReader struct{ rest []byte }

func (r *shortReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.rest[:min(len(r.rest), 1+len(r.rest)%977)])
	r.rest = r.rest[n:]
	return n, nil
}

func TestReadFrameCutAnywhere(t *testing.T) {
	pool := NewPool(PoolOptions{})
	whole := frameOf(40)
	for n := 1; n < len(whole); n++ {
		_, err := ReadFrame(bufio.NewReader(iotest.OneByteReader(bytes.NewReader(whole[:n]))), 100, pool)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestReadFrameRefuses(t *testing.T) {
	frame := func(size int32, key int16) []byte {
		b := binary.BigEndian.AppendUint32(nil, uint32(size))
		b = binary.BigEndian.AppendUint16(b, uint16(key))
		return append(b, make([]byte, 100)...)
	}
	for _, c := range []struct {
		name  string
		bytes []byte
		want  error
	}{
		{"negative size", frame(-1, 0), ErrFrameSize},
		{"size 0", frame(0, 0), ErrFrameSize},
		{"shorter than a header", frame(7, 0), ErrFrameSize},
		{"above the limit", frame(1_000_001, 0), ErrFrameSize},
		{"largest size there is", frame(1<<31-1, 0), ErrFrameSize},
		{"above the API's cap", frame(PreLoginSizeMax+1, keyAPIVersions), ErrFrameSize},
		{"unknown API", frame(100, 9999), ErrUnknownAPI},
		{"negative API key", frame(100, -1), ErrUnknownAPI},
		{"an HTTP request", []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), ErrFrameSize},
		{"a TLS hello", []byte{0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00}, ErrFrameSize},
	} {
		_, err := ReadFrame(bufio.NewReader(bytes.NewReader(c.bytes)), 1_000_000, NewPool(PoolOptions{}))
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestLyingFrameSizeCostsLittle: a frame that promises 100 MiB and sends a few bytes gets one first buffer, not 100 MiB.
func TestLyingFrameSizeCostsLittle(t *testing.T) {
	b := frameOf(1000)
	binary.BigEndian.PutUint32(b, 100<<20)
	took := allocated(func() {
		_, err := ReadFrame(bufio.NewReader(bytes.NewReader(b)), 100<<20, NewPool(PoolOptions{}))
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
	})
	if took > firstReadMax+64<<10 {
		t.Fatalf("%d bytes allocated", took)
	}
}

// TestReadFrameReuses: in steady state a frame allocates nothing, whatever its size.
func TestReadFrameReuses(t *testing.T) {
	pool := NewPool(PoolOptions{})
	for _, n := range []int{100, 100_000, 1 << 20, 5 << 20} {
		stream := frameOf(n)
		r := bytes.NewReader(nil)
		br := bufio.NewReader(r)
		allocs := testing.AllocsPerRun(20, func() {
			r.Reset(stream)
			br.Reset(r)
			b, err := ReadFrame(br, 8<<20, pool)
			if err != nil {
				t.Fatal(err)
			}
			b.Release()
		})
		if allocs > 0 {
			t.Errorf("%d bytes: %v allocations a frame", n, allocs)
		}
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add(frameOf(8))
	f.Add(frameOf(600))
	f.Add(append(frameOf(100), frameOf(9)...))
	f.Add([]byte{0x7f, 0xff, 0xff, 0xff, 0, 0})
	pool := NewPool(PoolOptions{})
	f.Fuzz(func(t *testing.T, stream []byte) {
		const limit = 4096
		r := bufio.NewReaderSize(iotest.HalfReader(bytes.NewReader(stream)), 64)
		for rest := stream; ; {
			b, err := ReadFrame(r, limit, pool)
			if err != nil {
				if err == io.EOF && len(rest) > 0 {
					t.Fatalf("clean end with %d bytes left", len(rest))
				}
				return
			}
			n := len(b.Bytes())
			if n > limit || !bytes.Equal(b.Bytes(), rest[framePrefix:framePrefix+n]) {
				t.Fatalf("frame of %d bytes is not what was sent", n)
			}
			rest = rest[framePrefix+n:]
			b.Release()
		}
	})
}
