package compact

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

// Key 00 01 .. 0f, input 00 01 .. of each length; what OpenSSL says (openssl mac -macopt size:16 -macopt c-rounds:1 -macopt d-rounds:3
// SIPHASH).
func TestSipHash(t *testing.T) {
	s := secret{0x0706050403020100, 0x0f0e0d0c0b0a0908}
	in := make([]byte, 64)
	for i := range in {
		in[i] = byte(i)
	}
	for length, want := range map[int]string{
		0:  "e77ebcb22788a5befd62db6add303001",
		1:  "fc6f370460d3eda85e0573cc2b2ff063",
		2:  "75787f090569839b855bc9548c6aea95",
		7:  "1084b923f2aae0c3a62f2ec80848ab77",
		8:  "aa12fee1d5e3dab4724f16ab35f9c799",
		16: "d0a8d95715518eebb513b0f83d9e1793",
		25: "39031a965d73b4af5a274d18f973b1d2",
	} {
		lo, hi := s.sum(in[:length])
		b := binary.LittleEndian.AppendUint64(nil, lo)
		b = binary.LittleEndian.AppendUint64(b, hi)
		if got := hex.EncodeToString(b); got != want {
			t.Errorf("%d bytes: %s, want %s", length, got, want)
		}
	}
}

// The map against Go's own, at several loads.
func TestMapAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 3))
		var m Map
		var h Hashed
		limit := reset(t, &m, EntryLen*int64(2+rng.IntN(300)), int64(rng.IntN(400)), 0.9)
		model := map[string]int64{}
		together := seed%2 == 1
		for offset := range int64(600) {
			key := fmt.Appendf(nil, "k%d", rng.IntN(1+rng.IntN(500)))
			_, known := model[string(key)]
			ok := false
			if together {
				m.Hash(&h, key, offset)
				ok = m.PutAll(&h)
			} else {
				ok = m.Put(key, offset)
			}
			if want := known || len(model) < limit; ok != want {
				t.Fatalf("seed %d: put %s = %v with %d of %d keys, known %v", seed, key, ok, len(model), limit, known)
			}
			if ok {
				model[string(key)] = offset
			}
			if m.Len() != len(model) || m.Full() != (len(model) >= limit) {
				t.Fatalf("seed %d: %d keys, want %d; full %v", seed, m.Len(), len(model), m.Full())
			}
		}
		for i := range 500 {
			key := fmt.Appendf(nil, "k%d", i)
			want, ok := model[string(key)]
			if !ok {
				want = -1
			}
			got := m.Get(key)
			if together {
				m.Hash(&h, key, 0)
				got = m.GetAll(nil, &h)[0]
			}
			if got != want {
				t.Fatalf("seed %d: get %s = %d, want %d", seed, key, got, want)
			}
		}
	}
}

// What is put together has the effect of one after the other; behind the first key that does not fit nothing is put.
func TestPutAll(t *testing.T) {
	var m Map
	var h Hashed
	if m.Hash(&h, []byte("a"), 1); !m.PutAll(&Hashed{}) || m.PutAll(&h) || h.Len() != 0 {
		t.Fatal("a map without memory took a key")
	}
	const most = togetherMax + togetherMax/2
	limit := reset(t, &m, EntryLen*2*(most+4), 1000, 0.5)
	if limit < most {
		t.Fatal(limit)
	}
	for i := range limit + 3 {
		m.Hash(&h, fmt.Append(nil, i%(limit+1)), int64(i)) // the last one but two is new, the others behind it known
	}
	h.SetLatest(1000)
	if m.PutAll(&h) || h.Len() != 0 || m.Len() != limit || m.Latest() != int64(limit-1) || m.Get([]byte("0")) != 0 {
		t.Fatalf("%d keys, latest %d, limit %d", m.Len(), m.Latest(), limit)
	}
	if !m.PutAll(&h) || m.Latest() != int64(limit-1) {
		t.Fatalf("latest %d of keys that were not put", m.Latest())
	}
	m.Hash(&h, []byte("1"), 0)
	m.Hash(&h, []byte("none"), 0)
	if got := m.GetAll([]int64{7}, &h); len(got) != 3 || got[0] != 7 || got[1] != 1 || got[2] != -1 || h.Len() != 0 {
		t.Fatal(got)
	}
	for i := range most {
		m.Hash(&h, []byte("1"), int64(100+i))
	}
	h.SetLatest(500)
	if n := h.Len(); n != most || !m.PutAll(&h) || m.Get([]byte("1")) != 100+most-1 || m.Latest() != 500 {
		t.Fatalf("%d keys: %d, latest %d", n, m.Get([]byte("1")), m.Latest())
	}
	for range most {
		m.Hash(&h, []byte("1"), 0)
	}
	if got := m.GetAll(nil, &h); len(got) != most || got[0] != 100+most-1 || got[most-1] != got[0] {
		t.Fatal(got)
	}
}

