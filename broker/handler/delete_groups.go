package handler

// DeleteGroups (key 42), versions 0 to 2.
//
//	2  flexible
//
// A group with members is NON_EMPTY_GROUP. A group that is named twice is answered once, as in Kafka.

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/group"
	"github.com/tandembroker/tandem/broker/server"
)

func (h *Handler) deleteGroups(_ context.Context, r *server.Request) server.Reply {
	ids := distinct(r.Body.(*kmsg.DeleteGroupsRequest).Groups)
	unknown := make([]error, len(ids))
	for i := range unknown {
		unknown[i] = group.ErrCoordinatorNotAvailable
	}
	reply := meet(r, unknown, func(each []error) kmsg.Response {
		resp := kmsg.NewPtrDeleteGroupsResponse()
		resp.Groups = make([]kmsg.DeleteGroupsResponseGroup, 0, len(each))
		for i, err := range each {
			err = h.sites.settled(err)
			out := kmsg.NewDeleteGroupsResponseGroup()
			out.Group, out.ErrorCode = ids[i], h.fail("DeleteGroups", codeOf(err))
			resp.Groups = append(resp.Groups, out)
		}
		return resp
	})
	reply.patience = h.config.Groups.CommitTimeout
	h.offsets.DeleteGroups(ids, reply.reply)
	return reply
}
