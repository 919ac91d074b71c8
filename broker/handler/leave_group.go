package handler

// LeaveGroup (key 13), versions 0 to 5.
//
//	3  several members, by member id or group instance id, each with its error; before, one     4  flexible     5  reason

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/group"
)

const leaveVersionBatch = 3

func (h *Handler) leaveGroup(_ context.Context, c call[*kmsg.LeaveGroupRequest]) kmsg.Response {
	leave := group.LeaveRequest{GroupID: c.req.Group}
	if c.version < leaveVersionBatch {
		leave.Members = []group.LeaveMember{{MemberID: c.req.MemberID}}
	}
	leave.Members = slices.Grow(leave.Members, len(c.req.Members))
	for i := range c.req.Members {
		m := &c.req.Members[i]
		leave.Members = append(leave.Members, group.LeaveMember{MemberID: m.MemberID, InstanceID: m.InstanceID, Reason: deref(m.Reason)})
	}
	errs, err := h.members.Leave(leave)
	resp := kmsg.NewPtrLeaveGroupResponse()
	if err == nil && c.version < leaveVersionBatch {
		err, errs = errs[0], nil
	}
	resp.ErrorCode = h.fail("LeaveGroup", codeOf(err))
	resp.Members = make([]kmsg.LeaveGroupResponseMember, 0, len(errs))
	for i, err := range errs {
		out := kmsg.NewLeaveGroupResponseMember()
		out.MemberID, out.InstanceID = leave.Members[i].MemberID, leave.Members[i].InstanceID
		out.ErrorCode = h.fail("LeaveGroup", codeOf(err))
		resp.Members = append(resp.Members, out)
	}
	return resp
}
