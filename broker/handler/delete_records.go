package handler

// DeleteRecords (key 21), versions 0 to 2.
//
//	2  flexible
//
// The log start offset moves to the offset, -1 = the high watermark, never back, and is answered as low watermark: this broker's
// replicas are all there are. It moves by an entry in the partition's Raft log; segments below it go with the next step of
// retention. Records of Kafka's internal topics cannot be deleted. Source: ReplicaManager.deleteRecordsOnLocalLog.

import (
	"context"
	"errors"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/controller"
)

const (
	lowWatermarkUnknown = -1

	// deletesMax is how many partitions of a request are worked on at a time: enough to share the journal's syncs.
	deletesMax = 64
)

func (h *Handler) deleteRecords(ctx context.Context, c call[*kmsg.DeleteRecordsRequest]) kmsg.Response {
	ctx, cancel := deadline(ctx, c.req.TimeoutMillis)
	defer cancel()
	resp := kmsg.NewPtrDeleteRecordsResponse()
	image := h.controller.Image()
	slots := make(chan struct{}, deletesMax)
	var wait sync.WaitGroup
	resp.Topics = make([]kmsg.DeleteRecordsResponseTopic, len(c.req.Topics))
	for i := range c.req.Topics {
		t := &c.req.Topics[i]
		out := &resp.Topics[i]
		out.Topic, out.Partitions = t.Topic, make([]kmsg.DeleteRecordsResponseTopicPartition, len(t.Partitions))
		for j, p := range t.Partitions {
			slots <- struct{}{}
			wait.Go(func() { // ends with the proposal, or with ctx
				defer func() { <-slots }()
				out.Partitions[j] = h.deleteBelow(ctx, image, t.Topic, p.Partition, p.Offset)
			})
		}
	}
	wait.Wait()
	return resp
}

func (h *Handler) deleteBelow(ctx context.Context, image *controller.Image, topic string, id int32, offset int64) kmsg.DeleteRecordsResponseTopicPartition {
	out := kmsg.NewDeleteRecordsResponseTopicPartition()
	out.Partition, out.LowWatermark = id, lowWatermarkUnknown
	p, code := h.lookupLed(image, topic, id)
	if code != codeUnknownTopicOrPartition && controller.IsInternal(topic) {
		code = codeInvalidTopic
	}
	if code == codeNone {
		start, err := p.DeleteRecords(ctx, offset)
		switch code = codeOf(err); {
		case err == nil && !h.sites.mayAcknowledge():
			code = codeNotLeaderOrFollower
		case err == nil:
			out.LowWatermark = start
		case ctx.Err() != nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)):
			code = codeRequestTimedOut // it may happen yet
		}
	}
	out.ErrorCode = h.fail("DeleteRecords", code)
	return out
}
