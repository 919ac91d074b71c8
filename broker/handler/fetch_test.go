package handler_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/brokertest"
	"github.com/tandembroker/tandem/protocol/record"
)

// fetch asks for partition 0 of a topic, by name and by id.
func fetch(b *brokertest.Broker, version int16, topic string, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(version)
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 0, 1, 1<<20
	req.Topics = append(req.Topics, fetchTopic(b, topic, 0, offset))
	return req
}

func fetchTopic(b *brokertest.Broker, topic string, partition int32, offset int64) kmsg.FetchRequestTopic {
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = topic, topicID(b, topic)
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, offset, 1<<20
	t.Partitions = append(t.Partitions, p)
	return t
}

func topicID(b *brokertest.Broker, topic string) [16]byte {
	req := kmsg.NewPtrMetadataRequest()
	req.SetVersion(12)
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &topic
	req.Topics = append(req.Topics, t)
	return b.Dial().Do(req).(*kmsg.MetadataResponse).Topics[0].TopicID
}

func mustProduce(t *testing.T, b *brokertest.Broker, topic string, records []byte) int64 {
	t.Helper()
	got := b.Dial().Do(produce(9, topic, -1, records)).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	if got.ErrorCode != 0 {
		t.Fatalf("produce: code %d", got.ErrorCode)
	}
	return got.BaseOffset
}

// TestFetchVersions: every version returns the stored batches byte for byte but for what the broker stamps.
func TestFetchVersions(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("t", 1)
	sent := batch(t, nil, "a", "b", "c")
	mustProduce(t, b, "t", sent)
	sent.SetLeaderEpoch(0)
	c := b.Dial()
	for version := int16(4); version <= 18; version++ {
		for _, isolation := range []int8{0, 1} {
			req := fetch(b, version, "t", 1) // in the middle: the whole batch comes
			req.IsolationLevel = isolation
			resp := c.Do(req).(*kmsg.FetchResponse)
			p := resp.Topics[0].Partitions[0]
			if resp.ErrorCode != 0 || resp.SessionID != 0 || p.ErrorCode != 0 || p.HighWatermark != 3 || p.LastStableOffset != 3 {
				t.Errorf("version %d: %+v", version, resp)
			}
			if !bytes.Equal(p.RecordBatches, sent) {
				t.Errorf("version %d: records\n%x\nwant\n%x", version, p.RecordBatches, sent)
			}
			if (p.AbortedTransactions == nil) != (isolation == 0) {
				t.Errorf("version %d, isolation %d: aborted transactions %v", version, isolation, p.AbortedTransactions)
			}
		}
	}
}

