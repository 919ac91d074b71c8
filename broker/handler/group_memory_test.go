package handler_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/brokertest"
	"github.com/tandembroker/tandem/protocol/wire"
)

// names are n different ones: as short as that goes, behind a prefix.
func names(n int, prefix string) []string {
	out := make([]string, n)
	for i := range out {
		name := []byte(prefix)
		for rest := i; rest > 0 || len(name) == len(prefix); rest /= 64 {
			name = append(name, byte('0'+rest%64))
		}
		out[i] = string(name)
	}
	return out
}

// countdown is n partitions, the last first.
func countdown(n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(n - i)
	}
	return out
}

// floods are requests to the groups' APIs about n different things, in the newest version unless it is set. Where a prefix is not
// needed to have them decoded at all, names are the shortest: what they take is most, then, by the request's bytes.
var floods = []struct {
	name string
	n    int // as many as are answered
	make func(n int) kmsg.Request
}{
	{"DescribeGroups", 100_000, func(n int) kmsg.Request {
		req := kmsg.NewPtrDescribeGroupsRequest()
		req.Groups = names(n, "")
		return req
	}},
	{"DeleteGroups", 100_000, func(n int) kmsg.Request {
		req := kmsg.NewPtrDeleteGroupsRequest()
		req.Groups = names(n, "")
		return req
	}},
	{"FindCoordinator", 100_000, func(n int) kmsg.Request {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorKeys = names(n, "")
		return req
	}},
	{"LeaveGroup", 100_000, func(n int) kmsg.Request {
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Group = "g"
		for _, name := range names(n, "member ") {
			m := kmsg.NewLeaveGroupRequestMember()
			m.MemberID = name
			req.Members = append(req.Members, m)
		}
		return req
	}},
	{"OffsetFetch, groups", 200_000, func(n int) kmsg.Request {
		req := kmsg.NewPtrOffsetFetchRequest()
		for _, name := range names(n, "group ") {
			g := kmsg.NewOffsetFetchRequestGroup()
			g.Group = name
			req.Groups = append(req.Groups, g)
		}
		return req
	}},
	{"OffsetFetch, topics", 100_000 - 1, func(n int) kmsg.Request {
		req := kmsg.NewPtrOffsetFetchRequest()
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group = "g"
		for _, name := range names(n, "topic ") {
			g.Topics = append(g.Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: name, Partitions: []int32{0}})
		}
		req.Groups = append(req.Groups, g)
		return req
	}},
	{"OffsetFetch, partitions", 200_000 - 2, func(n int) kmsg.Request { return fetchOf(countdown(n)) }},
	{"OffsetFetch, partitions of the one group", 200_000 - 1, func(n int) kmsg.Request {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.SetVersion(7)
		req.Group = "g"
		req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: countdown(n)}}
		return req
	}},
	{"OffsetDelete, topics", 100_000, func(n int) kmsg.Request {
		req := kmsg.NewPtrOffsetDeleteRequest()
		req.Group = "g"
		for _, name := range names(n, "topic ") {
			partitions := []kmsg.OffsetDeleteRequestTopicPartition{{}}
			req.Topics = append(req.Topics, kmsg.OffsetDeleteRequestTopic{Topic: name, Partitions: partitions})
		}
		return req
	}},
	{"OffsetDelete, partitions", 200_000 - 1, func(n int) kmsg.Request {
		req := kmsg.NewPtrOffsetDeleteRequest()
		req.Group = "g"
		t := kmsg.OffsetDeleteRequestTopic{Topic: "t"}
		for i := range n {
			t.Partitions = append(t.Partitions, kmsg.OffsetDeleteRequestTopicPartition{Partition: int32(i % 2)})
		}
		req.Topics = append(req.Topics, t)
		return req
	}},
	{"OffsetCommit, topics", 100_000, func(n int) kmsg.Request {
		req := commitOf(9, "g", "t", 1)
		for _, name := range names(n-1, "topic ") {
			req.Topics = append(req.Topics, commitOf(9, "g", name, 1, 0).Topics...)
		}
		return req
	}},
	{"OffsetCommit, partitions", 200_000 - 1, func(n int) kmsg.Request {
		req := commitOf(9, "g", "t", 1)
		for i := range n {
			p := kmsg.OffsetCommitRequestTopicPartition{Partition: int32(i % 2), Offset: 1}
			req.Topics[0].Partitions = append(req.Topics[0].Partitions, p)
		}
		return req
	}},
}

// fetchOf asks for offsets of "g" for partitions of "t".
func fetchOf(partitions []int32) *kmsg.OffsetFetchRequest {
	req := kmsg.NewPtrOffsetFetchRequest()
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = "g"
	g.Topics = []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", Partitions: partitions}}
	req.Groups = append(req.Groups, g)
	return req
}

