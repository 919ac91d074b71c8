package handler

// OffsetForLeaderEpoch (key 23), versions 2 to 4.
//
// The largest leader epoch at or below the requested one, and the offset behind its last record; -1 and -1 where there is none.
// Consumers compare it with their position to find out that a leader lost records.

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (h *Handler) offsetForLeaderEpoch(_ context.Context, c call[*kmsg.OffsetForLeaderEpochRequest]) kmsg.Response {
	resp := kmsg.NewPtrOffsetForLeaderEpochResponse()
	image := h.controller.Image()
	for _, t := range c.req.Topics {
		topic := kmsg.NewOffsetForLeaderEpochResponseTopic()
		topic.Topic = t.Topic
		for _, p := range t.Partitions {
			out := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			out.Partition, out.LeaderEpoch, out.EndOffset = p.Partition, noEpoch, -1
			found, code := h.lookupLed(image, t.Topic, p.Partition)
			if code == codeNone {
				epoch, end, err := found.EpochEnd(p.CurrentLeaderEpoch, p.LeaderEpoch)
				if code = codeOf(err); err == nil {
					out.LeaderEpoch, out.EndOffset = epoch, end
				}
			}
			out.ErrorCode = h.fail("OffsetForLeaderEpoch", code)
			topic.Partitions = append(topic.Partitions, out)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}
