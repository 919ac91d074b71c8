package archive

import (
	"bytes"
	"errors"
	"path"
	"testing"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/entry"
)

// FuzzDocument: any bytes decode without a panic, and what decodes encodes to a document that says the same.
func FuzzDocument(f *testing.F) {
	p := newPart(payments)
	p.grow(f, 3, 1, nil)
	a := open(f, newMem(f), options())
	described := sealed(f, a, p, entry.Cut{SiteEpoch: 2, Offset: 0})
	seed, err := described.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte("{\n}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if at := len(b) - len(crcTail) - crcLen; at > len(crcKey) && bytes.HasPrefix(b[at-len(crcKey):], []byte(crcKey)) { // give the fuzzer the CRC
			b = bytes.Clone(b)
			copy(b[at:], crcText(checksumOf(b[:at-len(crcKey)])))
		}
		got, _, err := decodeDocument(described.ID, b)
		if err != nil {
			return
		}
		again, err := got.encode()
		if err != nil {
			t.Fatalf("%+v does not encode: %v", got, err)
		}
		back, _, err := decodeDocument(described.ID, again)
		if err != nil || back.ID != got.ID || back.Bytes != got.Bytes || back.Reason != got.Reason || !back.Archived.Equal(got.Archived) {
			t.Fatalf("%+v comes back as %+v: %v", got, back, err)
		}
	})
}

// FuzzRecords: any bytes in a file of batches are read without a panic, records come in order, and what is not in order is told.
func FuzzRecords(f *testing.F) {
	for codec := record.None; codec <= record.Zstd; codec++ {
		f.Add([]byte(batchOf(f, 0, 3, 1, func(b *record.Builder) { b.Codec = codec })))
	}
	f.Add([]byte(record.ControlBatch(record.Control{Type: record.Abort, BaseOffset: 2, ProducerID: 3})))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := newPart(orders)
		p.grow(t, 5, 1, nil)
		fsys := newMem(t)
		a := open(t, fsys, options())
		described := sealed(t, a, p, entry.Cut{SiteEpoch: 2, Offset: 0})
		name := path.Join(dir, rootName, described.ID, described.Segments[0].File)
		if _, _, err := record.Next(b); err == nil { // give the fuzzer the CRC
			b = bytes.Clone(b)
			batch, _, _ := record.Next(b)
			put32(b[17:], checksumOf(batch[crcCovers:]))
		}
		replaceFile(t, fsys, name, b)
		for _, documented := range []bool{true, false} {
			if !documented {
				if err := fsys.Remove(path.Join(dir, rootName, described.ID, documentName)); err != nil {
					t.Fatal(err)
				}
			}
			r, err := a.Reader(t.Context(), described.ID)
			if err != nil {
				t.Fatal(err)
			}
			last := int64(-1)
			err = r.Records(t.Context(), 0, func(rec Record) error {
				if rec.Offset <= last || documented && rec.Offset > described.LastOffset {
					t.Fatalf("offset %d behind %d", rec.Offset, last)
				}
				last = rec.Offset
				return nil
			})
			if !errors.Is(err, ErrDamaged) && !(documented && err == nil && bytes.Equal(b, join(p.batches))) {
				t.Fatalf("%x is read as if it were whole: %v", b, err)
			}
		}
	})
}
