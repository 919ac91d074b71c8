package handler

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/group"
	"github.com/tandembroker/tandem/broker/server"
	"github.com/tandembroker/tandem/protocol/wire"
)

// scriptedMembers is a Members that answers what the test says, and keeps what it was asked.
type scriptedMembers struct {
	join      group.JoinRequest
	joinReply func(group.JoinResult)
	sync      group.SyncRequest
	given     map[string]string
	syncReply func(group.SyncResult)
	beat      group.HeartbeatRequest
	leave     group.LeaveRequest
	filter    group.Filter

	left   []error
	groups map[string]group.Description
	listed []group.Listed
	err    error
}

func (s *scriptedMembers) Join(r group.JoinRequest, reply func(group.JoinResult)) {
	s.join, s.joinReply = r, reply
}

func (s *scriptedMembers) Sync(r group.SyncRequest, reply func(group.SyncResult)) {
	s.sync, s.syncReply, s.given = r, reply, map[string]string{}
	for id, b := range r.Assignments {
		s.given[id] = string(b)
	}
}

func (s *scriptedMembers) Heartbeat(r group.HeartbeatRequest) error {
	s.beat = r
	return s.err
}

func (s *scriptedMembers) Leave(r group.LeaveRequest) ([]error, error) {
	s.leave = r
	return s.left, s.err
}

func (s *scriptedMembers) Describe(id string) (group.Description, error) {
	if s.err != nil {
		return group.Description{}, s.err
	}
	d, ok := s.groups[id]
	if !ok {
		return group.Description{State: "Dead"}, group.ErrGroupIDNotFound
	}
	return d, nil
}

func (s *scriptedMembers) List(f group.Filter) ([]group.Listed, error) {
	s.filter = f
	return s.listed, s.err
}

func groupHandler(m Members) *Handler { return &Handler{members: m, metrics: noMetrics{}} }

func request(version int16, body kmsg.Request) *server.Request {
	body.SetVersion(version)
	return &server.Request{Header: wire.RequestHeader{Key: body.Key(), Version: version, ClientID: "client"}, Body: body}
}

// overWire is what a client of a version gets to see.
func overWire[T kmsg.Response](t *testing.T, version int16, resp T) T {
	t.Helper()
	resp.SetVersion(version)
	got := kmsg.ResponseForKey(resp.Key()).(T)
	got.SetVersion(version)
	if err := got.ReadFrom(resp.AppendTo(nil)); err != nil {
		t.Fatalf("version %d: %v", version, err)
	}
	return got
}

// TestJoinGroupVersions: what each version asks for, and gets.
func TestJoinGroupVersions(t *testing.T) {
	protocol, kind := "range", "consumer"
	for version := int16(0); version <= 9; version++ {
		m := &scriptedMembers{}
		metadata := []byte("metadata")
		req := &kmsg.JoinGroupRequest{
			Group: "g", SessionTimeoutMillis: 10_000, RebalanceTimeoutMillis: 60_000, MemberID: "m", ProtocolType: kind,
			Protocols: []kmsg.JoinGroupRequestProtocol{{Name: protocol, Metadata: metadata}},
		}
		reply := groupHandler(m).joinGroup(t.Context(), request(version, req)).(*rendezvous[group.JoinResult])
		copy(metadata, "scribble") // the frame is somebody else's from now on
		want := 60 * time.Second
		if version == 0 {
			want = 10 * time.Second
		}
		if m.join.RebalanceTimeout != want || m.join.SessionTimeout != 10*time.Second {
			t.Errorf("version %d: timeouts %v, %v", version, m.join.SessionTimeout, m.join.RebalanceTimeout)
		}
		if m.join.NeedsID != (version >= 4) || m.join.SkipsAssignment != (version >= 9) || m.join.ClientID != "client" {
			t.Errorf("version %d: %+v", version, m.join)
		}
		if got := string(m.join.Protocols[0].Metadata); got != "metadata" {
			t.Errorf("version %d: metadata %q borrows from the frame", version, got)
		}
		if reply.Ready() {
			t.Fatalf("version %d: an answer before there is one", version)
		}
		m.joinReply(group.JoinResult{
			MemberID: "m", Generation: 7, ProtocolType: &kind, Protocol: &protocol, Leader: "m", SkipAssignment: version >= 9,
			Members: []group.JoinMember{{MemberID: "m", InstanceID: text("i")}},
		})
		if !reply.Ready() {
			t.Fatalf("version %d: no answer", version)
		}
		got := overWire(t, version, reply.encode(*reply.answer).(*kmsg.JoinGroupResponse))
		if got.ErrorCode != 0 || got.Generation != 7 || got.LeaderID != "m" || got.MemberID != "m" || *got.Protocol != "range" ||
			got.SkipAssignment != (version >= 9) || len(got.Members) != 1 || (got.Members[0].InstanceID != nil) != (version >= 5) {
			t.Errorf("version %d: %+v", version, got)
		}
		m.joinReply = nil
		req.Protocols = make([]kmsg.JoinGroupRequestProtocol, protocolsMax+1)
		many := groupHandler(m).joinGroup(t.Context(), request(version, req))
		if _, waits := many.(*rendezvous[group.JoinResult]); waits || m.joinReply != nil {
			t.Errorf("version %d: %d protocols are let in", version, len(req.Protocols))
		}
		got = overWire(t, version, groupHandler(m).joined(version, group.JoinResult{Err: group.ErrMemberIDRequired, MemberID: "m", Generation: -1}).(*kmsg.JoinGroupResponse))
		if got.ErrorCode != kerr.MemberIDRequired.Code || got.Generation != -1 || (got.Protocol == nil) != (version >= 7) {
			t.Errorf("version %d: %+v", version, got)
		}
	}
}

