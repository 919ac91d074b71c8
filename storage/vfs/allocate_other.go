//go:build !linux

package vfs

// Allocate does nothing here; done is false.
func Allocate(File, int64, int64, bool) (done bool, err error) { return false, nil }
