package handler

// OffsetDelete (key 47), version 0. Offsets of a topic that members of the group consume stay: GROUP_SUBSCRIBED_TO_TOPIC.

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/group"
	"github.com/tandembroker/tandem/broker/server"
)

func (h *Handler) offsetDelete(_ context.Context, r *server.Request) server.Reply {
	req := r.Body.(*kmsg.OffsetDeleteRequest)
	resp := kmsg.NewPtrOffsetDeleteResponse()
	var (
		list   []group.TopicPartition
		places []place
	)
	image := h.controller.Image()
	resp.Topics = make([]kmsg.OffsetDeleteResponseTopic, 0, len(req.Topics))
	for i := range req.Topics {
		t := &req.Topics[i]
		topic := kmsg.NewOffsetDeleteResponseTopic()
		topic.Topic, topic.Partitions = t.Topic, make([]kmsg.OffsetDeleteResponseTopicPartition, 0, len(t.Partitions))
		if _, ok := image.Topic(t.Topic); ok { // the group will be asked about its partitions
			list, places = slices.Grow(list, len(t.Partitions)), slices.Grow(places, len(t.Partitions))
		}
		for j := range t.Partitions {
			out := kmsg.NewOffsetDeleteResponseTopicPartition()
			out.Partition = t.Partitions[j].Partition
			if _, ok := named(image, t.Topic, out.Partition); ok {
				list, places = append(list, group.TopicPartition{Topic: t.Topic, Partition: out.Partition}), append(places, place{i, j})
			} else {
				out.ErrorCode = h.fail("OffsetDelete", codeUnknownTopicOrPartition)
			}
			topic.Partitions = append(topic.Partitions, out)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	// The group is asked even where nothing is left to delete: what is wrong with it goes before unknown topics, as in Kafka.
	reply := meet(r, committed{err: group.ErrCoordinatorNotAvailable}, func(c committed) kmsg.Response {
		if c.err = h.sites.settled(c.err); c.err != nil {
			resp.ErrorCode, resp.Topics = h.fail("OffsetDelete", codeOf(c.err)), nil
			return resp
		}
		for i, p := range places {
			resp.Topics[p.topic].Partitions[p.partition].ErrorCode = h.fail("OffsetDelete", codeOf(c.each[i]))
		}
		return resp
	})
	reply.patience = h.config.Groups.CommitTimeout
	h.offsets.DeleteOffsets(req.Group, list, func(each []error, err error) { reply.reply(committed{each, err}) })
	return reply
}
