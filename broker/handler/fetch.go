package handler

// Fetch (key 1), versions 4 to 18.
//
//	5  log start offset          7  sessions             9  current leader epoch
//	11 rack                      12 flexible; last fetched epoch, of replicas only
//	13 topic ids                 16 the new leader with NOT_LEADER_OR_FOLLOWER or FENCED_LEADER_EPOCH (KIP-951)
//	15, 17, 18 bring fields for replicas only
//
// There are no sessions: every answer has session id 0, as Kafka's when its session cache is full, and names every partition. A
// request that continues a session gets FETCH_SESSION_ID_NOT_FOUND. Brokers do not replicate by Fetch here, so a request with a
// replica id gets REPLICA_NOT_AVAILABLE on each partition.
//
// The answer waits until there are min_bytes, or for max_wait_ms, but not at all when a partition has an error. Partitions are
// read in the order of the request; the first that has anything gives at least one batch, even above the limits, so that a
// consumer always gets on. Records are whole batches, from the one that holds the offset on, and go from the segment file to
// the socket.

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/partition"
	"github.com/tandembroker/tandem/broker/server"
	"github.com/tandembroker/tandem/protocol/wire"
)

const (
	fetchVersionSession = 7
	fetchVersionTopicID = 13
	fetchVersionLeader  = 16

	sessionNew  = 0  // a full request that asks for a session
	sessionNone = -1 // a full request without one

	noEpoch       = -1
	readCommitted = 1

	// A request this expensive to hold is not let wait longer than this.
	heavyWaitMax = time.Second
)

// fetchReply is a fetch on its way: the plan, what was read so far, and the wait for more.
type fetchReply struct {
	h         *Handler
	request   *server.Request
	isolation partition.Isolation
	maxWait   time.Duration
	minBytes  int64
	maxBytes  int64
	code      int16 // of the whole request; nothing is read then
	topics    []fetchedTopic
	parts     []fetchedPartition // of all topics, in the order of the request

	bytes  int64 // of records in hand
	urgent bool  // an error, or nothing to wait for: answer now
}

type fetchedTopic struct {
	name     string
	id       [16]byte
	from, to int // its parts
}

type fetchedPartition struct {
	id       int32
	offset   int64
	epoch    int32 // current leader epoch that the client knows
	bytesMax int64
	p        *partition.Partition
	code     int16
	tried    bool // read is the outcome of a read
	read     partition.Read
}

func (h *Handler) fetch(_ context.Context, r *server.Request) server.Reply {
	req := r.Body.(*kmsg.FetchRequest)
	maxBytes := min(int64(max(req.MaxBytes, 0)), int64(h.config.Network.FetchBytesMax))
	f := &fetchReply{
		h: h, request: r, isolation: partition.Isolation(req.IsolationLevel),
		maxWait:  time.Duration(max(req.MaxWaitMillis, 0)) * time.Millisecond,
		minBytes: min(int64(max(req.MinBytes, 0)), maxBytes), maxBytes: maxBytes,
	}
	switch {
	case req.SessionEpoch != sessionNew && req.SessionEpoch != sessionNone:
		f.code = codeFetchSessionIDNotFound
	case req.IsolationLevel != 0 && req.IsolationLevel != readCommitted:
		f.code = codeInvalidRequest
	default:
		f.plan(req)
	}
	r.Body = nil // the plan has all of it
	return f
}

// plan resolves topics and partitions.
func (f *fetchReply) plan(req *kmsg.FetchRequest) {
	image := f.h.controller.Image()
	count := 0
	for i := range req.Topics {
		count += len(req.Topics[i].Partitions)
	}
	f.topics = make([]fetchedTopic, 0, len(req.Topics))
	f.parts = make([]fetchedPartition, 0, count)
	for i := range req.Topics {
		t := &req.Topics[i]
		topic, code := f.topic(image, t)
		from := len(f.parts)
		for j := range t.Partitions {
			p := &t.Partitions[j]
			out := fetchedPartition{
				id: p.Partition, offset: p.FetchOffset, epoch: p.CurrentLeaderEpoch, bytesMax: int64(max(p.PartitionMaxBytes, 0)), code: code,
			}
			if req.ReplicaID >= 0 || req.ReplicaState.ID >= 0 {
				out.code = codeReplicaNotAvailable
			} else if code == codeNone {
				out.p, out.code = f.h.locate(topic, p.Partition)
			}
			f.parts = append(f.parts, out)
		}
		f.topics = append(f.topics, fetchedTopic{name: t.Topic, id: t.TopicID, from: from, to: len(f.parts)})
	}
}

func (f *fetchReply) topic(image *controller.Image, t *kmsg.FetchRequestTopic) (*controller.Topic, int16) {
	if f.request.Header.Version >= fetchVersionTopicID {
		if topic, ok := image.TopicByID(t.TopicID); ok {
			return topic, codeNone
		}
		return nil, codeUnknownTopicID
	}
	if topic, ok := image.Topic(t.Topic); ok {
		return topic, codeNone
	}
	return nil, codeUnknownTopicOrPartition
}

// Ready implements server.Reply; a fetch is not pipelined.
func (f *fetchReply) Ready() bool { return false }

// Wait implements server.Reply: it reads, and waits for more where the request wants that.
func (f *fetchReply) Wait(ctx context.Context) {
	if f.code != codeNone {
		return
	}
	f.readAll()
	if f.enough() || f.maxWait <= 0 {
		return
	}
	f.longPoll(ctx)
}

func (f *fetchReply) enough() bool { return f.urgent || len(f.parts) == 0 || f.bytes >= f.minBytes }

