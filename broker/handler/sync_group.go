package handler

// SyncGroup (key 14), versions 0 to 5.
//
//	3  group instance id     4  flexible     5  protocol type and name, which must then be there (KIP-559)
//
// The answer waits until the leader's assignment is stored.

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/group"
	"github.com/tandembroker/tandem/broker/server"
)

const syncVersionProtocol = 5

func (h *Handler) syncGroup(_ context.Context, r *server.Request) server.Reply {
	req := r.Body.(*kmsg.SyncGroupRequest)
	if r.Header.Version >= syncVersionProtocol && (req.ProtocolType == nil || req.Protocol == nil) {
		return server.Respond(r.Header, h.synced(group.SyncResult{Err: group.ErrInconsistentProtocol}))
	}
	sync := group.SyncRequest{
		GroupID: req.Group, MemberID: req.MemberID, InstanceID: req.InstanceID, Generation: req.Generation,
		ProtocolType: req.ProtocolType, Protocol: req.Protocol,
		Assignments: func(yield func(string, []byte) bool) {
			for i := range req.GroupAssignment {
				if a := &req.GroupAssignment[i]; !yield(a.MemberID, a.MemberAssignment) {
					return
				}
			}
		},
	}
	reply := meet(r, group.SyncResult{Err: group.ErrRebalanceInProgress}, h.synced)
	h.members.Sync(sync, reply.reply)
	return reply
}

func (h *Handler) synced(res group.SyncResult) kmsg.Response {
	resp := kmsg.NewPtrSyncGroupResponse()
	resp.ErrorCode = h.fail("SyncGroup", codeOf(res.Err))
	resp.ProtocolType, resp.Protocol = res.ProtocolType, res.Protocol
	resp.MemberAssignment = present(res.Assignment)
	return resp
}
