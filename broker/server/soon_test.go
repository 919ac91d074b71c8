package server

import (
	"context"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// soon is a later that can be waited for with patience.
type soon struct{ *later }

func (s soon) WaitUntil(ctx context.Context, late <-chan time.Time) bool {
	select {
	case <-s.ready:
	case <-late:
		return false
	case <-ctx.Done():
	}
	return true
}

// writers counts the goroutines that answer aside.
func writers() int {
	buf := make([]byte, 1<<20)
	return strings.Count(string(buf[:runtime.Stack(buf, true)]), "(*conn).write(")
}

// TestAnswersSoonFromTheReader: a client with one request in flight costs no second goroutine.
func TestAnswersSoonFromTheReader(t *testing.T) {
	var done atomic.Int32
	ready := make(chan struct{})
	close(ready)
	h := begin(t, nil, func(_ context.Context, r *Request) Reply {
		return soon{&later{answer(r), ready, &done}}
	})
	c := h.dial()
	for i := range int32(5) {
		h.send(c, request(keyProd, i))
		if id := h.receive(c); id != i {
			t.Fatalf("answer %d where %d was due", id, i)
		}
		if n := writers(); n != 0 {
			t.Fatalf("%d goroutines answer aside", n)
		}
	}
	h.await("the last", func() bool { return done.Load() == 5 })
}

// TestSlowAnswerHoldsUpNobody: the reader's patience ends, the next request is started, and answers keep their order.
func TestSlowAnswerHoldsUpNobody(t *testing.T) {
	var done, handled atomic.Int32
	ready := []chan struct{}{make(chan struct{}), make(chan struct{}), make(chan struct{})}
	h := begin(t, nil, func(_ context.Context, r *Request) Reply {
		handled.Add(1)
		return soon{&later{answer(r), ready[r.Header.CorrelationID], &done}}
	})
	c := h.dial()
	for i := range int32(3) {
		h.send(c, request(keyProd, i))
		h.await("its start", func() bool { return handled.Load() == i+1 })
	}
	for i := range ready {
		close(ready[len(ready)-1-i])
	}
	for i := range int32(3) {
		if id := h.receive(c); id != i {
			t.Fatalf("answer %d where %d was due", id, i)
		}
	}
	h.await("the last", func() bool { return done.Load() == 3 })
}
