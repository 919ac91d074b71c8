package wire

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// produceBody returns a Produce body with n bytes of records.
func produceBody(version int16, n int) []byte {
	req := kmsg.NewPtrProduceRequest()
	req.Version = version
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = "topic"
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = make([]byte, n)
	topic.Partitions = append(topic.Partitions, p)
	req.Topics = append(req.Topics, topic)
	return req.AppendTo(nil)
}

// TestProduceRecordsBorrowFromTheFrame: kmsg's ReadFrom does not copy records. Names must be copies, for they outlive the frame.
func TestProduceRecordsBorrowFromTheFrame(t *testing.T) {
	api, _ := Lookup(0)
	for version := api.AcceptMin; version <= api.Max; version++ {
		body := produceBody(version, 1000)
		req, err := Decode(RequestHeader{Version: version, Body: body})
		if err != nil {
			t.Fatal(err)
		}
		topic := req.(*kmsg.ProduceRequest).Topics[0]
		for i := range body {
			body[i] = 'x'
		}
		if records := topic.Partitions[0].Records; len(records) != 1000 || records[0] != 'x' || records[999] != 'x' {
			t.Errorf("version %d: records were copied", version)
		}
		if topic.Topic != "topic" {
			t.Errorf("version %d: the topic's name borrows from the frame: %q", version, topic.Topic)
		}
	}
}

// TestProduceMemoryDoesNotGrow: decoding takes as much for 1 MiB of records as for 1 KiB.
func TestProduceMemoryDoesNotGrow(t *testing.T) {
	took := func(n int) float64 {
		h := RequestHeader{Version: 9, Body: produceBody(9, n)}
		bytes := allocated(func() {
			for range 100 {
				if _, err := Decode(h); err != nil {
					t.Fatal(err)
				}
			}
		})
		return float64(bytes) / 100
	}
	took(1) // warm up
	if small, large := took(1<<10), took(1<<20); large > small+100 {
		t.Errorf("%v bytes for 1 KiB, %v for 1 MiB", small, large)
	}
}

// TestCheckAllocatesNothing: the walk of a good request costs no memory.
func TestCheckAllocatesNothing(t *testing.T) {
	body := produceBody(9, 1000)
	if n := testing.AllocsPerRun(100, func() {
		if err := Check(0, 9, body); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// emptyFetch is a Fetch body of version 12 without topics, up to its tag section.
const emptyFetch = "ffffffff 00000000 00000000 00000000 00 00000000 00000000 01 01 01"

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		h    RequestHeader
		want error
	}{
		{"key without definition", RequestHeader{Key: 9999}, ErrUnsupportedVersion},
		{"version above the definition", RequestHeader{Key: 3, Version: 99}, ErrUnsupportedVersion},
		{"negative version", RequestHeader{Key: 3, Version: -1}, ErrUnsupportedVersion},
		{"null that must not be", RequestHeader{Key: 3, Version: 0, Body: unhex(t, "ffffffff")}, ErrMalformed},
		{"count above the body", RequestHeader{Key: 3, Version: 0, Body: unhex(t, "7fffffff 0001 61")}, ErrMalformed},
		{"length of -2", RequestHeader{Key: 3, Version: 1, Body: unhex(t, "fffffffe")}, ErrMalformed},
		{"count that lies within the body", RequestHeader{Key: 3, Version: 0, Body: unhex(t, "00000003 0001 61 0001 62")}, ErrMalformed},
		{"compact length of 2^32-2", RequestHeader{Key: 3, Version: 9, Body: unhex(t, "ffffffff0f 00000000")}, ErrMalformed},
		{"varint of six bytes", RequestHeader{Key: 3, Version: 9, Body: unhex(t, "818080808000 00000000")}, ErrMalformed},
		{"tag shorter than its field", RequestHeader{Key: 1, Version: 12, Body: unhex(t, emptyFetch+"01 00 01 02 78")}, ErrMalformed},
		{"tag longer than its field", RequestHeader{Key: 1, Version: 12, Body: unhex(t, emptyFetch+"01 00 03 02 78 00")}, ErrMalformed},
	} {
		if _, err := Decode(c.h); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func BenchmarkCheckProduce(b *testing.B) {
	body := produceBody(9, 64<<10)
	for b.Loop() {
		if err := Check(0, 9, body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeProduce(b *testing.B) {
	h := RequestHeader{Version: 9, Body: produceBody(9, 64<<10)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(h); err != nil {
			b.Fatal(err)
		}
	}
}

// TestDecodeMemory: what is reserved for a Produce does not grow with its records, and covers what decoding takes.
func TestDecodeMemory(t *testing.T) {
	h := RequestHeader{Version: 9, Body: produceBody(9, 1<<20)}
	n, err := DecodeMemory(h)
	if err != nil || n > 1000 {
		t.Fatalf("%d bytes, %v", n, err)
	}
	took := allocated(func() {
		for range 1000 {
			if _, err := Decode(h); err != nil {
				t.Error(err)
			}
		}
	})
	if took/1000 > uint64(n) {
		t.Errorf("%d bytes taken, %d announced", took/1000, n)
	}
	h.Body = h.Body[:100]
	if _, err := DecodeMemory(h); !errors.Is(err, ErrMalformed) {
		t.Errorf("malformed: %v", err)
	}
}

// TestLargeProduceOfTinyPartitions: a frame that socket.request.max.bytes lets through may not decode into hundreds of MiB,
// not even where that is less than 8 times its size, as it is without compact lengths (version 3).
func TestLargeProduceOfTinyPartitions(t *testing.T) {
	for _, version := range []int16{3, 9} {
		body := flood(requestVersion{0, version}, 1, 30<<20, element{})
		if err := Check(0, version, body); !errors.Is(err, ErrMalformed) {
			t.Errorf("version %d: %v", version, err)
		}
	}
	within := flood(requestVersion{0, 3}, 1, 9<<20, element{})
	if err := Check(0, 3, within); err != nil {
		t.Errorf("9 MiB, 63 MiB decoded: %v", err)
	}
}
