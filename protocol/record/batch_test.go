package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
)

const testNow = 1_700_000_000_000

// testBatch returns a valid producer's batch of n records; the last value has size bytes.
func testBatch(t testing.TB, codec Codec, n, size int) Batch {
	t.Helper()
	b := NewBuilder()
	b.Codec, b.ProducerID, b.ProducerEpoch, b.BaseSequence = codec, 5, 1, 10
	for i := range n {
		value := bytes.Repeat([]byte{byte(i), byte(i >> 3), byte(i * 7)}, size/3+1)[:size]
		b.Append(testNow+int64(i), fmt.Appendf(nil, "key-%d", i), value, Header{Key: []byte("h"), Value: []byte{1}})
	}
	batch, err := b.Batch()
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

// Every single-bit flip of a batch in a log is caught: by the CRC, by framing, or, for the 12 bytes that neither covers (base
// offset and leader epoch, which the broker stamps), by the broker's own CRC over the stamped payload, not by this package.
func TestEveryBitFlipIsCaught(t *testing.T) {
	for _, codec := range []Codec{None, Gzip, Snappy, LZ4, Zstd} {
		original := testBatch(t, codec, 5, 40)
		behind := testBatch(t, None, 1, 10)
		buf := append(bytes.Clone(original), behind...)
		var missed []int
		for bit := range len(original) * 8 {
			buf[bit/8] ^= 1 << (bit % 8)
			if batch, _, err := Next(buf); err == nil && batch.CheckCRC() == nil {
				missed = append(missed, bit/8)
			}
			buf[bit/8] ^= 1 << (bit % 8)
		}
		for _, pos := range missed {
			if pos >= posBaseOffset+8 && pos < posLeaderEpoch || pos >= posLeaderEpoch+4 {
				t.Errorf("%v: a flip at byte %d went unseen", codec, pos)
			}
		}
		if len(missed) != 12*8 {
			t.Errorf("%v: %d unseen flips, want only the 96 bits outside the CRC", codec, len(missed))
		}
	}
}

// From a client, a flip in the base offset is caught too; only the leader epoch, which is overwritten, is anybody's.
func TestEveryBitFlipFromClientIsCaught(t *testing.T) {
	original := testBatch(t, None, 3, 20)
	for bit := range len(original) * 8 {
		raw := bytes.Clone(original)
		raw[bit/8] ^= 1 << (bit % 8)
		batch, err := Single(raw, 9)
		if err == nil {
			err = batch.ValidateProduce(DefaultLimits(testNow))
		}
		if inEpoch := bit/8 >= posLeaderEpoch && bit/8 < posMagic; (err == nil) != inEpoch {
			t.Errorf("flip of bit %d in byte %d: %v", bit%8, bit/8, err)
		}
	}
}

func TestNextAtEveryLength(t *testing.T) {
	whole := testBatch(t, None, 2, 30)
	for n := range len(whole) {
		if _, _, err := Next(whole[:n]); !errors.Is(err, ErrTruncated) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	two := append(bytes.Clone(whole), whole...)
	first, rest, err := Next(two)
	if err != nil || !bytes.Equal(first, whole) || !bytes.Equal(rest, whole) || cap(first) != len(first) {
		t.Fatalf("split failed: %v", err)
	}
}

func TestNextRefuses(t *testing.T) {
	edit := func(fn func(b []byte)) []byte {
		b := bytes.Clone(testBatch(t, None, 1, 10))
		fn(b)
		return b
	}
	length := func(n int32) []byte {
		return edit(func(b []byte) { binary.BigEndian.PutUint32(b[posLength:], uint32(n)) })
	}
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"negative length":        {length(-1), ErrCorrupt},
		"most negative length":   {length(-1 << 31), ErrCorrupt},
		"length 0":               {length(0), ErrCorrupt},
		"length 13":              {length(13), ErrCorrupt},
		"length below header":    {length(48), ErrCorrupt},
		"header only":            {length(49), nil},
		"length of 2 GiB":        {length(1<<31 - 1), ErrTruncated},
		"magic 0":                {edit(func(b []byte) { b[posMagic] = 0 }), ErrMagic},
		"magic 1":                {edit(func(b []byte) { b[posMagic] = 1 }), ErrMagic},
		"magic 3":                {edit(func(b []byte) { b[posMagic] = 3 }), ErrCorrupt},
		"magic -1":               {edit(func(b []byte) { b[posMagic] = 0xff }), ErrCorrupt},
		"a whole magic 1 record": {[]byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x17\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\x00\x00\x00\x01x"), ErrMagic},
	} {
		if _, _, err := Next(c.b); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestSettersKeepTheCRC(t *testing.T) {
	b := testBatch(t, Zstd, 4, 50)
	b.SetBaseOffset(1 << 43)
	b.SetLeaderEpoch(77)
	if err := b.CheckCRC(); err != nil || b.BaseOffset() != 1<<43 || b.LeaderEpoch() != 77 || b.LastOffset() != 1<<43+3 {
		t.Fatalf("after stamping: %v", err)
	}
	b.SetLogAppendTime(testNow + 99)
	if err := b.CheckCRC(); err != nil || !b.IsLogAppendTime() || b.MaxTimestamp() != testNow+99 {
		t.Fatalf("after log append time: %v", err)
	}
	n := 0
	if err := b.Each(0, func(r Record) error {
		n++
		if r.Timestamp != testNow+99 {
			return fmt.Errorf("timestamp %d", r.Timestamp)
		}
		return nil
	}); err != nil || n != 4 {
		t.Fatal(n, err)
	}
}

func TestBuilderRoundTrip(t *testing.T) {
	records := []Record{
		{Offset: 100, Timestamp: 50, Key: nil, Value: []byte("v")},
		{Offset: 103, Timestamp: 10, Key: []byte{}, Value: nil, Headers: []Header{{Key: []byte("a")}, {Key: []byte{}, Value: []byte{}}}},
		{Offset: 200, Timestamp: 1 << 60, Key: []byte("k"), Value: bytes.Repeat([]byte("x"), 100_000)},
	}
	for _, codec := range []Codec{None, Gzip, Snappy, LZ4, Zstd} {
		b := NewBuilder()
		b.BaseOffset, b.Codec = 100, codec
		for _, r := range records {
			if err := b.AppendRecord(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.AppendRecord(Record{Offset: 200}); err == nil {
			t.Fatal("an offset was taken twice")
		}
		batch, err := b.Batch()
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		if err := batch.Each(0, func(r Record) error {
			if !equalRecords(r, records[i]) {
				return fmt.Errorf("record %d differs", i)
			}
			i++
			return nil
		}); err != nil || i != len(records) || batch.LastOffset() != 200 || batch.MaxTimestamp() != 1<<60 || batch.FirstTimestamp() != 50 {
			t.Fatalf("%v: %d records, %v", codec, i, err)
		}
	}
}

func equalRecords(a, b Record) bool {
	if a.Offset != b.Offset || a.Timestamp != b.Timestamp || !equalNullable(a.Key, b.Key) || !equalNullable(a.Value, b.Value) || len(a.Headers) != len(b.Headers) {
		return false
	}
	for i := range a.Headers {
		if !bytes.Equal(a.Headers[i].Key, b.Headers[i].Key) || !equalNullable(a.Headers[i].Value, b.Headers[i].Value) {
			return false
		}
	}
	return true
}

func equalNullable(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// Compaction may leave a header without records; Kafka keeps such batches and so must every reader.
func TestEmptyBatch(t *testing.T) {
	for _, codec := range []Codec{None, Zstd} {
		raw := bytes.Clone(testBatch(t, codec, 1, 1)[:HeaderLen])
		binary.BigEndian.PutUint32(raw[posLength:], HeaderLen-OverheadLen)
		binary.BigEndian.PutUint32(raw[posRecordCount:], 0)
		b, _, err := Next(raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Each(0, func(Record) error { return errors.New("a record") }); err != nil {
			t.Fatal(err)
		}
		b.setCRC()
		if err := b.ValidateProduce(DefaultLimits(testNow)); !errors.Is(err, ErrInvalid) {
			t.Fatalf("from a client: %v", err)
		}
	}
}
