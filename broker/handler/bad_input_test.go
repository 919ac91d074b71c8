package handler_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/brokertest"
)

// frame puts a size in front of a header of version 1 (client id null) and a body.
func frame(key, version int16, body []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = append(b, 0, 0, 0, 7, 0xff, 0xff)
	b = append(b, body...)
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

// uvarint 2^32 - 1, which hazard K1 has as the number of tags.
var allTags = []byte{0xff, 0xff, 0xff, 0xff, 0x0f}

// TestBadFrames: each closes its own connection at once, while a producer and a consumer on other connections notice nothing.
func TestBadFrames(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("t", 1)
	stop := innocents(t, b)
	cases := []struct {
		name  string
		bytes []byte
	}{
		{"size 0", []byte{0, 0, 0, 0}},
		{"size 7", []byte{0, 0, 0, 7, 0, 3, 0, 0, 0, 0, 0}},
		{"size negative", []byte{0xff, 0xff, 0xff, 0xff, 0, 3}},
		{"size 2 GiB", []byte{0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 9}},
		{"fetch of 16 MiB", []byte{1, 0, 0, 0, 0, 1, 0, 11}},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")},
		{"TLS", []byte{0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03}},
		{"unknown API", frame(999, 0, nil)},
		{"negative API", frame(-1, 0, nil)},
		{"LeaderAndIsr", frame(4, 0, make([]byte, 64))},
		{"version above", frame(1, 99, make([]byte, 64))},
		{"version below", frame(1, 0, make([]byte, 64))},
		{"version negative", frame(3, -1, make([]byte, 64))},
		{"client id beyond the end", append([]byte{0, 0, 0, 10, 0, 3, 0, 1, 0, 0, 0, 1}, 0x7f, 0xff)},
		{"K1: header tags", frame(18, 3, allTags)},
		{"K1: body tags", frame(18, 3, append([]byte{0, 2, 'a', 2, 'b'}, allTags...))},
		{"array of 2^31-1", frame(3, 1, []byte{0x7f, 0xff, 0xff, 0xff})},
		{"array of -2", frame(3, 1, []byte{0xff, 0xff, 0xff, 0xfe})},
		{"string beyond the end", frame(3, 1, []byte{0, 0, 0, 1, 0x7f, 0xff})},
		{"produce cut off", frame(0, 7, []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 3, 0xe8, 0, 0, 0, 1, 0, 1})},
		{"garbage", frame(19, 7, bytes.Repeat([]byte{0xa5}, 300))},
		{"offset commit of version 1, not served", frame(8, 1, make([]byte, 40))},
		{"join group, one protocol cut off", frame(11, 5, []byte{0, 1, 0x67, 0, 0, 0x27, 0x10, 0, 0, 0x27, 0x10, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 1, 0, 5, 0x72})},
		{"sync group, assignment that lies", frame(14, 0, []byte{0, 1, 0x67, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0x6d, 0x7f, 0xff, 0xff, 0xff})},
		{"add partitions to a transaction, not served", frame(24, 0, make([]byte, 40))},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c := b.Dial()
			c.Send(tc.bytes)
			c.Closed()
		})
	}
	t.Run("truncated and gone", func(t *testing.T) {
		whole := b.Dial().Frame(produce(9, "t", -1, batch(t, nil, "x")))
		for cut := range whole {
			c := b.Dial()
			c.Send(whole[:cut])
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("random bytes in a frame", func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		keys := []int16{0, 1, 2, 3, 18, 19, 20, 22, 23, 32, 35, 37, 60}
		for range 300 {
			body := make([]byte, rng.IntN(100))
			for i := range body {
				body[i] = byte(rng.Uint32())
			}
			c := b.Dial()
			c.Send(frame(keys[rng.IntN(len(keys))], int16(rng.IntN(14)), body))
			_ = c.Close() // whether it was answered is not the point
		}
	})
	stop()
}

// innocents runs a producer and a consumer until the returned function is called, which checks that they got on.
func innocents(t *testing.T, b *brokertest.Broker) (stop func()) {
	t.Helper()
	b.CreateTopic("innocent", 1)
	p := b.Client(kgo.DefaultProduceTopic("innocent"), kgo.RecordRetries(0))
	c := b.Client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"innocent": {0: kgo.NewOffset().AtStart()}}))
	var sent, got atomic.Int64
	done := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() { // ends with done
		for {
			select {
			case <-done:
				return
			default:
			}
			if err := p.ProduceSync(b.Context(), numbered(int(sent.Load()))).FirstErr(); err != nil {
				t.Errorf("innocent producer: %v", err)
				return
			}
			sent.Add(1)
		}
	})
	wait.Go(func() { // ends when it has all that was sent
		for {
			f := c.PollFetches(b.Context())
			if err := f.Err(); err != nil {
				t.Errorf("innocent consumer: %v", err)
				return
			}
			got.Add(int64(f.NumRecords()))
			select {
			case <-done:
				if got.Load() >= sent.Load() {
					return
				}
			default:
			}
		}
	})
	return func() {
		await(t, "progress", func() bool { return got.Load() > 0 || t.Failed() })
		close(done)
		if err := p.ProduceSync(b.Context(), numbered(0)).FirstErr(); err != nil { // wakes the consumer
			t.Errorf("innocent producer: %v", err)
		}
		sent.Add(1)
		wait.Wait()
	}
}

