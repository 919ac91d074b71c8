package record

import (
	"compress/gzip"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"testing"
)

// verdict is one line of testdata/logvalidator.gz: a batch, right or damaged in one or two ways, the topic's limits, and what
// Apache Kafka 4.4.0 said to it (ProduceRequest.validateRecords, UnifiedLog's checks of base offset and CRC, LogValidator with
// origin CLIENT, leader epoch 5 and the clock at testNow).
type verdict struct {
	Flags     byte // bit 0: compacted topic, 1: log append time
	BeforeMs  int64
	AfterMs   int64
	Code      int16  // Kafka's error code; 0 = taken
	ResultCRC uint32 // IEEE, of the batch as Kafka would store it at offset 0
	BatchLen  uint32
	batch     []byte
}

func readVerdicts(t *testing.T) []verdict {
	t.Helper()
	f, err := os.Open("testdata/logvalidator.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	const headLen = 27
	var all []verdict
	for len(raw) > 0 {
		v := verdict{Flags: raw[0], BeforeMs: int64(binary.BigEndian.Uint64(raw[1:])), AfterMs: int64(binary.BigEndian.Uint64(raw[9:])),
			Code: int16(binary.BigEndian.Uint16(raw[17:])), ResultCRC: binary.BigEndian.Uint32(raw[19:]), BatchLen: binary.BigEndian.Uint32(raw[23:])}
		v.batch = raw[headLen : headLen+v.BatchLen]
		raw = raw[headLen+v.BatchLen:]
		all = append(all, v)
	}
	return all
}

// ours is our answer to the same, as a Kafka error code, with the batch as we would store it.
func (v verdict) ours() (code int16, stored []byte, err error) {
	l := DefaultLimits(testNow)
	l.BeforeMaxMs, l.AfterMaxMs, l.KeysRequired, l.LogAppendTime, l.OpenCompressed = v.BeforeMs, v.AfterMs, v.Flags&1 != 0, v.Flags&2 != 0, true
	b, err := Single(append([]byte(nil), v.batch...), 9)
	if err == nil {
		err = b.ValidateProduce(l)
	}
	for sentinel, code := range map[error]int16{ErrTruncated: 87, ErrMagic: 87, ErrInvalid: 87, ErrCorrupt: 2, ErrTimestamp: 32, ErrTooLarge: 10, ErrCodec: 76} {
		if errors.Is(err, sentinel) {
			return code, nil, err
		}
	}
	if l.LogAppendTime {
		b.SetLogAppendTime(testNow)
	}
	b.SetLeaderEpoch(5)
	return 0, b, nil
}

// TestKafkaSaysTheSame: the same verdict, and byte for byte the same batch to store, but for the differences below, each of
// which refuses more than Kafka or gives a clearer code.
func TestKafkaSaysTheSame(t *testing.T) {
	const unknownServerError = -1
	same, taken := 0, 0
	for i, v := range readVerdicts(t) {
		code, stored, err := v.ours()
		if code == v.Code {
			same++
			if code == 0 {
				taken++
				if crc32.ChecksumIEEE(stored) != v.ResultCRC {
					t.Errorf("case %d: taken by both, but stored differently: %x", i, stored)
				}
			}
			continue
		}
		b := Batch(v.batch)
		switch {
		case v.Code == unknownServerError && code != 0:
			// Kafka fell over an exception: unknown codec, data that does not unpack, offset deltas of a compressed batch.
		case v.Code == 0 && code == 87 && b.IsTransactional() && !b.HasProducerID():
			// No client can end such a transaction.
		case v.Code == 0 && code == 87 && b.Codec() != None:
			// Kafka skips over keys and values of compressed records without comparing their lengths with the record's.
		case v.Code == 0 && code == 87 && hasOtherDeltas(b):
			// Kafka counts uncompressed records itself; clients that read the batch trust the deltas.
		case v.Code == 32 && code == 87 && b.Codec() != None:
			// As above: for Kafka the same batch parsed, and had a bad timestamp.
		case (v.Code == 2 && code == 87 || v.Code == 87 && code == 2) && int(b.int32At(posLength))+OverheadLen != len(b):
			// Two faults, the length field being one of them.
		case v.Code == 32 && code == 0 && v.AfterMs != 0 && b.FirstTimestamp() < 0:
			// Kafka's subtraction overflows.
		default:
			t.Errorf("case %d: Kafka says %d, we say %d (%v): %x", i, v.Code, code, err, v.batch)
		}
	}
	if same < 2000 || taken < 500 {
		t.Fatalf("%d same, %d taken: the test data is not what it was", same, taken)
	}
}

func hasOtherDeltas(b Batch) bool {
	last := int64(-1)
	err := b.Each(0, func(r Record) error {
		if last++; r.Offset-b.BaseOffset() != last {
			return errors.New("found")
		}
		return nil
	})
	return err != nil
}