// longPoll reads again what changes until there is enough, or the time is up, or the client or the server goes away.
func (f *fetchReply) longPoll(ctx context.Context) {
	wait := f.maxWait
	if f.request.Heavy() {
		wait = min(wait, heavyWaitMax)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	changed := make(chan struct{}, 1)
	for i := range f.parts {
		defer f.parts[i].p.Subscribe(changed)()
	}
	watched, stop := f.request.Park(ctx)
	defer stop()
	for {
		f.readAll() // once more at first: something may have come before the subscription
		if f.enough() {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			return
		case <-watched.Done():
			return
		}
	}
}

// readAll reads every partition that may have something new, in order, within the limits.
func (f *fetchReply) readAll() {
	for i := range f.parts {
		p := &f.parts[i]
		if p.code != codeNone {
			f.urgent = true
			continue
		}
		if p.unchanged() {
			continue
		}
		had := p.read.Len()
		limit := min(p.bytesMax, max(f.maxBytes-(f.bytes-had), 0))
		// Version 4 is the first here, so that at least one batch is always given (not so up to version 2).
		read, err := p.p.Read(p.offset, limit, f.isolation, p.epoch, f.bytes == had)
		p.release()
		p.read, p.tried = read, true
		f.bytes += read.Len() - had
		if err != nil {
			p.code = codeOf(err)
		}
		if err != nil || f.cutShort(&read) {
			f.urgent = true
		}
	}
}

// cutShort says that a read ended before the records did, at the end of a segment or at a limit: waiting would not make it
// longer. Source: DelayedFetch.tryComplete, case F.
func (f *fetchReply) cutShort(read *partition.Read) bool {
	if read.Extent == nil {
		return false
	}
	end := read.HW
	if f.isolation == partition.ReadCommitted {
		end = read.LSO
	}
	return read.Extent.Next() < end
}

// unchanged says that a read would give what the last one gave.
func (p *fetchedPartition) unchanged() bool {
	if !p.tried || !p.p.Ready() {
		return false
	}
	logStart, hw, lso, _ := p.p.Offsets()
	return hw == p.read.HW && lso == p.read.LSO && logStart == p.read.LogStart
}

func (p *fetchedPartition) release() {
	if p.read.Extent != nil {
		p.read.Extent.Release()
		p.read.Extent = nil
	}
}

// Done implements server.Reply.
func (f *fetchReply) Done() {
	for i := range f.parts {
		f.parts[i].release()
	}
}

// Send implements server.Reply: the bytes around the records from memory, the records from their files.
func (f *fetchReply) Send(w *server.Writer) error {
	h := f.request.Header
	resp := wire.FetchResponse{ErrorCode: f.code, Topics: make([]wire.FetchTopic, len(f.topics))}
	parts := make([]wire.FetchPartition, len(f.parts))
	for i := range f.parts {
		parts[i] = f.partition(&f.parts[i], &resp)
	}
	for i, t := range f.topics {
		resp.Topics[i] = wire.FetchTopic{Topic: t.name, TopicID: t.id, Partitions: parts[t.from:t.to]}
	}
	if f.code != codeNone && h.Version < fetchVersionSession {
		return fmt.Errorf("%w: fetch version %d: error code %d, which it cannot carry", server.ErrClose, h.Version, f.code)
	}
	f.h.fail("Fetch", f.code)
	frame, err := resp.Encode(h.Version, h.CorrelationID)
	if err != nil {
		return err
	}
	if err := w.Bytes(frame.Chunks[0]); err != nil {
		return err
	}
	for i, s := range frame.Splices {
		file, pos, n := f.parts[f.topics[s.Topic].from+s.Partition].read.Extent.File()
		if n != s.Bytes {
			return fmt.Errorf("fetch: records of %d bytes where %d were promised", n, s.Bytes)
		}
		if err := w.File(file, pos, n); err != nil {
			return err
		}
		if err := w.Bytes(frame.Chunks[i+1]); err != nil {
			return err
		}
	}
	f.h.metrics.Fetched(f.bytes, f.h.now().Sub(f.request.Arrived))
	return nil
}

// partition is the answer for one partition.
func (f *fetchReply) partition(p *fetchedPartition, resp *wire.FetchResponse) wire.FetchPartition {
	out := wire.NewFetchPartition(p.id, f.h.fail("Fetch", p.code))
	if p.code != codeNone {
		if p.code == codeNotLeaderOrFollower || p.code == codeFencedLeaderEpoch {
			f.hint(p, &out, resp)
		}
		return out
	}
	out.HighWatermark, out.LastStableOffset, out.LogStartOffset = p.read.HW, p.read.LSO, p.read.LogStart
	out.RecordsBytes = p.read.Len()
	if f.isolation == partition.ReadCommitted {
		out.AbortedNull = false
		for _, a := range p.read.Aborted {
			out.Aborted = append(out.Aborted, wire.AbortedTransaction{ProducerID: a.ProducerID, FirstOffset: a.FirstOffset})
		}
	}
	return out
}

// hint names the leader (KIP-951).
func (f *fetchReply) hint(p *fetchedPartition, out *wire.FetchPartition, resp *wire.FetchResponse) {
	if f.request.Header.Version < fetchVersionLeader {
		return
	}
	leader, epoch, node, ok := f.h.newLeader(p.p, f.request.Listener)
	if !ok {
		return
	}
	out.CurrentLeader = &wire.LeaderEpoch{LeaderID: leader, Epoch: epoch}
	if len(resp.NodeEndpoints) == 0 {
		resp.NodeEndpoints = []wire.NodeEndpoint{{NodeID: node.node, Host: node.host, Port: node.port, Rack: node.rack}}
	}
}
