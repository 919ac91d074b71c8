package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// plainRecord is a record that outlives its batch.
type plainRecord struct {
	offset, timestamp int64
	text              string // key, value and headers, nulls told from empties
	tombstone         bool
}

func plainRecords(t testing.TB, b Batch) []plainRecord {
	t.Helper()
	var list []plainRecord
	err := b.Each(0, func(r Record) error {
		list = append(list, plainRecord{r.Offset, r.Timestamp, fmt.Sprintf("%v %q %v %q %q", r.Key == nil, r.Key, r.Value == nil, r.Value, r.Headers),
			r.Value == nil})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// randomBatch builds a batch with gaps, null keys and values, headers, and any attribute that a log can have.
func randomBatch(t testing.TB, rng *rand.Rand) Batch {
	t.Helper()
	b := NewBuilder()
	b.BaseOffset, b.LeaderEpoch, b.Codec = rng.Int64N(1<<40), rng.Int32N(9), Codec(rng.IntN(5))
	if rng.IntN(2) == 0 {
		b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.Transactional = rng.Int64N(99), 3, rng.Int32(), rng.IntN(2) == 0
	}
	offset := b.BaseOffset
	for range 1 + rng.IntN(12) {
		offset += int64(rng.IntN(3)) * int64(rng.IntN(3))
		r := Record{Offset: offset, Timestamp: 1_000_000 + rng.Int64N(2000) - 1000}
		if rng.IntN(8) > 0 {
			r.Key = fmt.Appendf([]byte{}, "key-%d", rng.IntN(5))
		}
		if rng.IntN(3) > 0 {
			r.Value = bytes.Repeat([]byte{byte(offset)}, rng.IntN(100))
		}
		for range rng.IntN(3) {
			r.Headers = append(r.Headers, Header{Key: []byte("h"), Value: []byte{byte(rng.IntN(9))}})
		}
		if err := b.AppendRecord(r); err != nil {
			t.Fatal(err)
		}
		offset++
	}
	batch, err := b.Batch()
	if err != nil {
		t.Fatal(err)
	}
	batch = slices.Clone(batch)
	if rng.IntN(4) == 0 {
		batch.SetLogAppendTime(1_234_567)
	}
	return batch
}

// What Kafka keeps of a batch that compaction rewrites is kept, and of the records exactly those that the rule names.
func TestFilter(t *testing.T) {
	var f Filter
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 5))
		b := randomBatch(t, rng)
		all := plainRecords(t, b)
		share := rng.IntN(4)
		keep := map[int64]bool{}
		var want []plainRecord
		for _, r := range all {
			if keep[r.offset] = rng.IntN(3) < share; keep[r.offset] {
				want = append(want, r)
			}
		}
		rule := Rule{Keep: func(k Keyed) bool { return keep[k.Offset] }, KeepLast: rng.IntN(2) == 0, Horizon: NoTimestamp}
		if rng.IntN(2) == 0 {
			rule.Horizon, rule.Marker = 5_000_000, rng.IntN(4) == 0
		}
		if len(want) == 0 && rule.KeepLast {
			want = all[len(all)-1:]
		}
		before := slices.Clone(b)
		got, err := f.Apply(b, rule)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if !bytes.Equal(b, before) {
			t.Fatalf("seed %d: the batch that was given has changed", seed)
		}
		checkFiltered(t, seed, b, got, want, &rule)
		if got.Batch == nil {
			continue
		}
		again, err := f.Apply(slices.Clone(got.Batch), rule) // a horizon that is set stays
		if err != nil || again.Batch == nil || (rule.Horizon != NoTimestamp || len(want) > 0) && again.Kept != got.Kept {
			t.Fatalf("seed %d: filtered again: %+v, %v", seed, again, err)
		}
	}
}

