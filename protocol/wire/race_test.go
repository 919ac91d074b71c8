//go:build race

package wire

import "testing"

// raceBuild: append(a, make(...)...) allocates twice in race builds, so that measured memory says nothing about real builds.
const raceBuild = true

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
