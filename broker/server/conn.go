package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/tandembroker/tandem/protocol/wire"
)

const (
	readBufferBytes = 16 << 10
	prefixBytes     = 4               // the size in front of a frame
	peekedBytes     = prefixBytes + 2 // what PeekFrame looks at: size and API key

	// heavyBytes is what a decoded request may take and still wait for long without a reservation.
	heavyBytes = 1 << 20
)

var (
	errIdle     = errors.New("idle")
	errDraining = errors.New("server is stopping")
	errSlow     = errors.New("frame did not arrive in time")
)

// conn is one client.
type conn struct {
	server   *Server
	nc       net.Conn
	listener string
	ip       string
	in       *input
	out      *Writer // the reader's while the queue is idle, else the writer's
	ctx      context.Context
	cancel   context.CancelFunc
	queue    *pipeline     // nil until an answer is left to the writer
	written  chan struct{} // closed when the writer has ended
	several  bool          // the client has been seen with more than one request in flight
	late     *time.Timer   // of finishSoon; nil before the first

	// What the request in work holds, until letGo.
	frame    *wire.Buffer
	reserved int64 // bytes of the frame budget
	decoded  int64 // bytes of the decode budget

	mu struct {
		sync.Mutex
		cause error // why the connection ends, the first reason
	}
}

func newConn(s *Server, listener, ip string, nc net.Conn) *conn {
	c := &conn{
		server: s, nc: nc, listener: listener, ip: ip,
		out: newWriter(nc, s.opts.Pool, s.buffers, s.opts.WriteTimeout, s.opts.Now),
	}
	c.in = newInput(nc, s.readers, c.idle)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// run serves the client until one of the two is done with the other.
func (c *conn) run() {
	defer c.server.unregister(c)
	defer c.cancel()
	defer c.in.release()
	err := c.guard(c.serve)
	if errors.Is(err, ErrClose) || errors.Is(err, errPanicked) {
		c.setCause(err) // answers in front of it still go out
	}
	if errors.Is(err, syscall.ECONNRESET) {
		c.abort(err) // nobody reads the answers that are still due; after a mere end of input somebody may
	}
	if c.queue != nil {
		c.queue.close()
		<-c.written
	}
	c.setCause(err)
	_ = c.nc.Close()
	c.report()
}

var errPanicked = errors.New("panic while handling a request")

// guard turns a panic into an error that ends this connection only.
func (c *conn) guard(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v\n%s", errPanicked, p, debug.Stack())
		}
	}()
	return fn()
}

func (c *conn) serve() error {
	for {
		if err := c.next(); err != nil {
			return err
		}
	}
}

// next reads one request and answers or starts it.
func (c *conn) next() error {
	size, err := c.awaitFrame()
	if err != nil {
		return err
	}
	if err := c.server.frames.acquire(c.ctx, int64(size)); err != nil {
		return err
	}
	c.reserved = int64(size)
	defer c.letGo()
	if c.frame, err = c.readFrame(size); err != nil {
		return err
	}
	r, err := c.header(c.frame)
	if err != nil {
		return err
	}
	pipelined := c.server.handler.Pipelined(r.Header.Key)
	if err := c.await(pipelined, c.reserved); err != nil {
		return err
	}
	if err := c.decode(r); err != nil {
		return err
	}
	if pipelined {
		return c.start(r)
	}
	return c.answer(r)
}

// letGo gives back what the request in work holds. Twice is safe.
func (c *conn) letGo() {
	c.releaseDecoded()
	c.releaseFrame()
}

func (c *conn) releaseFrame() {
	if c.frame != nil {
		c.frame.Release()
		c.frame = nil
	}
	if c.reserved > 0 {
		c.server.frames.release(c.reserved)
		c.reserved = 0
	}
}

// awaitFrame waits for the next frame's size.
func (c *conn) awaitFrame() (int, error) {
	if c.in.buffered() < peekedBytes { // else PeekFrame reads nothing
		if err := c.nc.SetReadDeadline(c.server.opts.Now().Add(c.server.opts.Limits.IdleMax)); err != nil {
			return 0, err
		}
	}
	if c.server.draining.Load() && !c.frameBuffered() {
		return 0, errDraining
	}
	reader, err := c.in.await()
	var size int
	if err == nil {
		size, err = wire.PeekFrame(reader, c.server.opts.Limits.RequestBytesMax)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if c.server.draining.Load() {
			return 0, errDraining
		}
		return 0, errIdle
	}
	return size, err
}

// idle lets go of what a client that sends nothing does not need.
func (c *conn) idle() {
	if c.queue == nil || c.queue.idle() {
		c.out.idle()
	}
}

// frameBuffered says whether the next frame has been read already, whole or in a part that will be refused.
func (c *conn) frameBuffered() bool {
	if c.in.buffered() < peekedBytes {
		return false
	}
	size, err := wire.PeekFrame(c.in.reader(), c.server.opts.Limits.RequestBytesMax)
	return err != nil || c.in.buffered() >= prefixBytes+size
}

