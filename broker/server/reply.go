package server

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/tandembroker/tandem/protocol/wire"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ErrClose ends a connection after the answers in front of it: what Kafka does where a request has no answer that the client
// could read (an error under acks=0, a version that is not served). Wrap it with the reason, which is logged.
var ErrClose = errors.New("closing the connection")

// Handler answers requests.
type Handler interface {
	// Pipelined says whether requests of this API may be handled before earlier ones of the same connection are answered.
	Pipelined(key int16) bool
	// Handle answers r, or starts to: for a pipelined API it must not wait for disk or network. It is called in the order of
	// the requests of a connection. ctx ends when the connection does. r.Body is decoded and checked; what it borrows from
	// r.Frame is valid until Handle returns, longer with a reference of one's own. It never returns nil.
	Handle(ctx context.Context, r *Request) Reply
}

// Request is one request of a client.
type Request struct {
	Header   wire.RequestHeader // without Body
	Body     kmsg.Request       // nil: an ApiVersions request of a version that is not served (KIP-511)
	Frame    *wire.Buffer       // holds what Body borrows; the server's reference ends when Handle returns
	Listener string             // name of the listener that the client used
	Arrived  time.Time          // when its last byte was read

	heavy    bool
	unserved bool // an ApiVersions request of a version that is not served
	conn     *conn
}

// Park tells the server that the answer now waits for something to happen (a long poll). It lets go of what the request
// reserved of the memory for decoded requests, unless it is Heavy, and returns a context that also ends when the client goes
// away, which nobody would notice otherwise, or when the server stops. stop ends the watch and must be called before the answer is sent. To be called once at most, from
// Handle or Reply.Wait of a request that is not pipelined.
func (r *Request) Park(ctx context.Context) (watched context.Context, stop func()) {
	if r.conn == nil {
		return ctx, func() {}
	}
	return r.conn.park(ctx, r.heavy)
}

// ClientHost is the client's address as Kafka writes it down for members of groups: "/" and the IP address.
func (r *Request) ClientHost() string {
	if r.conn == nil {
		return "/"
	}
	if addr, err := netip.ParseAddrPort(r.conn.nc.RemoteAddr().String()); err == nil {
		return "/" + addr.Addr().Unmap().String()
	}
	return "/" + r.conn.nc.RemoteAddr().String()
}

// Shed says that the handler has copied what it needs of the body: the request is not Heavy any more.
func (r *Request) Shed() { r.Body, r.heavy = nil, false }

// Heavy says that the decoded request takes much of the memory that all requests share. It keeps its reservation while it
// waits, so it must not wait for long.
func (r *Request) Heavy() bool { return r.conn != nil && r.heavy }

// Reply is the answer to one request. The server calls Wait, then Send unless the connection has failed, then Done.
type Reply interface {
	// Ready says whether Wait would return at once.
	Ready() bool
	// Wait returns when the answer is known, or when ctx ends; the answer is then what can be said at that moment.
	Wait(ctx context.Context)
	// Send writes the answer. An error, which includes every error of w, closes the connection.
	Send(w *Writer) error
	// Done lets go of what the reply holds.
	Done()
}

// SoonReply is the Reply of a pipelined request that is often ready soon.
type SoonReply interface {
	Reply
	// WaitUntil is Wait that gives up at late: it returns false then, and nothing has changed.
	WaitUntil(ctx context.Context, late <-chan time.Time) bool
}

// Respond is the Reply that sends resp in the version of the request.
func Respond(h wire.RequestHeader, resp kmsg.Response) Reply {
	return response{correlationID: h.CorrelationID, version: h.Version, body: resp}
}

// RespondVersion is Respond in another version than the request's.
func RespondVersion(h wire.RequestHeader, version int16, resp kmsg.Response) Reply {
	return response{correlationID: h.CorrelationID, version: version, body: resp}
}

type response struct {
	correlationID int32
	version       int16
	body          kmsg.Response
}

func (r response) Ready() bool          { return true }
func (r response) Wait(context.Context) {}
func (r response) Done()                {}
func (r response) Send(w *Writer) error {
	return w.Response(r.correlationID, r.version, r.body)
}

// Refuse is the Reply that closes the connection; err must wrap ErrClose.
func Refuse(err error) Reply { return refusal{err} }

type refusal struct{ err error }

func (r refusal) Ready() bool          { return true }
func (r refusal) Wait(context.Context) {}
func (r refusal) Done()                {}
func (r refusal) Send(*Writer) error   { return r.err }
