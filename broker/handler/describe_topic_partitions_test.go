package handler_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/brokertest"
)

// TestDescribeTopicPartitions: what comes, up to which limit, and where it goes on.
func TestDescribeTopicPartitions(t *testing.T) {
	b := brokertest.Start(t, "max.request.partition.size.limit=6")
	b.CreateTopic("b", 3)
	b.CreateTopic("a", 2)
	b.CreateTopic("c", 4)
	c := b.Dial()
	for _, x := range []struct {
		topics string
		cursor string // topic:partition
		limit  int32
		want   string // topic:first-last or topic!code, then > cursor
	}{
		{"", "", 100, "a:0-1 b:0-2 c:0-0 > c:1"}, // the broker's own limit
		{"", "c:1", 100, "c:1-3"},
		{"", "", 2, "a:0-1 > b:0"},
		{"", "", 3, "a:0-1 b:0-0 > b:1"},
		{"", "b:1", 3, "b:1-2 c:0-0 > c:1"},
		{"", "bb:7", 4, "c:0-3"}, // deleted meanwhile
		{"", "b:9", 9, "b: c:0-3"},
		{"", "", 0, "a:0-0 > a:1"}, // one at least, as Apache Kafka 4.4.0
		{"", "", -1, "a:0-0 > a:1"},
		{"c,a,c", "", 5, "a:0-1 c:0-2 > c:3"},
		{"c,a", "c:3", 5, "c:3-3"},
		{"a,x,a/b", "", 5, "a:0-1 a/b!17 x!3"},
		{"a,c", "b:0", 5, "a!42 c!42"}, // the cursor's topic is not asked for
		{"a,c", "c:-1", 5, "a!42 c!42"},
		{"x", "x:0", 5, "x!3"},
	} {
		req := kmsg.NewPtrDescribeTopicPartitionsRequest()
		req.ResponsePartitionLimit = x.limit
		if x.topics != "" {
			for _, name := range strings.Split(x.topics, ",") {
				rt := kmsg.NewDescribeTopicPartitionsRequestTopic()
				rt.Topic = name
				req.Topics = append(req.Topics, rt)
			}
		}
		if topic, id, ok := strings.Cut(x.cursor, ":"); ok {
			cursor := kmsg.NewDescribeTopicPartitionsRequestCursor()
			cursor.Topic = topic
			if _, err := fmt.Sscan(id, &cursor.Partition); err != nil {
				t.Fatal(err)
			}
			req.Cursor = &cursor
		}
		var parts []string
		resp := c.Do(req).(*kmsg.DescribeTopicPartitionsResponse)
		for _, rt := range resp.Topics {
			part := *rt.Topic + ":"
			if rt.ErrorCode != 0 {
				part = fmt.Sprintf("%s!%d", *rt.Topic, rt.ErrorCode)
			}
			if n := len(rt.Partitions); n > 0 {
				part += fmt.Sprintf("%d-%d", rt.Partitions[0].Partition, rt.Partitions[n-1].Partition)
			}
			for _, p := range rt.Partitions {
				if p.ErrorCode != 0 || p.LeaderID != 1 || p.LeaderEpoch < 0 || len(p.Replicas) != 1 || len(p.ISR) != 1 || p.EligibleLeaderReplicas == nil {
					t.Errorf("%+v: %+v", x, p)
				}
			}
			parts = append(parts, part)
		}
		got := strings.Join(parts, " ")
		if resp.NextCursor != nil {
			got += fmt.Sprintf(" > %s:%d", resp.NextCursor.Topic, resp.NextCursor.Partition)
		}
		if got != x.want {
			t.Errorf("topics %q, cursor %q, limit %d: %q, want %q", x.topics, x.cursor, x.limit, got, x.want)
		}
	}
}
