package handler

// DescribeTopicPartitions (key 75), version 0.
//
// What kafka-topics --describe asks since Kafka 3.8 (KIP-966): topics in order of their names, no topics = all, up to a limit of
// partitions; the cursor of the answer says where the next request goes on, and its topic is named whether it exists or not. Raft
// keeps no list of replicas that are eligible beside those in sync: both lists are empty. Source:
// DescribeTopicPartitionsRequestHandler, KRaftMetadataCache.getDescribeTopicPartitionsResponse.

import (
	"context"
	"math"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/controller"
)

func (h *Handler) describeTopicPartitions(_ context.Context, c call[*kmsg.DescribeTopicPartitionsRequest]) kmsg.Response {
	resp := kmsg.NewPtrDescribeTopicPartitionsResponse()
	resp.Topics = []kmsg.DescribeTopicPartitionsResponseTopic{}
	image := h.controller.Image()
	all := len(c.req.Topics) == 0
	names, ok := describedNames(image, c.req)
	if !ok {
		for _, t := range c.req.Topics {
			out := h.undescribed(t.Topic, codeInvalidRequest)
			out.AuthorizedOperations = math.MinInt32
			resp.Topics = append(resp.Topics, out)
		}
		return resp
	}
	remaining := max(min(int(c.req.ResponsePartitionLimit), h.config.Network.PartitionsPerRequest), 1)
	for _, name := range names {
		if remaining == 0 {
			resp.NextCursor = cursorAt(name, 0)
			break
		}
		t, known := image.Topic(name)
		if !known {
			if !all {
				resp.Topics = append(resp.Topics, h.undescribed(name, h.missingCode(name)))
			}
			continue
		}
		first := 0
		if cursor := c.req.Cursor; cursor != nil && cursor.Topic == name {
			first = min(int(cursor.Partition), len(t.Partitions))
		}
		end := min(len(t.Partitions), first+remaining)
		resp.Topics = append(resp.Topics, h.describedTopic(t, first, end))
		if end < len(t.Partitions) {
			resp.NextCursor = cursorAt(name, int32(end))
			break
		}
		remaining -= end - first
	}
	return resp
}

// describedNames lists the topics from the cursor's on, in order; ok is false for a cursor that points nowhere.
func describedNames(image *controller.Image, req *kmsg.DescribeTopicPartitionsRequest) (names []string, ok bool) {
	from := ""
	if req.Cursor != nil {
		from = req.Cursor.Topic
		if req.Cursor.Partition < 0 {
			return nil, false
		}
	}
	if len(req.Topics) == 0 {
		topics := image.Topics()
		first, _ := slices.BinarySearchFunc(topics, from, func(t *controller.Topic, name string) int { return strings.Compare(t.Name, name) })
		for _, t := range topics[first:] {
			names = append(names, t.Name)
		}
		return names, true
	}
	for _, t := range req.Topics {
		if t.Topic >= from {
			names = append(names, t.Topic)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return names, req.Cursor == nil || slices.Contains(names, from)
}

func (h *Handler) describedTopic(t *controller.Topic, first, end int) kmsg.DescribeTopicPartitionsResponseTopic {
	out := kmsg.NewDescribeTopicPartitionsResponseTopic()
	out.Topic, out.TopicID, out.IsInternal, out.AuthorizedOperations = text(t.Name), t.ID, controller.IsInternal(t.Name), topicOperations
	out.Partitions = make([]kmsg.DescribeTopicPartitionsResponseTopicPartition, 0, end-first)
	for i := first; i < end; i++ {
		p := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
		at := h.placement(t, int32(i))
		p.Partition, p.Replicas, p.ISR, p.OfflineReplicas, p.ErrorCode = int32(i), at.replicas, at.isr, at.offline, at.code
		p.LeaderID, p.LeaderEpoch = at.leader, at.epoch
		p.EligibleLeaderReplicas, p.LastKnownELR = []int32{}, []int32{}
		out.Partitions = append(out.Partitions, p)
	}
	return out
}

func (h *Handler) undescribed(name string, code int16) kmsg.DescribeTopicPartitionsResponseTopic {
	out := kmsg.NewDescribeTopicPartitionsResponseTopic()
	out.ErrorCode, out.Topic, out.IsInternal = h.fail("DescribeTopicPartitions", code), text(name), controller.IsInternal(name)
	out.AuthorizedOperations = topicOperations
	out.Partitions = []kmsg.DescribeTopicPartitionsResponseTopicPartition{}
	return out
}

func cursorAt(topic string, partition int32) *kmsg.DescribeTopicPartitionsResponseNextCursor {
	cursor := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
	cursor.Topic, cursor.Partition = topic, partition
	return &cursor
}
