package handler_test

import (
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/brokertest"
)

func deleteRecords(c *brokertest.Conn, version int16, timeout int32, topic string, partition int32, offset int64) (low int64, code int16) {
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.SetVersion(version)
	req.TimeoutMillis = timeout
	t := kmsg.NewDeleteRecordsRequestTopic()
	t.Topic = topic
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Partition, p.Offset = partition, offset
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	got := c.Do(req).(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0]
	return got.LowWatermark, got.ErrorCode
}

// TestDeleteRecords: each step with its answer, in every version; what is below is gone for readers, also after a restart.
func TestDeleteRecords(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("compacted", 1, "cleanup.policy=compact")
	b.CreateTopic("kept", 1, "cleanup.policy=")
	b.CreateTopic("t", 1)
	b.CreateTopic("__consumer_offsets", 1)
	for range 5 {
		mustProduce(t, b, "t", batch(t, nil, "a", "b"))
	}
	c := b.Dial()
	for i, x := range []struct {
		topic     string
		partition int32
		offset    int64
		low       int64
		code      int16
	}{
		{"t", 0, 3, 3, 0},
		{"t", 0, 1, 3, 0}, // never back
		{"t", 0, 11, -1, kerr.OffsetOutOfRange.Code},
		{"t", 0, -2, -1, kerr.OffsetOutOfRange.Code},
		{"t", 1, 0, -1, kerr.UnknownTopicOrPartition.Code},
		{"missing", 0, 0, -1, kerr.UnknownTopicOrPartition.Code},
		{"compacted", 0, 0, -1, kerr.PolicyViolation.Code},
		{"kept", 0, 0, 0, 0},
		{"__consumer_offsets", 1, 0, -1, kerr.UnknownTopicOrPartition.Code},
		{"__consumer_offsets", 0, 0, -1, kerr.InvalidTopicException.Code},
	} {
		for version := range int16(3) {
			if low, code := deleteRecords(c, version, 10000, x.topic, x.partition, x.offset); low != x.low || code != x.code {
				t.Errorf("step %d, version %d: low watermark %d, code %d; want %d, %d", i, version, low, code, x.low, x.code)
			}
		}
	}
	check := func(want int64) {
		t.Helper()
		starts, err := kadm.NewClient(b.Client()).ListStartOffsets(b.Context(), "t")
		if err != nil {
			t.Fatal(err)
		}
		if o, _ := starts.Lookup("t", 0); o.Offset != want {
			t.Errorf("earliest offset %d, want %d", o.Offset, want)
		}
		first, err := kadm.NewClient(b.Client()).ListOffsetsAfterMilli(b.Context(), 0, "t")
		if err != nil {
			t.Fatal(err)
		}
		if o, _ := first.Lookup("t", 0); o.Offset != want {
			t.Errorf("first offset by time %d, want %d", o.Offset, want)
		}
		for offset, code := range map[int64]int16{want - 1: kerr.OffsetOutOfRange.Code, want: 0} {
			got := b.Dial().Do(fetch(b, 11, "t", offset)).(*kmsg.FetchResponse).Topics[0].Partitions[0]
			if got.ErrorCode != code || code == 0 && got.LogStartOffset != want {
				t.Errorf("fetch at %d: %+v, want code %d", offset, got, code)
			}
		}
	}
	check(3)
	b.Restart()
	check(3)
	if low, code := deleteRecords(b.Dial(), 2, 10000, "t", 0, -1); low != 10 || code != 0 {
		t.Errorf("all of them: low watermark %d, code %d", low, code)
	}
	check(10)
	if offset := mustProduce(t, b, "t", batch(t, nil, "a")); offset != 10 {
		t.Errorf("the next record is at %d", offset)
	}
}

// TestDeletedSegmentsGo: the files below the log start offset are removed by the next step of retention.
func TestDeletedSegmentsGo(t *testing.T) {
	b := brokertest.Start(t, "log.retention.check.interval.ms=20", "checkpoint.interval.ms=100", "log.segment.bytes=1048576")
	b.CreateTopic("t", 1)
	segments := func() int {
		files, err := filepath.Glob(filepath.Join(b.Config().LogDirs[0], "t-0", "*.log"))
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	for range 5 {
		mustProduce(t, b, "t", batch(t, nil, string(make([]byte, 500_000)), string(make([]byte, 300_000))))
	}
	if n := segments(); n < 3 {
		t.Fatalf("%d segments, this test needs several", n)
	}
	if low, code := deleteRecords(b.Dial(), 2, 10000, "t", 0, -1); low != 10 || code != 0 {
		t.Fatalf("low watermark %d, code %d", low, code)
	}
	await(t, "one segment left", func() bool {
		mustProduce(t, b, "t", batch(t, nil, "x")) // a checkpoint comes after a write
		return segments() == 1
	})
}

// TestNoAuthorizer: each entry of each request has SECURITY_DISABLED, in every version.
func TestNoAuthorizer(t *testing.T) {
	b := brokertest.Start(t)
	c := b.Dial()
	for version := int16(1); version <= 3; version++ {
		describe := kmsg.NewPtrDescribeACLsRequest()
		describe.SetVersion(version)
		if got := c.Do(describe).(*kmsg.DescribeACLsResponse); got.ErrorCode != kerr.SecurityDisabled.Code || got.ErrorMessage == nil || len(got.Resources) != 0 {
			t.Errorf("version %d: %+v", version, got)
		}
		create := kmsg.NewPtrCreateACLsRequest()
		create.SetVersion(version)
		create.Creations = append(create.Creations, kmsg.NewCreateACLsRequestCreation(), kmsg.NewCreateACLsRequestCreation())
		if got := c.Do(create).(*kmsg.CreateACLsResponse); len(got.Results) != 2 || got.Results[1].ErrorCode != kerr.SecurityDisabled.Code {
			t.Errorf("version %d: %+v", version, got)
		}
		remove := kmsg.NewPtrDeleteACLsRequest()
		remove.SetVersion(version)
		remove.Filters = append(remove.Filters, kmsg.NewDeleteACLsRequestFilter())
		if got := c.Do(remove).(*kmsg.DeleteACLsResponse); len(got.Results) != 1 || got.Results[0].ErrorCode != kerr.SecurityDisabled.Code {
			t.Errorf("version %d: %+v", version, got)
		}
	}
}
