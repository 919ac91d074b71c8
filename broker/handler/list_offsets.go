package handler

// ListOffsets (key 2), versions 1 to 11.
//
//	4  leader epochs        6  flexible        7  -3, the largest timestamp
//	8  -4, earliest on this broker: earliest, without tiered storage
//	9  -5, latest tiered: none                 11 -6, earliest not uploaded yet: none
//
// A special timestamp below its version gets UNSUPPORTED_VERSION, a partition named twice INVALID_REQUEST. No match is no error:
// offset and timestamp are -1.

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/partition"
)

// timestampVersions is the first version that knows a special timestamp. Source: ReplicaManager.
var timestampVersions = map[int64]int16{
	partition.LatestTimestamp:                1,
	partition.EarliestTimestamp:              1,
	partition.MaxTimestamp:                   7,
	partition.EarliestLocalTimestamp:         8,
	partition.LatestTieredTimestamp:          9,
	partition.EarliestPendingUploadTimestamp: 11,
}

type topicPartition struct {
	topic string
	id    int32
}

func (h *Handler) listOffsets(_ context.Context, c call[*kmsg.ListOffsetsRequest]) kmsg.Response {
	resp := kmsg.NewPtrListOffsetsResponse()
	image := h.controller.Image()
	named, answered := map[topicPartition]int{}, map[topicPartition]bool{}
	for _, t := range c.req.Topics {
		for _, p := range t.Partitions {
			named[topicPartition{t.Topic, p.Partition}]++
		}
	}
	for _, t := range c.req.Topics {
		topic := kmsg.NewListOffsetsResponseTopic()
		topic.Topic = t.Topic
		for _, p := range t.Partitions {
			key := topicPartition{t.Topic, p.Partition}
			if answered[key] {
				continue
			}
			out := kmsg.NewListOffsetsResponseTopicPartition()
			out.Partition, out.Offset, out.Timestamp, out.LeaderEpoch = p.Partition, -1, -1, noEpoch
			if named[key] > 1 { // answered once, as in Kafka
				out.ErrorCode, answered[key] = codeInvalidRequest, true
			} else {
				h.listOffset(image, c, t.Topic, &p, &out)
			}
			h.fail("ListOffsets", out.ErrorCode)
			topic.Partitions = append(topic.Partitions, out)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

func (h *Handler) listOffset(image *controller.Image, c call[*kmsg.ListOffsetsRequest], topic string,
	p *kmsg.ListOffsetsRequestTopicPartition, out *kmsg.ListOffsetsResponseTopicPartition) {
	if p.Timestamp < 0 {
		if first, ok := timestampVersions[p.Timestamp]; !ok || c.version < first {
			out.ErrorCode = codeUnsupportedVersion
			return
		}
	}
	found, code := h.lookupLed(image, topic, p.Partition)
	if code != codeNone {
		out.ErrorCode = code
		return
	}
	isolation := partition.ReadUncommitted
	if c.req.IsolationLevel == readCommitted {
		isolation = partition.ReadCommitted
	}
	offset, timestamp, epoch, err := found.ListOffset(p.Timestamp, isolation, p.CurrentLeaderEpoch)
	if err != nil {
		out.ErrorCode = codeOf(err)
		return
	}
	out.Offset, out.Timestamp, out.LeaderEpoch = offset, timestamp, epoch
}
