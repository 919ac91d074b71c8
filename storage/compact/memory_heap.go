//go:build !unix

package compact

// mapTable allocates n slots.
func mapTable(n int64) (table, error) { return table{slots: make([]slot, n)}, nil }

// release lets go of the memory.
func (t *table) release() { *t = table{} }
