package server

import (
	"bufio"
	"net"
	"runtime"
	"sync"
)

// input is what a client sends. It holds a buffer only from the first byte that has come until all that was read has been used:
// of many clients most are idle, and their buffers would be most of what they take. For one goroutine at a time.
type input struct {
	nc    net.Conn
	pool  *sync.Pool    // of *bufio.Reader
	wait  inputWaiter   // nil: this connection cannot be waited for, and keeps its buffer
	r     *bufio.Reader // nil while idle
	idle  func()        // called when there is nothing to read, before the wait
	empty func()        // idle, and lets go of the buffer
	turns int           // requests since the last wait
	yield func()        // lets others run
}

// turnsMax is how many requests a client that never has us wait may have served before others get their turn. The scheduler would
// let it go on for 10 ms, and with hundreds of such clients the rest would be served once in seconds.
const turnsMax = 8

// inputWaiter waits until there is something to read, be it the end or an error; idle is called first if there is nothing yet.
// Error: the deadline of the connection has passed, or it was closed.
type inputWaiter interface {
	waitInput(idle func()) error
}

func newInput(nc net.Conn, pool *sync.Pool, idle func()) *input {
	in := &input{nc: nc, pool: pool, wait: newInputWaiter(nc), idle: idle, yield: runtime.Gosched}
	in.empty = func() {
		in.turns = 0
		in.release()
		in.idle()
	}
	return in
}

func newReaderPool() *sync.Pool {
	return &sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readBufferBytes) }}
}

// buffered is how many bytes have been read and not used.
func (in *input) buffered() int {
	if in.r == nil {
		return 0
	}
	return in.r.Buffered()
}

// await returns a reader when it has or will have something to read.
func (in *input) await() (*bufio.Reader, error) {
	if in.turns++; in.turns > turnsMax {
		in.turns = 1
		in.yield()
	}
	if in.wait != nil && in.buffered() == 0 {
		if err := in.wait.waitInput(in.empty); err != nil {
			return nil, err
		}
	}
	return in.reader(), nil
}

// reader is for those who know that something has come.
func (in *input) reader() *bufio.Reader {
	if in.r == nil {
		in.r = in.pool.Get().(*bufio.Reader)
		in.r.Reset(in.nc)
	}
	return in.r
}

// release lets go of the buffer, with what it holds. Twice is safe.
func (in *input) release() {
	if in.r != nil {
		in.r.Reset(nil)
		in.pool.Put(in.r)
		in.r = nil
	}
}