// readFrame reads the frame whose size awaitFrame told.
func (c *conn) readFrame(size int) (*wire.Buffer, error) {
	if c.in.buffered() < prefixBytes+size {
		allowed := c.server.opts.FrameTimeout + time.Duration(size>>20)*time.Second
		if err := c.nc.SetReadDeadline(c.server.opts.Now().Add(allowed)); err != nil {
			return nil, err
		}
		if c.server.draining.Load() {
			return nil, errDraining
		}
	}
	frame, err := wire.ReadFrame(c.in.reader(), c.server.opts.Limits.RequestBytesMax, c.server.opts.Pool)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if c.server.draining.Load() {
			return nil, errDraining
		}
		return nil, fmt.Errorf("%w: %w", errSlow, err)
	}
	return frame, err
}

// header makes a Request of a frame, without its body.
func (c *conn) header(frame *wire.Buffer) (*Request, error) {
	r := &Request{Frame: frame, Listener: c.listener, Arrived: c.server.opts.Now(), conn: c}
	h, err := wire.ParseHeader(frame.Bytes())
	r.Header = h
	if errors.Is(err, wire.ErrUnsupportedVersion) && h.Key == keyAPIVersions {
		r.unserved = true
		return r, nil
	}
	return r, err
}

// await waits until a request may be handled: a pipelined one needs room in the queue, any other an empty queue. It comes
// before decode, so that nothing is reserved for decoding meanwhile.
func (c *conn) await(pipelined bool, reserved int64) error {
	if c.queue == nil {
		return nil
	}
	if pipelined && !c.queue.waitRoom(reserved) || !pipelined && !c.queue.waitIdle() {
		return errFailed
	}
	return nil
}

// decode reserves memory for the body and decodes it.
func (c *conn) decode(r *Request) error {
	if r.unserved {
		r.Header.Body = nil
		return nil
	}
	n, err := wire.DecodeMemory(r.Header)
	if err != nil {
		return fmt.Errorf("client id %q: %w", truncated(r.Header.ClientID), err)
	}
	if err := c.server.decoded.acquire(c.ctx, n); err != nil {
		return err
	}
	c.decoded, r.heavy = n, n > heavyBytes
	body, err := wire.Decode(r.Header)
	if err != nil {
		return fmt.Errorf("client id %q: %w", truncated(r.Header.ClientID), err)
	}
	r.Header.Body = nil // decoded: nobody has business with the bytes any more
	r.Body = body
	return nil
}

const keyAPIVersions = 18

// errFailed says that the writer has already said why.
var errFailed = errors.New("connection failed")

// start handles a pipelined request and answers it, or leaves that to the writer, so that the next one can be read.
func (c *conn) start(r *Request) error {
	reply := c.server.handler.Handle(c.ctx, r)
	c.several = c.several || c.in.buffered() > 0
	if !c.several && (c.queue == nil || c.queue.idle()) {
		c.releaseDecoded()
		if done, err := c.finishSoon(r, reply); done {
			return err
		}
	}
	if c.queue == nil {
		c.queue = newPipeline(c.server.opts.PipelineMax, c.server.opts.PipelineBytesMax)
		c.written = make(chan struct{})
		go c.write() // ended by queue.close, awaited in run
	}
	c.queue.put(pending{reply: reply, api: apiName(r.Header.Key), arrived: r.Arrived, reserved: c.reserved})
	c.reserved = 0 // the answer, now queued, takes over the reservation for the frame
	return nil
}

// latePatience is how long the reader waits for an answer before it leaves it to the writer.
const latePatience = 5 * time.Millisecond

// finishSoon answers a request from the reader's goroutine if that can be done soon: it spares a client that waits for each
// answer two changes of goroutine. done is false where nothing has been sent yet.
func (c *conn) finishSoon(r *Request, reply Reply) (done bool, err error) {
	soon, ok := reply.(SoonReply)
	if !ok {
		return false, nil
	}
	if c.late == nil {
		c.late = time.NewTimer(latePatience)
	} else {
		c.late.Reset(latePatience)
	}
	ready := soon.WaitUntil(c.ctx, c.late.C)
	c.late.Stop()
	if !ready {
		return false, nil
	}
	c.several = c.out.inputWaits() // the next request has come before this one's answer
	return true, c.finish(r, reply)
}

// answer handles a request that is served strictly after all earlier ones, and sends its answer. A long poll holds no frame.
func (c *conn) answer(r *Request) error {
	reply := c.server.handler.Handle(c.ctx, r)
	c.releaseFrame()
	return c.finish(r, reply)
}

// finish waits for an answer that nothing is in front of, and sends it.
func (c *conn) finish(r *Request, reply Reply) error {
	defer reply.Done()
	reply.Wait(c.ctx)
	if err := reply.Send(c.out); err != nil {
		return errors.Join(err, c.out.Flush())
	}
	if err := c.out.Flush(); err != nil {
		return err
	}
	c.server.opts.Metrics.Request(apiName(r.Header.Key), c.server.opts.Now().Sub(r.Arrived))
	return nil
}

