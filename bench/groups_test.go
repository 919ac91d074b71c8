package main

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestAssignRangeGivesEachPartitionOnce(t *testing.T) {
	for _, c := range []struct {
		members    []string
		partitions int32
		want       []int
	}{
		{nil, 5, nil},
		{[]string{"b", "a", "c"}, 7, []int{3, 2, 2}},
		{[]string{"b", "a", "c"}, 2, []int{1, 1, 0}},
	} {
		var members []kmsg.JoinGroupResponseMember
		for _, id := range c.members {
			members = append(members, kmsg.JoinGroupResponseMember{MemberID: id})
		}
		next := int32(0)
		out := assignRange(members, "t", c.partitions)
		if len(out) != len(c.want) {
			t.Fatalf("%v: %d assignments", c.members, len(out))
		}
		for i, a := range out {
			var got kmsg.ConsumerMemberAssignment
			if err := got.ReadFrom(a.MemberAssignment); err != nil || a.MemberID != string(rune('a'+i)) {
				t.Fatal(a.MemberID, err)
			}
			if len(got.Topics[0].Partitions) != c.want[i] {
				t.Errorf("%s has %v, want %d", a.MemberID, got.Topics[0].Partitions, c.want[i])
			}
			for _, p := range got.Topics[0].Partitions {
				if p != next {
					t.Errorf("%s has %d, want %d", a.MemberID, p, next)
				}
				next++
			}
		}
		if len(c.members) > 0 && next != c.partitions {
			t.Errorf("%d of %d partitions", next, c.partitions)
		}
	}
}

func TestARebalanceEndsWithTheLastMember(t *testing.T) {
	r := newRebalance(2, 10)
	r.settled(&member{generation: 1, assigned: 10})
	r.settled(&member{generation: 2, assigned: 5})
	select {
	case <-r.done:
		t.Fatal("two members in two generations are no group")
	default:
	}
	r.settled(&member{generation: 2, assigned: 5})
	<-r.done
	if r.err != nil {
		t.Fatal(r.err)
	}
	short := newRebalance(1, 10)
	if short.settled(&member{generation: 1, assigned: 9}); short.err == nil {
		t.Fatal("a partition that nobody has was not noticed")
	}
}
