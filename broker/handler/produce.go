package handler

// Produce (key 0), versions 3 to 12.
//
//	3  record batches of magic 2 only, as in every version here
//	5  log start offset in the answer
//	7  zstd
//	8  errors of single records and a message (KIP-467)
//	9  flexible
//	10 the new leader with NOT_LEADER_OR_FOLLOWER (KIP-951)
//	12 a transactional produce may add its partition to the transaction; no transactions here yet
//
// Versions 0 to 2 are advertised and close the connection, as in Kafka (wire's table says why). acks=0 gets no answer, and an
// error closes the connection, the only way to tell. acks=1 waits for the leader's own log, acks=all for the commit. A produce
// is pipelined: the appends start when it arrives, in the order of arrival, and its reply waits for them.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/partition"
	"github.com/tandembroker/tandem/broker/server"
	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/protocol/wire"
)

const (
	acksAll  = -1
	acksNone = 0
	acksOne  = 1

	produceVersionMessage = 8
	produceVersionLeader  = 10

	// adminClientID may write to internal topics. Source: KafkaApis.handleProduceRequest.
	adminClientID = "__admin_client"
)

// produceReply waits for the appends of one request.
type produceReply struct {
	h        *Handler
	header   wire.RequestHeader
	listener string
	arrived  time.Time
	acks     int16
	timeout  time.Duration // from arrival, of acks=all
	topics   []producedTopic
	expired  bool // the time is up, or the connection ended
	safe     bool // what is written may be called so, at the moment when the answer leaves
}

type producedTopic struct {
	name       string
	partitions []producedPartition
}

// producedPartition is one batch: refused at once (err, code), or on its way (append).
type producedPartition struct {
	id      int32
	p       *partition.Partition
	append  *partition.Append
	records int
	bytes   int
	code    int16
	err     error // for its text; nil where the code says all
	// reached: the request as such was in order, so that some errors come with the start of the log.
	reached bool
}

func (h *Handler) produce(ctx context.Context, r *server.Request) server.Reply {
	req := r.Body.(*kmsg.ProduceRequest)
	reply := &produceReply{
		h: h, header: r.Header, listener: r.Listener, arrived: r.Arrived, acks: req.Acks,
		timeout: time.Duration(max(req.TimeoutMillis, 0)) * time.Millisecond,
		topics:  make([]producedTopic, len(req.Topics)),
	}
	image := h.controller.Image()
	refused := refusedAsAWhole(req)
	for i := range req.Topics {
		t := &req.Topics[i]
		reply.topics[i] = producedTopic{name: t.Topic, partitions: make([]producedPartition, len(t.Partitions))}
		topic, known := image.Topic(t.Topic)
		for j := range t.Partitions {
			out := &reply.topics[i].partitions[j]
			out.id = t.Partitions[j].Partition
			switch {
			case refused != codeNone:
				out.code = refused
			case !known:
				out.code = codeUnknownTopicOrPartition
			default:
				h.append(ctx, out, topic, r, req, t.Partitions[j].Records)
			}
		}
	}
	return reply
}

// refusedAsAWhole is the code that Kafka refuses a whole request with, before it looks at topics: where there is a batch whose first bytes
// are none, or a transactional one and no transaction named. Source: KafkaApis.handleProduceRequest, RequestUtils.flag.
func refusedAsAWhole(req *kmsg.ProduceRequest) int16 {
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			batch, _, err := record.Next(req.Topics[i].Partitions[j].Records)
			switch {
			case errors.Is(err, record.ErrCorrupt):
				return codeCorruptMessage
			case err == nil && batch.IsTransactional() && req.TransactionID == nil:
				return codeTxnIDForbidden
			case err == nil && batch.IsTransactional():
				return codeNone // found what it looks for
			}
		}
	}
	return codeNone
}

// append checks the records of one partition and hands them in. The order of checks is Kafka's, so that what is wrong in two ways gets
// its error. Source: KafkaApis.handleProduceRequest, ReplicaManager.appendRecords.
func (h *Handler) append(ctx context.Context, out *producedPartition, topic *controller.Topic, r *server.Request, req *kmsg.ProduceRequest, records []byte) {
	acks := req.Acks
	if out.p, out.code = h.locateLed(topic, out.id); out.code == codeUnknownTopicOrPartition {
		return
	}
	batch, err := record.Single(records, r.Header.Version)
	if err != nil {
		out.err, out.code = err, codeOf(err)
		return
	}
	switch {
	case acks < acksAll || acks > acksOne:
		out.code = codeInvalidRequiredAcks
		return
	case out.code != codeNone: // being created, or led elsewhere
		if out.p != nil {
			out.p.Refused(batch)
		}
		return
	case controller.IsInternal(topic.Name) && r.Header.ClientID != adminClientID:
		out.code = codeInvalidTopic
		return
	case batch.IsTransactional() && !batch.IsControl():
		// No transaction can be under way: there is no coordinator yet. Kafka says so where it finds none (KIP-890).
		out.code = codeInvalidTxnState
		return
	}
	out.reached = true
	if err := h.bound(ctx, out.p, r.Arrived, time.Duration(req.TimeoutMillis)*time.Millisecond); err != nil {
		out.p.Refused(batch)
		out.err, out.code = err, codeOf(err)
		return
	}
	if err := batch.ValidateProduce(out.p.Limits()); err != nil {
		out.err, out.code = err, codeOf(err)
		return
	}
	release, err := h.repack(out.p, &batch, r)
	if err != nil {
		out.err, out.code = err, codeOf(err)
		return
	}
	if s := topic.Config.SegmentBytes; s > 0 && int64(batch.Length()) > s {
		out.code = codeRecordListTooLarge
		release()
		return
	}
	out.records, out.bytes = int(batch.RecordCount()), batch.Length()
	out.append = out.p.Append(batch, release)
}