// Memory is what was allowed, and less where there are few records.
func TestMapIsBounded(t *testing.T) {
	var m Map
	if keys := reset(t, &m, 24_000, 1_000_000_000, 0.9); keys != 871 || cap(m.slots)*EntryLen+int(m.marksBytes) > 24_000 {
		t.Fatalf("%d keys in %d slots", keys, cap(m.slots))
	}
	if keys := reset(t, &m, 1<<40, 90, 0.9); keys < 90 || cap(m.slots) > 1000 {
		t.Fatalf("%d keys in %d slots", keys, cap(m.slots))
	}
	if keys := reset(t, &m, 0, 100, 0.9); keys != 1 || !m.Put([]byte("a"), 1) || m.Put([]byte("b"), 2) || !m.Put([]byte("a"), 3) {
		t.Fatalf("%d keys", keys)
	}
	if m.Latest() != 3 || m.Get([]byte("b")) != -1 {
		t.Fatal("a full map took a key")
	}
	m.Release()
	if m.Get([]byte("a")) != -1 || m.Put([]byte("a"), 1) {
		t.Fatal("a released map holds keys")
	}
}

// reset is Reset where there is memory; the map is released at the end of the test.
func reset(t testing.TB, m *Map, bytes, records int64, load float64) (keys int) {
	t.Helper()
	t.Cleanup(m.Release)
	keys, err := m.Reset(bytes, records, load)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// The table of many keys is no part of Go's heap, whose garbage would otherwise be let grow with it; without memory no key is
// taken.
func TestMapIsNotInTheHeap(t *testing.T) {
	var m Map
	heap := func() int64 {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return int64(s.HeapAlloc)
	}
	before := heap()
	const bytes = 64 << 20
	if keys := reset(t, &m, bytes, 1<<40, 0.9); keys < 2_400_000 {
		t.Fatalf("%d keys", keys)
	}
	m.Mark(0, 1000)
	for i := range 1000 {
		m.Put(fmt.Append(nil, i), int64(i))
	}
	if grown := heap() - before; grown > bytes/16 {
		t.Fatalf("the heap grew by %d bytes", grown)
	}
	if last, known := m.IsLast(999); !last || !known || m.Get([]byte("7")) != 7 {
		t.Fatal("keys are lost")
	}
	if _, err := m.Reset(1<<60, 1<<60, 0.9); err == nil {
		t.Fatal("there is no such memory")
	}
	if m.Put([]byte("a"), 1) || m.Get([]byte("7")) != -1 {
		t.Fatal("a map without memory holds keys")
	}
	if keys := reset(t, &m, bytes, 10, 0.9); keys < 10 || m.Len() != 0 || !m.Put([]byte("a"), 1) {
		t.Fatalf("%d keys after a failure", keys)
	}
}

// BenchmarkPut hashes keys and puts them, one in two of which is new, into a table that is much larger than the processor's caches.
func BenchmarkPut(b *testing.B) {
	var m Map
	var h Hashed
	reset(b, &m, 128<<20, 1<<40, 0.9)
	m.Mark(0, 1<<40)
	key := make([]byte, 16)
	b.ReportAllocs()
	for i := range b.N {
		k := i % 4_000_000
		if i%2 == 1 {
			k = -(i % 512)
		}
		binary.LittleEndian.PutUint64(key, uint64(k))
		m.Hash(&h, key, int64(i))
		if h.Len() == 4096 {
			m.PutAll(&h)
		}
	}
}
