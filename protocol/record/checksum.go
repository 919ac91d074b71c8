package record

import "hash/crc32"

// Checksum is the CRC32C of all bytes of the batch, made of the CRC that the batch claims and of the bytes in front of what
// that covers: the records are not read again. It is right only where CheckCRC has succeeded.
func (b Batch) Checksum() uint32 {
	front := crc32.Checksum(b[:posAttributes], castagnoli)
	return JoinChecksums(front, b.CRC(), len(b)-posAttributes)
}

// JoinChecksums is the CRC32C of two byte strings behind each other, given that of each and the length of the second.
// Source: the method of zlib's crc32_combine, multiplication modulo the polynomial.
func JoinChecksums(first, second uint32, secondLen int) uint32 {
	return timesModulo(shift(secondLen), first) ^ second
}

// reversedPolynomial is Castagnoli's, the highest power in bit 0, as the checksums are.
const reversedPolynomial = crc32.Castagnoli

// squares[k] is x to the power of 2^k, modulo the polynomial.
var squares = func() (s [3 + 63]uint32) {
	s[0] = 1 << 30 // x
	for k := 1; k < len(s); k++ {
		s[k] = timesModulo(s[k-1], s[k-1])
	}
	return s
}()

// shift is x to the power of 8n: what n more bytes do to a checksum.
func shift(n int) uint32 {
	p := uint32(1 << 31) // 1
	for k := 3; n > 0; n, k = n>>1, k+1 {
		if n&1 != 0 {
			p = timesModulo(squares[k], p)
		}
	}
	return p
}

// timesModulo multiplies two polynomials modulo Castagnoli's.
func timesModulo(a, b uint32) uint32 {
	p := uint32(0)
	for bit := uint32(1 << 31); a != 0; bit >>= 1 {
		if a&bit != 0 {
			p ^= b
			a &^= bit
		}
		if b&1 != 0 {
			b = b>>1 ^ reversedPolynomial
		} else {
			b >>= 1
		}
	}
	return p
}
