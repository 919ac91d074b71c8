package raft

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	hraft "github.com/hashicorp/raft"

	"github.com/tandembroker/tandem/storage"
)

var (
	errUnreachable = errors.New("raft: peer not reachable")
	errUnsupported = errors.New("raft: not supported by this transport")
)

// Network connects the Raft groups of the Hosts in one process. Safe for concurrent use.
type Network struct {
	mu struct {
		sync.RWMutex
		endpoints map[address]*endpoint
		cut       func(from, to hraft.ServerID) bool // for tests; nil = everybody is reachable
	}
}

// address names a Raft group on a broker, so that no message can reach another Raft group.
type address struct {
	group  storage.GroupID
	server hraft.ServerID
}

// NewNetwork returns a Network without members.
func NewNetwork() *Network {
	n := &Network{}
	n.mu.endpoints = map[address]*endpoint{}
	return n
}

// endpoint is the transport of one Raft group (hraft.Transport, hraft.WithPreVote). It has no Close method: hashicorp/raft
// would call it at Shutdown, and what carries a Raft group is shared (R12). Server addresses are ServerIDs; the network finds
// the broker.
type endpoint struct {
	network *Network
	at      address
	timeout time.Duration
	sg      *storage.Group
	rpc     chan hraft.RPC
	closed  chan struct{}
	once    sync.Once
}

var (
	_ hraft.Transport   = (*endpoint)(nil)
	_ hraft.WithPreVote = (*endpoint)(nil)
)

