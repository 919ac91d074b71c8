package handler

import (
	"bytes"
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/group"
	"github.com/tandembroker/tandem/broker/server"
)

// Members is the part of group.Coordinator that knows who is in which group. reply functions are called once, now or later, and
// must not block. Requests for a group that this broker does not coordinate, or not yet, get the error that says so.
type Members interface {
	Join(r group.JoinRequest, reply func(group.JoinResult))
	Sync(r group.SyncRequest, reply func(group.SyncResult))
	Heartbeat(r group.HeartbeatRequest) error
	Leave(r group.LeaveRequest) ([]error, error)
	Describe(groupID string) (group.Description, error)
	List(f group.Filter) ([]group.Listed, error)
}

// Offsets is the part of group.Coordinator that has the committed offsets. reply functions are called once, now or later, and must
// not block.
type Offsets interface {
	Locate(groupID string) (node int32, err error)
	Commit(r group.CommitRequest, reply func(each []error, err error))
	Fetch(groupID string, want []group.TopicPartition) ([]group.Committed, error)
	DeleteOffsets(groupID string, list []group.TopicPartition, reply func(each []error, err error))
	DeleteGroups(ids []string, reply func(each []error))
}

// groupOperations is what may be done to a group where nothing is forbidden: read, delete, describe, describe configs, alter
// configs. Source: AclEntry.supportedOperations, one bit for each code of AclOperation.
const groupOperations = 1<<3 | 1<<6 | 1<<8 | 1<<10 | 1<<11

// rendezvous is the answer to a request that waits for a group: for its other members, or for its log.
type rendezvous[T any] struct {
	request  *server.Request
	came     chan T        // holds one
	answer   *T            // what came
	patience time.Duration // how long to wait for the log; 0 = it is for members, and as long as they make it
	// interrupted is answered when the client, the server or its patience goes before: the client is to try again.
	interrupted T
	encode      func(T) kmsg.Response
}

func meet[T any](r *server.Request, interrupted T, encode func(T) kmsg.Response) *rendezvous[T] {
	r.Shed() // what the group keeps counts there
	return &rendezvous[T]{request: r, came: make(chan T, 1), interrupted: interrupted, encode: encode}
}

// reply is where the group's answer goes.
func (v *rendezvous[T]) reply(answer T) { v.came <- answer }

// Ready implements server.Reply.
func (v *rendezvous[T]) Ready() bool {
	if v.answer == nil {
		select {
		case answer := <-v.came:
			v.answer = &answer
		default:
		}
	}
	return v.answer != nil
}

// Wait implements server.Reply.
func (v *rendezvous[T]) Wait(ctx context.Context) {
	if v.Ready() {
		return
	}
	rest := v.patience
	if soon := min(v.patience, logSoon); soon > 0 {
		if v.await(ctx, soon) {
			return
		}
		if rest -= soon; rest == 0 {
			v.answer = &v.interrupted
			return
		}
	}
	watched, stop := v.request.Park(ctx)
	defer stop()
	if !v.await(watched, rest) && !v.Ready() {
		v.answer = &v.interrupted
	}
}

// logSoon is how long the log usually takes at most. An answer that is due soon is waited for although the server stops or the
// client has gone.
const logSoon = 2 * time.Second

// await waits for the answer, for d; 0 = as long as ctx.
func (v *rendezvous[T]) await(ctx context.Context, d time.Duration) bool {
	var over <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case answer := <-v.came:
		v.answer = &answer
		return true
	case <-ctx.Done():
	case <-over:
	}
	return false
}

// Send implements server.Reply.
func (v *rendezvous[T]) Send(w *server.Writer) error {
	return server.Respond(v.request.Header, v.encode(*v.answer)).Send(w)
}

// Done implements server.Reply.
func (v *rendezvous[T]) Done() {}

// distinct is names without those that came before.
func distinct(names []string) []string {
	seen, out := make(map[string]struct{}, len(names)), make([]string, 0, len(names))
	for _, name := range names {
		if seen[name] = struct{}{}; len(seen) > len(out) {
			out = append(out, name)
		}
	}
	return out
}

// filled is s, or "" in versions that have no null there.
func filled(s *string, nullable bool) *string {
	if s == nil && !nullable {
		return text("")
	}
	return s
}

// present is b for a field that cannot be null.
func present(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func millis(ms int32) time.Duration { return time.Duration(ms) * time.Millisecond }

// protocolsMax is how many ways of assignment a member may offer: clients have one for each assignor that they know.
const protocolsMax = 256

// protocols copies what a JoinGroup offers: its bytes are the frame's.
func protocols(from []kmsg.JoinGroupRequestProtocol) []group.Protocol {
	out := make([]group.Protocol, len(from))
	for i := range from {
		out[i] = group.Protocol{Name: from[i].Name, Metadata: bytes.Clone(from[i].Metadata)}
	}
	return out
}
