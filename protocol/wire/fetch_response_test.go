package wire

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// assemble writes a frame as a server does, with the records of each splice taken from kmsg's response.
func assemble(t testing.TB, f *FetchFrame, like *kmsg.FetchResponse) []byte {
	t.Helper()
	if len(f.Chunks) != len(f.Splices)+1 {
		t.Fatalf("%d chunks, %d splices", len(f.Chunks), len(f.Splices))
	}
	out := bytes.Clone(f.Chunks[0])
	for i, s := range f.Splices {
		records := like.Topics[s.Topic].Partitions[s.Partition].RecordBatches
		if int64(len(records)) != s.Bytes {
			t.Fatalf("splice of %d bytes, records of %d", s.Bytes, len(records))
		}
		out = append(out, records...)
		out = append(out, f.Chunks[i+1]...)
	}
	if int64(len(out)) != f.Size {
		t.Fatalf("%d bytes, size says %d", len(out), f.Size)
	}
	return out
}

// randomFetch returns the same random response twice: ours, and kmsg's.
func randomFetch(rng *rand.Rand) (*FetchResponse, *kmsg.FetchResponse) {
	ours, theirs := &FetchResponse{}, kmsg.NewPtrFetchResponse()
	ours.ThrottleMs, ours.ErrorCode, ours.SessionID = rng.Int32(), int16(rng.Int32()), rng.Int32()
	theirs.ThrottleMillis, theirs.ErrorCode, theirs.SessionID = ours.ThrottleMs, ours.ErrorCode, ours.SessionID
	for range rng.IntN(4) {
		topic, like := FetchTopic{Topic: "topic-name"[:1+rng.IntN(9)]}, kmsg.NewFetchResponseTopic()
		for i := range topic.TopicID {
			topic.TopicID[i] = byte(rng.Uint32())
		}
		like.Topic, like.TopicID = topic.Topic, topic.TopicID
		for range rng.IntN(4) {
			p, l := randomFetchPartition(rng)
			topic.Partitions, like.Partitions = append(topic.Partitions, p), append(like.Partitions, l)
		}
		ours.Topics, theirs.Topics = append(ours.Topics, topic), append(theirs.Topics, like)
	}
	for range rng.IntN(3) {
		n := NodeEndpoint{NodeID: rng.Int32(), Host: "host.example"[:rng.IntN(12)], Port: rng.Int32(), Rack: "rack"[:rng.IntN(4)]}
		b := kmsg.NewFetchResponseBroker()
		b.NodeID, b.Host, b.Port = n.NodeID, n.Host, n.Port
		if n.Rack != "" {
			b.Rack = &n.Rack
		}
		ours.NodeEndpoints, theirs.Brokers = append(ours.NodeEndpoints, n), append(theirs.Brokers, b)
	}
	return ours, theirs
}

func randomFetchPartition(rng *rand.Rand) (FetchPartition, kmsg.FetchResponseTopicPartition) {
	p := NewFetchPartition(rng.Int32(), int16(rng.Int32()))
	l := kmsg.NewFetchResponseTopicPartition()
	l.Partition, l.ErrorCode, l.HighWatermark = p.Partition, p.ErrorCode, -1
	l.RecordBatches = []byte{}
	if rng.IntN(3) > 0 {
		p.HighWatermark, p.LastStableOffset, p.LogStartOffset = rng.Int64(), rng.Int64(), rng.Int64()
		l.HighWatermark, l.LastStableOffset, l.LogStartOffset = p.HighWatermark, p.LastStableOffset, p.LogStartOffset
		p.PreferredReadReplica = rng.Int32N(100) - 1
		l.PreferredReadReplica = p.PreferredReadReplica
		l.RecordBatches = make([]byte, rng.IntN(300))
		for i := range l.RecordBatches {
			l.RecordBatches[i] = byte(rng.Uint32())
		}
		p.RecordsBytes = int64(len(l.RecordBatches))
	}
	if rng.IntN(2) == 0 {
		p.AbortedNull, l.AbortedTransactions = false, []kmsg.FetchResponseTopicPartitionAbortedTransaction{}
		for range rng.IntN(3) {
			a := AbortedTransaction{rng.Int64(), rng.Int64()}
			p.Aborted = append(p.Aborted, a)
			k := kmsg.NewFetchResponseTopicPartitionAbortedTransaction()
			k.ProducerID, k.FirstOffset = a.ProducerID, a.FirstOffset
			l.AbortedTransactions = append(l.AbortedTransactions, k)
		}
	}
	if rng.IntN(3) == 0 {
		p.DivergingEpoch = &EpochEndOffset{rng.Int32(), rng.Int64()}
		l.DivergingEpoch.Epoch, l.DivergingEpoch.EndOffset = p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset
	}
	if rng.IntN(3) == 0 {
		p.CurrentLeader = &LeaderEpoch{rng.Int32(), rng.Int32()}
		l.CurrentLeader.LeaderID, l.CurrentLeader.LeaderEpoch = p.CurrentLeader.LeaderID, p.CurrentLeader.Epoch
	}
	return p, l
}

