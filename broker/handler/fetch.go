package handler

// Fetch (key 1), versions 4 to 18.
//
//	5  log start offset          7  sessions             9  current leader epoch
//	11 rack                      12 flexible; last fetched epoch, of replicas only
//	13 topic ids                 16 the new leader with NOT_LEADER_OR_FOLLOWER or FENCED_LEADER_EPOCH (KIP-951)
//	15, 17, 18 bring fields for replicas only
//
// Sessions are in fetch_session.go: an incremental request is planned from what its session remembers, and its answer leaves out
// what has not changed. Brokers do not replicate by Fetch here, so a request with a replica id gets REPLICA_NOT_AVAILABLE on each
// partition, and no session. A site is a rack (KIP-392): a consumer of the standby's is sent there for what the standby has, and read from
// there by version 11 and later; where there is one site, racks are not looked at.
//
// The answer waits until there are min_bytes, or for max_wait_ms, but not at all when a partition has an error. Partitions are
// read in the order of the request; the first that has anything gives at least one batch, even above the limits, so that a
// consumer always gets on. Records are whole batches, from the one that holds the offset on, and go from the segment file to
// the socket.

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/partition"
	"github.com/tandembroker/tandem/broker/server"
	"github.com/tandembroker/tandem/protocol/wire"
)

const (
	fetchVersionSession = 7
	fetchVersionRack    = 11
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
	session   *fetchSession // that the request goes on with, or that its answer opens; nil = none
	expected  int32         // epoch that session must still have when this is answered; 0 = it is opened then
	sessionID int32         // of the answer
	h         *Handler
	request   *server.Request
	isolation partition.Isolation
	maxWait   time.Duration
	minBytes  int64
	maxBytes  int64
	rack      string // of the client
	code      int16  // of the whole request; nothing is read then
	topics    []fetchedTopic
	parts     []fetchedPartition // of all topics, in the order in which they are read

	bytes  int64 // of records in hand
	urgent bool  // an error, or nothing to wait for: answer now
}

type fetchedTopic struct {
	name string
	id   [16]byte
}

type fetchedPartition struct {
	topic    int              // index in topics
	cached   *cachedPartition // what the session has of it; nil without a session
	id       int32
	offset   int64
	epoch    int32 // current leader epoch that the client knows
	last     int32 // leader epoch of the last record that the client has, -1 = it does not say
	bytesMax int64
	p        *partition.Partition
	code     int16
	tried    bool // read is the outcome of a read
	// sent: the client is sent to preferred, the broker of its own site, which has what it wants.
	sent      bool
	preferred int32
	read      partition.Read
}

func (h *Handler) fetch(_ context.Context, r *server.Request) server.Reply {
	req := r.Body.(*kmsg.FetchRequest)
	maxBytes := min(int64(max(req.MaxBytes, 0)), int64(h.config.Network.FetchBytesMax))
	f := &fetchReply{
		h: h, request: r, isolation: partition.Isolation(req.IsolationLevel),
		maxWait:  time.Duration(max(req.MaxWaitMillis, 0)) * time.Millisecond,
		minBytes: min(int64(max(req.MinBytes, 0)), maxBytes), maxBytes: maxBytes,
		rack: req.Rack,
	}
	switch {
	case req.IsolationLevel != 0 && req.IsolationLevel != readCommitted:
		f.code = codeInvalidRequest
	default:
		f.begin(req)
	}
	r.Body = nil // the plan has all of it
	return f
}

// begin finds out what kind of request it is: full, with a session to come or without, or the next one of a session. Source:
// FetchManager.newContext.
func (f *fetchReply) begin(req *kmsg.FetchRequest) {
	version := f.request.Header.Version
	switch {
	case version < fetchVersionSession:
		f.plan(req)
	case req.SessionEpoch == sessionNew || req.SessionEpoch == sessionNone:
		if req.SessionID != 0 {
			f.h.sessions.close(req.SessionID) // a full request ends the session that it names
		}
		if req.SessionEpoch == sessionNew && req.ReplicaID < 0 && req.ReplicaState.ID < 0 {
			f.session = newFetchSession(version >= fetchVersionTopicID, f.h.now())
		}
		f.plan(req)
	default:
		f.session, f.code = f.h.sessions.resume(version, req)
		switch {
		case f.session != nil:
			f.planSession(req.SessionEpoch)
		case f.code == codeNone: // nothing is left to fetch in the session
			f.plan(req)
		}
	}
}