// TestSyncGroupVersions: the protocol is mandatory from version 5, and not looked at before.
func TestSyncGroupVersions(t *testing.T) {
	for version := int16(0); version <= 5; version++ {
		m := &scriptedMembers{}
		req := &kmsg.SyncGroupRequest{
			Group: "g", Generation: 7, MemberID: "m", ProtocolType: text("consumer"), Protocol: text("range"),
			GroupAssignment: []kmsg.SyncGroupRequestGroupAssignment{{MemberID: "m", MemberAssignment: []byte("assignment")}},
		}
		reply := groupHandler(m).syncGroup(t.Context(), request(version, req)).(*rendezvous[group.SyncResult])
		if m.given["m"] != "assignment" || m.sync.Generation != 7 {
			t.Errorf("version %d: %+v", version, m.sync)
		}
		m.syncReply(group.SyncResult{ProtocolType: text("consumer"), Protocol: text("range"), Assignment: []byte("mine")})
		if !reply.Ready() {
			t.Fatalf("version %d: no answer", version)
		}
		got := overWire(t, version, reply.encode(*reply.answer).(*kmsg.SyncGroupResponse))
		if got.ErrorCode != 0 || string(got.MemberAssignment) != "mine" || (got.Protocol != nil) != (version >= 5) {
			t.Errorf("version %d: %+v", version, got)
		}
		m.syncReply = nil
		req.Protocol = nil
		groupHandler(m).syncGroup(t.Context(), request(version, req))
		if asked := m.syncReply != nil; asked != (version < 5) {
			t.Errorf("version %d without a protocol: asked %v", version, asked)
		}
	}
}

// TestRendezvousInterrupted: an answer that does not come before the client or the server goes is a retriable error.
func TestRendezvousInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &scriptedMembers{}
		reply := groupHandler(m).joinGroup(t.Context(), request(9, &kmsg.JoinGroupRequest{Group: "g", MemberID: "m"})).(*rendezvous[group.JoinResult])
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		reply.Wait(ctx)
		if !errors.Is(reply.answer.Err, group.ErrRebalanceInProgress) || reply.answer.MemberID != "m" {
			t.Errorf("%+v", reply.answer)
		}
		m.joinReply(group.JoinResult{}) // too late, and nobody is held up

		reply = groupHandler(m).joinGroup(t.Context(), request(9, &kmsg.JoinGroupRequest{Group: "g"})).(*rendezvous[group.JoinResult])
		time.AfterFunc(time.Second, func() { m.joinReply(group.JoinResult{Generation: 3}) })
		reply.Wait(t.Context())
		if reply.answer.Generation != 3 {
			t.Errorf("%+v", reply.answer)
		}
	})
}

// TestLeaveGroupVersions: one member with the error of the request before version 3, several with their own from then on.
func TestLeaveGroupVersions(t *testing.T) {
	for version := int16(0); version <= 5; version++ {
		m := &scriptedMembers{left: []error{group.ErrUnknownMember}}
		req := &kmsg.LeaveGroupRequest{Group: "g"}
		if version < 3 {
			req.MemberID = "m"
		} else {
			m.left = append(m.left, nil)
			req.Members = []kmsg.LeaveGroupRequestMember{{MemberID: "m", Reason: text("done")}, {InstanceID: text("i")}}
		}
		ask := func() *kmsg.LeaveGroupResponse {
			c := call[*kmsg.LeaveGroupRequest]{req: req, version: version}
			return overWire(t, version, groupHandler(m).leaveGroup(t.Context(), c).(*kmsg.LeaveGroupResponse))
		}
		got := ask()
		if m.leave.Members[0].MemberID != "m" {
			t.Errorf("version %d: asked for %+v", version, m.leave)
		}
		if version < 3 {
			if got.ErrorCode != kerr.UnknownMemberID.Code || len(got.Members) != 0 {
				t.Errorf("version %d: %+v", version, got)
			}
		} else if got.ErrorCode != 0 || got.Members[0].ErrorCode != kerr.UnknownMemberID.Code || got.Members[1].ErrorCode != 0 ||
			*got.Members[1].InstanceID != "i" || *m.leave.Members[1].InstanceID != "i" {
			t.Errorf("version %d: %+v", version, got)
		}
		m.left, m.err = nil, group.ErrNotCoordinator
		if got := ask(); got.ErrorCode != kerr.NotCoordinator.Code || len(got.Members) != 0 {
			t.Errorf("version %d: %+v", version, got)
		}
	}
}

