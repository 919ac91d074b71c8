package group

import "sync/atomic"

// budget bounds memory: of the members of all groups, and of what waits for the log. Safe for concurrent use; nil has no
// limit.
type budget struct {
	limit int64
	used  atomic.Int64
}

// add notes that memory was taken, or given back when n is negative.
func (b *budget) add(n int64) {
	if b != nil {
		b.used.Add(n)
	}
}

// fits says whether n more bytes are within the limit. Nothing more always is.
func (b *budget) fits(n int64) bool { return b == nil || n <= 0 || b.used.Load()+n <= b.limit }