// planSession resolves what the session remembers.
func (f *fetchReply) planSession(epoch int32) {
	image := f.h.controller.Image()
	s := f.session
	f.expected, f.sessionID = nextSessionEpoch(epoch), s.id
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.parts, s.mu.spare = s.mu.spare[:0], nil; cap(f.parts) < len(s.mu.parts) {
		f.parts = make([]fetchedPartition, 0, len(s.mu.parts))
	}
	var topic *controller.Topic
	var code int16
	for c := s.mu.ring.next; c != &s.mu.ring; c = c.next {
		if n := len(f.topics); n == 0 || f.topics[n-1].name != c.fetchKey.topic || f.topics[n-1].id != c.fetchKey.id {
			f.topics = append(f.topics, fetchedTopic{name: c.fetchKey.topic, id: c.fetchKey.id})
			topic, code = f.topic(image, c.fetchKey.topic, c.fetchKey.id)
		}
		out := fetchedPartition{
			topic: len(f.topics) - 1, cached: c, id: c.fetchKey.partition, offset: c.offset, epoch: c.epoch, last: c.last,
			bytesMax: c.bytesMax, code: code,
		}
		if code == codeNone {
			out.p, out.code = f.locate(topic, out.id)
		}
		f.parts = append(f.parts, out)
	}
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
		topic, code := f.topic(image, t.Topic, t.TopicID)
		for j := range t.Partitions {
			p := &t.Partitions[j]
			out := fetchedPartition{
				topic: i, id: p.Partition, offset: p.FetchOffset, epoch: p.CurrentLeaderEpoch, last: p.LastFetchedEpoch,
				bytesMax: int64(max(p.PartitionMaxBytes, 0)), code: code,
			}
			if req.ReplicaID >= 0 || req.ReplicaState.ID >= 0 {
				out.code = codeReplicaNotAvailable
			} else if code == codeNone {
				out.p, out.code = f.locate(topic, p.Partition)
			}
			if s := f.session; s != nil {
				name := t.Topic
				if topic != nil {
					name = topic.Name // shared with all who fetch it
				}
				s.mu.Lock()
				out.cached = s.addLocked(s.key(name, t.TopicID, p.Partition))
				out.cached.ask(p)
				s.mu.Unlock()
			}
			f.parts = append(f.parts, out)
		}
		f.topics = append(f.topics, fetchedTopic{name: t.Topic, id: t.TopicID})
	}
}

// locate finds a partition to read: one that is led here, or whose log follows the other site's (KIP-392).
func (f *fetchReply) locate(t *controller.Topic, id int32) (p *partition.Partition, code int16) {
	p, code = f.h.locate(t, id)
	if code == codeNone && !f.h.sites.leads() && !(f.follower() && p.Follows()) {
		code = codeNotLeaderOrFollower
	}
	return p, code
}

// follower says that the client may be answered by a replica that follows. Source: FetchParams.fetchOnlyLeader.
func (f *fetchReply) follower() bool {
	return f.h.sites != nil && f.request.Header.Version >= fetchVersionRack
}

