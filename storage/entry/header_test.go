package entry

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func dataHeader() Header {
	return Header{
		Kind: Data, SiteEpoch: 3, ValidatedTerm: 7, AppendSequence: 2, PayloadLength: 170, PayloadCRC: 0xfeedbeef,
		Rows: []Row{
			{Pos: 0, Length: 100, BaseOffset: 10, LastOffset: 14, LeaderEpoch: 5, CoordinatorEpoch: -1, ProducerID: 9,
				MaxTimestamp: 1234, BaseSequence: 1, ProducerEpoch: 2, Attributes: 4, ControlType: -1, LastOffsetDelta: 4},
			{Pos: 100, Length: 70, BaseOffset: 15, LastOffset: 15, LeaderEpoch: 5, CoordinatorEpoch: 1, ProducerID: -1,
				MaxTimestamp: -1, BaseSequence: -1, ProducerEpoch: -1, Attributes: 0x30, ControlType: 1},
		},
		Body: []byte{},
	}
}

func TestHeaderGolden(t *testing.T) {
	h := Header{Kind: LogStart, SiteEpoch: 1, ValidatedTerm: 2, AppendSequence: 3, Body: LogStartBody(0x0102)}
	want := []byte{
		1, 9, 0, 0, 0, 0, 0, 1, // version, kind, class, reserved, site epoch
		0, 0, 0, 0, 0, 0, 0, 2, // validated term
		0, 0, 0, 0, 0, 0, 0, 3, // append sequence
		0, 0, 0, 0, 0, 0, 0, 0, // payload length, CRC
		0, 0, 0, 0, 0, 0, 0, 8, // rows, reserved, body length
		0, 0, 0, 0, 0, 0, 1, 2, // offset
	}
	if got := h.Append(nil); !bytes.Equal(got, want) {
		t.Fatalf("encoded\n%x, docs/formats.md says\n%x", got, want)
	}
}

func TestHeaderRoundTrip(t *testing.T) {
	want := dataHeader()
	b := want.Append(nil)
	if len(b) != want.Size() || len(b) != headerLen+2*rowLen {
		t.Fatalf("size %d, encoded %d", want.Size(), len(b))
	}
	var got Header
	if err := got.Decode(b); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
}

func TestHeaderRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		mend func(b []byte) []byte
		want error
	}{
		{"empty", func([]byte) []byte { return nil }, ErrCorrupt},
		{"newer version", func(b []byte) []byte { b[0] = 2; return b }, ErrVersion},
		{"unknown kind", func(b []byte) []byte { b[1] = 12; return b }, ErrKind},
		{"kind zero", func(b []byte) []byte { b[1] = 0; return b }, ErrKind},
		{"unknown class", func(b []byte) []byte { b[2] = 2; return b }, ErrCorrupt},
		{"reserved byte", func(b []byte) []byte { b[3] = 1; return b }, ErrCorrupt},
		{"truncated", func(b []byte) []byte { return b[:len(b)-1] }, ErrCorrupt},
		{"trailing", func(b []byte) []byte { return append(b, 0) }, ErrCorrupt},
		{"absurd row count", func(b []byte) []byte { b[32], b[33] = 0xff, 0xff; return b }, ErrCorrupt},
		{"absurd body", func(b []byte) []byte { b[36] = 0xff; return b }, ErrCorrupt},
		{"rows overlap", func(b []byte) []byte { b[headerLen+rowLen+3] = 99; return b }, ErrCorrupt},
		{"payload length", func(b []byte) []byte { b[27]++; return b }, ErrCorrupt},
		{"offsets go back", func(b []byte) []byte { b[headerLen+rowLen+15] = 14; b[headerLen+rowLen+23] = 14; return b }, ErrCorrupt},
		{"last offset and delta differ", func(b []byte) []byte { b[headerLen+23]--; return b }, ErrCorrupt},
		{"data without rows", func(b []byte) []byte { b = b[:headerLen]; b[27], b[33] = 0, 0; return b }, ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := dataHeader()
			var h Header
			if err := h.Decode(c.mend(d.Append(nil))); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestGroupIDRoundTrip(t *testing.T) {
	id := GroupID{Partition: 7, Incarnation: 3}
	id.Topic[0], id.Topic[15] = 0xab, 0xcd
	b := id.Append(nil)
	if len(b) != GroupIDLen || ParseGroupID(b) != id {
		t.Fatalf("%x reads back as %v, want %v", b, ParseGroupID(b), id)
	}
}

func FuzzHeader(f *testing.F) {
	d := dataHeader()
	f.Add(d.Append(nil))
	l := Header{Kind: LogStart, Body: LogStartBody(5)}
	f.Add(l.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h, again Header
		if h.Decode(b) != nil {
			return
		}
		out := h.Append(nil)
		if !bytes.Equal(out, b) {
			t.Fatalf("decoded %x, encoded again %x", b, out)
		}
		if err := again.Decode(out); err != nil {
			t.Fatal(err)
		}
		s := NewState(0)
		before := s
		s.Admit(&h, h.ValidatedTerm)
		if s != before {
			t.Fatal("Admit is not pure")
		}
		_ = s.Advance(&h)
	})
}