// repack packs a batch as its topic wants it, where that is another codec than its own. release gives back the memory of the batch
// when it is stored.
func (h *Handler) repack(p *partition.Partition, batch *record.Batch, r *server.Request) (release func(), err error) {
	want, ok := p.Compression()
	if !ok || want.Codec == batch.Codec() {
		r.Frame.Retain()
		return r.Frame.Release, nil
	}
	c := p.Config()
	repacked, err := batch.Recompress(want, c.MessageBytesMax, min(int64(c.DecompressedBytesMax), record.DecompressedMax))
	if err != nil {
		return nil, err
	}
	*batch = repacked // of memory of its own
	return func() {}, nil
}

// settled is closed when the answer for an append is known.
func (r *produceReply) settled(a *partition.Append) <-chan struct{} {
	if r.acks == acksAll {
		return a.Done()
	}
	return a.Stored()
}

// Ready implements server.Reply.
func (r *produceReply) Ready() bool {
	for i := range r.topics {
		for j := range r.topics[i].partitions {
			if a := r.topics[i].partitions[j].append; a != nil && !closed(r.settled(a)) {
				return false
			}
		}
	}
	return !r.awaitsLeader()
}

// Wait implements server.Reply. acks=0 waits too, for the leader's log, though its client does not: an error must still close
// the connection, and what a client has in flight must be bounded. The request's timeout is for acks=all only, as in Kafka.
func (r *produceReply) Wait(ctx context.Context) { r.WaitUntil(ctx, nil) }

