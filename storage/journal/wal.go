package journal

import (
	"math"

	"github.com/tidwall/wal"
)

// Library is what the owner needs of tidwall/wal. Tests put one in between that fails the n-th call, or one that writes to
// another file system. Only the owner calls it, and nothing is ever read through it.
type Library interface {
	WriteBatch(b *wal.Batch) error // appends to the last file of the folder
	Sync() error                   // of that file
	Close() error                  // syncs first
}

// openLibrary opens the journal folder, whose last file must be empty: then the library parses nothing.
func openLibrary(dir string) (Library, error) {
	return wal.Open(dir, &wal.Options{
		NoSync:           true,        // the owner says when
		SegmentSize:      math.MaxInt, // the owner rolls
		LogFormat:        wal.Binary,  //
		SegmentCacheSize: 1,           // the least it takes; 0 would mean 2
		AllowEmpty:       true,        // an empty last file whose name is above 1 is an "empty log" to it
		DirPerms:         0o755,       //
		FilePerms:        fileMode,    // for files that it makes, which it never does
	})
}
