package handler_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tandembroker/tandem/broker/brokertest"
)

// TestCodecs: what a producer sends with each codec and each acks comes back in order, headers and nulls included.
func TestCodecs(t *testing.T) {
	b := brokertest.Start(t)
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	acks := map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()}
	for name, codec := range codecs {
		for level, a := range acks {
			t.Run(name+"/acks="+level, func(t *testing.T) {
				topic := "codec-" + name + "-" + level
				b.CreateTopic(topic, 1)
				opts := []kgo.Opt{kgo.ProducerBatchCompression(codec), kgo.RequiredAcks(a), kgo.DefaultProduceTopic(topic)}
				if level != "all" {
					opts = append(opts, kgo.DisableIdempotentWrite())
				}
				p := b.Client(opts...)
				const count = 500
				for i := range count {
					p.Produce(b.Context(), numbered(i), func(_ *kgo.Record, err error) {
						if err != nil {
							t.Errorf("record %d: %v", i, err)
						}
					})
				}
				if err := p.Flush(b.Context()); err != nil {
					t.Fatal(err)
				}
				got := consume(t, b, topic, count)
				for i, r := range got {
					want := numbered(i)
					if string(r.Key) != string(want.Key) || string(r.Value) != string(want.Value) || len(r.Headers) != 1 || (r.Value == nil) != (want.Value == nil) {
						t.Fatalf("record %d: got %+v", i, r)
					}
				}
			})
		}
	}
}

func numbered(i int) *kgo.Record {
	r := &kgo.Record{
		Key: fmt.Appendf(nil, "key-%d", i), Value: []byte(strings.Repeat(fmt.Sprint("value-", i, " "), 20)),
		Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}},
	}
	if i%50 == 7 {
		r.Value = nil
	}
	return r
}

// consume reads count records of partition 0 from the beginning and checks that offsets run without a gap.
func consume(t *testing.T, b *brokertest.Broker, topic string, count int) []*kgo.Record {
	t.Helper()
	c := b.Client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	defer c.Close()
	var got []*kgo.Record
	for len(got) < count {
		f := c.PollFetches(b.Context())
		if err := f.Err(); err != nil {
			t.Fatalf("after %d records: %v", len(got), err)
		}
		got = append(got, f.Records()...)
	}
	if len(got) != count {
		t.Fatalf("%d records, want %d", len(got), count)
	}
	for i, r := range got {
		if r.Offset != int64(i) {
			t.Fatalf("record %d has offset %d", i, r.Offset)
		}
	}
	return got
}
