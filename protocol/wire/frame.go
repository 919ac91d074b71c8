package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

var (
	// ErrFrameSize is a frame whose size prefix is below a header's or above its limit. The connection cannot go on.
	ErrFrameSize = errors.New("wire: frame size not allowed")
	// ErrUnknownAPI is an API key that is not served. Kafka closes the connection.
	ErrUnknownAPI = errors.New("wire: unknown API")
	// ErrUnsupportedVersion is a version that is not served. Kafka closes the connection, except for ApiVersions.
	ErrUnsupportedVersion = errors.New("wire: unsupported version")
	// ErrMalformed is a header or body that contradicts the message definition. Kafka closes the connection.
	ErrMalformed = errors.New("wire: malformed request")
	// ErrTooMany is a request about more things than are answered at once. The connection is closed, as it is for too large a frame.
	ErrTooMany = errors.New("wire: too many elements in a request")
)

const (
	// PreLoginSizeMax is the largest frame, in bytes, that a connection without a completed login may send.
	PreLoginSizeMax = 16 << 10

	frameSizeMin  = 8       // API key, version, correlation id: the shortest header there is
	firstReadMax  = 2 << 20 // bytes taken for a frame on its word alone; more only once these have arrived
	growthFactor  = 4
	framePrefix   = 4 // the size itself
	frameKeyBytes = 2
)

// ReadFrame reads one frame, without its size prefix, into a buffer of pool. The caller owns the one reference of the result.
//
// Before any buffer is taken the size must lie within limit (bytes; socket.request.max.bytes, or PreLoginSizeMax) and within
// the cap of the API that the frame names, and that API must be served. A large frame gets memory as its bytes arrive, so a
// lying size prefix costs its sender's bytes and not ours. Errors: io.EOF when the connection ended between frames,
// io.ErrUnexpectedEOF inside one, ErrFrameSize, ErrUnknownAPI, and those of r.
func ReadFrame(r *bufio.Reader, limit int, pool *Pool) (*Buffer, error) {
	size, err := PeekFrame(r, limit)
	if err != nil {
		return nil, err
	}
	if _, err := r.Discard(framePrefix); err != nil {
		return nil, fmt.Errorf("wire: frame prefix: %w", err)
	}
	return readBody(r, size, pool)
}

// PeekFrame waits for the next frame's size and API key and returns its size in bytes, without the prefix, after the checks
// of ReadFrame and with its errors. It consumes nothing: a ReadFrame follows. It is there for callers that reserve memory
// (Memory) or set a deadline for the rest of a frame before they read it.
func PeekFrame(r *bufio.Reader, limit int) (int, error) {
	prefix, err := peek(r, framePrefix)
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) && r.Buffered() == 0 {
			return 0, io.EOF
		}
		return 0, err
	}
	size := int(int32(binary.BigEndian.Uint32(prefix)))
	if size < frameSizeMin || size > limit {
		return 0, fmt.Errorf("%w: %d bytes, limit %d", ErrFrameSize, size, limit)
	}
	prefix, err = peek(r, framePrefix+frameKeyBytes)
	if err != nil {
		return 0, err
	}
	key := int16(binary.BigEndian.Uint16(prefix[framePrefix:]))
	api, ok := Lookup(key)
	if !ok {
		return 0, fmt.Errorf("%w: key %d, frame of %d bytes", ErrUnknownAPI, key, size)
	}
	if size > api.SizeMax {
		return 0, fmt.Errorf("%w: %s request of %d bytes, limit %d", ErrFrameSize, api.Name, size, api.SizeMax)
	}
	return size, nil
}

// peek is r.Peek with the end of input inside a frame told from a clean end by the caller.
func peek(r *bufio.Reader, n int) ([]byte, error) {
	b, err := r.Peek(n)
	if errors.Is(err, io.EOF) {
		return nil, io.ErrUnexpectedEOF
	}
	return b, err
}

// readBody reads size bytes, growing from firstReadMax by growthFactor.
func readBody(r io.Reader, size int, pool *Pool) (*Buffer, error) {
	b := pool.Get(min(size, firstReadMax))
	for got := 0; ; {
		n, err := io.ReadFull(r, b.data[got:b.size])
		got += n
		if err != nil {
			b.Release()
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("wire: frame of %d bytes, %d read: %w", size, got, err)
		}
		if got == size {
			return b, nil
		}
		grown := pool.Get(min(size, got*growthFactor))
		copy(grown.data, b.data[:got])
		b.Release()
		b = grown
	}
}
