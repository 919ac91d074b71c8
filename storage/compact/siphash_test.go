package compact

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// Two hashes side by side are those of one after the other, at every length.
func TestSumsAreTwoOfSum(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for length := range 200 {
		s := secret{rng.Uint64(), rng.Uint64()}
		a, b := make([]byte, length), make([]byte, length)
		for i := range a {
			a[i], b[i] = byte(rng.Uint32()), byte(rng.Uint32())
		}
		alo, ahi, blo, bhi := s.sums(a, b)
		if lo, hi := s.sum(a); lo != alo || hi != ahi {
			t.Errorf("%d bytes, the first: %x %x, want %x %x", length, alo, ahi, lo, hi)
		}
		if lo, hi := s.sum(b); lo != blo || hi != bhi {
			t.Errorf("%d bytes, the second: %x %x, want %x %x", length, blo, bhi, lo, hi)
		}
	}
}

// Two keys that are hashed together are two that are hashed one after the other, of any lengths.
func TestHashTwo(t *testing.T) {
	var m Map
	reset(t, &m, 1<<16, 100, 0.9)
	for _, keys := range [][2]string{{"a", "b"}, {"", ""}, {"", "a"}, {"0123456789abcdef", "fedcba9876543210"}, {"a longer key", "key"}} {
		var one, two Hashed
		m.Hash(&one, []byte(keys[0]), 5)
		m.Hash(&one, []byte(keys[1]), 7)
		m.HashTwo(&two, []byte(keys[0]), 5, []byte(keys[1]), 7)
		if !slices.Equal(one.list, two.list) {
			t.Errorf("%q: %v, want %v", keys, two.list, one.list)
		}
	}
}

func BenchmarkSum(b *testing.B) {
	s := secret{1, 2}
	key, other := make([]byte, 16), make([]byte, 16)
	var sink uint64
	b.Run("one", func(b *testing.B) {
		for i := range b.N {
			key[0] = byte(i)
			lo, hi := s.sum(key)
			sink += lo ^ hi
		}
	})
	b.Run("two", func(b *testing.B) {
		for i := 0; i < b.N; i += 2 {
			key[0], other[0] = byte(i), byte(i+1)
			lo, hi, lo2, hi2 := s.sums(key, other)
			sink += lo ^ hi ^ lo2 ^ hi2
		}
	})
	if sink == 1 {
		b.Log(sink)
	}
}
