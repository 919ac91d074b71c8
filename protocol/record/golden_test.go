package record

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The files hold what real producers put into a produce request: Apache Kafka's Java client 4.3.1, librdkafka 2.0 (kcat) and
// franz-go 1.22, each with every codec, the same twenty records. librdkafka and franz-go write raw snappy, Java xerial framing.
func TestGoldenBatchesOfRealClients(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*.batch")
	if err != nil || len(files) != 15 {
		t.Fatalf("%d golden files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".batch"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			batch, err := Single(raw, 9)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(t.Name(), "-"+batch.Codec().String()) {
				t.Fatalf("codec %v", batch.Codec())
			}
			before := bytes.Clone(raw)
			limits := DefaultLimits(batch.MaxTimestamp())
			limits.OpenCompressed, limits.KeysRequired, limits.BeforeMaxMs = true, true, 60_000
			if err := batch.ValidateProduce(limits); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(before, raw) {
				t.Fatal("validation changed a correct batch")
			}
			checkGoldenRecords(t, batch)
		})
	}
}

func checkGoldenRecords(t *testing.T, batch Batch) {
	t.Helper()
	b := NewBuilder()
	b.LeaderEpoch, b.ProducerID, b.ProducerEpoch, b.BaseSequence = batch.LeaderEpoch(), batch.ProducerID(), batch.ProducerEpoch(), batch.BaseSequence()
	n := 0
	err := batch.Each(0, func(r Record) error {
		key, value := fmt.Sprintf("k%d", n), fmt.Sprintf("value %d of the golden batch, the same words in every line", n)
		if r.Offset != int64(n) || string(r.Key) != key || string(r.Value) != value || len(r.Headers) != 2 ||
			string(r.Headers[0].Key) != "h" || string(r.Headers[0].Value) != "1" || string(r.Headers[1].Key) != "empty" {
			return fmt.Errorf("record %d: %+v", n, r)
		}
		n++
		return b.AppendRecord(r)
	})
	if err != nil || n != 20 {
		t.Fatalf("%d records, %v", n, err)
	}
	if batch.Codec() != None {
		return
	}
	again, err := b.Batch()
	if err != nil || !bytes.Equal(again, batch) {
		t.Fatalf("our encoding of the same records differs (%v)\nours   %x\ntheirs %x", err, []byte(again), []byte(batch))
	}
}

// Bytes of a marker as Kafka's EndTransactionMarker and MemoryRecords.writeEndTransactionalMarker lay it out, made by hand.
func TestControlBatchBytes(t *testing.T) {
	got := ControlBatch(Control{Type: Commit, BaseOffset: 7, LeaderEpoch: 3, Timestamp: 1000, ProducerID: 9, ProducerEpoch: 2, CoordinatorEpoch: 5})
	want := []byte{
		0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 66, 0, 0, 0, 3, 2, // base offset, length, leader epoch, magic
		0, 0, 0, 0, // CRC, below
		0, 0x30, 0, 0, 0, 0, // attributes, last offset delta
		0, 0, 0, 0, 0, 0, 3, 232, 0, 0, 0, 0, 0, 0, 3, 232, // timestamps
		0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, // producer, sequence, count
		32, 0, 0, 0, 8, 0, 0, 0, 1, 12, 0, 0, 0, 0, 0, 5, 0, // the record
	}
	Batch(want).setCRC()
	if !bytes.Equal(got, want) {
		t.Fatalf("got  %x\nwant %x", []byte(got), want)
	}
	c, err := got.ReadControl()
	if err != nil || c != (Control{Type: Commit, BaseOffset: 7, LeaderEpoch: 3, Timestamp: 1000, ProducerID: 9, ProducerEpoch: 2, CoordinatorEpoch: 5}) {
		t.Fatalf("%+v, %v", c, err)
	}
}

// The CRC is the polynomial of Kafka: the check value of CRC-32C over "123456789".
func TestCRCIsCastagnoli(t *testing.T) {
	b := make(Batch, posAttributes, posAttributes+9)
	b = append(b, "123456789"...)
	if b.computeCRC() != 0xe3069283 {
		t.Fatalf("%08x", b.computeCRC())
	}
}

func TestSequenceWraps(t *testing.T) {
	for _, c := range [][3]int32{{0, 4, 4}, {math.MaxInt32 - 2, 2, math.MaxInt32}, {math.MaxInt32, 1, 0}, {math.MaxInt32 - 2, 4, 1}} {
		if got := IncrementSequence(c[0], c[1]); got != c[2] {
			t.Errorf("%d + %d = %d, want %d", c[0], c[1], got, c[2])
		}
	}
}
