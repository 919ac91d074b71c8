package record

import (
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// zstdWindowMax is the largest window that a frame gets, bytes. zstd's levels up to 19 ask for no more. The decoder allocates
// the window at once, so a frame that claims more (the levels above, or a lie) is given this much: it unpacks unless a match
// reaches further back, which takes more than 8 MiB of records in one batch.
const zstdWindowMax = 8 << 20

// zstdSource is a frame whose header was replaced.
type zstdSource struct {
	head []byte
	tail []byte
	buf  [18]byte // backing of head: a frame header is at most 18 bytes
}

// Read implements io.Reader.
func (z *zstdSource) Read(p []byte) (n int, err error) {
	if len(z.head) > 0 {
		n = copy(p, z.head)
		z.head = z.head[n:]
		return n, nil
	}
	if len(z.tail) == 0 {
		return 0, io.EOF
	}
	n = copy(p, z.tail)
	z.tail = z.tail[n:]
	return n, nil
}

// startZstd reads the frame header itself: a claimed content beyond the budget is refused here, a claimed window beyond what
// the budget can need is lowered. Frames behind the first one may have windows up to zstdWindowMax.
func (s *stream) startZstd(src []byte) error {
	var h zstd.Header
	if err := h.Decode(src); err != nil {
		return err
	}
	if h.Skippable || h.DictionaryID != 0 {
		return fmt.Errorf("%w: zstd frame with a dictionary, or skippable", ErrInvalid)
	}
	if h.HasFCS && h.FrameContentSize > uint64(s.left) {
		return fmt.Errorf("%w: zstd frame of %d bytes", ErrTooLarge, h.FrameContentSize)
	}
	if s.zstd == nil {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(zstdWindowMax), zstd.WithDecoderMaxWindow(zstdWindowMax))
		if err != nil {
			return err
		}
		s.zstd = d
	}
	windowMax := min(zstdWindowMax, max(uint64(s.left), zstd.MinWindowSize))
	window := h.WindowSize
	if h.SingleSegment {
		window = h.FrameContentSize
	}
	s.patched.head, s.patched.tail = nil, src
	if window > windowMax {
		s.patched.lower(src, &h, windowMax)
	}
	s.src = s.zstd
	return s.zstd.Reset(&s.patched)
}

// lower replaces the frame header by one with the largest window descriptor up to windowMax. A single-segment frame has none;
// it gets one (its content size field is at least 4 bytes long here, and so keeps its form without the flag).
func (z *zstdSource) lower(src []byte, h *zstd.Header, windowMax uint64) {
	const descriptorPos, singleSegment, windowLogMin = 4, 1 << 5, 10
	log := uint64(windowLogMin)
	for 1<<(log+1) <= windowMax {
		log++
	}
	rest := src[descriptorPos+1 : h.HeaderSize]
	if !h.SingleSegment {
		rest = rest[1:]
	}
	z.head = append(z.buf[:0], src[:descriptorPos]...)
	z.head = append(z.head, src[descriptorPos]&^singleSegment, byte((log-windowLogMin)<<3))
	z.head = append(z.head, rest...)
	z.tail = src[h.HeaderSize:]
}
