package log

import (
	"sync"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/vfs"
)

// readBlocks is how many blocks a batchReader has: one in hand, and one that is read meanwhile.
const readBlocks = 2

// batchReader reads a segment from the beginning, in large blocks, of which the next one is read while the batches of one are
// looked at. For one goroutine; begin starts another one, which end stops.
type batchReader struct {
	source *source
	pos    int64
	floor  int64
	block  []byte // what is left of the block in hand
	joined []byte // the batch in hand, where it began in a block before

	blockBytes int
	step       func() int // how much of a block is read now; called by the goroutine that reads
	whole      []byte     // of the block in hand, to be given back
	free       chan []byte
	filled     chan readBlock // closed behind the last one
	stop       chan struct{}
	ahead      func(stop <-chan struct{}) // called beside once the end is near
	reading    sync.WaitGroup             // what ahead does
}

// Before the end of a segment the system is made to read the next one: it reads ahead within a file only, so that each would begin
// with a wait for the disk, which has nothing to do just before. It reads the more ahead the further it has seen somebody read in
// order, and in larger pages: hence a whole block, and then a byte each of the next two. Many small pieces gave a cache of small pages.
const (
	nearEnd    = 16 << 20 // from how many bytes before the end on
	bytesAhead = 2
)

// readAhead reads the beginning of s into the system's cache. Errors are left to who reads it for good.
func (c *cleaner) readAhead(s *source, stop <-chan struct{}) {
	if s == nil || c.ahead == nil || c.busy() {
		return
	}
	f, err := c.l.acquire(s.seg)
	if err != nil {
		return
	}
	defer func() { _ = f.release() }()
	vfs.ReadSequentially(f.File)
	block := int64(len(c.ahead))
	_, err = f.ReadAt(c.ahead[:min(block, s.size)], 0)
	for i := int64(1); err == nil && i <= bytesAhead && i*block < s.size; i++ {
		select {
		case <-stop:
			return
		default:
		}
		_, err = f.ReadAt(c.ahead[:1], i*block)
	}
}

// readBlock is what the file has behind the block before, or why that cannot be read.
type readBlock struct {
	bytes []byte
	err   error
}

// begin starts with s, whose file stays open until end. step says how much is to be read at a time, at most blockBytes. ahead is
// called in a goroutine of its own once the end is near, and returns soon after stop is closed.
func (r *batchReader) begin(s *source, blockBytes int, step func() int, ahead func(stop <-chan struct{})) {
	if r.blockBytes != blockBytes {
		r.free = make(chan []byte, readBlocks)
		for range readBlocks {
			r.free <- make([]byte, blockBytes)
		}
	}
	if cap(r.joined) > blockBytes {
		r.joined = nil
	}
	*r = batchReader{source: s, floor: s.base - 1, joined: r.joined[:0], blockBytes: blockBytes, step: step, free: r.free,
		filled: make(chan readBlock, readBlocks), stop: make(chan struct{}), ahead: ahead}
	vfs.ReadSequentially(s.file.File)
	go r.fill(s.file.File, s.size) // awaited in end
}

// end stops the reading ahead and awaits it.
func (r *batchReader) end() {
	close(r.stop)
	if r.whole != nil {
		r.free <- r.whole
		r.whole = nil
	}
	for b := range r.filled {
		r.free <- b.bytes[:r.blockBytes]
	}
	r.reading.Wait()
}

// fill reads the first size bytes of f.
func (r *batchReader) fill(f vfs.File, size int64) {
	defer close(r.filled)
	for pos, told := int64(0), false; pos < size; {
		if !told && size-pos <= nearEnd {
			told = true
			r.reading.Go(func() { r.ahead(r.stop) }) // awaited in end, which first awaits that filled is closed
		}
		var b []byte
		select {
		case b = <-r.free:
		case <-r.stop:
			return
		}
		n := min(size-pos, int64(min(r.step(), len(b))))
		err := readFull(f, b[:n], pos)
		r.filled <- readBlock{b[:n], err} // has room for all blocks
		if err != nil {
			return
		}
		pos += n
	}
}

// next returns the next batch, its CRC checked; it is valid until the next call.
func (r *batchReader) next(account func(int64) error) (h header, b record.Batch, ok bool, err error) {
	left := r.source.size - r.pos
	if left <= 0 {
		return h, nil, false, nil
	}
	r.joined = r.joined[:0]
	head, err := r.peek(int(min(left, record.HeaderLen)), account)
	if err != nil {
		return h, nil, false, err
	}
	if h, err = parseHeader(head, headerPlace{r.source.file.Name(), r.pos, r.source.size, r.floor, r.source.upper}); err != nil {
		return h, nil, false, err
	}
	if b, err = r.peek(int(h.length), account); err != nil {
		return h, nil, false, err
	}
	if err := b.CheckCRC(); err != nil {
		return h, nil, false, &CorruptError{File: r.source.file.Name(), Pos: r.pos, Reason: err.Error()}
	}
	if len(r.joined) == 0 {
		r.block = r.block[h.length:]
	}
	r.pos, r.floor = h.end(), h.last
	return h, b, true, nil
}

// peek returns the n bytes at the position, which the file has. Where they are not in one block they are put together, and are no
// part of the block in hand any more.
func (r *batchReader) peek(n int, account func(int64) error) ([]byte, error) {
	if len(r.joined) == 0 && len(r.block) >= n {
		return r.block[:n:n], nil
	}
	for len(r.joined) < n {
		if len(r.block) == 0 {
			if err := r.advance(account); err != nil {
				return nil, err
			}
			if len(r.joined) == 0 && len(r.block) >= n {
				return r.block[:n:n], nil
			}
		}
		more := min(n-len(r.joined), len(r.block))
		r.joined = append(r.joined, r.block[:more]...)
		r.block = r.block[more:]
	}
	return r.joined[:n:n], nil
}

// advance takes the next block in hand.
func (r *batchReader) advance(account func(int64) error) error {
	if r.whole != nil {
		r.free <- r.whole
		r.whole = nil
	}
	b := <-r.filled
	r.whole, r.block = b.bytes[:r.blockBytes], b.bytes
	if b.err != nil {
		return b.err
	}
	return account(int64(len(b.bytes)))
}