// TestFetchErrors: each mistake has its code, at once, whatever max_wait says.
func TestFetchErrors(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("t", 1)
	mustProduce(t, b, "t", batch(t, nil, "a"))
	c := b.Dial()
	cases := []struct {
		name    string
		version int16
		edit    func(*kmsg.FetchRequest)
		top     int16
		code    int16
	}{
		{"beyond the end", 11, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].FetchOffset = 2 }, 0, kerr.OffsetOutOfRange.Code},
		{"negative offset", 11, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].FetchOffset = -5 }, 0, kerr.OffsetOutOfRange.Code},
		{"unknown topic", 12, func(r *kmsg.FetchRequest) { r.Topics[0].Topic = "nope" }, 0, kerr.UnknownTopicOrPartition.Code},
		{"unknown topic id", 13, func(r *kmsg.FetchRequest) { r.Topics[0].TopicID[3] ^= 1 }, 0, kerr.UnknownTopicID.Code},
		{"unknown partition", 13, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].Partition = 1 }, 0, kerr.UnknownTopicOrPartition.Code},
		{"negative partition", 13, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].Partition = -1 }, 0, kerr.UnknownTopicOrPartition.Code},
		{"newer epoch", 13, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].CurrentLeaderEpoch = 9 }, 0, kerr.UnknownLeaderEpoch.Code},
		{"replica", 13, func(r *kmsg.FetchRequest) { r.ReplicaID = 3 }, 0, kerr.ReplicaNotAvailable.Code},
		{"session continued", 11, func(r *kmsg.FetchRequest) { r.SessionID, r.SessionEpoch = 5, 1 }, kerr.FetchSessionIDNotFound.Code, 0},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			req := fetch(b, tc.version, "t", 0)
			req.MaxWaitMillis, req.MinBytes = int32(10*brokertest.Limit.Milliseconds()), 1<<20
			tc.edit(req)
			resp := c.Do(req).(*kmsg.FetchResponse)
			if resp.ErrorCode != tc.top {
				t.Fatalf("code %d, want %d", resp.ErrorCode, tc.top)
			}
			if tc.top == 0 && (resp.Topics[0].Partitions[0].ErrorCode != tc.code || len(resp.Topics[0].Partitions[0].RecordBatches) > 0) {
				t.Errorf("got %+v, want code %d", resp.Topics[0].Partitions[0], tc.code)
			}
		})
	}
	t.Run("at the end", func(t *testing.T) {
		p := c.Do(fetch(b, 13, "t", 1)).(*kmsg.FetchResponse).Topics[0].Partitions[0]
		if p.ErrorCode != 0 || p.RecordBatches == nil || len(p.RecordBatches) > 0 || p.HighWatermark != 1 {
			t.Errorf("got %+v", p)
		}
	})
	t.Run("last epoch", func(t *testing.T) { // where the logs part, when the client says what its last record is of
		for name, tc := range map[string]struct {
			offset int64
			last   int32 // ahead of the leader's
			code   int16
			end    int64 // of the diverging epoch, -1 = none
		}{"agrees": {1, 0, 0, -1}, "further": {2, 0, 0, 1}, "unknown": {1, 5, kerr.OffsetOutOfRange.Code, -1}, "before the start": {-1, 0, kerr.OffsetOutOfRange.Code, -1}} {
			req := fetch(b, 12, "t", tc.offset)
			epoch := leaderEpoch(t, b, "t")
			req.Topics[0].Partitions[0].LastFetchedEpoch = epoch + tc.last
			p := c.Do(req).(*kmsg.FetchResponse).Topics[0].Partitions[0]
			if p.ErrorCode != tc.code || p.DivergingEpoch.EndOffset != tc.end || tc.end >= 0 && (p.DivergingEpoch.Epoch != epoch || p.HighWatermark != 1) {
				t.Errorf("%s: %+v", name, p)
			}
		}
	})
	t.Run("fenced after a restart", func(t *testing.T) {
		b.Restart()
		req := fetch(b, 16, "t", 0)
		req.Topics[0].Partitions[0].CurrentLeaderEpoch = 0
		resp := b.Dial().Do(req).(*kmsg.FetchResponse)
		p := resp.Topics[0].Partitions[0]
		if p.ErrorCode != kerr.FencedLeaderEpoch.Code || p.CurrentLeader.LeaderID != 1 || p.CurrentLeader.LeaderEpoch < 1 || len(resp.Brokers) != 1 {
			t.Errorf("got %+v, brokers %+v", p, resp.Brokers)
		}
	})
}

