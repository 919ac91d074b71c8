package handler

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/config"
	"github.com/tandembroker/tandem/broker/group"
	"github.com/tandembroker/tandem/broker/partition"
	"github.com/tandembroker/tandem/storage"
)

// scriptedOffsets is an Offsets that answers what the test says, and keeps what it was asked.
type scriptedOffsets struct {
	node    int32
	found   map[string][]group.Committed
	err     error
	asked   []string
	wants   [][]group.TopicPartition
	deleted func(each []error)
}

func (s *scriptedOffsets) Locate(id string) (int32, error) {
	s.asked = append(s.asked, id)
	return s.node, s.err
}

func (s *scriptedOffsets) Commit(group.CommitRequest, func([]error, error)) {}

func (s *scriptedOffsets) Fetch(id string, want []group.TopicPartition) ([]group.Committed, error) {
	s.asked, s.wants = append(s.asked, id), append(s.wants, want)
	if s.err != nil {
		return nil, s.err
	}
	if want == nil {
		return s.found[id], nil
	}
	out := make([]group.Committed, len(want))
	for i, tp := range want {
		out[i] = group.Committed{TopicPartition: tp, Offset: -1, LeaderEpoch: -1}
		if j := slices.IndexFunc(s.found[id], func(c group.Committed) bool { return c.TopicPartition == tp }); j >= 0 {
			out[i] = s.found[id][j]
		}
	}
	return out, nil
}

func (s *scriptedOffsets) DeleteOffsets(string, []group.TopicPartition, func([]error, error)) {}

func (s *scriptedOffsets) DeleteGroups(ids []string, reply func(each []error)) {
	s.asked, s.deleted = ids, reply
}

func offsetsHandler(o Offsets) *Handler {
	return &Handler{
		offsets: o, metrics: noMetrics{}, identity: storage.Identity{NodeID: 7},
		config:   &config.Config{Groups: config.Groups{CommitTimeout: 5 * time.Second}},
		endpoint: func(string) (string, int32, bool) { return "host", 9092, true },
	}
}

// TestCoordinatorErrors: an error of a coordinator that wraps one of a partition is the coordinator's to a client.
func TestCoordinatorErrors(t *testing.T) {
	for _, of := range []struct {
		err  error
		want *kerr.Error
	}{
		{group.ErrCoordinatorNotAvailable, kerr.CoordinatorNotAvailable},
		{group.ErrNotCoordinator, kerr.NotCoordinator},
	} {
		for _, why := range []error{
			partition.ErrRetriable, partition.ErrNotLeader, partition.ErrNoSpace, partition.ErrStorage, partition.ErrUnknown,
			partition.ErrFencedEpoch,
		} {
			if code := codeOf(fmt.Errorf("%w: %w", of.err, why)); code != of.want.Code {
				t.Errorf("%v because of %v: code %d", of.err, why, code)
			}
		}
	}
}

// TestFindCoordinatorVersions: one key with a message before version 4, several without from then on.
func TestFindCoordinatorVersions(t *testing.T) {
	for version := int16(0); version <= 5; version++ {
		for _, c := range []struct {
			name    string
			kind    int8
			node    int32
			err     error
			code    int16
			message string
		}{
			{"here", 0, 7, nil, 0, "NONE"},
			{"not yet", 0, -1, group.ErrCoordinatorNotAvailable, kerr.CoordinatorNotAvailable.Code, "The coordinator is not available."},
			{"a broker that is gone", 0, 8, nil, kerr.CoordinatorNotAvailable.Code, "The coordinator is not available."},
			{"transactional id", 1, 7, nil, kerr.InvalidRequest.Code, noTransactions},
			{"share group", 2, 7, nil, kerr.InvalidRequest.Code, findMessages[codeInvalidRequest]},
			{"nothing known", 3, 7, nil, kerr.InvalidRequest.Code, findMessages[codeInvalidRequest]},
		} {
			if version == 0 && c.kind != 0 {
				continue // it has no types
			}
			if version < 4 && c.kind == 1 {
				c.code = kerr.TransactionalIDAuthorizationFailed.Code // the one that librdkafka gives up on
			}
			o := &scriptedOffsets{node: c.node, err: c.err}
			req := kmsg.NewPtrFindCoordinatorRequest()
			req.CoordinatorType, req.CoordinatorKey = c.kind, "a"
			keys := []string{"a"}
			if version >= 4 {
				req.CoordinatorKey, req.CoordinatorKeys = "", []string{"a", "b"}
				keys = req.CoordinatorKeys
			}
			got := overWire(t, version, offsetsHandler(o).findCoordinator(t.Context(), call[*kmsg.FindCoordinatorRequest]{req: req, version: version}).(*kmsg.FindCoordinatorResponse))
			if asked := c.kind == 0; asked && !slices.Equal(o.asked, keys) || !asked && len(o.asked) > 0 {
				t.Errorf("version %d, %s: asked for %q", version, c.name, o.asked)
			}
			all := got.Coordinators
			if version < 4 {
				all = []kmsg.FindCoordinatorResponseCoordinator{{
					Key: "a", NodeID: got.NodeID, Host: got.Host, Port: got.Port, ErrorCode: got.ErrorCode, ErrorMessage: got.ErrorMessage,
				}}
			}
			if len(all) != len(keys) {
				t.Fatalf("version %d, %s: %d answers", version, c.name, len(all))
			}
			for i, a := range all {
				node, host, port := int32(-1), "", int32(-1)
				if c.code == 0 {
					node, host, port = 7, "host", 9092
				}
				if a.Key != keys[i] || a.ErrorCode != c.code || a.NodeID != node || a.Host != host || a.Port != port {
					t.Errorf("version %d, %s: %+v", version, c.name, a)
				}
				message := c.message
				if version >= 4 && c.kind != 1 {
					message = ""
				}
				if version > 0 && (a.ErrorMessage == nil || *a.ErrorMessage != message) {
					t.Errorf("version %d, %s: message %v", version, c.name, a.ErrorMessage)
				}
			}
		}
	}
}