// join makes the endpoint reachable.
func (n *Network) join(sg *storage.Group, server string, timeout time.Duration) *endpoint {
	e := &endpoint{
		network: n, at: address{sg.ID(), hraft.ServerID(server)}, timeout: timeout, sg: sg,
		rpc: make(chan hraft.RPC), closed: make(chan struct{}),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.endpoints[e.at] = e
	return e
}

// close makes the endpoint unreachable.
func (e *endpoint) close() {
	e.once.Do(func() {
		close(e.closed)
		e.network.mu.Lock()
		defer e.network.mu.Unlock()
		if e.network.mu.endpoints[e.at] == e {
			delete(e.network.mu.endpoints, e.at)
		}
	})
}

// peer finds the same Raft group on another broker.
func (e *endpoint) peer(id hraft.ServerID) (*endpoint, error) {
	e.network.mu.RLock()
	defer e.network.mu.RUnlock()
	p := e.network.mu.endpoints[address{e.at.group, id}]
	if p == nil || e.network.mu.cut != nil && e.network.mu.cut(e.at.server, id) {
		return nil, fmt.Errorf("%w: %s", errUnreachable, id)
	}
	return p, nil
}

// call hands a request to the main loop of a peer, never to another goroutine of it (R1), and waits for the answer.
func (e *endpoint) call(id hraft.ServerID, command any) (any, error) {
	p, err := e.peer(id)
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(e.timeout)
	defer timer.Stop()
	answer := make(chan hraft.RPCResponse, 1)
	select {
	case p.rpc <- hraft.RPC{Command: command, RespChan: answer}:
	case <-timer.C:
		return nil, fmt.Errorf("%w: %s: busy", errUnreachable, id)
	case <-p.closed:
		return nil, fmt.Errorf("%w: %s", errUnreachable, id)
	case <-e.closed:
		return nil, ErrClosed
	}
	select {
	case r := <-answer:
		if _, err := e.peer(id); err != nil {
			return nil, err
		}
		return r.Response, r.Error
	case <-timer.C:
		return nil, fmt.Errorf("%w: %s: no answer", errUnreachable, id)
	case <-p.closed:
		return nil, fmt.Errorf("%w: %s", errUnreachable, id)
	case <-e.closed:
		return nil, ErrClosed
	}
}

// electNow makes the main loop of this very Raft group stand for election at once: what its timers would do after seconds.
// Votes are still checked.
func (e *endpoint) electNow() {
	answer := make(chan hraft.RPCResponse, 1)
	request := &hraft.TimeoutNowRequest{RPCHeader: hraft.RPCHeader{
		ProtocolVersion: hraft.ProtocolVersionMax, ID: []byte(e.at.server), Addr: []byte(e.at.server),
	}}
	select {
	case e.rpc <- hraft.RPC{Command: request, RespChan: answer}:
	case <-e.closed:
	}
}

// Consumer implements hraft.Transport.
func (e *endpoint) Consumer() <-chan hraft.RPC { return e.rpc }

// LocalAddr implements hraft.Transport.
func (e *endpoint) LocalAddr() hraft.ServerAddress { return hraft.ServerAddress(e.at.server) }

// AppendEntriesPipeline implements hraft.Transport.
func (e *endpoint) AppendEntriesPipeline(hraft.ServerID, hraft.ServerAddress) (hraft.AppendPipeline, error) {
	return nil, hraft.ErrPipelineReplicationNotSupported
}

// AppendEntries implements hraft.Transport. The library's entries are descriptors; payloads are added here, from the segment.
func (e *endpoint) AppendEntries(id hraft.ServerID, _ hraft.ServerAddress, args *hraft.AppendEntriesRequest,
	resp *hraft.AppendEntriesResponse) error {
	if len(args.Entries) > 0 {
		resolved, err := resolve(e.sg, args.Entries)
		if err != nil {
			return err
		}
		request := *args
		request.Entries = resolved
		args = &request
	}
	r, err := e.call(id, args)
	if err == nil {
		*resp = *r.(*hraft.AppendEntriesResponse)
	}
	return err
}

// RequestVote implements hraft.Transport.
func (e *endpoint) RequestVote(id hraft.ServerID, _ hraft.ServerAddress, args *hraft.RequestVoteRequest,
	resp *hraft.RequestVoteResponse) error {
	r, err := e.call(id, args)
	if err == nil {
		*resp = *r.(*hraft.RequestVoteResponse)
	}
	return err
}

// RequestPreVote implements hraft.WithPreVote.
func (e *endpoint) RequestPreVote(id hraft.ServerID, _ hraft.ServerAddress, args *hraft.RequestPreVoteRequest,
	resp *hraft.RequestPreVoteResponse) error {
	r, err := e.call(id, args)
	if err == nil {
		*resp = *r.(*hraft.RequestPreVoteResponse)
	}
	return err
}

// TimeoutNow implements hraft.Transport.
func (e *endpoint) TimeoutNow(id hraft.ServerID, _ hraft.ServerAddress, args *hraft.TimeoutNowRequest,
	resp *hraft.TimeoutNowResponse) error {
	r, err := e.call(id, args)
	if err == nil {
		*resp = *r.(*hraft.TimeoutNowResponse)
	}
	return err
}

// InstallSnapshot implements hraft.Transport. A follower behind the leader's log is rebuilt from segments, which this
// transport can not carry (R16).
func (e *endpoint) InstallSnapshot(hraft.ServerID, hraft.ServerAddress, *hraft.InstallSnapshotRequest,
	*hraft.InstallSnapshotResponse, io.Reader) error {
	return fmt.Errorf("%w: InstallSnapshot", errUnsupported)
}

// EncodePeer implements hraft.Transport. It is what a vote names its candidate by.
func (e *endpoint) EncodePeer(id hraft.ServerID, _ hraft.ServerAddress) []byte { return []byte(id) }

// DecodePeer implements hraft.Transport.
func (e *endpoint) DecodePeer(b []byte) hraft.ServerAddress { return hraft.ServerAddress(b) }

// SetHeartbeatHandler implements hraft.Transport and ignores the handler: it would change term and state beside the main loop
// (R1). Heartbeats go through Consumer like all else.
func (e *endpoint) SetHeartbeatHandler(func(hraft.RPC)) {}
