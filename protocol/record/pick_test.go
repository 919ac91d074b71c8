package record

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// pickable says whether Pick may be asked: as the one who compacts finds out.
func pickable(b Batch) bool {
	tombstones := false
	err := b.EachKeyed(0, func(k Keyed) error {
		tombstones = tombstones || k.Tombstone
		return nil
	})
	return b.Codec() == None && err == nil && !tombstones
}

// checkPick compares Pick with Apply, which knows of the same offsets.
func checkPick(t *testing.T, b Batch, stay []uint64) {
	t.Helper()
	var slow, fast Filter
	before := bytes.Clone(b)
	want, err := slow.Apply(b, Rule{Horizon: NoTimestamp, Keep: func(k Keyed) bool {
		delta := k.Offset - b.BaseOffset()
		return stay[delta/64]>>(delta%64)&1 == 1
	}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := fast.Pick(b, stay)
	if err != nil || got.Kept != want.Kept || !bytes.Equal(got.Batch, want.Batch) || (got.Batch == nil) != (want.Batch == nil) {
		t.Fatalf("%d records, %v; want %d\n%x\n%x", got.Kept, err, want.Kept, got.Batch, want.Batch)
	}
	if len(got.Batch) > 0 && (&got.Batch[0] == &b[0]) != (&want.Batch[0] == &b[0]) {
		t.Fatal("a batch of which all stay is to be the one that was given")
	}
	if !bytes.Equal(b, before) {
		t.Fatal("the batch that was given has changed")
	}
}

func words(rng *rand.Rand, b Batch) []uint64 {
	stay := make([]uint64, b.LastOffsetDelta()/64+1)
	for i := range stay {
		stay[i] = []uint64{0, ^uint64(0), rng.Uint64(), rng.Uint64() & rng.Uint64() & rng.Uint64()}[rng.IntN(4)]
	}
	return stay
}

// What is picked by offset alone is, byte for byte, what looking at every key gives.
func TestPickIsApply(t *testing.T) {
	picked := 0
	for seed := range uint64(5000) {
		rng := rand.New(rand.NewPCG(seed, 8))
		b := randomBatch(t, rng)
		if !pickable(b) {
			continue
		}
		picked++
		checkPick(t, b, words(rng, b))
	}
	if picked < 100 {
		t.Fatalf("only %d batches", picked)
	}
	b := NewBuilder() // lengths of one, two and three bytes, timestamps of many, more than a word of offsets
	for i := range 200 {
		b.Append(int64(i*i*i*1000), []byte("key"), make([]byte, []int{0, 5, 70, 9000}[i%4]))
	}
	batch, err := b.Batch()
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(50) {
		checkPick(t, batch, words(rand.New(rand.NewPCG(seed, 9)), batch))
	}
}

// A batch that is not as EachKeyed has seen it is refused, whatever it claims.
func TestPickRefuses(t *testing.T) {
	b := NewBuilder()
	b.Append(1, []byte("k"), []byte("v"))
	b.Append(2, []byte("l"), []byte("w"))
	batch, _ := b.Batch()
	batch = slices.Clone(batch)
	all := []uint64{3}
	for name, change := range map[string]func(b Batch) (Batch, []uint64){
		"one record more":     func(b Batch) (Batch, []uint64) { b[posRecordCount+3] = 3; return b, all },
		"one record less":     func(b Batch) (Batch, []uint64) { b[posRecordCount+3] = 1; return b, all },
		"a length too large":  func(b Batch) (Batch, []uint64) { b[HeaderLen] = 0x7e; return b, all },
		"a negative length":   func(b Batch) (Batch, []uint64) { b[HeaderLen] = 1; return b, all },
		"the same offset":     func(b Batch) (Batch, []uint64) { b[HeaderLen+3] = 2; return b, all },
		"an offset behind":    func(b Batch) (Batch, []uint64) { b[posLastOffsetDelta+3] = 0; return b, all },
		"no offset at all":    func(b Batch) (Batch, []uint64) { b[posLastOffsetDelta] = 0x80; return b, all },
		"compressed":          func(b Batch) (Batch, []uint64) { b[posAttributes+1] |= byte(LZ4); return b, all },
		"too few words":       func(b Batch) (Batch, []uint64) { return b, nil },
		"a record that ends":  func(b Batch) (Batch, []uint64) { b[HeaderLen] = 2; return b, all },
		"fewer bytes than it": func(b Batch) (Batch, []uint64) { return b[:len(b)-1], all },
	} {
		var f Filter
		if got, err := f.Pick(change(slices.Clone(batch))); !errors.Is(err, ErrInvalid) || got.Batch != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// Whatever a batch claims: no panic, and where Pick may be asked it says what Apply says.
func FuzzPick(f *testing.F) {
	for seed := range uint64(20) {
		f.Add([]byte(randomBatch(f, rand.New(rand.NewPCG(seed, 6)))), uint64(0x5555))
	}
	f.Fuzz(func(t *testing.T, in []byte, mask uint64) {
		b, _, err := Next(in)
		if err != nil || b.LastOffsetDelta() > 1<<20 {
			return
		}
		stay := make([]uint64, max(b.LastOffsetDelta(), 0)/64+1)
		for i := range stay {
			stay[i] = mask
		}
		if pickable(b) && b.RecordCount() > 0 {
			checkPick(t, b, stay)
			return
		}
		var filter Filter
		if _, err := filter.Pick(b, stay); err != nil && !errors.Is(err, ErrInvalid) {
			t.Fatal(err)
		}
	})
}

// BenchmarkPick takes every second record of 128 bytes, by offset alone and by asking for each key.
func BenchmarkPick(b *testing.B) {
	builder := NewBuilder()
	for range 512 {
		builder.Append(1, make([]byte, 16), make([]byte, 100))
	}
	batch, err := builder.Batch()
	if err != nil {
		b.Fatal(err)
	}
	stay := slices.Repeat([]uint64{0x5555555555555555}, 8)
	var f Filter
	b.Run("pick", func(b *testing.B) {
		b.SetBytes(int64(len(batch)))
		for b.Loop() {
			if got, err := f.Pick(batch, stay); err != nil || got.Kept != 256 {
				b.Fatal(got.Kept, err)
			}
		}
	})
	b.Run("apply", func(b *testing.B) {
		b.SetBytes(int64(len(batch)))
		rule := Rule{Horizon: NoTimestamp, Keep: func(k Keyed) bool { return k.Offset%2 == 0 }}
		for b.Loop() {
			if got, err := f.Apply(batch, rule); err != nil || got.Kept != 256 {
				b.Fatal(got.Kept, err)
			}
		}
	})
}
