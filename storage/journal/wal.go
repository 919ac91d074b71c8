package journal

import (
	"math"
	"reflect"
	"unsafe"

	"github.com/tidwall/wal"
)

// Library is what the owner needs of tidwall/wal. Tests put one in between that fails the n-th call, or one that writes to
// another file system. Only the owner calls it, and nothing is ever read through it.
type Library interface {
	WriteBatch(b *wal.Batch) error // appends to the last file of the folder
	Sync() error                   // of that file
	Close() error                  // syncs first
}

// libraryOpener opens tidwall/wal on one file after the other, and gives each the same memory for its tail.
type libraryOpener struct {
	tail []byte // of the capacity of a whole file
}

func newLibraryOpener(segmentBytes int) *libraryOpener {
	return &libraryOpener{tail: make([]byte, 0, segmentBytes+2*batchBytesMax)}
}

// open opens the journal folder, whose last file must be empty: then the library parses nothing. The one opened before must
// be closed.
func (o *libraryOpener) open(dir string) (Library, error) {
	l, err := wal.Open(dir, &wal.Options{
		NoSync:           true,        // the owner says when
		SegmentSize:      math.MaxInt, // the owner rolls
		LogFormat:        wal.Binary,  //
		SegmentCacheSize: 1,           // the least it takes; 0 would mean 2
		AllowEmpty:       true,        // an empty last file whose name is above 1 is an "empty log" to it
		DirPerms:         0o755,       //
		FilePerms:        fileMode,    // for files that it makes, which it never does
	})
	if err != nil {
		return nil, err
	}
	if tail := tailBuffer(l); tail != nil && len(*tail) == 0 {
		*tail = o.tail
	}
	return l, nil
}

// tailBuffer is where the library keeps a copy of all that it wrote to the last file. It grows by a quarter at a time, which
// moves five bytes for each one written and was an eighth of the processors' time under many small appends, on fresh pages
// (docs/performance.md); the library has no option for it. nil where the library's fields are not those of version 1.2.1:
// then it grows as ever.
func tailBuffer(l *wal.Log) *[]byte {
	segments := reflect.ValueOf(l).Elem().FieldByName("segments")
	if !segments.IsValid() || segments.Kind() != reflect.Slice || segments.Len() == 0 {
		return nil
	}
	last := segments.Index(segments.Len() - 1)
	if last.Kind() != reflect.Pointer || last.Elem().Kind() != reflect.Struct {
		return nil
	}
	buffer := last.Elem().FieldByName("ebuf")
	if !buffer.IsValid() || buffer.Type() != reflect.TypeFor[[]byte]() {
		return nil
	}
	return (*[]byte)(unsafe.Pointer(buffer.UnsafeAddr()))
}
