package handler

// DescribeGroups (key 15), versions 0 to 6.
//
//	3  authorized operations     4  group instance id     5  flexible
//	6  GROUP_ID_NOT_FOUND for a group that does not exist; before, no error and the state Dead (KIP-1043)
//
// A group that is named twice is answered once: it may have much to say.

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/group"
)

const describeGroupsVersionNotFound = 6

func (h *Handler) describeGroups(_ context.Context, c call[*kmsg.DescribeGroupsRequest]) kmsg.Response {
	resp := kmsg.NewPtrDescribeGroupsResponse()
	names := distinct(c.req.Groups)
	resp.Groups = make([]kmsg.DescribeGroupsResponseGroup, 0, len(names))
	for _, id := range names {
		out := kmsg.NewDescribeGroupsResponseGroup()
		out.Group = id
		d, err := h.members.Describe(id)
		out.State = d.State
		switch {
		case err == nil:
			described(&out, d)
		case !errors.Is(err, group.ErrGroupIDNotFound):
			out.ErrorCode = h.fail("DescribeGroups", codeOf(err))
		case c.version >= describeGroupsVersionNotFound:
			out.ErrorCode = h.fail("DescribeGroups", codeOf(err))
			out.ErrorMessage = text("Group " + id + " not found.")
		}
		if out.ErrorCode == codeNone && c.req.IncludeAuthorizedOperations {
			out.AuthorizedOperations = groupOperations
		}
		resp.Groups = append(resp.Groups, out)
	}
	return resp
}

func described(out *kmsg.DescribeGroupsResponseGroup, d group.Description) {
	out.ProtocolType, out.Protocol = d.ProtocolType, d.Protocol
	for _, m := range d.Members {
		member := kmsg.NewDescribeGroupsResponseGroupMember()
		member.MemberID, member.InstanceID = m.MemberID, m.InstanceID
		member.ClientID, member.ClientHost = m.ClientID, m.ClientHost
		member.ProtocolMetadata, member.MemberAssignment = present(m.Metadata), present(m.Assignment)
		out.Members = append(out.Members, member)
	}
}
