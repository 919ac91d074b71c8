package handler

// CreatePartitions (key 37), versions 0 to 3.
//
// An answer comes when the new partitions lead, or with REQUEST_TIMED_OUT at the request's timeout, and they are then still
// created.

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/controller"
)

func (h *Handler) createPartitions(ctx context.Context, c call[*kmsg.CreatePartitionsRequest]) kmsg.Response {
	ctx, cancel := deadline(ctx, c.req.TimeoutMillis)
	defer cancel()
	topics := make([]controller.MorePartitions, len(c.req.Topics))
	for i, t := range c.req.Topics {
		topics[i] = controller.MorePartitions{Topic: t.Topic, Count: t.Count}
		if t.Assignment != nil {
			topics[i].Assignments = make([][]int32, 0, len(t.Assignment))
			for _, a := range t.Assignment {
				topics[i].Assignments = append(topics[i].Assignments, a.Replicas)
			}
		}
	}
	resp := kmsg.NewPtrCreatePartitionsResponse()
	named := map[string]bool{}
	results := h.change(len(topics), func() []error { return h.controller.CreatePartitions(ctx, topics, c.req.ValidateOnly) })
	for i, err := range results {
		if named[topics[i].Topic] {
			continue // a name that comes twice has one answer
		}
		named[topics[i].Topic] = true
		out := kmsg.NewCreatePartitionsResponseTopic()
		out.Topic, out.ErrorCode = topics[i].Topic, h.fail("CreatePartitions", codeOf(err))
		if err != nil {
			out.ErrorMessage = messageOf(err)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}
