package record

import (
	"fmt"
	"testing"
)

// A producer's usual batches: 1 KiB records.
func benchBatch(b *testing.B, codec Codec, records int) Batch {
	batch := testBatch(b, codec, records, 1000)
	b.SetBytes(int64(batch.Length()))
	b.ReportAllocs()
	return batch
}

func benchLimits() Limits {
	l := DefaultLimits(testNow)
	l.BytesMax = 64 << 20
	return l
}

func BenchmarkValidate(b *testing.B) {
	for _, records := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("%dKiB", records), func(b *testing.B) {
			batch, l := benchBatch(b, None, records), benchLimits()
			for b.Loop() {
				if err := batch.ValidateProduce(l); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCheckCRC(b *testing.B) {
	batch := benchBatch(b, None, 1024)
	for b.Loop() {
		if err := batch.CheckCRC(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWalk is validation without the CRC.
func BenchmarkWalk(b *testing.B) {
	batch, l := benchBatch(b, None, 1024), benchLimits()
	for b.Loop() {
		if err := batch.validateRecords(l); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEach(b *testing.B) {
	for _, codec := range codecs {
		b.Run(codec.String(), func(b *testing.B) {
			batch := benchBatch(b, codec, 1024)
			for b.Loop() {
				if err := batch.Each(0, func(Record) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkBuild(b *testing.B) {
	value := make([]byte, 1000)
	builder := NewBuilder()
	b.SetBytes(1024 * 1000)
	b.ReportAllocs()
	for b.Loop() {
		builder.Reset()
		for range 1024 {
			builder.Append(testNow, nil, value)
		}
		if _, err := builder.Batch(); err != nil {
			b.Fatal(err)
		}
	}
}

// What compaction does with a batch of which every second record stays.
func BenchmarkFilter(b *testing.B) {
	for _, codec := range codecs {
		b.Run(codec.String(), func(b *testing.B) {
			batch := testBatch(b, codec, 500, 100)
			b.SetBytes(500 * 100)
			b.ReportAllocs()
			var f Filter
			for b.Loop() {
				n := 0
				got, err := f.Apply(batch, Rule{Keep: func(Keyed) bool { n++; return n%2 == 0 }, Horizon: NoTimestamp})
				if err != nil || got.Kept != 250 {
					b.Fatal(got.Kept, err)
				}
			}
		})
	}
}

func BenchmarkEachKeyed(b *testing.B) {
	for _, codec := range codecs {
		b.Run(codec.String(), func(b *testing.B) {
			batch := testBatch(b, codec, 500, 100)
			b.SetBytes(500 * 100)
			b.ReportAllocs()
			for b.Loop() {
				if err := batch.EachKeyed(0, func(Keyed) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
