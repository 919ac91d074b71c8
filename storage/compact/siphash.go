package compact

import (
	"encoding/binary"
	"math/bits"
)

// secret keys the hash.
type secret [2]uint64

// sum is SipHash-1-3 with a result of 128 bits (docs/adr/0013 says why 1-3), as in its authors' reference implementation.
func (s secret) sum(b []byte) (lo, hi uint64) {
	v0 := s[0] ^ 0x736f6d6570736575
	v1 := s[1] ^ 0x646f72616e646f6d ^ 0xee
	v2 := s[0] ^ 0x6c7967656e657261
	v3 := s[1] ^ 0x7465646279746573
	tail := uint64(len(b)) << 56
	for ; len(b) >= 8; b = b[8:] {
		m := binary.LittleEndian.Uint64(b)
		v3 ^= m
		v0, v1, v2, v3 = round(v0, v1, v2, v3)
		v0 ^= m
	}
	for i, c := range b {
		tail |= uint64(c) << (8 * i)
	}
	v3 ^= tail
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	v0 ^= tail
	v2 ^= 0xee
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	lo = v0 ^ v1 ^ v2 ^ v3
	v1 ^= 0xdd
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	return lo, v0 ^ v1 ^ v2 ^ v3
}

// sums is sum of two byte strings of one length. Each round waits for the one before it, so that two hashes side by side take
// little more time than one.
func (s secret) sums(a, b []byte) (alo, ahi, blo, bhi uint64) {
	v0, w0 := s[0]^0x736f6d6570736575, s[0]^0x736f6d6570736575
	v1, w1 := s[1]^0x646f72616e646f6d^0xee, s[1]^0x646f72616e646f6d^0xee
	v2, w2 := s[0]^0x6c7967656e657261, s[0]^0x6c7967656e657261
	v3, w3 := s[1]^0x7465646279746573, s[1]^0x7465646279746573
	b = b[:len(a)]
	atail := uint64(len(a)) << 56
	btail := atail
	for ; len(a) >= 8 && len(b) >= 8; a, b = a[8:], b[8:] {
		m, n := binary.LittleEndian.Uint64(a), binary.LittleEndian.Uint64(b)
		v3, w3 = v3^m, w3^n
		v0, v1, v2, v3 = round(v0, v1, v2, v3)
		w0, w1, w2, w3 = round(w0, w1, w2, w3)
		v0, w0 = v0^m, w0^n
	}
	for i := range min(len(a), len(b)) {
		atail |= uint64(a[i]) << (8 * i)
		btail |= uint64(b[i]) << (8 * i)
	}
	v3, w3 = v3^atail, w3^btail
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	w0, w1, w2, w3 = round(w0, w1, w2, w3)
	v0, w0 = v0^atail, w0^btail
	v2, w2 = v2^0xee, w2^0xee
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	w0, w1, w2, w3 = round(w0, w1, w2, w3)
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	w0, w1, w2, w3 = round(w0, w1, w2, w3)
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	w0, w1, w2, w3 = round(w0, w1, w2, w3)
	alo, blo = v0^v1^v2^v3, w0^w1^w2^w3
	v1, w1 = v1^0xdd, w1^0xdd
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	w0, w1, w2, w3 = round(w0, w1, w2, w3)
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	w0, w1, w2, w3 = round(w0, w1, w2, w3)
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	w0, w1, w2, w3 = round(w0, w1, w2, w3)
	return alo, v0 ^ v1 ^ v2 ^ v3, blo, w0 ^ w1 ^ w2 ^ w3
}

func round(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	v0 += v1
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v0 = bits.RotateLeft64(v0, 32)
	v2 += v3
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 += v3
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v2 += v1
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v2 = bits.RotateLeft64(v2, 32)
	return v0, v1, v2, v3
}
