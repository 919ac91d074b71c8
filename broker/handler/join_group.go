package handler

// JoinGroup (key 11), versions 0 to 9.
//
//	1  rebalance timeout; before, the session timeout is also that
//	4  a dynamic member without an id is given one and comes again (MEMBER_ID_REQUIRED, KIP-394)
//	5  group instance id (KIP-345)     6  flexible     7  protocol type; the protocol may be null
//	8  reason of the client            9  a leader may be told to leave the assignment alone (KIP-814)
//
// The answer waits until all members of the group have joined, or their rebalance timeout is over.

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/group"
	"github.com/tandembroker/tandem/broker/server"
)

const (
	joinVersionRebalance = 1
	joinVersionNeedsID   = 4
	joinVersionNull      = 7
	joinVersionSkips     = 9
)

func (h *Handler) joinGroup(_ context.Context, r *server.Request) server.Reply {
	req, version := r.Body.(*kmsg.JoinGroupRequest), r.Header.Version
	if len(req.Protocols) > protocolsMax {
		return server.Respond(r.Header, h.joined(version, group.JoinResult{Err: group.ErrInvalidRequest, MemberID: req.MemberID, Generation: -1}))
	}
	join := group.JoinRequest{
		GroupID: req.Group, MemberID: req.MemberID, InstanceID: req.InstanceID,
		ClientID: r.Header.ClientID, ClientHost: r.ClientHost(),
		ProtocolType: req.ProtocolType, Protocols: protocols(req.Protocols), Reason: deref(req.Reason),
		SessionTimeout: millis(req.SessionTimeoutMillis), RebalanceTimeout: millis(req.RebalanceTimeoutMillis),
		NeedsID: version >= joinVersionNeedsID, SkipsAssignment: version >= joinVersionSkips,
	}
	if version < joinVersionRebalance {
		join.RebalanceTimeout = join.SessionTimeout
	}
	interrupted := group.JoinResult{Err: group.ErrRebalanceInProgress, MemberID: req.MemberID, Generation: -1}
	reply := meet(r, interrupted, func(res group.JoinResult) kmsg.Response { return h.joined(version, res) })
	h.members.Join(join, reply.reply)
	return reply
}

func (h *Handler) joined(version int16, res group.JoinResult) kmsg.Response {
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.ErrorCode = h.fail("JoinGroup", codeOf(res.Err))
	resp.MemberID, resp.Generation, resp.LeaderID = res.MemberID, res.Generation, res.Leader
	resp.ProtocolType, resp.Protocol = res.ProtocolType, filled(res.Protocol, version >= joinVersionNull)
	resp.SkipAssignment = res.SkipAssignment
	for _, m := range res.Members {
		out := kmsg.NewJoinGroupResponseMember()
		out.MemberID, out.InstanceID, out.ProtocolMetadata = m.MemberID, m.InstanceID, present(m.Metadata)
		resp.Members = append(resp.Members, out)
	}
	return resp
}
