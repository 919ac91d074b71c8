package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

const batchHeaderLen = 61

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// batchSpec describes a record batch; what is wrong with it on purpose is in the fields behind records.
type batchSpec struct {
	records    int
	size       int // bytes of a value
	content    int // picks values
	codec      int8
	first      int64 // timestamp of the first record, ms; one more for each record
	producer   int64
	epoch      int16
	sequence   int32
	attributes int16 // more than the codec's

	magic      int8 // other than 2 is wrong
	wrongCRC   bool
	countDelta int32 // added to the number of records
	lastDelta  int32 // added to the offset delta of the last
	cut        int   // bytes left out at the end, lengths follow
	shorten    int   // bytes left out at the end, lengths do not follow
	base       int64
	garbage    bool // records that do not parse, or do not decompress
}

func plainBatch(records int) batchSpec {
	return batchSpec{records: records, size: 8, first: baseTime, producer: -1, epoch: -1, sequence: -1, magic: 2}
}

// compressors are indexed by the number of the codec: none, gzip, snappy, lz4, zstd.
var compressors = []kgo.CompressionCodec{
	kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(),
}

var codecNames = []string{"none", "gzip", "snappy", "lz4", "zstd", "codec5", "codec6", "codec7"}

// encode makes the batch.
func (s batchSpec) encode() []byte {
	var records []byte
	for i := range s.records {
		value := bytes.Repeat([]byte{byte('a' + (s.content+i)%26)}, s.size)
		records = appendRecord(records, int64(i), int64(i), fmt.Appendf(nil, "k%d", (s.content+i)%5), value)
	}
	if s.garbage {
		records = bytes.Repeat([]byte{0xfe}, len(records))
	}
	if s.codec > 0 && int(s.codec) < len(compressors) && !s.garbage {
		records = compress(records, s.codec)
	}
	records = records[:max(0, len(records)-s.cut)]
	b := make([]byte, batchHeaderLen, batchHeaderLen+len(records))
	b = append(b, records...)
	put := binary.BigEndian
	put.PutUint64(b, uint64(s.base))
	put.PutUint32(b[8:], uint32(len(b)-12))
	put.PutUint32(b[12:], 1<<32-1)
	b[16] = byte(s.magic)
	put.PutUint16(b[21:], uint16(s.attributes)|uint16(s.codec))
	put.PutUint32(b[23:], uint32(int32(s.records-1)+s.lastDelta))
	put.PutUint64(b[27:], uint64(s.first))
	put.PutUint64(b[35:], uint64(s.first+int64(max(s.records-1, 0))))
	put.PutUint64(b[43:], uint64(s.producer))
	put.PutUint16(b[51:], uint16(s.epoch))
	put.PutUint32(b[53:], uint32(s.sequence))
	put.PutUint32(b[57:], uint32(int32(s.records)+s.countDelta))
	crc := crc32.Checksum(b[21:], castagnoli)
	if s.wrongCRC {
		crc++
	}
	put.PutUint32(b[17:], crc)
	return b[:len(b)-s.shorten]
}

func appendRecord(b []byte, timeDelta, offsetDelta int64, key, value []byte) []byte {
	body := []byte{0}
	body = binary.AppendVarint(body, timeDelta)
	body = binary.AppendVarint(body, offsetDelta)
	body = binary.AppendVarint(body, int64(len(key)))
	body = append(body, key...)
	body = binary.AppendVarint(body, int64(len(value)))
	body = append(body, value...)
	body = binary.AppendVarint(body, 0) // headers
	b = binary.AppendVarint(b, int64(len(body)))
	return append(b, body...)
}

func compress(records []byte, codec int8) []byte {
	c, err := kgo.DefaultCompressor(compressors[codec])
	if err != nil {
		panic(err) // one of the table above
	}
	out, _ := c.Compress(new(bytes.Buffer), records)
	return slices.Clone(out)
}

// batch is what a client sees of a fetched batch.
type batch struct {
	base, first, latest, producer int64
	leaderEpoch                   int32
	attributes, epoch             int16
	sequence, lastDelta, count    int32
	records                       []byte // decompressed
}

// cutBatch returns the first whole batch of b and what is behind it; nil at the end, where a fetch may have a part of one.
func cutBatch(b []byte) (*batch, []byte, error) {
	if len(b) < batchHeaderLen {
		return nil, nil, nil
	}
	get := binary.BigEndian
	size := int(int32(get.Uint32(b[8:]))) + 12
	switch {
	case size < batchHeaderLen:
		return nil, nil, fmt.Errorf("batch of %d bytes", size)
	case size > len(b):
		return nil, nil, nil
	case b[16] != 2:
		return nil, nil, fmt.Errorf("batch of magic %d", b[16])
	case crc32.Checksum(b[21:size], castagnoli) != get.Uint32(b[17:]):
		return nil, nil, fmt.Errorf("checksum of the batch at offset %d", get.Uint64(b))
	}
	r := &batch{
		base: int64(get.Uint64(b)), leaderEpoch: int32(get.Uint32(b[12:])), attributes: int16(get.Uint16(b[21:])),
		lastDelta: int32(get.Uint32(b[23:])), first: int64(get.Uint64(b[27:])), latest: int64(get.Uint64(b[35:])),
		producer: int64(get.Uint64(b[43:])), epoch: int16(get.Uint16(b[51:])), sequence: int32(get.Uint32(b[53:])),
		count: int32(get.Uint32(b[57:])),
	}
	var err error
	r.records, err = kgo.DefaultDecompressor().Decompress(b[batchHeaderLen:size], kgo.CompressionCodecType(r.attributes&7))
	if err != nil {
		return nil, nil, fmt.Errorf("decompress the batch at offset %d: %w", r.base, err)
	}
	return r, b[size:], nil
}

// text describes a batch; epoch and producer are what the side calls them.
func (b *batch) text(leaderEpoch, producer string) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d+%d records=%d %s", b.base, b.lastDelta, b.count, codecNames[b.attributes&7])
	if b.attributes&^7 != 0 {
		fmt.Fprintf(&s, " attributes=%#x", b.attributes&^7)
	}
	fmt.Fprintf(&s, " leader=%s time=%s..%s content=%08x", leaderEpoch, timeText(b.first), timeText(b.latest), crc32.ChecksumIEEE(b.records))
	if b.producer != -1 {
		fmt.Fprintf(&s, " producer=%s/%d sequence=%d", producer, b.epoch, b.sequence)
	}
	return s.String()
}