func (f *fetchReply) topic(image *controller.Image, name string, id [16]byte) (*controller.Topic, int16) {
	if f.request.Header.Version >= fetchVersionTopicID {
		if topic, ok := image.TopicByID(id); ok {
			return topic, codeNone
		}
		return nil, codeUnknownTopicID
	}
	if topic, ok := image.Topic(name); ok {
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
		at := partition.Position{Offset: p.offset, CurrentEpoch: p.epoch, LastEpoch: p.last, Follower: f.follower() && !f.h.sites.serves()}
		atLeastOne := f.bytes == had
		if p.preferred, p.sent = f.h.sites.nearest(f.rack, f.request.Listener, p.p, p.offset); p.sent {
			limit, atLeastOne, f.urgent = 0, false, true // there is nothing to wait for here
		}
		read, err := p.p.ReadAfter(at, limit, f.isolation, atLeastOne)
		p.release()
		p.read, p.tried = read, true
		f.bytes += read.Len() - had
		if err != nil {
			p.code = codeOf(err)
		}
		if err != nil || read.Diverging != nil || f.cutShort(&read) {
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
	if !p.tried || !p.p.Ready() && !p.p.Follows() {
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
	if f.expected != 0 { // the session's next request has as many
		clear(f.parts)
		f.session.mu.Lock()
		f.session.mu.spare = f.parts
		f.session.mu.Unlock()
		f.parts = nil
	}
}

// Send implements server.Reply: the bytes around the records from memory, the records from their files.
func (f *fetchReply) Send(w *server.Writer) error {
	h := f.request.Header
	resp, sent := f.respond()
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
	topic, from := 0, 0
	for i, s := range frame.Splices {
		for ; topic < s.Topic; topic++ {
			from += len(resp.Topics[topic].Partitions)
		}
		file, pos, n := f.parts[sent[from+s.Partition]].read.Extent.File()
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

// respond puts the answer together; sent are the parts that it has, in order. It is the moment at which a session is opened, or
// learns what its client has been told.
func (f *fetchReply) respond() (resp *wire.FetchResponse, sent []int) {
	resp = &wire.FetchResponse{SessionID: f.sessionID}
	if s := f.session; s != nil && f.code == codeNone {
		if f.expected == 0 {
			defer func() { resp.SessionID = f.h.sessions.open(s) }() // once it knows what it answers, and without its lock
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if f.expected != 0 && s.mu.epoch != f.expected {
			f.code = codeInvalidFetchSessionEpoch // another request of the session came meanwhile
		}
	}
	resp.ErrorCode = f.code
	if f.code != codeNone {
		return resp, nil
	}
	var parts []wire.FetchPartition
	if f.expected == 0 { // everything is answered
		parts, sent = make([]wire.FetchPartition, 0, len(f.parts)), make([]int, 0, len(f.parts))
		resp.Topics = make([]wire.FetchTopic, 0, len(f.topics))
	}
	last := -1
	for i := range f.answerOrder() {
		p := &f.parts[i]
		out := f.partition(p, resp)
		if p.cached != nil && !f.remember(p.cached, &out) {
			continue
		}
		parts, sent = append(parts, out), append(sent, i)
		if last < 0 || f.topics[p.topic] != f.topics[last] { // a session may have a topic in two places
			last = p.topic
			resp.Topics = append(resp.Topics, wire.FetchTopic{Topic: f.topics[last].name, TopicID: f.topics[last].id})
		}
		t := &resp.Topics[len(resp.Topics)-1]
		t.Partitions = parts[len(parts)-1-len(t.Partitions):]
	}
	from := 0
	for i := range resp.Topics { // parts has moved while it grew
		t := &resp.Topics[i]
		t.Partitions = parts[from : from+len(t.Partitions)]
		from += len(t.Partitions)
	}
	return resp, sent
}

// answerOrder gives the indexes of the parts in the order in which they are answered: behind the rest comes what is not found,
// first by its topic's id, then by name, as in Kafka.
func (f *fetchReply) answerOrder() iter.Seq[int] {
	return func(yield func(int) bool) {
		var late [3]int
		for i := range f.parts {
			rank := f.parts[i].notFound()
			late[rank]++
			if rank == 0 && !yield(i) {
				return
			}
		}
		for rank := 1; rank < len(late); rank++ {
			for i := range f.parts {
				if late[rank] > 0 && f.parts[i].notFound() == rank && !yield(i) {
					return
				}
			}
		}
	}
}

// notFound is 1 for an unknown topic id, 2 for an unknown name or partition, 0 for what exists.
func (p *fetchedPartition) notFound() int {
	switch {
	case p.p != nil:
		return 0
	case p.code == codeUnknownTopicID:
		return 1
	case p.code == codeUnknownTopicOrPartition:
		return 2
	}
	return 0
}

// remember notes an answer in the session; false = it need not be sent. In the answer to a full request everything is.
func (f *fetchReply) remember(c *cachedPartition, out *wire.FetchPartition) bool {
	changed := c.answer(out)
	if f.expected == 0 { // the session begins in the order of its first answer
		unlink(c)
		f.session.linkLocked(c)
		return true
	}
	if out.RecordsBytes > 0 { // others come first next time
		unlink(c)
		f.session.linkLocked(c)
	}
	return changed
}

// partition is the answer for one partition.
func (f *fetchReply) partition(p *fetchedPartition, resp *wire.FetchResponse) wire.FetchPartition {
	out := wire.NewFetchPartition(p.id, f.h.fail("Fetch", p.code))
	if p.code != codeNone {
		out.AbortedNull = p.notFound() == 0 // empty, not null, for what is not found; as in Kafka, whose schema has that default
		if p.code == codeNotLeaderOrFollower || p.code == codeFencedLeaderEpoch {
			f.hint(p, &out, resp)
		}
		return out
	}
	out.HighWatermark, out.LastStableOffset, out.LogStartOffset = p.read.HW, p.read.LSO, p.read.LogStart
	out.RecordsBytes = p.read.Len()
	if p.sent {
		out.PreferredReadReplica = p.preferred
	}
	if d := p.read.Diverging; d != nil {
		out.DivergingEpoch = &wire.EpochEndOffset{Epoch: d.Epoch, EndOffset: d.End}
	}
	if f.isolation == partition.ReadCommitted {
		out.AbortedNull = p.read.Aborted == nil
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
