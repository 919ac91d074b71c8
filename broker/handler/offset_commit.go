package handler

// OffsetCommit (key 8), versions 2 to 9.
//
//	2-4  retention of the offsets     6  leader epochs     7  group instance id     8  flexible
//	9    the codes of the new consumer protocol; before, a member's commit to an unknown group is ILLEGAL_GENERATION
//
// A group that nobody has joined may have offsets too (generation -1). The answer waits until the log has the offsets, for
// offsets.commit.timeout.ms.

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/group"
	"github.com/tandembroker/tandem/broker/server"
)

const commitVersionNotFound = 9

// committed is what the group says to a commit.
type committed struct {
	each []error
	err  error
}

func (h *Handler) offsetCommit(_ context.Context, r *server.Request) server.Reply {
	req, version := r.Body.(*kmsg.OffsetCommitRequest), r.Header.Version
	resp, commit, places := h.commitOf(req)
	finish := func(c committed) kmsg.Response {
		c.err = h.sites.settled(c.err)
		if errors.Is(c.err, group.ErrGroupIDNotFound) && version < commitVersionNotFound {
			c.err = fmt.Errorf("%w: %w", group.ErrIllegalGeneration, c.err)
		}
		for i, p := range places {
			err := c.err
			if err == nil {
				err = c.each[i]
			}
			resp.Topics[p.topic].Partitions[p.partition].ErrorCode = h.fail("OffsetCommit", codeOf(err))
		}
		return resp
	}
	if len(places) == 0 { // the group is not asked, as in Kafka
		return server.Respond(r.Header, finish(committed{}))
	}
	reply := meet(r, committed{err: group.ErrCoordinatorNotAvailable}, finish)
	reply.patience = h.config.Groups.CommitTimeout
	h.offsets.Commit(commit, func(each []error, err error) { reply.reply(committed{each, err}) })
	return reply
}

// place is where in a response the answer to one partition goes.
type place struct{ topic, partition int }

// commitOf is the response, with the partitions that do not exist answered already; what the group is to commit; and where in the
// response its answers go.
func (h *Handler) commitOf(req *kmsg.OffsetCommitRequest) (*kmsg.OffsetCommitResponse, group.CommitRequest, []place) {
	resp := kmsg.NewPtrOffsetCommitResponse()
	commit := group.CommitRequest{
		GroupID: req.Group, MemberID: req.MemberID, InstanceID: req.InstanceID, Generation: req.Generation,
		RetentionMs: req.RetentionTimeMillis,
	}
	var places []place
	image := h.controller.Image()
	resp.Topics = make([]kmsg.OffsetCommitResponseTopic, 0, len(req.Topics))
	for i := range req.Topics {
		t := &req.Topics[i]
		topic := kmsg.NewOffsetCommitResponseTopic()
		topic.Topic, topic.Partitions = t.Topic, make([]kmsg.OffsetCommitResponseTopicPartition, 0, len(t.Partitions))
		if _, ok := image.Topic(t.Topic); ok { // its partitions will be asked about
			commit.Offsets = slices.Grow(commit.Offsets, len(t.Partitions))
			places = slices.Grow(places, len(t.Partitions))
		}
		for j := range t.Partitions {
			p := &t.Partitions[j]
			out := kmsg.NewOffsetCommitResponseTopicPartition()
			out.Partition = p.Partition
			if id, ok := named(image, t.Topic, p.Partition); ok {
				commit.Offsets = append(commit.Offsets, group.Commit{
					TopicPartition: group.TopicPartition{Topic: t.Topic, Partition: p.Partition}, TopicID: id,
					Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, Metadata: deref(p.Metadata),
				})
				places = append(places, place{i, j})
			} else {
				out.ErrorCode = h.fail("OffsetCommit", codeUnknownTopicOrPartition)
			}
			topic.Partitions = append(topic.Partitions, out)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp, commit, places
}

// named reports whether a partition is in the metadata, and the id of its topic.
func named(image *controller.Image, topic string, id int32) (uuid.UUID, bool) {
	t, ok := image.Topic(topic)
	if !ok || !t.Has(id) {
		return noTopicID, false
	}
	return t.ID, true
}
