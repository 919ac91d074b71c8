package entry

import (
	"bytes"
	"errors"
	"hash/crc32"
	"testing"

	"github.com/tandembroker/tandem/protocol/record"
)

// stampedBatches are two batches of records and a control batch, as a segment has them.
func stampedBatches(t *testing.T) []byte {
	t.Helper()
	var payload []byte
	at := int64(1 << OffsetBandBits)
	put := func(b record.Batch) {
		b.SetBaseOffset(at)
		b.SetLeaderEpoch(1<<LeaderEpochBits | 7)
		at = b.LastOffset() + 3 // with a gap
		payload = append(payload, b...)
	}
	for n := range 2 {
		b := record.NewBuilder()
		for i := range 2 + n {
			b.Append(int64(1000+i), []byte("k"), []byte("value"))
		}
		batch, err := b.Batch()
		if err != nil {
			t.Fatal(err)
		}
		put(batch)
	}
	put(record.ControlBatch(record.Control{ProducerID: 5, ProducerEpoch: 2, Type: 1, CoordinatorEpoch: 9, Timestamp: 1500}))
	return payload
}

func TestRowsOfBatches(t *testing.T) {
	payload := stampedBatches(t)
	rows, n, err := RowsOf(payload)
	if err != nil || n != len(payload) || len(rows) != 3 {
		t.Fatalf("%d rows of %d bytes, %v", len(rows), n, err)
	}
	base, epoch := int64(1<<OffsetBandBits), int32(1<<LeaderEpochBits|7)
	r := rows[1]
	if r.Pos != rows[0].Length || r.BaseOffset != base+4 || r.LastOffset != base+6 || r.LeaderEpoch != epoch || r.LastOffsetDelta != 2 ||
		r.MaxTimestamp != 1002 || r.ProducerID != -1 || r.ControlType != -1 || r.BaseSequence != -1 {
		t.Errorf("second batch: %+v", r)
	}
	if c := rows[2]; c.ControlType != 1 || c.CoordinatorEpoch != 9 || c.ProducerID != 5 || c.ProducerEpoch != 2 {
		t.Errorf("control batch: %+v", c)
	}
	for n := 1; n < int(rows[0].Length); n++ {
		if _, _, err := RowsOf(payload[:n]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	many := bytes.Repeat(payload[:rows[0].Length], RowsMax+1)
	if rows, n, err := RowsOf(many); err != nil || len(rows) != RowsMax || n != len(many)-int(rows[0].Length) {
		t.Fatalf("%d rows of %d bytes, %v", len(rows), n, err)
	}
}

// A header has all of a row, but for that of a control batch.
func TestRowOfAHeader(t *testing.T) {
	payload := stampedBatches(t)
	rows, _, err := RowsOf(payload)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range rows {
		header := payload[want.Pos:][:record.HeaderLen]
		want.Pos = 0
		control := want.ControlType >= 0
		if got, ok := RowOfHeader(header); ok == control || ok && got != want {
			t.Errorf("batch %d: %+v, %v, want %+v", i, got, ok, want)
		}
		if _, ok := RowOfHeader(header[:len(header)-1]); ok {
			t.Errorf("batch %d: taken without its last byte", i)
		}
		for at, value := range map[int]byte{8: 0xff, 11: 3, 16: 1} { // length below 0, less than a header; magic
			bad := bytes.Clone(header)
			bad[at] = value
			if at == 11 {
				clear(bad[8:11])
			}
			if _, ok := RowOfHeader(bad); ok {
				t.Errorf("batch %d: taken with byte %d changed", i, at)
			}
		}
	}
}

// What a link ships is believed only where batches, rows and checksums say the same.
func TestLinkedPayloadIsCheckedWhole(t *testing.T) {
	linked := func() (*Header, []byte) {
		payload := stampedBatches(t)
		rows, _, err := RowsOf(payload)
		if err != nil {
			t.Fatal(err)
		}
		return &Header{Kind: Data, Rows: rows, PayloadLength: uint32(len(payload))}, payload
	}
	h, payload := linked()
	if err := h.CheckLinked(payload); err != nil {
		t.Fatal(err)
	}
	if want := crc(payload); h.PayloadCRC != want {
		t.Fatalf("CRC %08x, want %08x", h.PayloadCRC, want)
	}
	for name, change := range map[string]func(*Header, []byte) []byte{
		"offset":         func(h *Header, b []byte) []byte { h.Rows[1].BaseOffset++; h.Rows[1].LastOffset++; return b },
		"leader epoch":   func(h *Header, b []byte) []byte { h.Rows[0].LeaderEpoch--; return b },
		"producer":       func(h *Header, b []byte) []byte { h.Rows[2].ProducerID++; return b },
		"length":         func(h *Header, b []byte) []byte { h.PayloadLength--; return b },
		"one row less":   func(h *Header, b []byte) []byte { h.Rows = h.Rows[:2]; return b },
		"one batch less": func(h *Header, b []byte) []byte { return b[:h.Rows[2].Pos] },
		"record damaged": func(h *Header, b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"going back": func(h *Header, b []byte) []byte {
			record.Batch(b[h.Rows[1].Pos:]).SetBaseOffset(h.Rows[0].BaseOffset)
			h.Rows[1].BaseOffset, h.Rows[1].LastOffset = h.Rows[0].BaseOffset, h.Rows[0].BaseOffset+int64(h.Rows[1].LastOffsetDelta)
			return b
		},
	} {
		h, payload := linked()
		if err := h.CheckLinked(change(h, payload)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRaisedStateHasHeardOfNoSite(t *testing.T) {
	s := NewState(3)
	s.LastEpoch, s.NextOffset, s.EpochBase = 9, 12, 7
	s.Raise()
	if want := NewSitesState(0).Sites; s.Sites != want {
		t.Fatalf("%+v, want %+v", s.Sites, want)
	}
	l := s.LineageOfOne(3)
	if len(l.Spans) != 1 || l.Spans[0] != (EpochSpan{SiteEpoch: 0, FirstEpoch: 7, Base: -1, Shared: -1, Start: 0, End: 12}) || l.LogStart != 3 {
		t.Fatalf("%+v", l)
	}
	s.Role, s.Base = Promoted, 5
	before := s
	if s.Raise(); s != before {
		t.Fatalf("raised twice: %+v", s)
	}
}

func crc(b []byte) uint32 { return crc32.Checksum(b, Castagnoli) }
