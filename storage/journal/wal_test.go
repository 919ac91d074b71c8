package journal

import (
	"testing"
	"unsafe"

	"github.com/tidwall/wal"
)

// The buffer of the library's tail is ours, and the same in every file. Should a new version of the library name it
// otherwise, this fails: then tailBuffer must follow, or go.
func TestLibraryWritesIntoOneTailBuffer(t *testing.T) {
	dir := t.TempDir()
	opener := newLibraryOpener(1 << 10)
	j, _ := mustOpen(t, dir, Options{SegmentBytes: 1 << 10, OpenLibrary: opener.open})
	memory := unsafe.SliceData(opener.tail)
	for i := range uint64(40) {
		mustAppend(t, j, true, inlineEntry(1, i+1, 100))
		tail := tailBuffer(j.owner.lib.(*wal.Log))
		if tail == nil {
			t.Fatal("the library has no such buffer")
		}
		if unsafe.SliceData(*tail) != memory || int64(len(*tail)) != j.owner.fileBytes {
			t.Fatalf("record %d: %d bytes in another buffer, the file has %d", i+1, len(*tail), j.owner.fileBytes)
		}
	}
	if j.Stats().Rolls < 3 {
		t.Fatalf("%d rolls", j.Stats().Rolls)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	_, r := mustOpen(t, dir, Options{})
	records := 0
	for rec, err := range r.Records() {
		if err != nil {
			t.Fatal(err)
		}
		if rec.Kind == Entry {
			records++
		}
	}
	if records != 40 || len(r.Damage) > 0 || r.Cut != nil {
		t.Fatalf("%d records, damage %v, cut %v", records, r.Damage, r.Cut)
	}
}
