//go:build !linux

package vfs

// ReadAhead does nothing where there is no such hint.
func ReadAhead(File, int64, int64) {}