func checkFiltered(t *testing.T, seed uint64, b Batch, got Filtered, want []plainRecord, rule *Rule) {
	t.Helper()
	out := got.Batch
	if len(want) == 0 {
		if out != nil || got.Kept != 0 {
			t.Fatalf("seed %d: %d records are left, want none", seed, got.Kept)
		}
		return
	}
	if next, rest, err := Next(out); err != nil || len(rest) > 0 || next.CheckCRC() != nil {
		t.Fatalf("seed %d: the result is no batch: %v", seed, err)
	}
	if list := plainRecords(t, out); !slices.Equal(list, want) || int(got.Kept) != len(want) {
		t.Fatalf("seed %d: records\n%v\nwant\n%v", seed, list, want)
	}
	tombstone, maxTime := false, int64(math.MinInt64)
	for _, r := range want {
		tombstone, maxTime = tombstone || r.tombstone, max(maxTime, r.timestamp)
	}
	horizon := rule.Horizon != NoTimestamp && (tombstone || rule.Marker)
	untouched := len(want) == int(b.RecordCount()) && !horizon
	if untouched != bytes.Equal(b, out) {
		t.Fatalf("seed %d: byte for byte the same: %v, want %v", seed, !untouched, untouched)
	}
	if out.BaseOffset() != b.BaseOffset() || out.LastOffset() != b.LastOffset() || out.LeaderEpoch() != b.LeaderEpoch() ||
		out.ProducerID() != b.ProducerID() || out.ProducerEpoch() != b.ProducerEpoch() || out.BaseSequence() != b.BaseSequence() ||
		out.LastSequence() != b.LastSequence() || out.Codec() != b.Codec() || out.IsTransactional() != b.IsTransactional() ||
		out.IsLogAppendTime() != b.IsLogAppendTime() || out.IsControl() != b.IsControl() {
		t.Fatalf("seed %d: the header changed", seed)
	}
	if out.HasDeleteHorizon() != horizon || horizon && out.FirstTimestamp() != rule.Horizon {
		t.Fatalf("seed %d: delete horizon %v at %d, want %v at %d", seed, out.HasDeleteHorizon(), out.FirstTimestamp(), horizon, rule.Horizon)
	}
	if out.MaxTimestamp() != maxTime {
		t.Fatalf("seed %d: max timestamp %d, want %d", seed, out.MaxTimestamp(), maxTime)
	}
}

// A horizon is set once: later rounds go by it.
func TestFilterKeepsTheHorizon(t *testing.T) {
	b := NewBuilder()
	b.Append(100, []byte("k"), nil)
	b.Append(101, []byte("l"), []byte("v"))
	batch, _ := b.Batch()
	var f Filter
	first, err := f.Apply(batch, Rule{Horizon: 7777})
	if err != nil || !first.Batch.HasDeleteHorizon() {
		t.Fatal(first, err)
	}
	held := slices.Clone(first.Batch)
	second, err := f.Apply(held, Rule{Horizon: 9999})
	if err != nil || second.Batch.FirstTimestamp() != 7777 || &second.Batch[0] != &held[0] {
		t.Fatalf("horizon %d, %v", second.Batch.FirstTimestamp(), err)
	}
	third, err := f.Apply(held, Rule{Horizon: 9999, Keep: func(k Keyed) bool { return k.Tombstone }})
	if err != nil || third.Batch.FirstTimestamp() != 7777 || third.Kept != 1 || plainRecords(t, third.Batch)[0].timestamp != 100 {
		t.Fatalf("horizon %d, %v", third.Batch.FirstTimestamp(), err)
	}
}

// A batch that came without records is never made, and never kept but to say where the log ends.
func TestFilterOfAnEmptyBatch(t *testing.T) {
	empty, _ := NewBuilder().Batch()
	var f Filter
	if got, err := f.Apply(empty, Rule{Horizon: 5}); err != nil || got.Batch != nil {
		t.Fatal(got, err)
	}
	if got, err := f.Apply(empty, Rule{KeepLast: true, Horizon: 5}); err != nil || len(got.Batch) != HeaderLen {
		t.Fatal(got, err)
	}
}

// Whatever a batch claims: no panic, and what comes out has the records that were asked for.
func FuzzFilter(f *testing.F) {
	for seed := range uint64(10) {
		f.Add([]byte(randomBatch(f, rand.New(rand.NewPCG(seed, 6)))), uint16(0x5555), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, mask uint16, last bool) {
		batch, _, err := Next(in)
		if err != nil {
			return
		}
		binary.BigEndian.PutUint32(batch[posCRC:], batch.computeCRC())
		n := 0
		keep := func(Keyed) bool { n++; return mask>>(n%16)&1 == 1 }
		var filter Filter
		got, err := filter.Apply(batch, Rule{Keep: keep, KeepLast: last, Horizon: 123, Budget: 1 << 20})
		if err != nil {
			if !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrCodec) {
				t.Fatal(err)
			}
			return
		}
		if got.Batch == nil || batch.RecordCount() <= 0 {
			return
		}
		all, left := plainRecords(t, batch), plainRecords(t, got.Batch)
		if len(left) != int(got.Kept) || got.Batch.CheckCRC() != nil || len(left) == 0 {
			t.Fatalf("%d records, %d claimed", len(left), got.Kept)
		}
		for i, n := 0, 0; i < len(all); i++ {
			if mask>>((i+1)%16)&1 == 0 {
				continue
			}
			if !batch.IsLogAppendTime() && left[n] != all[i] {
				t.Fatalf("record %d is %v, want %v", n, left[n], all[i])
			}
			n++
		}
	})
}
