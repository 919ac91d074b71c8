package record

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// memorySlack is what a decoder may take beyond its output: windows, tables, pooled coders made anew.
const memorySlack = 4 << 20

func seedBatches(f *testing.F) {
	f.Helper()
	files, _ := filepath.Glob("testdata/golden/*.batch")
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(ControlBatch(Control{Type: Commit, Timestamp: 5})))
	f.Add([]byte(valid().batch()))
}

// FuzzBatch: no panic, bounded memory; a batch that is readable reads the same after it was built again from its records, and
// one that validates has a right CRC and as many records as it says.
func FuzzBatch(f *testing.F) {
	seedBatches(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		batch, rest, err := Next(raw)
		if err != nil {
			if !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrMagic) && !errors.Is(err, ErrCorrupt) {
				t.Fatalf("not a framing error: %v", err)
			}
			return
		}
		if len(batch)+len(rest) != len(raw) || batch.Length() != len(batch) {
			t.Fatal("bytes lost")
		}
		const budget = 1 << 20
		var kept []Record
		n := allocated(func() {
			err = batch.Each(budget, func(r Record) error { kept = append(kept, cloneRecord(r)); return nil })
			_, _ = batch.ReadControl()
		})
		// The copies above cost up to four times the budget, headers 50 bytes where the wire has 2.
		if limit := uint64(64*(budget+len(raw)) + memorySlack); n > limit {
			t.Fatalf("%d bytes allocated for a batch of %d", n, len(raw))
		}
		if err == nil {
			checkRebuilt(t, batch, kept)
		}
		checkValidation(t, batch, int32(len(kept)), err == nil)
	})
}

func checkValidation(t *testing.T, batch Batch, count int32, readable bool) {
	own := Batch(bytes.Clone(batch))
	own.SetBaseOffset(0)
	own.setCRC() // else a fuzzer never gets behind the CRC
	l := DefaultLimits(testNow)
	l.OpenCompressed, l.AfterMaxMs = true, 1<<62
	err := own.ValidateProduce(l)
	if err != nil {
		for _, known := range []error{ErrInvalid, ErrTimestamp, ErrTooLarge, ErrCodec} {
			if errors.Is(err, known) {
				return
			}
		}
		t.Fatalf("not one of ours: %v", err)
	}
	if own.CheckCRC() != nil || own.IsLogAppendTime() || own.IsControl() {
		t.Fatal("validated, but the CRC or the flags are wrong")
	}
	if readable && (count != own.RecordCount() || own.LastOffsetDelta() != count-1) {
		t.Fatalf("validated with %d records, %d found", own.RecordCount(), count)
	}
	if !readable && own.Codec() == None {
		t.Fatal("validated, but not readable")
	}
}

func checkRebuilt(t *testing.T, batch Batch, records []Record) {
	for _, codec := range []Codec{None, Codec(len(batch) % 5)} {
		b := NewBuilder()
		b.BaseOffset, b.Codec = batch.BaseOffset(), codec
		for _, r := range records {
			if err := b.AppendRecord(r); err != nil {
				t.Fatal(err)
			}
		}
		again, err := b.Batch()
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		err = again.Each(0, func(r Record) error {
			if !equalRecords(r, records[i]) {
				return fmt.Errorf("record %d differs after a round trip", i)
			}
			i++
			return nil
		})
		if errors.Is(err, ErrTooLarge) { // rebuilt small, it may pass the ratio
			continue
		}
		if err != nil || i != len(records) {
			t.Fatalf("%d of %d records: %v", i, len(records), err)
		}
	}
}

func cloneRecord(r Record) Record {
	r.Key, r.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
	headers := make([]Header, len(r.Headers))
	for i, h := range r.Headers {
		headers[i] = Header{Key: bytes.Clone(h.Key), Value: bytes.Clone(h.Value)}
	}
	r.Headers = headers
	return r
}

// FuzzDecompress: no panic, output within the budget, memory within a multiple of it, for every codec.
func FuzzDecompress(f *testing.F) {
	text := bytes.Repeat([]byte("the same words again and again, "), 100)
	for _, codec := range codecs {
		packed, err := Compress(nil, codec, text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(codec), packed)
	}
	for _, bomb := range bombs(f) {
		if len(bomb.b) < 100_000 {
			f.Add(uint8(bomb.codec), bomb.b)
		}
	}
	f.Fuzz(func(t *testing.T, c uint8, src []byte) {
		const budget = 256 << 10
		codec := Codec(c % 8)
		var got []byte
		var err error
		n := allocated(func() { got, err = decompress(nil, codec, src, budget) })
		if len(got) > budget || n > 8*budget+memorySlack {
			t.Fatalf("%v: %d bytes out, %d allocated", codec, len(got), n)
		}
		if err != nil {
			return
		}
		packed, err := Compress(nil, codec, got)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decompress(nil, codec, packed, budget)
		if err != nil || !bytes.Equal(again, got) {
			t.Fatalf("%v: round trip: %v", codec, err)
		}
	})
}
