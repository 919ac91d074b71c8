package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/config"
	"github.com/tandembroker/tandem/storage/vfs"
	"github.com/tandembroker/tandem/storage/vfs/sendfile/sendfiletest"
)

const (
	limit     = 30 * time.Second // above what anything takes
	keyProd   = 0
	keyMeta   = 3
	fileBytes = 5 << 20
)

// scripted is a Handler whose answers the test decides.
type scripted struct {
	handle func(ctx context.Context, r *Request) Reply
}

func (s *scripted) Pipelined(key int16) bool { return key == keyProd }
func (s *scripted) Handle(ctx context.Context, r *Request) Reply {
	return s.handle(ctx, r)
}

// later is a Reply that is ready when the test says so.
type later struct {
	Reply
	ready chan struct{}
	done  *atomic.Int32
}

func (l *later) Ready() bool {
	select {
	case <-l.ready:
		return true
	default:
		return false
	}
}

func (l *later) Wait(ctx context.Context) {
	select {
	case <-l.ready:
	case <-ctx.Done():
	}
}

func (l *later) Done() { l.done.Add(1) }

// lines is a log that can be looked at.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for line := range strings.Lines(l.buf.String()) {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

type harness struct {
	*Server
	t   *testing.T
	log *lines
}

func begin(t *testing.T, edit func(*Options), handle func(ctx context.Context, r *Request) Reply) *harness {
	t.Helper()
	h := &harness{t: t, log: &lines{}}
	o := Options{
		Listeners: []config.Listener{{Name: "X", Host: "127.0.0.1", Advertised: true, AdvertisedHost: "here"}},
		Logger:    slog.New(slog.NewTextHandler(h.log, nil)),
	}
	if edit != nil {
		edit(&o)
	}
	var err error
	if h.Server, err = Listen(o); err != nil {
		t.Fatal(err)
	}
	h.Serve(&scripted{handle})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := h.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if frames, decoded := h.MemoryUsed(); frames != 0 || decoded != 0 {
			t.Errorf("memory still reserved: %d bytes of frames, %d decoded", frames, decoded)
		}
		if n := h.Connections(); n != 0 {
			t.Errorf("%d connections left", n)
		}
	})
	return h
}

func (h *harness) dial() net.Conn {
	h.t.Helper()
	c, err := net.Dial("tcp", h.Addr("X").String())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		h.t.Fatal(err)
	}
	return c
}

// request is a frame of an API with a correlation id.
func request(key int16, id int32) []byte {
	req := kmsg.RequestForKey(key)
	req.SetVersion(3)
	if p, ok := req.(*kmsg.ProduceRequest); ok {
		p.Acks = 1
	}
	return kmsg.NewRequestFormatter().AppendRequest(nil, req, id)
}

// answer is the Reply of the API that r asks for.
func answer(r *Request) Reply { return Respond(r.Header, r.Body.ResponseKind()) }

func (h *harness) send(c net.Conn, b []byte) {
	h.t.Helper()
	if _, err := c.Write(b); err != nil {
		h.t.Fatal(err)
	}
}

// receive returns the correlation id of the next answer.
func (h *harness) receive(c net.Conn) int32 {
	h.t.Helper()
	id, err := receive(c)
	if err != nil {
		h.t.Fatal(err)
	}
	return id
}

func receive(c net.Conn) (int32, error) {
	var head [8]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return 0, err
	}
	size := int64(head[0])<<24 | int64(head[1])<<16 | int64(head[2])<<8 | int64(head[3])
	_, err := io.CopyN(io.Discard, c, size-4)
	return int32(head[4])<<24 | int32(head[5])<<16 | int32(head[6])<<8 | int32(head[7]), err
}

func (h *harness) closed(c net.Conn) {
	h.t.Helper()
	n, err := io.Copy(io.Discard, c)
	var timeout net.Error
	if n > 0 || errors.As(err, &timeout) && timeout.Timeout() {
		h.t.Fatalf("not closed: %d bytes, %v", n, err)
	}
}

func (h *harness) await(what string, ok func() bool) {
	h.t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("%s does not come", what)
		}
	}
}