// TestFetchLimits: at least one batch from the first partition that has any, in the order of the request, then only what fits.
func TestFetchLimits(t *testing.T) {
	b := brokertest.Start(t)
	for _, topic := range []string{"a", "b", "c"} {
		b.CreateTopic(topic, 1)
	}
	one := batch(t, nil, string(make([]byte, 1000)))
	for range 3 {
		mustProduce(t, b, "b", bytes.Clone(one))
		mustProduce(t, b, "c", bytes.Clone(one))
	}
	lengths := func(req *kmsg.FetchRequest) (n []int) {
		for _, topic := range b.Dial().Do(req).(*kmsg.FetchResponse).Topics {
			n = append(n, len(topic.Partitions[0].RecordBatches)/len(one))
		}
		return n
	}
	for _, tc := range []struct {
		name         string
		max, partMax int32
		order        []string
		want         []int
	}{
		{"tiny", 1, 1, []string{"a", "b", "c"}, []int{0, 1, 0}},
		{"tiny, other order", 1, 1, []string{"c", "b", "a"}, []int{1, 0, 0}},
		{"two batches a partition", 1 << 20, int32(2*len(one) + 10), []string{"a", "b", "c"}, []int{0, 2, 2}},
		{"in all", int32(4*len(one) + 10), 1 << 20, []string{"a", "b", "c"}, []int{0, 3, 1}},
		{"negative", -1, -1, []string{"b", "c"}, []int{1, 0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := fetch(b, 12, tc.order[0], 0)
			req.MaxBytes, req.Topics = tc.max, nil
			for _, topic := range tc.order {
				ft := fetchTopic(b, topic, 0, 0)
				ft.Partitions[0].PartitionMaxBytes = tc.partMax
				req.Topics = append(req.Topics, ft)
			}
			got := lengths(req)
			for i := range tc.want {
				if got[i] != tc.want[i] {
					t.Fatalf("batches %v, want %v", got, tc.want)
				}
			}
		})
	}
}

// TestAbortedOfWhatDoesNotFit: read_committed gets null for a batch that does not fit, and an empty list where nothing was left to fit in.
func TestAbortedOfWhatDoesNotFit(t *testing.T) {
	b := brokertest.Start(t)
	one := batch(t, nil, string(make([]byte, 1000)))
	for _, topic := range []string{"a", "b"} {
		b.CreateTopic(topic, 1)
		mustProduce(t, b, topic, bytes.Clone(one))
	}
	for _, tc := range []struct {
		more int
		null bool
	}{{0, false}, {10, true}, {len(one), false}} {
		req := fetch(b, 12, "a", 0)
		req.IsolationLevel, req.MaxBytes = 1, int32(len(one)+tc.more)
		req.Topics = append(req.Topics, fetchTopic(b, "b", 0, 0))
		got := b.Dial().Do(req).(*kmsg.FetchResponse).Topics[1].Partitions[0]
		if null := got.AbortedTransactions == nil; null != tc.null || (len(got.RecordBatches) > 0) != (tc.more == len(one)) {
			t.Errorf("%d bytes left: %+v", tc.more, got)
		}
	}
}

