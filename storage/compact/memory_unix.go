//go:build unix

package compact

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapTable allocates n slots from the system.
func mapTable(n int64) (table, error) {
	pages, err := unix.Mmap(-1, 0, int(n*EntryLen), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return table{}, fmt.Errorf("allocate %d bytes for keys: %w", n*EntryLen, err)
	}
	wantHugePages(pages)
	// Pages are aligned as a slot needs it, a slot holds no pointers, and any bytes are a valid one.
	return table{slots: unsafe.Slice((*slot)(unsafe.Pointer(unsafe.SliceData(pages))), n), pages: pages}, nil
}

// release gives the memory back; slots must not be used any more. A second call does nothing.
func (t *table) release() {
	if t.pages != nil {
		_ = unix.Munmap(t.pages) // fails only for what is not mapped
	}
	*t = table{}
}