// decoded is a request as the server makes it of a client's bytes.
func decoded[T kmsg.Request](t *testing.T, version int16, req T) T {
	t.Helper()
	req.SetVersion(version)
	got := kmsg.RequestForKey(req.Key()).(T)
	got.SetVersion(version)
	if err := got.ReadFrom(req.AppendTo(nil)); err != nil {
		t.Fatalf("version %d: %v", version, err)
	}
	return got
}

// fetchedOffsets asks for the offsets of one group in the form of a version. topics nil = all.
func fetchedOffsets(t *testing.T, o *scriptedOffsets, version int16, topics []kmsg.OffsetFetchRequestTopic) kmsg.OffsetFetchResponseGroup {
	t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	if version < 8 {
		req.Group, req.Topics = "g", topics
	} else {
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group = "g"
		if topics != nil {
			g.Topics = []kmsg.OffsetFetchRequestGroupTopic{}
		}
		for _, topic := range topics {
			g.Topics = append(g.Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: topic.Topic, Partitions: topic.Partitions})
		}
		req.Groups = append(req.Groups, g)
	}
	c := call[*kmsg.OffsetFetchRequest]{req: decoded(t, version, req), version: version}
	got := overWire(t, version, offsetsHandler(o).offsetFetch(t.Context(), c).(*kmsg.OffsetFetchResponse))
	if version >= 8 {
		if len(got.Groups) != 1 || got.Groups[0].Group != "g" {
			t.Fatalf("version %d: %+v", version, got)
		}
		return got.Groups[0]
	}
	out := kmsg.NewOffsetFetchResponseGroup()
	out.ErrorCode = got.ErrorCode
	for _, topic := range got.Topics {
		ot := kmsg.OffsetFetchResponseGroupTopic{Topic: topic.Topic}
		for _, p := range topic.Partitions {
			ot.Partitions = append(ot.Partitions, kmsg.OffsetFetchResponseGroupTopicPartition(p))
		}
		out.Topics = append(out.Topics, ot)
	}
	return out
}

// TestOffsetFetchVersions: what is named, in its order; none, which is not all; all, from version 2 on; and errors.
func TestOffsetFetchVersions(t *testing.T) {
	o := &scriptedOffsets{found: map[string][]group.Committed{"g": {
		{TopicPartition: group.TopicPartition{Topic: "t", Partition: 1}, Offset: 42, LeaderEpoch: 3, Metadata: "m"},
		{TopicPartition: group.TopicPartition{Topic: "u", Partition: 0}, Offset: 5, LeaderEpoch: -1},
	}}}
	two := []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{0, 1}}, {Topic: "v", Partitions: []int32{9}}}
	for version := int16(1); version <= 9; version++ {
		o.err = nil
		epoch := int32(3)
		if version < 5 {
			epoch = -1
		}
		got := fetchedOffsets(t, o, version, two)
		if got.ErrorCode != 0 || len(got.Topics) != 2 || got.Topics[0].Topic != "t" || got.Topics[1].Topic != "v" {
			t.Fatalf("version %d: %+v", version, got)
		}
		for i, want := range []kmsg.OffsetFetchResponseGroupTopicPartition{
			{Partition: 0, Offset: -1, LeaderEpoch: -1, Metadata: text("")},
			{Partition: 1, Offset: 42, LeaderEpoch: epoch, Metadata: text("m")},
			{Partition: 9, Offset: -1, LeaderEpoch: -1, Metadata: text("")},
		} {
			p := append(slices.Clone(got.Topics[0].Partitions), got.Topics[1].Partitions...)[i]
			if p.Partition != want.Partition || p.Offset != want.Offset || p.LeaderEpoch != want.LeaderEpoch || p.ErrorCode != 0 ||
				p.Metadata == nil || *p.Metadata != *want.Metadata {
				t.Errorf("version %d: %+v", version, p)
			}
		}
		if got := fetchedOffsets(t, o, version, []kmsg.OffsetFetchRequestTopic{}); got.ErrorCode != 0 || len(got.Topics) != 0 {
			t.Errorf("version %d, no topic: %+v", version, got)
		}
		if version >= 2 {
			if got := fetchedOffsets(t, o, version, nil); len(got.Topics) != 2 || o.wants[len(o.wants)-1] != nil {
				t.Errorf("version %d, all topics: %+v", version, got)
			}
		}
		o.err = group.ErrNotCoordinator
		got = fetchedOffsets(t, o, version, two)
		if version >= 2 {
			if got.ErrorCode != kerr.NotCoordinator.Code || len(got.Topics) != 0 {
				t.Errorf("version %d, another coordinator: %+v", version, got)
			}
			continue
		}
		if len(got.Topics) != 2 || len(got.Topics[0].Partitions) != 2 || len(got.Topics[1].Partitions) != 1 {
			t.Fatalf("version %d, another coordinator: %+v", version, got)
		}
		for _, p := range append(got.Topics[0].Partitions, got.Topics[1].Partitions...) {
			if p.ErrorCode != kerr.NotCoordinator.Code || p.Offset != -1 || *p.Metadata != "" {
				t.Errorf("version %d, another coordinator: %+v", version, p)
			}
		}
	}
}

