package handler

// Heartbeat (key 12), versions 0 to 4.
//
//	3  group instance id     4  flexible
//
// REBALANCE_IN_PROGRESS tells the member to join again. In CompletingRebalance there is no error: it has joined already. While the
// groups are being loaded there is none either, as in Kafka: clients give up at COORDINATOR_LOAD_IN_PROGRESS, and the member's
// session begins anew when that is done. Source: GroupCoordinatorService.heartbeat.

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/group"
)

func (h *Handler) heartbeat(_ context.Context, c call[*kmsg.HeartbeatRequest]) kmsg.Response {
	resp := kmsg.NewPtrHeartbeatResponse()
	err := h.members.Heartbeat(group.HeartbeatRequest{
		GroupID: c.req.Group, MemberID: c.req.MemberID, InstanceID: c.req.InstanceID, Generation: c.req.Generation,
	})
	if errors.Is(err, group.ErrCoordinatorLoading) {
		err = nil
	}
	resp.ErrorCode = h.fail("Heartbeat", codeOf(err))
	return resp
}