// write sends the answers of pipelined requests in order. After a failure it only lets go of what the rest holds.
func (c *conn) write() {
	defer close(c.written)
	for {
		p, ok := c.queue.take()
		if !ok {
			return
		}
		if !c.queue.hasFailed() {
			if err := c.guard(func() error { return c.send(p) }); err != nil {
				c.abort(err)
				c.queue.fail()
			}
		}
		p.reply.Done()
		c.server.frames.release(p.reserved)
		c.queue.answered(p)
	}
}

func (c *conn) send(p pending) error {
	if !p.reply.Ready() {
		if err := c.out.Flush(); err != nil {
			return err
		}
		p.reply.Wait(c.ctx)
	}
	if err := p.reply.Send(c.out); err != nil {
		return errors.Join(err, c.out.Flush())
	}
	if !c.queue.more() {
		if err := c.out.Flush(); err != nil {
			return err
		}
	}
	c.server.opts.Metrics.Request(p.api, c.server.opts.Now().Sub(p.arrived))
	return nil
}

// park implements Request.Park.
func (c *conn) park(ctx context.Context, heavy bool) (context.Context, func()) {
	if !heavy {
		c.releaseDecoded()
	}
	// Behind bytes that have arrived nobody hears that the client has gone: the time that it may be idle bounds the wait.
	watched, cancel := context.WithTimeout(ctx, c.server.opts.Limits.IdleMax)
	unlink := context.AfterFunc(c.server.ctx, cancel) // a drain ends long polls
	if c.in.buffered() > 0 {
		return watched, func() { unlink(); cancel() } // the client has sent its next request: it is there
	}
	_ = c.nc.SetReadDeadline(c.server.opts.Now().Add(c.server.opts.Limits.IdleMax))
	watching := make(chan struct{})
	go func() { // ended by stop, which interrupts the read and waits
		defer close(watching)
		reader, err := c.in.await()
		if err == nil {
			_, err = reader.Peek(1)
		}
		if err != nil {
			cancel()
		}
	}()
	return watched, func() {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
		<-watching
		unlink()
		cancel()
	}
}

func (c *conn) releaseDecoded() {
	if c.decoded > 0 {
		c.server.decoded.release(c.decoded)
		c.decoded = 0
	}
}

// drain lets the requests that have arrived be answered and stops the reader.
func (c *conn) drain() { _ = c.nc.SetReadDeadline(time.Unix(1, 0)) }

// abort closes the connection at once.
func (c *conn) abort(cause error) {
	c.setCause(cause)
	c.cancel()
	_ = c.nc.Close()
}

func (c *conn) setCause(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.cause == nil {
		c.mu.cause = err
	}
}

// report writes the one line about a connection that was closed for cause.
func (c *conn) report() {
	c.mu.Lock()
	cause := c.mu.cause
	c.mu.Unlock()
	reason := rejection(cause)
	if reason == "" {
		c.server.logger.Debug("connection closed", "listener", c.listener, "client", c.nc.RemoteAddr().String(), "cause", cause)
		return
	}
	c.server.opts.Metrics.Rejected(reason)
	if reason == "panic" {
		c.server.logger.Error("connection closed", "client", c.nc.RemoteAddr().String(), "cause", cause)
		return
	}
	c.server.limited.Warn("connection closed", "listener", c.listener, "client", c.nc.RemoteAddr().String(), "cause", cause)
}

// rejection names the kind of misbehaviour that ended a connection; "" for what clients do every day.
func rejection(cause error) string {
	var timeout net.Error
	switch {
	case errors.Is(cause, errPanicked):
		return "panic"
	case errors.Is(cause, ErrClose):
		return "refused"
	case errors.Is(cause, wire.ErrFrameSize):
		return "frame size"
	case errors.Is(cause, wire.ErrUnknownAPI):
		return "unknown api"
	case errors.Is(cause, wire.ErrUnsupportedVersion):
		return "version"
	case errors.Is(cause, wire.ErrMalformed):
		return "malformed"
	case errors.Is(cause, wire.ErrTooMany):
		return "too many elements"
	case errors.Is(cause, errSlow):
		return "slow"
	case errors.Is(cause, syscall.ECONNRESET), errors.Is(cause, syscall.EPIPE), errors.Is(cause, net.ErrClosed):
		return ""
	case errors.Is(cause, io.ErrUnexpectedEOF):
		return "truncated"
	case errors.As(cause, &timeout) && timeout.Timeout():
		return "unread" // the only deadline that is left is the writer's
	}
	return ""
}

func apiName(key int16) string {
	api, _ := wire.Lookup(key)
	return api.Name
}

func truncated(s string) string {
	const charsMax = 64
	if len(s) > charsMax {
		return s[:charsMax] + "..."
	}
	return s
}
