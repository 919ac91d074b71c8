package handler

// ListGroups (key 16), versions 0 to 5.
//
//	3  flexible     4  state, and a filter for it (KIP-518)     5  type, and a filter for it (KIP-848)

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/group"
)

func (h *Handler) listGroups(_ context.Context, c call[*kmsg.ListGroupsRequest]) kmsg.Response {
	resp := kmsg.NewPtrListGroupsResponse()
	groups, err := h.members.List(group.Filter{States: c.req.StatesFilter, Types: c.req.TypesFilter})
	resp.ErrorCode = h.fail("ListGroups", codeOf(err))
	for _, g := range groups {
		out := kmsg.NewListGroupsResponseGroup()
		out.Group, out.ProtocolType, out.GroupState, out.GroupType = g.GroupID, g.ProtocolType, g.State, g.Type
		resp.Groups = append(resp.Groups, out)
	}
	return resp
}
