//go:build !race

package record

// scribble does nothing here; race builds overwrite bytes that were handed back, so that a late reader is found.
func scribble([]byte) {}
