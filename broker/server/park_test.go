package server

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestPark: a long poll ends when its client goes, when the server stops, and not when the next request is there.
func TestPark(t *testing.T) {
	var parked, ended atomic.Int32
	h := begin(t, nil, func(ctx context.Context, r *Request) Reply {
		if r.Header.CorrelationID != 1 {
			return answer(r)
		}
		watched, stop := r.Park(ctx)
		defer stop()
		parked.Add(1)
		select {
		case <-watched.Done():
			ended.Add(1)
		case <-time.After(limit):
			t.Error("long poll does not end")
		}
		return answer(r)
	})
	c := h.dial()
	h.send(c, request(keyMeta, 1))
	h.await("long poll", func() bool { return parked.Load() == 1 })
	_ = c.Close()
	h.await("its end", func() bool { return ended.Load() == 1 && h.Connections() == 0 })

	c = h.dial()
	h.send(c, append(request(keyMeta, 1), request(keyMeta, 2)...))
	h.await("long poll", func() bool { return parked.Load() == 2 })
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := h.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if ended.Load() != 2 {
		t.Error("Shutdown did not end the long poll")
	}
	if id := h.receive(c); id != 1 {
		t.Errorf("answer %d", id)
	}
}

// TestShed: a request whose body has been copied is not heavy any more.
func TestShed(t *testing.T) {
	r := &Request{Body: &kmsg.MetadataRequest{}, conn: &conn{}, heavy: true}
	if !r.Heavy() {
		t.Fatal("not heavy")
	}
	if r.Shed(); r.Heavy() || r.Body != nil {
		t.Errorf("heavy %v, body %v", r.Heavy(), r.Body)
	}
}

// TestParkEnds: a long poll ends with the idle time also where the client's next bytes hide that it has gone.
func TestParkEnds(t *testing.T) {
	for name, together := range map[string]bool{"bytes that were there": true, "bytes that come": false} {
		t.Run(name, func(t *testing.T) {
			parked := make(chan struct{})
			h := begin(t, func(o *Options) { o.Limits.IdleMax = 100 * time.Millisecond }, func(ctx context.Context, r *Request) Reply {
				watched, stop := r.Park(ctx)
				defer stop()
				close(parked)
				<-watched.Done()
				return answer(r)
			})
			c := h.dial()
			frame, more := request(keyMeta, 1), []byte{0}
			if together {
				frame, more = append(frame, more...), nil
			}
			h.send(c, frame)
			<-parked
			h.send(c, more)
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			h.await("the end of the connection", func() bool { return h.Connections() == 0 })
		})
	}
}

// TestParkAndGoOn: requests after a long poll are read as ever, whether they came before or after its end.
func TestParkAndGoOn(t *testing.T) {
	h := begin(t, nil, func(ctx context.Context, r *Request) Reply {
		watched, stop := r.Park(ctx)
		select {
		case <-watched.Done():
			t.Error("ended by the watch")
		case <-time.After(time.Millisecond):
		}
		stop()
		return answer(r)
	})
	c := h.dial()
	for i := int32(0); i < 60; i += 3 {
		h.send(c, request(keyMeta, i))
		h.send(c, append(request(keyMeta, i+1), request(keyMeta, i+2)...))
		for j := range int32(3) {
			if id := h.receive(c); id != i+j {
				t.Fatalf("answer %d where %d was due", id, i+j)
			}
		}
	}
}