// TestAPIVersions: our own table in every version; one that is too new is answered in version 0.
func TestAPIVersions(t *testing.T) {
	b := brokertest.Start(t)
	c := b.Dial()
	for version := int16(0); version <= 4; version++ {
		req := kmsg.NewPtrApiVersionsRequest()
		req.SetVersion(version)
		req.ClientSoftwareName, req.ClientSoftwareVersion = "test", "1"
		got := c.Do(req).(*kmsg.ApiVersionsResponse)
		if got.ErrorCode != 0 || len(got.ApiKeys) < 13 {
			t.Errorf("version %d: %+v", version, got)
		}
	}
	// A newer one may have any body.
	c.Send(frame(18, 9, append([]byte{0}, bytes.Repeat([]byte{0xa5}, 50)...))) // no header tags
	body := c.Receive()
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.SetVersion(0)
	if err := resp.ReadFrom(body[4:]); err != nil || resp.ErrorCode != 35 || len(resp.ApiKeys) != 1 || resp.ApiKeys[0].MaxVersion != 4 {
		t.Errorf("version 9: %+v, %v", resp, err)
	}
	bad := kmsg.NewPtrApiVersionsRequest()
	bad.SetVersion(3)
	bad.ClientSoftwareName, bad.ClientSoftwareVersion = "-", "1"
	if got := c.Do(bad).(*kmsg.ApiVersionsResponse); got.ErrorCode != 42 {
		t.Errorf("bad name: %+v", got)
	}
}

// TestManyPartitions: 1,000 partitions are created, used and started again quickly.
func TestManyPartitions(t *testing.T) {
	if testing.Short() {
		t.Skip("1,000 partitions")
	}
	b := brokertest.Start(t)
	const count = 1000
	began := time.Now()
	b.CreateTopic("many", count)
	t.Logf("created in %v", time.Since(began))
	p := b.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic("many"))
	for round := range 3 {
		for i := range int32(count) {
			p.Produce(b.Context(), &kgo.Record{Partition: i, Value: fmt.Appendf(nil, "%d-%d", i, round)}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("partition %d: %v", i, err)
				}
			})
		}
	}
	if err := p.Flush(b.Context()); err != nil {
		t.Fatal(err)
	}
	p.Close()
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	b.Restart()
	await(t, "leaders of all partitions", func() bool { return b.Ready() == nil })
	t.Logf("started in %v", time.Since(began))
	starts := map[int32]kgo.Offset{}
	for i := range int32(count) {
		starts[i] = kgo.NewOffset().AtStart()
	}
	c := b.Client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"many": starts}))
	seen := map[int32]int{}
	for total := 0; total < 3*count; {
		f := c.PollFetches(b.Context())
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) {
			if want := fmt.Sprintf("%d-%d", r.Partition, seen[r.Partition]); string(r.Value) != want {
				t.Errorf("got %s, want %s", r.Value, want)
			}
			seen[r.Partition]++
			total++
		})
	}
}

// TestConcurrentClients: many producers and consumers on a few partitions, while topics come and go.
func TestConcurrentClients(t *testing.T) {
	b := brokertest.Start(t)
	const producers, records, partitions = 8, 400, 4
	b.CreateTopic("shared", partitions)
	var wait sync.WaitGroup
	for n := range producers {
		wait.Go(func() { // ends after its records
			p := b.Client(kgo.DefaultProduceTopic("shared"))
			for i := range records {
				p.Produce(b.Context(), &kgo.Record{Key: fmt.Appendf(nil, "%d-%d", n, i), Value: make([]byte, 300)}, func(_ *kgo.Record, err error) {
					if err != nil {
						t.Errorf("producer %d: %v", n, err)
					}
				})
			}
			if err := p.Flush(b.Context()); err != nil {
				t.Errorf("producer %d: %v", n, err)
			}
		})
	}
	wait.Go(func() { // ends after its topics
		for i := range 10 {
			name := fmt.Sprint("passing-", i)
			b.CreateTopic(name, 2)
			deleteTopic(t, b, name)
		}
	})
	starts := map[int32]kgo.Offset{}
	for i := range int32(partitions) {
		starts[i] = kgo.NewOffset().AtStart()
	}
	for n := range 3 {
		wait.Go(func() { // ends when it has all
			c := b.Client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"shared": starts}))
			seen := map[string]bool{}
			for len(seen) < producers*records {
				f := c.PollFetches(b.Context())
				if err := f.Err(); err != nil {
					t.Errorf("consumer %d: %v", n, err)
					return
				}
				f.EachRecord(func(r *kgo.Record) {
					if seen[string(r.Key)] {
						t.Errorf("consumer %d: %s twice", n, r.Key)
					}
					seen[string(r.Key)] = true
				})
			}
		})
	}
	wait.Wait()
}