// TestOffsetFetchNamedTwice: what is named again and again, which takes few bytes, is answered once.
func TestOffsetFetchNamedTwice(t *testing.T) {
	o := &scriptedOffsets{found: map[string][]group.Committed{"g": {
		{TopicPartition: group.TopicPartition{Topic: "t", Partition: 1}, Offset: 42, Metadata: "m"},
	}}}
	twice := []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{1, 1, 2, 1}}, {Topic: "t", Partitions: []int32{2, 3}}}
	for version := int16(1); version <= 9; version++ {
		for _, o.err = range []error{nil, group.ErrNotCoordinator} {
			if o.err != nil && version >= 2 {
				continue
			}
			got := fetchedOffsets(t, o, version, twice)
			var ids []int32
			for _, topic := range got.Topics {
				for _, p := range topic.Partitions {
					ids = append(ids, p.Partition)
				}
			}
			if !slices.Equal(ids, []int32{1, 2, 3}) {
				t.Errorf("version %d, %v: partitions %v", version, o.err, ids)
			}
		}
	}
	o.err = nil
	req := kmsg.NewPtrOffsetFetchRequest()
	for range 3 {
		req.Groups = append(req.Groups, kmsg.OffsetFetchRequestGroup{Group: "g"}, kmsg.OffsetFetchRequestGroup{
			Group: "g", Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", Partitions: []int32{1}}},
		}, kmsg.OffsetFetchRequestGroup{Group: "h"})
	}
	for version := int16(8); version <= 9; version++ {
		c := call[*kmsg.OffsetFetchRequest]{req: decoded(t, version, req), version: version}
		got := overWire(t, version, offsetsHandler(o).offsetFetch(t.Context(), c).(*kmsg.OffsetFetchResponse))
		n := 0
		for _, g := range got.Groups {
			for _, topic := range g.Topics {
				n += len(topic.Partitions)
			}
		}
		if n != 2 || len(o.asked) == 0 {
			t.Errorf("version %d: %d offsets: %+v", version, n, got)
		}
	}
}

// TestDeleteGroupsVersions: each group once with its own error, and a retriable one when the log takes too long.
func TestDeleteGroupsVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for version := int16(0); version <= 2; version++ {
			o := &scriptedOffsets{}
			req := &kmsg.DeleteGroupsRequest{Groups: []string{"a", "b", "a", "c"}}
			reply := offsetsHandler(o).deleteGroups(t.Context(), request(version, req)).(*rendezvous[[]error])
			if !slices.Equal(o.asked, []string{"a", "b", "c"}) || reply.Ready() {
				t.Fatalf("version %d: asked for %q", version, o.asked)
			}
			o.deleted([]error{nil, group.ErrNonEmptyGroup, group.ErrGroupIDNotFound})
			reply.Wait(t.Context())
			check := func(want ...int16) {
				t.Helper()
				got := overWire(t, version, reply.encode(*reply.answer).(*kmsg.DeleteGroupsResponse))
				if len(got.Groups) != len(want) {
					t.Fatalf("version %d: %+v", version, got)
				}
				for i, g := range got.Groups {
					if g.Group != o.asked[i] || g.ErrorCode != want[i] {
						t.Errorf("version %d: %+v", version, g)
					}
				}
			}
			check(0, kerr.NonEmptyGroup.Code, kerr.GroupIDNotFound.Code)

			reply = offsetsHandler(o).deleteGroups(t.Context(), request(version, req)).(*rendezvous[[]error])
			began := time.Now()
			reply.Wait(t.Context())
			if took := time.Since(began); took != 5*time.Second {
				t.Errorf("version %d: waited %v", version, took)
			}
			unsure := kerr.CoordinatorNotAvailable.Code
			check(unsure, unsure, unsure)
			o.deleted(make([]error, 3)) // too late, and nobody is held up
		}
	})
}