// floodedBroker has a group "g" with offsets of both partitions of "t".
func floodedBroker(t *testing.T) *brokertest.Broker {
	t.Helper()
	b := coordinatorBroker(t)
	if codes := commit(b.Dial(), commitOf(9, "g", "t", 1, 0, 1)); !slices.Equal(codes, []int16{0, 0}) {
		t.Fatal(codes)
	}
	return b
}

// TestAnswersAboutManyNamesTakeWhatIsReserved: what the broker allocates for as many names as it answers about at once is
// reserved before, from the memory that all requests share, and far below that.
func TestAnswersAboutManyNamesTakeWhatIsReserved(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates as well")
	}
	b := floodedBroker(t)
	const (
		most  = 96 << 20
		slack = 1 << 20 // buffers of the connection, and what else goes on
	)
	for _, f := range floods {
		c := b.Dial()
		frame := c.Frame(latest(f.make(f.n)))
		reserved, err := reservation(frame)
		if err != nil {
			t.Errorf("%s: %v", f.name, err)
			continue
		}
		took, answer := allocatedBy(t, c, frame)
		t.Logf("%s: request %d, answer %d, reserved %d, allocated %d bytes: %d of %d an element", f.name, len(frame), answer, reserved,
			took, took/uint64(f.n), reserved/int64(f.n))
		if took > uint64(reserved+slack) || took > most {
			t.Errorf("%s: %d bytes allocated, %d reserved", f.name, took, reserved)
		}
	}
}

// TestTooManyNamesAreRefusedBeforeTheyAreDecoded: one more than are answered closes the connection, as does a million.
func TestTooManyNamesAreRefusedBeforeTheyAreDecoded(t *testing.T) {
	b := floodedBroker(t)
	for _, f := range floods {
		t.Run(f.name, func(t *testing.T) {
			c := b.Dial()
			c.Send(c.Frame(latest(f.make(f.n + 1))))
			c.Closed()
		})
	}
	c := b.Dial()
	frame := c.Frame(latest(fetchOf(countdown(1_000_000))))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c.Send(frame)
	c.Closed()
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 3*uint64(len(frame)) { // the frame's buffers
		t.Errorf("%d bytes allocated for a refused request of %d", took, len(frame))
	}
}

// TestManyGroupsAndPartitionsAreServed: what the largest clusters ask about at once.
func TestManyGroupsAndPartitionsAreServed(t *testing.T) {
	b := floodedBroker(t)
	c := b.Dial()
	partitions := countdown(100_000)
	got := c.Do(latest(fetchOf(partitions))).(*kmsg.OffsetFetchResponse).Groups[0]
	for i, p := range got.Topics[0].Partitions {
		want := int64(-1)
		if p.Partition == 1 {
			want = 1
		}
		if p.Partition != partitions[i] || p.Offset != want || p.ErrorCode != 0 {
			t.Fatalf("%d: %+v", i, p)
		}
	}
	if n := len(got.Topics[0].Partitions); n != len(partitions) || got.ErrorCode != 0 {
		t.Errorf("%d partitions answered, code %d", n, got.ErrorCode)
	}

	groups := names(10_000, fmt.Sprintf("%060d", 0))
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.CoordinatorKeys = groups
	for i, at := range c.Do(latest(find)).(*kmsg.FindCoordinatorResponse).Coordinators {
		if at.Key != groups[i] || at.NodeID != 1 || at.ErrorCode != 0 {
			t.Fatalf("%d: %+v", i, at)
		}
	}
	describe := kmsg.NewPtrDescribeGroupsRequest()
	describe.Groups = append(slices.Clone(groups), groups[0], "g") // named twice, answered once
	described := c.Do(latest(describe)).(*kmsg.DescribeGroupsResponse).Groups
	for i, g := range described[:len(groups)] {
		if g.Group != groups[i] || g.ErrorCode != kerr.GroupIDNotFound.Code || *g.ErrorMessage != "Group "+groups[i]+" not found." {
			t.Fatalf("%d: %+v", i, g)
		}
	}
	if g := described[len(groups)]; len(described) != len(groups)+1 || g.Group != "g" || g.State != "Empty" {
		t.Errorf("%d groups described, the last is %+v", len(described), g)
	}
}

// latest sets the newest version that is served, unless one is set.
func latest[T kmsg.Request](req T) T {
	if api, _ := wire.Lookup(req.Key()); req.GetVersion() == 0 {
		req.SetVersion(api.Max)
	}
	return req
}

// reservation is what the server takes of the memory for decoded requests.
func reservation(frame []byte) (int64, error) {
	h, err := wire.ParseHeader(frame[4:])
	if err != nil {
		return 0, err
	}
	return wire.DecodeMemory(h)
}

// allocatedBy sends a frame and reads the answer, of which it returns the size. took is what the process allocated meanwhile.
func allocatedBy(t *testing.T, c *brokertest.Conn, frame []byte) (took uint64, answer int) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	c.Send(frame)
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		t.Fatal(err)
	}
	answer = int(binary.BigEndian.Uint32(size[:]))
	if _, err := io.CopyN(io.Discard, c, int64(answer)); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, answer
}
