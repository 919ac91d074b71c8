package log

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/storage/vfs"
)

func FuzzOffsetIndex(f *testing.F) {
	f.Add(encodeOffsets([]offsetEntry{{1, 100}, {5, 200}}), int64(1000))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		entries := decodeOffsets(b, size)
		if got := encodeOffsets(entries); !bytes.HasPrefix(b, got) {
			t.Fatalf("%x decodes to %x", b, got)
		}
		x := newIndexes(0)
		x.offsets = entries
		for _, e := range entries {
			if pos, last := x.floor(int64(e.rel)); pos != int64(e.pos) || last != int64(e.rel) || int64(e.pos) >= size {
				t.Fatalf("floor of %d is %d at %d", e.rel, last, pos)
			}
		}
	})
}

func FuzzTimeIndex(f *testing.F) {
	f.Add(encodeTimes([]timeEntry{{100, 3}, {200, 9}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries := decodeTimes(b)
		if got := encodeTimes(entries); !bytes.HasPrefix(b, got) {
			t.Fatalf("%x decodes to %x", b, got)
		}
	})
}

func FuzzProducerSnapshot(f *testing.F) {
	f.Add(encodeSnapshot([]ProducerEntry{{ProducerID: 1, TxnFirstOffset: -1}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := decodeSnapshot(b)
		if err == nil && !bytes.Equal(encodeSnapshot(entries), b) {
			t.Fatalf("%x does not encode again", b)
		}
	})
}

func FuzzEpochs(f *testing.F) {
	f.Add(epochs{{1, 0}, {4, 20}}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEpochs(b)
		if err != nil {
			return
		}
		again, err := decodeEpochs(e.encode())
		if err != nil || len(again) != len(e) {
			t.Fatalf("%q: %v", b, err)
		}
	})
}

func FuzzAborted(f *testing.F) {
	f.Add(encodeAborted([]AbortedTxn{{1, 2, 3, 4}}), int64(0), int64(10))
	f.Fuzz(func(t *testing.T, b []byte, base, end int64) {
		txns, _ := decodeAborted(b, base, end)
		if !bytes.HasPrefix(b, encodeAborted(txns)) {
			t.Fatalf("%x decodes to %+v", b, txns)
		}
	})
}

func FuzzMetadata(f *testing.F) {
	f.Add(encodeMetadata(uuid.UUID{1, 2}))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := decodeMetadata(b)
		if err != nil {
			return
		}
		if again, err := decodeMetadata(encodeMetadata(id)); err != nil || again != id {
			t.Fatalf("%q: %v", b, err)
		}
	})
}

// Any bytes as a segment, with any bytes as its indexes: reads end, in batches with a right CRC or ErrCorrupt.
func FuzzSegment(f *testing.F) {
	a := makeBatch(f, batchSpec{base: 0, count: 2, valueLen: 20})
	b := makeBatch(f, batchSpec{base: 5, count: 1, valueLen: 50})
	whole := append(bytes.Clone(a.bytes), b.bytes...)
	f.Add(whole, encodeOffsets([]offsetEntry{{5, int32(len(a.bytes))}}), encodeTimes([]timeEntry{{0, 5}}))
	f.Add(whole[:len(whole)-1], []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, log, index, times []byte) {
		fsys := vfs.NewMem()
		if err := fsys.MkdirAll(testDir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, file := range []struct {
			suffix  string
			content []byte
		}{{suffixLog, log}, {suffixIndex, index}, {suffixTime, times}} {
			f, err := fsys.OpenFile(fileName(testDir, 0, file.suffix), os.O_CREATE|os.O_RDWR, 0o644)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(file.content, 0); err != nil {
				t.Fatal(err)
			}
		}
		l, err := Open(fsys, testDir, Checkpoint{LogEnd: 1 << 40, End: Position{0, int64(len(log))}}, testOptions())
		if err == nil {
			err = l.Recover(nil)
		}
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		got, err := readAll(l, 0, 100, 1<<40)
		if err != nil && !errors.Is(err, ErrCorrupt) || !bytes.HasPrefix(log, got) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if _, _, _, _, err := l.OffsetForTimestamp(0, 1<<40); err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
	})
}