// TestLongPoll: a fetch waits for records, for enough of them, or for its time; other connections go on meanwhile.
func TestLongPoll(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("t", 1)
	const forever = int32(1 << 30)
	t.Run("until records come", func(t *testing.T) {
		c := b.Dial()
		req := fetch(b, 13, "t", 0)
		req.MaxWaitMillis = forever
		c.Send(c.Frame(req))
		mustProduce(t, b, "t", batch(t, nil, "a"))
		p := c.Response(req).(*kmsg.FetchResponse).Topics[0].Partitions[0]
		if len(p.RecordBatches) == 0 {
			t.Errorf("got %+v", p)
		}
	})
	t.Run("until there is enough", func(t *testing.T) {
		c := b.Dial()
		one := batch(t, nil, "b")
		req := fetch(b, 13, "t", 1)
		req.MaxWaitMillis, req.MinBytes = forever, int32(3*len(one))
		c.Send(c.Frame(req))
		for range 3 {
			mustProduce(t, b, "t", batch(t, nil, "b"))
		}
		p := c.Response(req).(*kmsg.FetchResponse).Topics[0].Partitions[0]
		if len(p.RecordBatches) != 3*len(one) {
			t.Errorf("%d bytes, want %d", len(p.RecordBatches), 3*len(one))
		}
	})
	t.Run("until the time is up", func(t *testing.T) {
		const wait = 200 * time.Millisecond
		req := fetch(b, 13, "t", 4)
		req.MaxWaitMillis = int32(wait.Milliseconds())
		began := time.Now()
		p := b.Dial().Do(req).(*kmsg.FetchResponse).Topics[0].Partitions[0]
		if took := time.Since(began); took < wait || p.ErrorCode != 0 || len(p.RecordBatches) > 0 {
			t.Errorf("after %v: %+v", took, p)
		}
	})
	t.Run("until the topic is deleted", func(t *testing.T) {
		b.CreateTopic("doomed", 1)
		c := b.Dial()
		req := fetch(b, 12, "doomed", 0)
		req.MaxWaitMillis = forever
		c.Send(c.Frame(req))
		deleteTopic(t, b, "doomed")
		p := c.Response(req).(*kmsg.FetchResponse).Topics[0].Partitions[0]
		if p.ErrorCode != kerr.UnknownTopicOrPartition.Code && p.ErrorCode != kerr.NotLeaderForPartition.Code {
			t.Errorf("got %+v", p)
		}
	})
	t.Run("not at the end of a segment", func(t *testing.T) {
		b.CreateTopic("segments", 1, "segment.bytes=1048576")
		for range 4 {
			mustProduce(t, b, "segments", batch(t, nil, string(make([]byte, 500_000))))
		}
		req := fetch(b, 13, "segments", 0)
		req.MaxWaitMillis, req.MinBytes, req.MaxBytes = forever, 50<<20, 50<<20
		req.Topics[0].Partitions[0].PartitionMaxBytes = 50 << 20
		if p := b.Dial().Do(req).(*kmsg.FetchResponse).Topics[0].Partitions[0]; len(p.RecordBatches) == 0 {
			t.Errorf("got %+v", p)
		}
	})
	t.Run("no partitions", func(t *testing.T) {
		req := fetch(b, 13, "t", 0)
		req.MaxWaitMillis, req.Topics = forever, nil
		if resp := b.Dial().Do(req).(*kmsg.FetchResponse); resp.ErrorCode != 0 || len(resp.Topics) > 0 {
			t.Errorf("got %+v", resp)
		}
	})
	t.Run("next request behind it", func(t *testing.T) {
		c := b.Dial()
		req := fetch(b, 13, "t", 4)
		req.MaxWaitMillis = 100
		next := listOffsets(5, "t", -1)
		c.Send(append(c.Frame(req), c.Frame(next)...))
		c.Response(req)
		if p := c.Response(next).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]; p.Offset != 4 {
			t.Errorf("got %+v", p)
		}
	})
}

// TestLargeFetch: records of many segments and sizes leave by sendfile whole, also to a client that reads slowly.
func TestLargeFetch(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("t", 1, "segment.bytes=1048576")
	var want []byte
	for i := range 12 {
		bt := batch(t, nil, string(bytes.Repeat([]byte{byte('a' + i)}, 400_000)))
		base := mustProduce(t, b, "t", bytes.Clone(bt))
		bt.SetBaseOffset(base)
		bt.SetLeaderEpoch(0)
		want = append(want, bt...)
	}
	var got []byte
	c := b.Dial()
	for len(got) < len(want) {
		offset := int64(len(got) / (len(want) / 12))
		req := fetch(b, 13, "t", offset)
		req.MaxBytes, req.Topics[0].Partitions[0].PartitionMaxBytes = 50<<20, 50<<20
		p := c.Do(req).(*kmsg.FetchResponse).Topics[0].Partitions[0]
		if len(p.RecordBatches) == 0 {
			t.Fatalf("nothing at offset %d", offset)
		}
		got = append(got, p.RecordBatches...)
	}
	if !bytes.Equal(got, want) {
		t.Error("records differ")
	}
	for rest := got; len(rest) > 0; {
		bt, next, err := record.Next(rest)
		if err != nil {
			t.Fatal(err)
		}
		if err := bt.CheckCRC(); err != nil {
			t.Fatal(err)
		}
		rest = next
	}
}

// await polls a condition that another goroutine makes true.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(brokertest.Limit); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s does not come", what)
		}
	}
}
