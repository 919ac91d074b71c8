package record

import (
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

func TestJoinChecksums(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	for _, n := range []int{0, 1, 2, 21, 61, 4095, 65536, 1<<20 - 1, 1 << 20} {
		for range 20 {
			cut := rng.IntN(n + 1)
			want := crc32.Checksum(b[:n], castagnoli)
			got := JoinChecksums(crc32.Checksum(b[:cut], castagnoli), crc32.Checksum(b[cut:n], castagnoli), n-cut)
			if got != want {
				t.Fatalf("%d bytes cut at %d: %08x, want %08x", n, cut, got, want)
			}
		}
	}
}

func TestChecksumFollowsTheStamps(t *testing.T) {
	bld := NewBuilder()
	for _, size := range []int{0, 10, 1000, 70000} {
		bld.Append(int64(size), nil, make([]byte, size))
	}
	b, err := bld.Batch()
	if err != nil {
		t.Fatal(err)
	}
	for _, offset := range []int64{0, 7, 1 << 42} {
		b.SetBaseOffset(offset)
		b.SetLeaderEpoch(int32(offset % 1000))
		if got, want := b.Checksum(), crc32.Checksum(b, castagnoli); got != want {
			t.Fatalf("at offset %d: %08x, want %08x", offset, got, want)
		}
	}
}
