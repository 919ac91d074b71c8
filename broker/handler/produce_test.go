package handler_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/brokertest"
	"github.com/tandembroker/tandem/protocol/record"
)

// produce is a request of one batch for partition 0.
func produce(version int16, topic string, acks int16, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(version)
	req.Acks, req.TimeoutMillis = acks, 10_000
	t := kmsg.NewProduceRequestTopic()
	t.Topic = topic
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = records
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

// batch has the given values; edit changes the builder before it builds.
func batch(t testing.TB, edit func(*record.Builder), values ...string) record.Batch {
	t.Helper()
	b := record.NewBuilder()
	if edit != nil {
		edit(b)
	}
	for _, v := range values {
		b.Append(time.Now().UnixMilli(), nil, []byte(v))
	}
	out, err := b.Batch()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(out)
}

// flip returns a copy with one byte inverted.
func flip(b []byte, at int) []byte {
	c := slices.Clone(b)
	c[at] ^= 0xff
	return c
}

func idempotent(id int64, epoch int16, sequence int32) func(*record.Builder) {
	return func(b *record.Builder) { b.ProducerID, b.ProducerEpoch, b.BaseSequence = id, epoch, sequence }
}

// controlBatch is a marker that is not transactional, which no coordinator writes.
func controlBatch() []byte {
	b := record.NewBuilder()
	b.Control, b.ProducerID = true, 1
	b.Append(time.Now().UnixMilli(), []byte{0, 0, 0, 1}, make([]byte, 6))
	out, err := b.Batch()
	if err != nil {
		panic(err)
	}
	return out
}

// TestProduceErrors: what is wrong with a batch gets the code that clients expect, and nothing of it is stored.
func TestProduceErrors(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("t", 1, "max.message.bytes=1000")
	b.CreateTopic("compacted", 1, "cleanup.policy=compact")
	b.CreateTopic("punctual", 1, "message.timestamp.after.max.ms=0")
	good := batch(t, nil, "a", "b")
	big := batch(t, nil, string(make([]byte, 2000)))
	future := record.NewBuilder()
	future.Append(time.Now().Add(2*time.Hour).UnixMilli(), nil, []byte("x"))
	late, err := future.Batch()
	if err != nil {
		t.Fatal(err)
	}
	soon := batch(t, func(b *record.Builder) { b.Append(time.Now().Add(time.Minute).UnixMilli(), nil, nil) }, "x")
	magic1 := slices.Clone([]byte(good))
	magic1[16] = 1
	codec5 := batch(t, nil, "x")
	codec5[22] |= 5
	lyingCount := slices.Clone([]byte(good))
	lyingCount[60] = 200
	transactional := batch(t, func(b *record.Builder) { b.Transactional = true; idempotent(7, 0, 0)(b) }, "x")
	b.CreateTopic("full", 1, "max.message.bytes=0")
	b.CreateTopic("repacked", 1, "compression.type=gzip")
	b.CreateTopic("__consumer_offsets", 1)
	cases := []struct {
		name    string
		topic   string
		version int16
		acks    int16
		records []byte
		want    *kerr.Error
	}{
		{"unknown topic", "nope", 12, -1, good, kerr.UnknownTopicOrPartition},
		{"bad acks", "t", 12, 2, good, kerr.InvalidRequiredAcks},
		{"crc", "t", 12, -1, flip(good, len(good)-1), kerr.CorruptMessage},
		{"crc, acks 1", "t", 12, 1, flip(good, len(good)-1), kerr.CorruptMessage},
		{"crc, version 3", "t", 3, -1, flip(good, len(good)-1), kerr.CorruptMessage},
		{"length beyond the end", "t", 12, -1, good[:len(good)-1], kerr.InvalidRecord},
		{"length negative", "t", 12, -1, flip(good, 8), kerr.CorruptMessage},
		{"magic 1", "t", 12, -1, magic1, kerr.InvalidRecord},
		{"count", "t", 12, -1, lyingCount, kerr.CorruptMessage},
		{"two batches", "t", 12, -1, append(slices.Clone([]byte(good)), good...), kerr.InvalidRecord},
		{"empty", "t", 12, -1, []byte{}, kerr.InvalidRecord},
		{"null", "t", 12, -1, nil, kerr.InvalidRecord},
		{"too large", "t", 12, -1, big, kerr.MessageTooLarge},
		{"from the future", "t", 12, -1, late, kerr.InvalidTimestamp},
		{"a minute ahead, where none is allowed", "punctual", 12, -1, soon, kerr.InvalidTimestamp},
		{"zstd below version 7", "t", 6, -1, batch(t, func(b *record.Builder) { b.Codec = record.Zstd }, "x"), kerr.UnsupportedCompressionType},
		{"control batch", "t", 12, -1, controlBatch(), kerr.InvalidRecord},
		{"transactional, and no transaction named", "t", 12, -1, transactional, kerr.TransactionalIDAuthorizationFailed},
		{"so, and bad acks", "t", 12, 7, transactional, kerr.TransactionalIDAuthorizationFailed},
		{"unknown topic, and bad acks", "nope", 12, 7, good, kerr.UnknownTopicOrPartition},
		{"two batches, and bad acks", "t", 12, 7, append(slices.Clone([]byte(good)), good...), kerr.InvalidRecord},
		{"too large, and bad acks", "t", 12, 7, big, kerr.InvalidRequiredAcks},
		{"where nothing may be produced", "full", 12, -1, good, kerr.MessageTooLarge},
		{"no key on a compacted topic", "compacted", 12, -1, good, kerr.InvalidRecord},
		{"internal topic", "__consumer_offsets", 12, -1, good, kerr.InvalidTopicException},
	}
	c := b.Dial()
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			resp := c.Do(produce(tc.version, tc.topic, tc.acks, tc.records)).(*kmsg.ProduceResponse)
			got := resp.Topics[0].Partitions[0]
			if got.ErrorCode != tc.want.Code || got.BaseOffset != -1 {
				t.Errorf("code %d, base offset %d, want %d (%s)", got.ErrorCode, got.BaseOffset, tc.want.Code, tc.want.Message)
			}
		})
	}
	t.Run("magic 3, which spoils the whole request", func(t *testing.T) {
		req := produce(12, "t", -1, good)
		magic3 := slices.Clone([]byte(good))
		magic3[16] = 3
		req.Topics = append(req.Topics, produce(12, "nope", -1, magic3).Topics...)
		for _, topic := range c.Do(req).(*kmsg.ProduceResponse).Topics {
			if topic.Partitions[0].ErrorCode != kerr.CorruptMessage.Code {
				t.Errorf("%s: %+v", topic.Topic, topic.Partitions[0])
			}
		}
	})
	t.Run("record errors", func(t *testing.T) {
		got := c.Do(produce(8, "compacted", -1, good)).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		if len(got.ErrorRecords) != 2 || got.ErrorRecords[0].RelativeOffset != 0 || got.ErrorRecords[1].RelativeOffset != 1 || got.ErrorMessage == nil {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("the limit that a batch is above", func(t *testing.T) {
		zeros := batch(t, func(b *record.Builder) { b.Codec = record.Zstd }, string(make([]byte, 2<<20)))
		for topic, want := range map[string]string{"t": "2070 bytes, max.message.bytes is 1000", "repacked": "zstd frame of 2097165 bytes"} {
			records := big
			if topic == "repacked" {
				records = zeros
			}
			got := c.Do(produce(8, topic, -1, records)).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
			if got.ErrorMessage == nil {
				t.Fatalf("%s: no message", topic)
			}
			if got.ErrorCode != kerr.MessageTooLarge.Code || !strings.Contains(*got.ErrorMessage, want) {
				t.Errorf("%s: %d %q, want %q", topic, got.ErrorCode, *got.ErrorMessage, want)
			}
		}
	})
	t.Run("a transaction named", func(t *testing.T) {
		req := produce(12, "t", -1, transactional)
		req.TransactionID = kmsg.StringPtr("tx")
		if got := c.Do(req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]; got.ErrorCode != kerr.InvalidTxnState.Code {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("start of the log", func(t *testing.T) { // comes with some errors, as from Kafka
		for topic, tc := range map[string]struct {
			records []byte
			want    int64
		}{"compacted": {good, 0}, "t": {big, -1}, "punctual": {soon, 0}, "full": {append(slices.Clone([]byte(good)), good...), -1}} {
			if got := c.Do(produce(12, topic, -1, tc.records)).(*kmsg.ProduceResponse).Topics[0].Partitions[0]; got.ErrorCode == 0 || got.LogStartOffset != tc.want {
				t.Errorf("%s: %+v, want log start %d", topic, got, tc.want)
			}
		}
	})
	ok := c.Do(produce(12, "t", -1, good)).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	if ok.ErrorCode != 0 || ok.BaseOffset != 0 || ok.LogAppendTime != -1 || ok.LogStartOffset != 0 {
		t.Errorf("after all that: %+v", ok)
	}
}

// TestProduceVersions: every version is answered in its own encoding.
func TestProduceVersions(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("t", 1)
	c := b.Dial()
	for version := int16(3); version <= 12; version++ {
		got := c.Do(produce(version, "t", -1, batch(t, nil, "x"))).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		if got.ErrorCode != 0 || got.BaseOffset != int64(version-3) {
			t.Errorf("version %d: %+v", version, got)
		}
	}
	for version := int16(0); version < 3; version++ {
		old := b.Dial()
		old.Send(old.Frame(produce(version, "t", -1, batch(t, nil, "x"))))
		old.Closed()
	}
}

// TestAcksNone: nothing is answered; the answers to later requests come in their place; an error closes the connection.
func TestAcksNone(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("t", 1)
	c := b.Dial()
	for range 5 {
		c.Send(c.Frame(produce(9, "t", 0, batch(t, nil, "x"))))
	}
	got := c.Do(produce(9, "t", -1, batch(t, nil, "y"))).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	if got.ErrorCode != 0 || got.BaseOffset != 5 {
		t.Errorf("got %+v, want offset 5", got)
	}
	c.Send(c.Frame(produce(9, "missing", 0, batch(t, nil, "x"))))
	c.Closed()
}

// TestPipeline: many produces and other requests sent at once are answered in order.
func TestPipeline(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("t", 1)
	c := b.Dial()
	const count = 200
	var reqs []kmsg.Request
	var frames []byte
	for i := range count {
		var req kmsg.Request = produce(9, "t", -1, batch(t, nil, "x"))
		if i%10 == 9 {
			req = listOffsets(5, "t", -1)
		}
		reqs = append(reqs, req)
		frames = append(frames, c.Frame(req)...)
	}
	go func() { _, _ = c.Write(frames) }() // ends with the connection
	stored := int64(0)
	for i, req := range reqs {
		switch resp := c.Response(req).(type) {
		case *kmsg.ProduceResponse:
			if p := resp.Topics[0].Partitions[0]; p.ErrorCode != 0 || p.BaseOffset != stored {
				t.Fatalf("answer %d: %+v, want offset %d", i, p, stored)
			}
			stored++
		case *kmsg.ListOffsetsResponse:
			// All earlier produces must be visible.
			if p := resp.Topics[0].Partitions[0]; p.Offset != stored {
				t.Fatalf("answer %d: end offset %d, want %d", i, p.Offset, stored)
			}
		}
	}
}

// TestIdempotence: duplicates get their first offset, gaps are refused, also after a restart.
func TestIdempotence(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("t", 1)
	id := b.Dial().Do(initProducerID(4, nil)).(*kmsg.InitProducerIDResponse).ProducerID
	send := func(sequence int32, epoch int16) kmsg.ProduceResponseTopicPartition {
		t.Helper()
		return b.Dial().Do(produce(9, "t", -1, batch(t, idempotent(id, epoch, sequence), "x", "y"))).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	}
	expect := func(what string, got kmsg.ProduceResponseTopicPartition, offset int64, code int16) {
		t.Helper()
		if got.ErrorCode != code || got.BaseOffset != offset {
			t.Errorf("%s: offset %d, code %d, want %d, %d", what, got.BaseOffset, got.ErrorCode, offset, code)
		}
	}
	expect("first", send(0, 0), 0, 0)
	expect("second", send(2, 0), 2, 0)
	expect("duplicate of the first", send(0, 0), 0, 0)
	expect("gap", send(6, 0), -1, kerr.OutOfOrderSequenceNumber.Code)
	b.Restart()
	expect("duplicate after a restart", send(2, 0), 2, 0)
	expect("third", send(4, 0), 4, 0)
	expect("new epoch", send(0, 1), 6, 0)
	expect("old epoch", send(6, 0), -1, kerr.InvalidProducerEpoch.Code)
	if next := b.Dial().Do(initProducerID(4, nil)).(*kmsg.InitProducerIDResponse).ProducerID; next <= id {
		t.Errorf("producer id %d after %d", next, id)
	}
}

// TestLogAppendTime: the broker's clock becomes the time of every record.
func TestLogAppendTime(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("t", 1, "message.timestamp.type=LogAppendTime")
	before := time.Now().UnixMilli()
	bt := record.NewBuilder()
	bt.Append(1000, nil, []byte("x"))
	old, err := bt.Batch()
	if err != nil {
		t.Fatal(err)
	}
	got := b.Dial().Do(produce(9, "t", -1, old)).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	if got.ErrorCode != 0 || got.LogAppendTime < before {
		t.Fatalf("got %+v", got)
	}
	r := consume(t, b, "t", 1)[0]
	if r.Timestamp.UnixMilli() != got.LogAppendTime || r.Attrs.TimestampType() != 1 {
		t.Errorf("record of %v, type %d, want %d", r.Timestamp, r.Attrs.TimestampType(), got.LogAppendTime)
	}
}

func initProducerID(version int16, transactionalID *string) *kmsg.InitProducerIDRequest {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.SetVersion(version)
	req.TransactionalID, req.TransactionTimeoutMillis = transactionalID, 1000
	return req
}

// TestInitProducerID: ids are never given out twice, whatever the version; transactional ids are refused.
func TestInitProducerID(t *testing.T) {
	b := brokertest.Start(t)
	seen := map[int64]bool{}
	for range 2 {
		c := b.Dial()
		for version := int16(0); version <= 5; version++ {
			got := c.Do(initProducerID(version, nil)).(*kmsg.InitProducerIDResponse)
			if got.ErrorCode != 0 || got.ProducerID < 0 || got.ProducerEpoch != 0 || seen[got.ProducerID] {
				t.Errorf("version %d: %+v, given out before: %v", version, got, seen[got.ProducerID])
			}
			seen[got.ProducerID] = true
		}
		for name, want := range map[string]int16{"": kerr.InvalidRequest.Code, "tx": kerr.UnsupportedVersion.Code} {
			if got := c.Do(initProducerID(4, &name)).(*kmsg.InitProducerIDResponse); got.ErrorCode != want || got.ProducerID != -1 {
				t.Errorf("transactional id %q: %+v", name, got)
			}
		}
		for _, half := range []struct {
			id    int64
			epoch int16
		}{{5, -1}, {-1, 5}} {
			req := initProducerID(4, nil)
			req.ProducerID, req.ProducerEpoch = half.id, half.epoch
			if got := c.Do(req).(*kmsg.InitProducerIDResponse); got.ErrorCode != kerr.InvalidRequest.Code || got.ProducerID != -1 {
				t.Errorf("%+v: %+v", half, got)
			}
		}
		b.Restart()
	}
}

// TestIdempotentClient: franz-go's default producer, with several requests in flight.
func TestIdempotentClient(t *testing.T) {
	b := brokertest.Start(t)
	b.CreateTopic("t", 1)
	p := b.Client(kgo.DefaultProduceTopic("t"), kgo.ProducerBatchMaxBytes(2000))
	const count = 3000
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
	for i, r := range consume(t, b, "t", count) {
		if string(r.Key) != string(numbered(i).Key) {
			t.Fatalf("offset %d has key %s", i, r.Key)
		}
	}
}
