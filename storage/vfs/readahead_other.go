//go:build !linux

package vfs

// ReadSequentially does nothing where there is no such hint.
func ReadSequentially(File) {}
