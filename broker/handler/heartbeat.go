package handler

// Heartbeat (key 12), versions 0 to 4.
//
//	3  group instance id     4  flexible
//
// REBALANCE_IN_PROGRESS tells the member to join again. In CompletingRebalance there is no error: it has joined already.

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/group"
)

func (h *Handler) heartbeat(_ context.Context, c call[*kmsg.HeartbeatRequest]) kmsg.Response {
	resp := kmsg.NewPtrHeartbeatResponse()
	err := h.members.Heartbeat(group.HeartbeatRequest{
		GroupID: c.req.Group, MemberID: c.req.MemberID, InstanceID: c.req.InstanceID, Generation: c.req.Generation,
	})
	resp.ErrorCode = h.fail("Heartbeat", codeOf(err))
	return resp
}
