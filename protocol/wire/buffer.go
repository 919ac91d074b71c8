package wire

import (
	"cmp"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"
)

const (
	classShiftMin = 9  // the smallest class holds 512 bytes
	classCount    = 30 // two a doubling, 2^k and 1.5 * 2^k: the largest holds 12 MiB

	idleBytesDefault = 64 << 20
)

// PoolOptions configures a Pool; the zero value is valid.
type PoolOptions struct {
	IdleBytesMax int64 // bytes kept for reuse while nobody holds them; 0 = 64 MiB
}

// Pool recycles Buffers by size class. Fresh memory costs page faults (18-50 µs each on virtual machines), so released
// buffers are kept, newest first because their pages are warm, instead of being left to the garbage collector as sync.Pool
// would. Safe for concurrent use.
type Pool struct {
	idleBytesMax int64
	idleBytes    atomic.Int64
	classes      [classCount]struct {
		sync.Mutex
		free []*Buffer // stack
	}
}

// NewPool returns an empty pool.
func NewPool(o PoolOptions) *Pool {
	return &Pool{idleBytesMax: cmp.Or(o.IdleBytesMax, idleBytesDefault)}
}

// Buffer is a byte buffer with a reference count. Get returns it with one reference; whoever keeps the bytes longer than the
// call that handed them over takes its own with Retain, and every reference ends in exactly one Release. After the last one
// the bytes belong to somebody else: race builds overwrite them so that a late reader sees garbage instead of luck.
type Buffer struct {
	pool  *Pool // nil: too large for the pool, left to the garbage collector
	class int
	refs  atomic.Int32
	data  []byte // full length of its class
	size  int
}

// Get returns a buffer of n bytes with undefined content and one reference. It panics on a negative n.
func (p *Pool) Get(n int) *Buffer {
	if n < 0 {
		panic(fmt.Sprintf("wire: buffer of %d bytes", n))
	}
	class := classFor(n)
	if class >= classCount {
		b := &Buffer{data: make([]byte, n), size: n}
		b.refs.Store(1)
		return b
	}
	c := &p.classes[class]
	c.Lock()
	var b *Buffer
	if last := len(c.free) - 1; last >= 0 {
		b, c.free[last] = c.free[last], nil
		c.free = c.free[:last]
	}
	c.Unlock()
	if b == nil {
		b = &Buffer{pool: p, class: class, data: make([]byte, classSize(class))}
	} else {
		p.idleBytes.Add(-int64(len(b.data)))
	}
	b.size = n
	b.refs.Store(1)
	return b
}

// Bytes returns the content, valid until the caller's reference is released.
func (b *Buffer) Bytes() []byte { return b.data[:b.size:b.size] }

// Retain adds a reference. The caller must hold one.
func (b *Buffer) Retain() {
	if b.refs.Add(1) <= 1 {
		panic("wire: Retain of a released buffer")
	}
}

// Release gives one reference back; the last one recycles the buffer. It panics when there is none left to give.
func (b *Buffer) Release() {
	switch refs := b.refs.Add(-1); {
	case refs > 0:
		return
	case refs < 0:
		panic(fmt.Sprintf("wire: buffer released %d times too often", -refs))
	}
	scribble(b.data)
	if b.pool != nil {
		b.pool.put(b)
	}
}

// put keeps b for reuse unless the pool already holds its share of idle bytes.
func (p *Pool) put(b *Buffer) {
	if p.idleBytes.Add(int64(len(b.data))) > p.idleBytesMax {
		p.idleBytes.Add(-int64(len(b.data)))
		return
	}
	c := &p.classes[b.class]
	c.Lock()
	c.free = append(c.free, b)
	c.Unlock()
}

// classFor returns the smallest class that holds n bytes; classCount or more when none does.
func classFor(n int) int {
	if n <= 1<<classShiftMin {
		return 0
	}
	shift := bits.Len(uint(n-1)) - 1 // 2^shift < n <= 2^(shift+1)
	class := 2 * (shift - classShiftMin)
	if n <= 3<<(shift-1) {
		return class + 1
	}
	return class + 2
}

// classSize returns how many bytes buffers of a class hold.
func classSize(class int) int {
	size := 1 << (classShiftMin + class/2)
	if class%2 == 1 {
		size += size / 2
	}
	return size
}
