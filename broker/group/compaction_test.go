package group

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/tandembroker/tandem/protocol/record"
)

// compact leaves the last record of each key, or none where it is a tombstone and those have expired, in batches that are as they
// were but for that.
func (p *fakePartition) compact(t testing.TB, expired bool) (records, left int) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	last := map[string]int64{}
	for _, b := range p.batches {
		err := record.Batch(b).EachKeyed(0, func(k record.Keyed) error {
			last[string(k.Key)] = k.Offset
			records++
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var filter record.Filter
	var after [][]byte
	for _, b := range p.batches {
		got, err := filter.Apply(b, record.Rule{Horizon: 1, Keep: func(k record.Keyed) bool {
			return last[string(k.Key)] == k.Offset && !(k.Tombstone && expired)
		}})
		if err != nil {
			t.Fatal(err)
		}
		if got.Batch != nil {
			after = append(after, bytes.Clone(got.Batch))
			left += int(got.Kept)
		}
	}
	p.batches = after
	return records, left
}

// A compacted partition of __consumer_offsets says the same as before: the offsets that were committed last, and none of groups
// and offsets that were deleted, with their tombstones there or expired.
func TestCompactedOffsets(t *testing.T) {
	const groups, partitions = 4, 3
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		p := newFakePartition()
		h := newHand(t, p).ready()
		want := map[string]map[int32]int64{}
		for step := range 80 {
			g, n := fmt.Sprintf("g%d", rng.IntN(groups)), rng.Int32N(partitions)
			switch rng.IntN(10) {
			case 0:
				if err := h.deleteGroup(g); (err == nil) != (want[g] != nil) {
					t.Fatalf("seed %d: delete %s: %v", seed, g, err)
				}
				delete(want, g)
			case 1:
				if want[g] == nil {
					continue
				}
				if o := h.deleteOffsets(g, TopicPartition{"t", n}); o.err != nil {
					t.Fatalf("seed %d: delete offset %d of %s: %+v", seed, n, g, o)
				}
				delete(want[g], n)
			default:
				if o := h.commit(offsetsOf(g, int64(step), n)); o.err != nil {
					t.Fatalf("seed %d: %+v", seed, o)
				}
				if want[g] == nil {
					want[g] = map[int32]int64{}
				}
				want[g][n] = int64(step)
			}
		}
		h.idle()
		for _, expired := range []bool{false, true} {
			if records, left := p.compact(t, expired); left > 2*groups*(partitions+1) || expired && left > groups*(partitions+1) {
				t.Fatalf("seed %d: %d of %d records are left", seed, left, records)
			}
			h.reload()
			for i := range groups {
				g := fmt.Sprintf("g%d", i)
				for n := range int32(partitions) {
					offset, there := want[g][n]
					if !there {
						offset = -1
					}
					if got := h.at(g, n); got != offset {
						t.Fatalf("seed %d: offset %d of %s is %d, want %d", seed, n, g, got, offset)
					}
				}
			}
		}
	}
}
