package record

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

// TestRecompress: from every codec to every codec and level, the records and the rest of the header stay.
func TestRecompress(t *testing.T) {
	levels := map[Codec][]int{None: {0}, Gzip: {-1, 1, 9}, Snappy: {0}, LZ4: {1, 9, 17}, Zstd: {-131072, 3, 9, 22}}
	for from := None; from <= Zstd; from++ {
		b := NewBuilder()
		b.Codec, b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.BaseOffset = from, 7, 2, 9, 100
		for i := range 400 {
			b.Append(int64(1000+i), []byte(fmt.Sprint("k", i)), bytes.Repeat([]byte{byte(i)}, 300), Header{Key: []byte("h"), Value: []byte("v")})
		}
		built, err := b.Batch()
		if err != nil {
			t.Fatal(err)
		}
		want := recordsOf(t, built)
		for to := None; to <= Zstd; to++ {
			for _, level := range levels[to] {
				got, err := built.Recompress(Compression{to, level}, 1<<20, 0)
				if err != nil {
					t.Fatalf("%v to %v level %d: %v", from, to, level, err)
				}
				if _, rest, err := Next(got); err != nil || len(rest) != 0 || got.CheckCRC() != nil {
					t.Fatalf("%v to %v level %d: %v, rest %d, CRC %v", from, to, level, err, len(rest), got.CheckCRC())
				}
				if got.Codec() != to || got.ProducerID() != 7 || got.BaseSequence() != 9 || got.RecordCount() != 400 ||
					got.MaxTimestamp() != built.MaxTimestamp() || got.BaseOffset() != 100 {
					t.Errorf("%v to %v level %d: header %x", from, to, level, []byte(got[:HeaderLen]))
				}
				if text := recordsOf(t, got); text != want {
					t.Errorf("%v to %v level %d: other records", from, to, level)
				}
			}
		}
	}
}

// TestRecompressLimits: what comes out is bounded, and so is what is unpacked.
func TestRecompressLimits(t *testing.T) {
	b := NewBuilder()
	b.Codec = Zstd
	b.Append(1, nil, make([]byte, 1<<19))
	built, err := b.Batch()
	if err != nil {
		t.Fatal(err)
	}
	for name, try := range map[string]func() error{
		"out":    func() error { _, err := built.Recompress(Compression{Codec: None}, 1<<18, 0); return err },
		"budget": func() error { _, err := built.Recompress(Compression{Codec: LZ4, Level: 9}, 1<<21, 1<<18); return err },
	} {
		if err := try(); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := built.Recompress(Compression{Codec: LZ4, Level: 9}, 1<<21, 0); err != nil {
		t.Errorf("after a failure: %v", err)
	}
}

func recordsOf(t *testing.T, b Batch) string {
	t.Helper()
	var text bytes.Buffer
	err := b.Each(0, func(r Record) error {
		fmt.Fprintf(&text, "%d %d %q %x %v\n", r.Offset, r.Timestamp, r.Key, r.Value, r.Headers)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}
