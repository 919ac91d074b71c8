package compact

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// Mark says of every offset what the map says of its key, as far as its memory goes, and nothing of others.
func TestMarkAgainstModel(t *testing.T) {
	var m Map
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 3))
		bytes := int64(EntryLen * (20 + rng.IntN(3000)))
		reset(t, &m, bytes, 1<<20, 0.9)
		base := rng.Int64N(1 << 45)
		offsets := []int64{base}
		for range rng.IntN(2000) {
			offsets = append(offsets, offsets[len(offsets)-1]+1+int64(rng.IntN(2))*int64(rng.IntN(300)))
		}
		first, at := base, offsets[len(offsets)-1]
		if rng.IntN(3) == 0 {
			first = base + rng.Int64N(at-base+2)
		}
		m.Mark(first, at+1+rng.Int64N(500))
		keys := map[int64]string{}
		for _, at := range offsets {
			key := fmt.Sprint(rng.IntN(1 + rng.IntN(900)))
			if !m.Put([]byte(key), at) {
				break
			}
			keys[at] = key
		}
		noted := 0
		for offset, key := range keys {
			last, known := m.IsLast(offset)
			if known != (offset >= first && (offset-first)/64 < bytes/marksShare/8) {
				t.Fatalf("seed %d: offset %d is known: %v, of those from %d on in %d bytes", seed, offset, known, first, bytes/marksShare)
			}
			if known {
				noted++
			}
			if known && last != (m.Get([]byte(key)) == offset) {
				t.Fatalf("seed %d: offset %d is the last one: %v", seed, offset, last)
			}
		}
		if int64(len(m.marks.bits))*8 > bytes/marksShare {
			t.Fatalf("seed %d: %d words of marks, of %d bytes", seed, len(m.marks.bits), bytes)
		}
		if first == base && len(keys) > 0 && bytes > 64*marksShare && noted == 0 {
			t.Fatalf("seed %d: nothing is known", seed)
		}
		checkCounts(t, seed, rng, &m, first, at)
		for _, offset := range []int64{first - 1, -1, m.Latest() + 1} {
			if _, known := m.IsLast(offset); known {
				t.Fatalf("seed %d: something is known of offset %d", seed, offset)
			}
		}
		reset(t, &m, bytes, 10, 0.9)
		if _, known := m.IsLast(first); known {
			t.Fatalf("seed %d: Reset left marks", seed)
		}
	}
}

// checkCounts compares CountLast and LastOf with IsLast.
func checkCounts(t *testing.T, seed uint64, rng *rand.Rand, m *Map, first, end int64) {
	t.Helper()
	for range 50 {
		from := first + rng.Int64N(end-first+100)
		to := from + rng.Int64N(200)
		want, all := 0, to <= m.Latest()
		for offset := from; offset <= to; offset++ {
			last, known := m.IsLast(offset)
			all = all && known
			if last {
				want++
			}
		}
		if n, known := m.CountLast(from, to); known != all || known && n != want {
			t.Fatalf("seed %d: %d, %v of the offsets from %d to %d, want %d, %v", seed, n, known, from, to, want, all)
		}
		words, known := m.LastOf([]uint64{7}, from, to)
		if wantLen := 1 + int(to-from)/64 + 1; known != all || words[0] != 7 || known && len(words) != wantLen || !known && len(words) != 1 {
			t.Fatalf("seed %d: %d words, %v of the offsets from %d to %d, want %v", seed, len(words), known, from, to, all)
		}
		for offset := from; known && offset <= to; offset++ {
			i := offset - from
			if last, _ := m.IsLast(offset); last != (words[1+i/64]>>(i%64)&1 == 1) {
				t.Fatalf("seed %d: bit %d of the offsets from %d to %d", seed, i, from, to)
			}
		}
	}
	if _, known := m.CountLast(first+1, first); known {
		t.Fatal("an empty range")
	}
}