// TestOrder: pipelined requests are started at once and answered in order, however they become ready; others wait for them.
func TestOrder(t *testing.T) {
	var done, handled atomic.Int32
	ready := make([]chan struct{}, 6)
	for i := range ready {
		ready[i] = make(chan struct{})
	}
	h := begin(t, nil, func(_ context.Context, r *Request) Reply {
		handled.Add(1)
		if r.Header.Key == keyProd {
			return &later{answer(r), ready[r.Header.CorrelationID], &done}
		}
		if n := done.Load(); n != 5 {
			t.Errorf("metadata handled after %d produces", n)
		}
		return answer(r)
	})
	c := h.dial()
	for i := range int32(5) {
		h.send(c, request(keyProd, i))
	}
	h.send(c, request(keyMeta, 5))
	h.await("five produces", func() bool { return handled.Load() == 5 })
	for _, i := range []int{4, 2, 3, 1, 0} {
		close(ready[i])
	}
	for i := range int32(6) {
		if id := h.receive(c); id != i {
			t.Fatalf("answer %d where %d was due", id, i)
		}
	}
}

// TestPipelineLimits: no more than the limit is in flight, by count and by bytes; what is left when the client goes is let go.
func TestPipelineLimits(t *testing.T) {
	for name, edit := range map[string]func(*Options){
		"count": func(o *Options) { o.PipelineMax = 3 },
		"bytes": func(o *Options) { o.PipelineBytesMax = int64(3 * (len(request(keyProd, 0)) - 4)) },
	} {
		t.Run(name, func(t *testing.T) {
			var done, handled atomic.Int32
			release := make(chan struct{})
			h := begin(t, edit, func(_ context.Context, r *Request) Reply {
				handled.Add(1)
				return &later{answer(r), release, &done}
			})
			c := h.dial()
			for i := range int32(10) {
				h.send(c, request(keyProd, i))
			}
			h.await("three produces", func() bool { return handled.Load() == 3 })
			other := h.dial() // another connection's requests show that the server had time for more
			h.send(other, request(keyProd, 0))
			h.await("the other's", func() bool { return handled.Load() == 4 })
			close(release)
			for i := range int32(10) {
				if id := h.receive(c); id != i {
					t.Fatalf("answer %d where %d was due", id, i)
				}
			}
			h.await("all done", func() bool { return done.Load() == 11 })
		})
	}
}

// TestClientGone: replies of a client that has cut the connection are let go, although they never become ready.
func TestClientGone(t *testing.T) {
	var done, handled atomic.Int32
	never := make(chan struct{})
	h := begin(t, nil, func(_ context.Context, r *Request) Reply {
		handled.Add(1)
		return &later{answer(r), never, &done}
	})
	c := h.dial()
	for i := range int32(3) {
		h.send(c, request(keyProd, i))
	}
	h.await("requests", func() bool { return handled.Load() == 3 })
	if err := c.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	h.await("the end", func() bool { return done.Load() == 3 && h.Connections() == 0 })
}

// TestPanic: a panic ends its own connection with one line, in a request as in a reply; the others go on.
func TestPanic(t *testing.T) {
	h := begin(t, nil, func(_ context.Context, r *Request) Reply {
		switch r.Header.CorrelationID {
		case 1:
			panic("in the handler")
		case 2:
			return &panicking{answer(r)}
		}
		return answer(r)
	})
	bystander := h.dial()
	for _, key := range []int16{keyProd, keyMeta} {
		for id := int32(1); id <= 2; id++ {
			c := h.dial()
			h.send(c, request(keyMeta, 0))
			h.receive(c)
			h.send(c, request(key, id))
			h.closed(c)
		}
	}
	h.send(bystander, request(keyMeta, 0))
	h.receive(bystander)
	h.await("four lines", func() bool { return h.log.count("panic while handling") == 4 })
}

type panicking struct{ Reply }

func (p *panicking) Send(*Writer) error { panic("in a reply") }

