//go:build unix && !linux

package compact

// wantHugePages does nothing where there is no such hint.
func wantHugePages([]byte) {}
