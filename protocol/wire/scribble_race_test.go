//go:build race

package wire

import "testing"

func TestReleasedBytesAreOverwritten(t *testing.T) {
	b := NewPool(PoolOptions{}).Get(600)
	kept := b.Bytes()
	b.Release()
	for i, c := range kept {
		if c != 0xDB {
			t.Fatalf("byte %d is %#x", i, c)
		}
	}
}