// WaitUntil implements server.SoonReply.
func (r *produceReply) WaitUntil(ctx context.Context, late <-chan time.Time) bool {
	var timeout <-chan time.Time
	if r.acks == acksAll && !r.Ready() {
		timer := time.NewTimer(r.timeout - r.h.now().Sub(r.arrived))
		defer timer.Stop()
		timeout = timer.C
	}
	for i := range r.topics {
		for j := range r.topics[i].partitions {
			a := r.topics[i].partitions[j].append
			if a == nil {
				continue
			}
			select {
			case <-r.settled(a):
				continue
			default:
			}
			select {
			case <-r.settled(a):
			case <-late:
				return false
			case <-timeout:
				r.expired = true
				return true
			case <-ctx.Done():
				r.expired = true
				return true
			}
		}
	}
	return r.waitLeader(ctx, late)
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Done implements server.Reply: the frame is held by the partitions, not by the reply.
func (r *produceReply) Done() {}

// Send implements server.Reply.
func (r *produceReply) Send(w *server.Writer) error {
	resp := kmsg.NewPtrProduceResponse()
	resp.Topics = make([]kmsg.ProduceResponseTopic, len(r.topics))
	r.safe = r.h.sites.mayAcknowledge()
	var failed error
	took := r.h.now().Sub(r.arrived)
	for i := range r.topics {
		t := &r.topics[i]
		out := &resp.Topics[i]
		*out = kmsg.NewProduceResponseTopic()
		out.Topic = t.name
		out.Partitions = make([]kmsg.ProduceResponseTopicPartition, len(t.partitions))
		for j := range t.partitions {
			p := &t.partitions[j]
			out.Partitions[j] = r.partition(p, resp)
			if out.Partitions[j].ErrorCode == codeNone {
				r.h.metrics.Produced(p.records, p.bytes, took)
			} else if failed == nil {
				failed = fmt.Errorf("%w: produce to %q partition %d with acks=0: error code %d", server.ErrClose, t.name, p.id, p.code)
			}
		}
	}
	if r.acks == acksNone {
		return failed
	}
	if err := w.Response(r.header.CorrelationID, r.header.Version, resp); err != nil {
		return err
	}
	return r.h.sites.outlasted()
}

// partition is the answer for one batch.
func (r *produceReply) partition(p *producedPartition, resp *kmsg.ProduceResponse) kmsg.ProduceResponseTopicPartition {
	out := kmsg.NewProduceResponseTopicPartition()
	out.Partition, out.BaseOffset, out.LogAppendTime, out.LogStartOffset = p.id, -1, -1, -1
	if p.append != nil {
		r.collect(p, &out)
	}
	out.ErrorCode = r.h.fail("Produce", p.code)
	if p.code == codeNone {
		return out
	}
	if p.reached && tellsLogStart(p.code) {
		out.LogStartOffset, _, _, _ = p.p.Offsets()
	}
	if r.header.Version >= produceVersionMessage {
		describeRecordError(p, &out)
	}
	if p.code == codeNotLeaderOrFollower && r.header.Version >= produceVersionLeader {
		r.hint(p.p, &out, resp)
	}
	return out
}

// tellsLogStart says whether an error comes with the start of the log, as in ReplicaManager.appendRecordsToLocalLog.
func tellsLogStart(code int16) bool {
	switch code {
	case codeUnknownTopicOrPartition, codeNotLeaderOrFollower, codeMessageTooLarge, codeRecordListTooLarge, codeCorruptMessage, codeKafkaStorage,
		codeRequestTimedOut:
		return false
	}
	return true
}

// collect takes the outcome of an append. One that is still under way has run out of time: it may be written yet.
func (r *produceReply) collect(p *producedPartition, out *kmsg.ProduceResponseTopicPartition) {
	if r.expired && !closed(r.settled(p.append)) {
		p.code = codeRequestTimedOut
		return
	}
	appended, err := p.append.Result()
	if p.err, p.code = err, codeOf(err); err != nil {
		return
	}
	if !r.safe { // written, and perhaps lost: another site may have taken over
		p.code = codeNotLeaderOrFollower
		return
	}
	out.BaseOffset, out.LogAppendTime, out.LogStartOffset = appended.BaseOffset, appended.LogAppendTimeMs, appended.LogStartOffset
}

// describeRecordError says which records were refused and why (KIP-467).
func describeRecordError(p *producedPartition, out *kmsg.ProduceResponseTopicPartition) {
	var bad *record.RecordError
	if errors.As(p.err, &bad) {
		for _, refused := range append([]record.RecordError{*bad}, bad.More...) {
			e := kmsg.NewProduceResponseTopicPartitionErrorRecord()
			e.RelativeOffset, e.ErrorMessage = refused.Index, text(refused.Reason)
			out.ErrorRecords = append(out.ErrorRecords, e)
		}
		out.ErrorMessage = text("One or more records have been rejected")
		return
	}
	out.ErrorMessage = messageOf(p.err)
	if p.append == nil && errors.Is(p.err, record.ErrTooLarge) { // of the batch alone: the size and the limit that it is above
		out.ErrorMessage = text(p.err.Error())
	}
}

// awaitsLeader says that a batch was refused because the other site is taking over, and that it is not known yet who leads there. A client
// that is told at once finds no new leader in the metadata either, and some look again only after seconds (franz-go 5 s).
func (r *produceReply) awaitsLeader() bool {
	if !r.h.sites.settling() || r.acks == acksNone || r.header.Version < produceVersionLeader || r.h.now().Sub(r.arrived) >= handoverWait {
		return false
	}
	for i := range r.topics {
		for j := range r.topics[i].partitions {
			p := &r.topics[i].partitions[j]
			code := p.code
			if p.append != nil {
				if !closed(r.settled(p.append)) {
					continue
				}
				_, err := p.append.Result()
				code = codeOf(err)
			}
			if code != codeNotLeaderOrFollower || p.p == nil {
				continue
			}
			if _, _, _, ok := r.h.newLeader(p.p, r.listener); !ok {
				return true
			}
		}
	}
	return false
}

// waitLeader waits while awaitsLeader holds. It returns false when late came first.
func (r *produceReply) waitLeader(ctx context.Context, late <-chan time.Time) bool {
	if !r.awaitsLeader() {
		return true
	}
	tick := time.NewTicker(handoverLook)
	defer tick.Stop()
	for r.awaitsLeader() {
		select {
		case <-tick.C:
		case <-late:
			return false
		case <-ctx.Done():
			return true
		}
	}
	return true
}

// hint names the leader (KIP-951).
func (r *produceReply) hint(p *partition.Partition, out *kmsg.ProduceResponseTopicPartition, resp *kmsg.ProduceResponse) {
	leader, epoch, node, ok := r.h.newLeader(p, r.listener)
	if !ok {
		return
	}
	out.CurrentLeader.LeaderID, out.CurrentLeader.LeaderEpoch = leader, epoch
	if len(resp.Brokers) > 0 {
		return
	}
	b := kmsg.NewProduceResponseBroker()
	b.NodeID, b.Host, b.Port, b.Rack = node.node, node.host, node.port, node.rackPointer()
	resp.Brokers = append(resp.Brokers, b)
}
