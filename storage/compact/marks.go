package compact

import "math/bits"

// marks are a bit for each offset of a range. The zero marks are those of an empty range.
type marks struct {
	first int64
	bits  []uint64
}

const wordBits = 64

// reset makes them marks of the offsets [first, end), or of the front part of it that fits into bytes; none is set.
func (s *marks) reset(first, end, bytes int64) {
	words := min((max(end-first, 0)+wordBits-1)/wordBits, bytes/(wordBits/8))
	if have := int64(cap(s.bits)); have >= words && have/4 <= words {
		s.bits = s.bits[:words]
		clear(s.bits)
	} else {
		s.bits = make([]uint64, words)
	}
	s.first = first
}

// has says whether offset is in the range.
func (s *marks) has(offset int64) bool {
	return offset >= s.first && uint64(offset-s.first)/wordBits < uint64(len(s.bits))
}

func (s *marks) set(offset int64) {
	i := uint64(offset - s.first)
	s.bits[i/wordBits] |= 1 << (i % wordBits)
}

func (s *marks) unset(offset int64) {
	i := uint64(offset - s.first)
	s.bits[i/wordBits] &^= 1 << (i % wordBits)
}

func (s *marks) get(offset int64) bool {
	i := uint64(offset - s.first)
	return s.bits[i/wordBits]&(1<<(i%wordBits)) != 0
}

// count is how many of the offsets from first to last are set; both must be in the range.
func (s *marks) count(first, last int64) (n int) {
	from, to := uint64(first-s.first), uint64(last-s.first)
	low, high := ^uint64(0)<<(from%wordBits), ^uint64(0)>>(wordBits-1-to%wordBits)
	words := s.bits[from/wordBits : to/wordBits+1]
	for i, w := range words {
		if i == 0 {
			w &= low
		}
		if i == len(words)-1 {
			w &= high
		}
		n += bits.OnesCount64(w)
	}
	return n
}

// words appends to dst the bits of the offsets from first to last, that of first the lowest of the first word; both must be in
// the range. Bits behind last are of no meaning.
func (s *marks) words(dst []uint64, first, last int64) []uint64 {
	from, shift := uint64(first-s.first)/wordBits, uint64(first-s.first)%wordBits
	for n := uint64(last-first)/wordBits + 1; n > 0; n-- {
		w := s.bits[from] >> shift
		if from++; shift > 0 && from < uint64(len(s.bits)) {
			w |= s.bits[from] << (wordBits - shift)
		}
		dst = append(dst, w)
	}
	return dst
}