// TestDescribeGroupsVersions: a group that does not exist is an error from version 6 on, and Dead before.
func TestDescribeGroupsVersions(t *testing.T) {
	m := &scriptedMembers{groups: map[string]group.Description{"g": {
		State: "Stable", ProtocolType: "consumer", Protocol: "range",
		Members: []group.DescribedMember{{MemberID: "m", InstanceID: text("i"), ClientID: "c", ClientHost: "/127.0.0.1", Assignment: []byte("a")}},
	}}}
	for version := int16(0); version <= 6; version++ {
		c := call[*kmsg.DescribeGroupsRequest]{req: &kmsg.DescribeGroupsRequest{Groups: []string{"g", "no"}, IncludeAuthorizedOperations: true}, version: version}
		got := overWire(t, version, groupHandler(m).describeGroups(t.Context(), c).(*kmsg.DescribeGroupsResponse))
		g, no := got.Groups[0], got.Groups[1]
		if g.ErrorCode != 0 || g.State != "Stable" || g.Protocol != "range" || len(g.Members) != 1 || string(g.Members[0].MemberAssignment) != "a" {
			t.Errorf("version %d: %+v", version, g)
		}
		if version >= 3 && g.AuthorizedOperations != 3400 { // READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS
			t.Errorf("version %d: operations %d", version, g.AuthorizedOperations)
		}
		wantCode := int16(0)
		if version >= 6 {
			wantCode = kerr.GroupIDNotFound.Code
		}
		if no.State != "Dead" || no.ErrorCode != wantCode || (no.ErrorMessage != nil) != (version >= 6) {
			t.Errorf("version %d: %+v", version, no)
		}
	}
	c := call[*kmsg.DescribeGroupsRequest]{req: &kmsg.DescribeGroupsRequest{Groups: []string{"g", "no", "g", "g", "no"}}, version: 6}
	if got := groupHandler(m).describeGroups(t.Context(), c).(*kmsg.DescribeGroupsResponse); len(got.Groups) != 2 {
		t.Errorf("named twice: %+v", got)
	}
	m.err = group.ErrCoordinatorLoading
	c = call[*kmsg.DescribeGroupsRequest]{req: &kmsg.DescribeGroupsRequest{Groups: []string{"g"}}, version: 6}
	if got := groupHandler(m).describeGroups(t.Context(), c).(*kmsg.DescribeGroupsResponse); got.Groups[0].ErrorCode != kerr.CoordinatorLoadInProgress.Code {
		t.Errorf("%+v", got)
	}
}

// TestListGroupsHeartbeat: filters reach the groups, answers the client.
func TestListGroupsHeartbeat(t *testing.T) {
	m := &scriptedMembers{listed: []group.Listed{{GroupID: "g", ProtocolType: "consumer", State: "Stable", Type: "classic"}}}
	c := call[*kmsg.ListGroupsRequest]{req: &kmsg.ListGroupsRequest{StatesFilter: []string{"stable"}, TypesFilter: []string{"classic"}}}
	for version := int16(0); version <= 5; version++ {
		c.version = version
		got := overWire(t, version, groupHandler(m).listGroups(t.Context(), c).(*kmsg.ListGroupsResponse))
		if g := got.Groups[0]; g.Group != "g" || (g.GroupState == "Stable") != (version >= 4) || (g.GroupType == "classic") != (version >= 5) {
			t.Errorf("version %d: %+v", version, g)
		}
	}
	if !slices.Equal(m.filter.States, []string{"stable"}) || !slices.Equal(m.filter.Types, []string{"classic"}) {
		t.Errorf("%+v", m.filter)
	}
	m.err = group.ErrIllegalGeneration
	beat := call[*kmsg.HeartbeatRequest]{req: &kmsg.HeartbeatRequest{Group: "g", Generation: 3, MemberID: "m", InstanceID: text("i")}}
	if got := groupHandler(m).heartbeat(t.Context(), beat).(*kmsg.HeartbeatResponse); got.ErrorCode != kerr.IllegalGeneration.Code {
		t.Errorf("%+v", got)
	}
	m.err = group.ErrCoordinatorLoading // clients give up at this one
	if got := groupHandler(m).heartbeat(t.Context(), beat).(*kmsg.HeartbeatResponse); got.ErrorCode != 0 {
		t.Errorf("%+v", got)
	}
	if want := (group.HeartbeatRequest{GroupID: "g", MemberID: "m", InstanceID: beat.req.InstanceID, Generation: 3}); m.beat != want {
		t.Errorf("%+v", m.beat)
	}
}
