package compact

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

// The vectors of the reference implementation: key 00 01 .. 0f, input 00 01 .. of each length.
func TestSipHash(t *testing.T) {
	s := secret{0x0706050403020100, 0x0f0e0d0c0b0a0908}
	in := make([]byte, 64)
	for i := range in {
		in[i] = byte(i)
	}
	for length, want := range map[int]string{
		0: "a3817f04ba25a8e66df67214c7550293",
		1: "da87c1d86b99af44347659119b22fc45",
		2: "8177228da4a45dc7fca38bdef60affe4",
		7: "a1f1ebbed8dbc153c0b84aa61ff08239",
		8: "3b62a9ba6258f5610f83e264f31497b4",
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
		limit := reset(t, &m, EntryLen*int64(2+rng.IntN(300)), int64(rng.IntN(400)), 0.9)
		model := map[string]int64{}
		staged := seed%2 == 1
		for offset := range int64(600) {
			key := fmt.Appendf(nil, "k%d", rng.IntN(1+rng.IntN(500)))
			_, known := model[string(key)]
			ok := false
			if staged {
				m.Stage(key, offset)
				ok = m.PutStaged()
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
			if staged {
				m.Stage(key, 0)
				got = m.GetStaged(nil)[0]
			}
			if got != want {
				t.Fatalf("seed %d: get %s = %d, want %d", seed, key, got, want)
			}
		}
	}
}

// What is staged together has the effect of one after the other; behind the first key that does not fit nothing is put.
func TestStaged(t *testing.T) {
	var m Map
	if !m.PutStaged() || m.Stage([]byte("a"), 1) || m.PutStaged() {
		t.Fatal("a map without memory took a key")
	}
	limit := reset(t, &m, EntryLen*20, 1000, 0.5)
	for i := range limit + 3 {
		m.Stage(fmt.Append(nil, i%(limit+1)), int64(i)) // the last one but two is new, the others behind it known
	}
	if m.PutStaged() || m.Len() != limit || m.Latest() != int64(limit-1) || m.Get([]byte("0")) != 0 {
		t.Fatalf("%d keys, latest %d, limit %d", m.Len(), m.Latest(), limit)
	}
	m.Stage([]byte("1"), 0)
	m.Stage([]byte("none"), 0)
	if got := m.GetStaged([]int64{7}); len(got) != 3 || got[0] != 7 || got[1] != 1 || got[2] != -1 {
		t.Fatal(got)
	}
	due := 0
	for i := range stagedMax {
		if m.Stage([]byte("1"), int64(100+i)) {
			due++
		}
	}
	if due != 1 || !m.PutStaged() || m.Get([]byte("1")) != 100+stagedMax-1 {
		t.Fatalf("due %d times, then %d", due, m.Get([]byte("1")))
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
	for i := range 1000 {
		m.Put(fmt.Append(nil, i), int64(i))
	}
	m.Mark(0)
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

func BenchmarkPut(b *testing.B) {
	var m Map
	reset(b, &m, 128<<20, 1<<40, 0.9)
	key := make([]byte, 16)
	b.ReportAllocs()
	for i := range b.N {
		binary.LittleEndian.PutUint64(key, uint64(i%4_000_000))
		if m.Stage(key, int64(i)) {
			m.PutStaged()
		}
	}
}
