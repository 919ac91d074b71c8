package compact

// offHeapMin is from how many bytes on a table lies outside of Go's heap. In it the garbage collector would let as much garbage
// gather as the table is large, several times that with the broker's settings, before it begins to work.
const offHeapMin = 1 << 20

// table is memory for slots, all zero at first.
type table struct {
	slots []slot // all that there is room for
	pages []byte // of the system, where slots lies in it
}

// newTable allocates n slots. release gives them back. Errors: the system has no memory.
func newTable(n int64) (table, error) {
	if n*EntryLen < offHeapMin {
		return table{slots: make([]slot, n)}, nil
	}
	return mapTable(n)
}
