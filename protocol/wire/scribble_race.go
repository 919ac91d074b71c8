//go:build race

package wire

// scribble overwrites released bytes, so that tests find readers that kept a slice without a reference. Writing them also
// lets the race detector see such a reader.
func scribble(b []byte) {
	for i := range b {
		b[i] = 0xDB
	}
}
