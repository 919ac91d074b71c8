package proxy

import "sync"

const chunkBytes = 64 << 10

// queue is what is on its way in one direction.
type queue struct {
	mu struct {
		sync.Mutex
		chunks []chunk
		bytes  int
		closed bool
		spare  [][]byte
	}
	more *sync.Cond // chunks, or room
}

func newQueue() *queue {
	q := &queue{}
	q.more = sync.NewCond(&q.mu)
	return q
}

// put is false once nobody takes any more. It waits for room.
func (q *queue) put(c chunk) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.mu.bytes >= queueBytesMax && !q.mu.closed {
		q.more.Wait()
	}
	if q.mu.closed {
		return false
	}
	q.mu.chunks = append(q.mu.chunks, c)
	q.mu.bytes += cap(c.data)
	q.more.Broadcast()
	return true
}

// take waits for the next chunk; there is one for the end.
func (q *queue) take() chunk {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.mu.chunks) == 0 {
		q.more.Wait()
	}
	c := q.mu.chunks[0]
	q.mu.chunks[0] = chunk{}
	q.mu.chunks = q.mu.chunks[1:]
	q.mu.bytes -= cap(c.data)
	q.more.Broadcast()
	return c
}

// close ends put.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.closed = true
	q.more.Broadcast()
}

func (q *queue) buffer() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.mu.spare); n > 0 {
		b := q.mu.spare[n-1]
		q.mu.spare = q.mu.spare[:n-1]
		return b
	}
	return make([]byte, chunkBytes)
}

func (q *queue) recycle(b []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.mu.spare) < queueBytesMax/chunkBytes {
		q.mu.spare = append(q.mu.spare, b[:cap(b)])
	}
}
