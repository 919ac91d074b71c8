package log

import (
	"math"

	"github.com/tandembroker/tandem/storage/vfs"
)

const (
	// reserveStep is how many bytes are reserved at a time.
	reserveStep = 32 << 20
	// reserveFrom is the size from which a segment reserves: the many that stay small take only what they need.
	reserveFrom = 8 << 20
)

// reserve keeps disk blocks reserved behind the end of s, the last segment, whose file f gets n more bytes: a large write takes
// less time when the file system need not set blocks aside for each page. Where it fails, the write that needs the space tells.
// What is left stays with the file over a stop, for the segment's next bytes. The caller holds write.
func (l *Log) reserve(s *segment, f vfs.File, n int64) {
	end := s.size + n
	if end < reserveFrom || end <= s.reserved {
		return
	}
	to := min(end+reserveStep, max(end, l.options().SegmentBytes))
	done, err := vfs.Allocate(f, s.size, to-s.size, true)
	if err == nil && !done {
		to = math.MaxInt64 // never here
	}
	s.reserving = s.reserving || done
	s.reserved = to
}

// unreserve gives back what s, which gets no more bytes, has reserved and not used. Where it fails the blocks stay with the file
// until it is deleted. The caller holds write.
func (l *Log) unreserve(s *segment) {
	if !s.reserving {
		return
	}
	s.reserving = false
	if f, err := l.acquire(s); err == nil {
		_ = f.Truncate(s.size)
		_ = f.release()
	}
}