// TestConnectionLimits: too many connections are closed at once, and counted per address; one that ends makes room.
func TestConnectionLimits(t *testing.T) {
	for name, edit := range map[string]func(*Options){
		"max.connections":        func(o *Options) { o.Limits.ConnectionsMax = 2 },
		"max.connections.per.ip": func(o *Options) { o.Limits.ConnectionsPerIPMax = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			h := begin(t, edit, func(_ context.Context, r *Request) Reply { return answer(r) })
			first, second := h.dial(), h.dial()
			for i, c := range []net.Conn{first, second} {
				h.send(c, request(keyMeta, int32(i)))
				h.receive(c)
			}
			h.closed(h.dial())
			h.await("a line", func() bool { return h.log.count("reason="+name) == 1 })
			_ = first.Close()
			h.await("room", func() bool { return h.Connections() == 1 })
			third := h.dial()
			h.send(third, request(keyMeta, 3))
			h.receive(third)
		})
	}
}

// TestTimeouts: idle connections, frames that never end, and answers that nobody reads.
func TestTimeouts(t *testing.T) {
	const short = 50 * time.Millisecond
	t.Run("idle", func(t *testing.T) {
		h := begin(t, func(o *Options) { o.Limits.IdleMax = short }, func(_ context.Context, r *Request) Reply { return answer(r) })
		h.closed(h.dial())
	})
	t.Run("slow frame", func(t *testing.T) {
		h := begin(t, func(o *Options) { o.FrameTimeout = short }, func(_ context.Context, r *Request) Reply { return answer(r) })
		c := h.dial()
		h.send(c, request(keyMeta, 1)[:9])
		h.closed(c)
		h.await("a line", func() bool { return h.log.count("did not arrive in time") == 1 })
	})
	t.Run("unread answer", func(t *testing.T) {
		file, err := vfs.OS{}.OpenFile(filepath.Join(t.TempDir(), "f"), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }()
		if err := file.Truncate(1 << 30); err != nil {
			t.Fatal(err)
		}
		h := begin(t, func(o *Options) { o.WriteTimeout = short }, func(context.Context, *Request) Reply { return &fromFile{file, 0, 1 << 30} })
		c := h.dial()
		h.send(c, request(keyMeta, 1))
		h.await("the end", func() bool { return h.log.count("timeout") == 1 && h.Connections() == 0 })
	})
}

// fromFile answers with bytes of a file, without a frame.
type fromFile struct {
	file   vfs.File
	pos, n int64
}

func (f *fromFile) Ready() bool          { return true }
func (f *fromFile) Wait(context.Context) {}
func (f *fromFile) Done()                {}
func (f *fromFile) Send(w *Writer) error {
	return errors.Join(w.Bytes([]byte("head")), w.File(f.file, f.pos, f.n), w.Bytes([]byte("tail")))
}

