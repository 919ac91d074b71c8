package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	joinVersion        = 9
	syncVersion        = 5
	heartbeatVersion   = 4
	leaveVersion       = 5
	commitVersion      = 8
	offsetFetchVersion = 7
	coordinatorVersion = 4
	describeVersion    = 5

	sessionTimeout   = 45 * time.Second // the clients' default
	rebalanceTimeout = 60 * time.Second
	memberReadMax    = 90 * time.Second // for one answer, above the rebalance timeout
)

// member is one consumer as the broker sees it, without what a client library costs. Not safe for concurrent use.
type member struct {
	c          *conn
	group      string
	topic      string
	partitions int32 // of topic
	userData   []byte
	id         string // "" = not known yet
	generation int32
	assigned   int // partitions
	session    time.Duration
}

func newMember(addr, group string, partitions int32) (*member, error) {
	c, err := dialConn(addr)
	if err != nil {
		return nil, err
	}
	return &member{c: c, group: group, topic: groupTopic, partitions: partitions, session: sessionTimeout}, nil
}

// call sends a request and reads its answer, in bounded time.
func (m *member) call(req kmsg.Request, resp kmsg.Response) error {
	if err := m.c.net.SetDeadline(time.Now().Add(memberReadMax)); err != nil {
		return err
	}
	return m.c.request(req, resp)
}

// coordinator waits until the group's coordinator can be asked; the broker creates __consumer_offsets first.
func (m *member) coordinator(ctx context.Context) error {
	return m.c.await(ctx, func() error {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.Version, req.CoordinatorKeys = coordinatorVersion, []string{m.group}
		resp := kmsg.NewPtrFindCoordinatorResponse()
		if err := m.call(req, resp); err != nil {
			return err
		}
		if len(resp.Coordinators) != 1 {
			return errors.New("FindCoordinator answered nothing")
		}
		if err := kerr.ErrorForCode(resp.Coordinators[0].ErrorCode); err != nil {
			return err
		}
		_, err := m.committed(nil)
		return err
	})
}

func (m *member) joinRequest() *kmsg.JoinGroupRequest {
	sub := kmsg.NewConsumerMemberMetadata()
	sub.Version, sub.Topics, sub.UserData = 3, []string{m.topic}, m.userData
	sub.Generation = m.generation
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name, p.Metadata = "range", sub.AppendTo(nil)
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID, req.ProtocolType = joinVersion, m.group, m.id, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = int32(m.session.Milliseconds()), int32(rebalanceTimeout.Milliseconds())
	req.Protocols = append(req.Protocols, p)
	return req
}

// join joins the group, with a member id that it asks for first where it has none. The result lists the members if it leads.
func (m *member) join() ([]kmsg.JoinGroupResponseMember, error) {
	for {
		resp := kmsg.NewPtrJoinGroupResponse()
		if err := m.call(m.joinRequest(), resp); err != nil {
			return nil, err
		}
		switch err := kerr.ErrorForCode(resp.ErrorCode); {
		case errors.Is(err, kerr.MemberIDRequired):
			m.id = resp.MemberID
		case err != nil:
			return nil, err
		default:
			m.id, m.generation = resp.MemberID, resp.Generation
			return resp.Members, nil
		}
	}
}

// sync gives the assignment, where members has somebody to assign to, and takes the member's own.
func (m *member) sync(members []kmsg.JoinGroupResponseMember) error {
	req := kmsg.NewPtrSyncGroupRequest()
	consumer, protocol := "consumer", "range"
	req.Version, req.Group, req.MemberID, req.Generation = syncVersion, m.group, m.id, m.generation
	req.ProtocolType, req.Protocol = &consumer, &protocol
	req.GroupAssignment = assignRange(members, m.topic, m.partitions)
	resp := kmsg.NewPtrSyncGroupResponse()
	if err := m.call(req, resp); err != nil {
		return err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return err
	}
	var mine kmsg.ConsumerMemberAssignment
	if err := mine.ReadFrom(resp.MemberAssignment); err != nil {
		return fmt.Errorf("assignment: %w", err)
	}
	m.assigned = 0
	for _, t := range mine.Topics {
		m.assigned += len(t.Partitions)
	}
	return nil
}

