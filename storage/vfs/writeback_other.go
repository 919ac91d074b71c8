//go:build !linux

package vfs

// WriteBack does nothing where the system has no such call.
func WriteBack(File, int64, int64, int64) (done bool, err error) { return false, nil }