// TestFiles: ranges of all sizes arrive byte for byte, from files with a descriptor, from those without one, and from
// those of a file system without sendfile; a file that is shorter than promised ends the connection.
func TestFiles(t *testing.T) {
	content := make([]byte, fileBytes)
	for i := range content {
		content[i] = byte(i * 7 >> 3)
	}
	open := func(fsys vfs.FS, name string) vfs.File {
		f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(content, 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	files := map[string]vfs.File{"sendfile": open(vfs.OS{}, filepath.Join(t.TempDir(), "f")), "copy": open(vfs.NewMem(), "f")}
	for name, sent := range map[string]int{"refused by the file system": 0, "refused later on": 1} {
		files[name] = sendfiletest.Refused(t, open(vfs.OS{}, filepath.Join(t.TempDir(), "f")), sent)
	}
	for name, file := range files {
		t.Run(name, func(t *testing.T) {
			var pos, n atomic.Int64
			h := begin(t, nil, func(context.Context, *Request) Reply { return &fromFile{file, pos.Load(), n.Load()} })
			c := h.dial()
			for _, size := range []int64{0, 1, copyBelow, copyBelow + 1, bufferedMax, writeStepMax + 13, 4 << 20} {
				for _, from := range []int64{0, 4097} {
					pos.Store(from)
					n.Store(size)
					h.send(c, request(keyMeta, 1))
					got := make([]byte, 8+size)
					if _, err := io.ReadFull(c, got); err != nil {
						t.Fatal(err)
					}
					want := append(append([]byte("head"), content[from:from+size]...), "tail"...)
					if !bytes.Equal(got, want) {
						t.Fatalf("%d bytes from %d differ", size, from)
					}
				}
			}
			pos.Store(fileBytes - 100)
			n.Store(1 << 20)
			h.send(c, request(keyMeta, 1))
			if got, err := io.Copy(io.Discard, c); got > 200 || err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("short file: %d bytes, %v", got, err)
			}
		})
	}
}

// TestShutdown: what has arrived is answered, nothing new is accepted, and what does not end is cut off when the time is up.
func TestShutdown(t *testing.T) {
	var done, handled atomic.Int32
	release := make(chan struct{})
	h := begin(t, nil, func(_ context.Context, r *Request) Reply {
		handled.Add(1)
		return &later{answer(r), release, &done}
	})
	c, idle := h.dial(), h.dial()
	for i := range int32(4) {
		h.send(c, request(keyProd, i))
	}
	h.await("requests", func() bool { return handled.Load() == 4 })
	stopped := make(chan error)
	go func() { stopped <- h.Shutdown(context.Background()) }() // awaited below
	h.closed(idle)
	if _, err := net.Dial("tcp", h.Addr("X").String()); err == nil {
		t.Error("connected to a server that is stopping")
	}
	close(release)
	for i := range int32(4) {
		if id := h.receive(c); id != i {
			t.Fatalf("answer %d where %d was due", id, i)
		}
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}

	stuck := make(chan struct{})
	h = begin(t, nil, func(_ context.Context, r *Request) Reply {
		handled.Add(1)
		return &later{answer(r), stuck, &done}
	})
	h.send(h.dial(), request(keyProd, 1))
	h.await("request", func() bool { return handled.Load() == 5 })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := h.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cut off: %v", err)
	}
}

// TestBudgets: a few clients that send large frames slowly do not keep others out.
func TestBudgets(t *testing.T) {
	h := begin(t, func(o *Options) { o.Limits.QueuedBytesMax = 8 << 20 }, func(_ context.Context, r *Request) Reply { return answer(r) })
	for range 4 {
		c := h.dial()
		h.send(c, []byte{0, 0x40, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1}) // 4 MiB of produce are promised
	}
	h.await("reservations", func() bool { frames, _ := h.MemoryUsed(); return frames >= 4<<20 })
	c := h.dial()
	for i := range int32(20) {
		h.send(c, request(keyProd, i))
		if id := h.receive(c); id != i {
			t.Fatalf("answer %d", id)
		}
	}
}

// TestRefuse: a request without an answer closes the connection after the answers in front of it.
func TestRefuse(t *testing.T) {
	h := begin(t, nil, func(_ context.Context, r *Request) Reply {
		if r.Header.CorrelationID == 2 {
			return Refuse(fmt.Errorf("%w: no reason", ErrClose))
		}
		return answer(r)
	})
	for _, key := range []int16{keyProd, keyMeta} {
		c := h.dial()
		h.send(c, append(append(request(key, 1), request(key, 2)...), request(key, 3)...))
		if id := h.receive(c); id != 1 {
			t.Fatalf("answer %d", id)
		}
		_, err := receive(c)
		if err == nil {
			t.Fatal("answered after a refusal")
		}
	}
	h.await("two lines", func() bool { return h.log.count("no reason") == 2 })
}

// TestLogLimit: clients cannot fill the log; the next line says how many are missing.
func TestLogLimit(t *testing.T) {
	now := time.Unix(1000, 0)
	out := &lines{}
	l := newLimitedLog(slog.New(slog.NewTextHandler(out, nil)), func() time.Time { return now })
	for range 1000 {
		l.Warn("line")
	}
	if n := out.count("line"); n != linesBurst {
		t.Errorf("%d lines", n)
	}
	now = now.Add(time.Second)
	l.Warn("line")
	if out.count("suppressed=980") != 1 {
		t.Error(out.buf.String())
	}
}