// assignRange is what Kafka's range assignor makes of one topic to which all subscribe.
func assignRange(members []kmsg.JoinGroupResponseMember, topic string, partitions int32) []kmsg.SyncGroupRequestGroupAssignment {
	ids := make([]string, len(members))
	for i := range members {
		ids[i] = members[i].MemberID
	}
	slices.SortFunc(ids, strings.Compare)
	var out []kmsg.SyncGroupRequestGroupAssignment
	next := int32(0)
	for i, id := range ids {
		count := partitions / int32(len(ids))
		if int32(i) < partitions%int32(len(ids)) {
			count++
		}
		t := kmsg.NewConsumerMemberAssignmentTopic()
		t.Topic = topic
		for range count {
			t.Partitions = append(t.Partitions, next)
			next++
		}
		a := kmsg.NewConsumerMemberAssignment()
		a.Version, a.Topics = 3, append(a.Topics, t)
		to := kmsg.NewSyncGroupRequestGroupAssignment()
		to.MemberID, to.MemberAssignment = id, a.AppendTo(nil)
		out = append(out, to)
	}
	return out
}

// settle joins and syncs until the member has an assignment, as a client does.
func (m *member) settle() error {
	for {
		members, err := m.join()
		if err == nil {
			err = m.sync(members)
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, kerr.UnknownMemberID):
			m.id = ""
		case errors.Is(err, kerr.RebalanceInProgress), errors.Is(err, kerr.IllegalGeneration):
		default:
			return err
		}
	}
}

func (m *member) heartbeatRequest() *kmsg.HeartbeatRequest {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.Generation = heartbeatVersion, m.group, m.id, m.generation
	return req
}

func (m *member) heartbeat() error {
	resp := kmsg.NewPtrHeartbeatResponse()
	if err := m.call(m.heartbeatRequest(), resp); err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.ErrorCode)
}

func (m *member) leave() error {
	one := kmsg.NewLeaveGroupRequestMember()
	one.MemberID = m.id
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Version, req.Group, req.Members = leaveVersion, m.group, append(req.Members, one)
	resp := kmsg.NewPtrLeaveGroupResponse()
	if err := m.call(req, resp); err != nil {
		return err
	}
	m.id = ""
	return kerr.ErrorForCode(resp.ErrorCode)
}

// commitRequest commits offset for partitions 0 to partitions of the member's topic; one without an id commits from outside.
func (m *member) commitRequest(offset int64) *kmsg.OffsetCommitRequest {
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = m.topic
	for i := range m.partitions {
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset = i, offset
		t.Partitions = append(t.Partitions, p)
	}
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.MemberID, req.Generation = commitVersion, m.group, m.id, m.generation
	if m.id == "" {
		req.Generation = -1
	}
	req.Topics = append(req.Topics, t)
	return req
}

func (m *member) commit(offset int64) error {
	resp := kmsg.NewPtrOffsetCommitResponse()
	if err := m.call(m.commitRequest(offset), resp); err != nil {
		return err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}

// committed asks for the offsets of some partitions; nil = of all.
func (m *member) committed(partitions []int32) (map[int32]int64, error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version, req.Group = offsetFetchVersion, m.group
	if partitions != nil {
		t := kmsg.NewOffsetFetchRequestTopic()
		t.Topic, t.Partitions = m.topic, partitions
		req.Topics = append(req.Topics, t)
	}
	resp := kmsg.NewPtrOffsetFetchResponse()
	if err := m.call(req, resp); err != nil {
		return nil, err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, err
	}
	out := map[int32]int64{}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, err
			}
			out[p.Partition] = p.Offset
		}
	}
	return out, nil
}