// TestFetchResponseAsKmsg: in every version the frame with its records in place is, byte for byte, the one kmsg writes with
// the records copied in, and decodes to the same.
func TestFetchResponseAsKmsg(t *testing.T) {
	rng := newRand(t)
	for version := int16(fetchVersionMin); version <= fetchVersionMax; version++ {
		for range 200 {
			ours, theirs := randomFetch(rng)
			if version < fetchVersionEndpoints {
				theirs.Brokers = nil // kmsg would send the tag in any flexible version
			}
			frame, err := ours.Encode(version, 77)
			if err != nil {
				t.Fatal(err)
			}
			got := assemble(t, frame, theirs)
			want := AppendResponse(nil, 77, version, theirs)
			if !bytes.Equal(got, want) {
				t.Fatalf("version %d:\n%x, kmsg:\n%x", version, got, want)
			}
			header := framePrefix + 4
			if version >= fetchVersionFlexible {
				header++
			}
			back := kmsg.NewPtrFetchResponse()
			back.SetVersion(version)
			if err := back.ReadFrom(got[header:]); err != nil {
				t.Fatal(err)
			}
			if len(back.Topics) != len(ours.Topics) {
				t.Fatalf("version %d: %d topics, sent %d", version, len(back.Topics), len(ours.Topics))
			}
			for i, topic := range back.Topics {
				for j, p := range topic.Partitions {
					if !reflect.DeepEqual(p.RecordBatches, theirs.Topics[i].Partitions[j].RecordBatches) {
						t.Fatalf("version %d: other records", version)
					}
				}
			}
		}
	}
}

// TestFetchResponseGolden is one response written by hand from FetchResponse.json.
func TestFetchResponseGolden(t *testing.T) {
	leader := &LeaderEpoch{LeaderID: 2, Epoch: 3}
	r := &FetchResponse{
		Topics: []FetchTopic{{Topic: "t", TopicID: [16]byte{0xAA, 15: 0xBB}, Partitions: []FetchPartition{
			{Partition: 1, HighWatermark: 5, LastStableOffset: 4, PreferredReadReplica: -1, RecordsBytes: 3},
			func() FetchPartition { p := NewFetchPartition(2, 6); p.CurrentLeader = leader; return p }(),
		}}},
		NodeEndpoints: []NodeEndpoint{{NodeID: 2, Host: "h", Port: 9092}},
	}
	const minus1 = "ffffffffffffffff"
	for version, want := range map[int16]string{
		4: "00000052 00000009 00000000 00000001 0001 74 00000002" +
			"00000001 0000 0000000000000005 0000000000000004 00000000 00000003 | " +
			"00000002 0006" + minus1 + minus1 + "ffffffff 00000000",
		16: "0000008a 00000009 00 00000000 0000 00000000 02 aa0000000000000000000000000000bb 03" +
			"00000001 0000 0000000000000005 0000000000000004 0000000000000000 01 ffffffff 04 | 00" +
			"00000002 0006" + minus1 + minus1 + minus1 + "00 ffffffff 01 01 01 09 00000002 00000003 00" +
			"00 01 00 0d 02 00000002 02 68 00002384 00 00",
	} {
		frame, err := r.Encode(version, 9)
		if err != nil {
			t.Fatal(err)
		}
		parts := bytes.Split([]byte(want), []byte("|"))
		for i, part := range parts {
			if wantBytes := unhex(t, string(part)); !bytes.Equal(frame.Chunks[i], wantBytes) {
				t.Errorf("version %d, chunk %d:\n%x, want\n%x", version, i, frame.Chunks[i], wantBytes)
			}
		}
	}
}

func TestFetchResponseRefuses(t *testing.T) {
	one := func(bytes ...int64) *FetchResponse {
		r := &FetchResponse{Topics: []FetchTopic{{}}}
		for _, n := range bytes {
			p := NewFetchPartition(0, 0)
			p.RecordsBytes = n
			r.Topics[0].Partitions = append(r.Topics[0].Partitions, p)
		}
		return r
	}
	for _, version := range []int16{-1, 3, 19} {
		if _, err := one().Encode(version, 0); !errors.Is(err, ErrUnsupportedVersion) {
			t.Errorf("version %d: %v", version, err)
		}
	}
	if _, err := one(-1).Encode(12, 0); err == nil {
		t.Error("records of -1 bytes")
	}
	if _, err := one(1<<31).Encode(12, 0); err == nil {
		t.Error("records of 2 GiB")
	}
	if _, err := one(1<<30, 1<<30).Encode(12, 0); !errors.Is(err, ErrFrameSize) {
		t.Errorf("frame of 2 GiB: %v", err)
	}
	if f, err := one(1<<30).Encode(12, 0); err != nil || f.Size < 1<<30 {
		t.Errorf("frame of 1 GiB: %v", err)
	}
}

// TestFetchResponseMemory: encoding takes as much for long records as for short ones.
func TestFetchResponseMemory(t *testing.T) {
	took := func(records int64) float64 {
		r := &FetchResponse{Topics: []FetchTopic{{Topic: "t", Partitions: []FetchPartition{NewFetchPartition(0, 0)}}}}
		r.Topics[0].Partitions[0].RecordsBytes = records
		return testing.AllocsPerRun(100, func() {
			if _, err := r.Encode(16, 1); err != nil {
				t.Fatal(err)
			}
		})
	}
	if short, long := took(100), took(1<<30); short != long {
		t.Errorf("%v allocations for 100 bytes, %v for 1 GiB", short, long)
	}
}
