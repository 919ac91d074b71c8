package site

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/storage/entry"
)

var codecPartition = PartitionID{uuid.UUID{1, 15: 2}, 3}

func someMessages() []Message {
	return []Message{
		Hello{Role: Active, Epoch: 5, Boot: 1 << 63, Sent: time.Second},
		Greeting{Role: Standby, Epoch: 5, Boot: 2, Nonce: 3, Sent: -1, Failing: true},
		Greeting{Role: Active, Epoch: 6, Boot: 2, Nonce: 3, Sent: 4, Renews: true, Leased: true},
		Refuse{9}, Refused{10},
		Probe{codecPartition, 5}, Compare{codecPartition, 5},
		Ack{Partition: codecPartition, Epoch: 5, End: Position{1 << 42, 7}, LogStart: 12, Rejected: true, Boot: 6, Log: 3},
		LogStart{Partition: codecPartition, Epoch: 5, Offset: 1 << 42},
		Ack{Partition: codecPartition, Epoch: 5, End: Position{0, -1}},
		Drain{Partition: codecPartition, Epoch: 5, Target: 9, End: Position{10, 1}, Next: 12, Boot: 77},
		Compared{Partition: codecPartition, Epoch: 5, Lineage: entry.Lineage{LogStart: 4}},
		Compared{Partition: codecPartition, Epoch: 5, Lineage: entry.Lineage{LogStart: 4, Spans: []entry.EpochSpan{
			{SiteEpoch: 0, FirstEpoch: 1, Base: -1, Shared: -1, Start: 0, End: 100},
			{SiteEpoch: 5, FirstEpoch: -1, Base: 5 << 42, Shared: 100, Start: -1, End: -1},
		}}},
	}
}

func someAppend() Append {
	row := entry.Row{Length: 70, BaseOffset: 10, LastOffset: 14, LastOffsetDelta: 4, LeaderEpoch: 5 << 18, CoordinatorEpoch: -1,
		ProducerID: -1, BaseSequence: -1, ProducerEpoch: -1, ControlType: -1}
	next := row
	next.Pos, next.Length, next.BaseOffset, next.LastOffset = 70, 30, 20, 24
	return Append{Partition: codecPartition, Epoch: 5, Prev: Position{10, 5 << 18}, Metadata: 1<<32 + 7, Rows: []entry.Row{row, next},
		Payload: bytes.Repeat([]byte("0123456789"), 10)}
}

func TestMessagesComeBackAsTheyWere(t *testing.T) {
	for _, m := range someMessages() {
		kind, body := Encode([]byte("in front"), m)
		body = body[len("in front"):]
		if longest, ok := BodyMax(kind); !ok || len(body) > longest {
			t.Errorf("%T takes %d bytes, the longest is %d", m, len(body), longest)
		}
		got, err := Decode(kind, body)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%+v came back as %+v, %v", m, got, err)
		}
	}
	m := someAppend()
	_, body := Encode(nil, m)
	got, size, tail, err := DecodeAppend(append(body, m.Payload...))
	got.Payload = tail
	if err != nil || size != len(m.Payload) || !reflect.DeepEqual(got, m) {
		t.Errorf("%+v came back as %+v, %v", m, got, err)
	}
}

func TestMessageGolden(t *testing.T) {
	want := []byte{
		1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 5, // partition, site epoch
		0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 7, // position
		0, 0, 0, 0, 0, 0, 0, 9, // log start
		1, 0, 0, 0, // rejected
		0, 0, 0, 0, 0, 0, 0, 6, // boot
		0, 0, 0, 2, // incarnation
	}
	kind, got := Encode(nil, Ack{Partition: codecPartition, Epoch: 5, End: Position{1 << 42, 7}, LogStart: 9, Rejected: true, Boot: 6, Log: 2})
	if kind != 22 || !bytes.Equal(got, want) {
		t.Errorf("kind %d\n%x, docs/formats.md says\n%x", kind, got, want)
	}
	want = []byte{
		1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 5, // partition, site epoch
		0, 0, 0, 0, 0, 0, 0, 10, 0, 0x14, 0, 0, // position
		0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7, // reserved, metadata
	}
	kind, got = Encode(nil, someAppend())
	if kind != 20 || !bytes.HasPrefix(got, want) {
		t.Errorf("kind %d\n%x, docs/formats.md says\n%x in front of the entry header", kind, got, want)
	}
	want = []byte{
		0, 6, 0, 0, 0, 0, 0, 5, // role, renews and leased, site epoch
		0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, // boot, nonce, sent
	}
	kind, got = Encode(nil, Greeting{Epoch: 5, Boot: 2, Nonce: 3, Sent: 4, Renews: true, Leased: true})
	if kind != 17 || !bytes.Equal(got, want) {
		t.Errorf("kind %d\n%x, docs/formats.md says\n%x", kind, got, want)
	}
}

// TestDecodeRefuses cuts and lengthens each message at every byte, and sets what must be zero.
func TestDecodeRefuses(t *testing.T) {
	refused := func(kind MessageKind, body []byte, what string) {
		t.Helper()
		if m, err := Decode(kind, body); !errors.Is(err, ErrMalformed) {
			t.Errorf("kind %d, %s: %+v, %v", kind, what, m, err)
		}
	}
	for _, m := range someMessages() {
		kind, body := Encode(nil, m)
		for cut := range len(body) {
			refused(kind, body[:cut], "cut")
		}
		refused(kind, append(body, 0), "one byte more")
	}
	change := func(m Message, at int, value byte) (MessageKind, []byte) {
		kind, body := Encode(nil, m)
		body[at] = value
		return kind, body
	}
	for _, c := range []struct {
		m     Message
		at    int
		value byte
		what  string
	}{
		{Hello{}, 0, 2, "role"},
		{Hello{}, 3, 1, "reserved"},
		{Greeting{}, 1, 8, "flags"},
		{Greeting{}, 2, 1, "reserved"},
		{Probe{}, 16, 0x80, "partition"},
		{Ack{}, 24, 0x80, "offset"},
		{Ack{}, 36, 0x80, "log start"},
		{Ack{}, 44, 2, "rejected"},
		{Ack{}, 47, 1, "reserved"},
		{LogStart{}, 24, 0x80, "log start"},
		{Compared{}, 32, 0x20, "count of spans"},
		{Compared{Lineage: entry.Lineage{Spans: []entry.EpochSpan{{SiteEpoch: 1}, {SiteEpoch: 2}}}}, 36 + spanLen + 3, 1, "order of spans"},
		{Compared{Lineage: entry.Lineage{Spans: []entry.EpochSpan{{SiteEpoch: 1}}}}, 36, 1, "site epoch"},
	} {
		kind, body := change(c.m, c.at, c.value)
		refused(kind, body, c.what)
	}
	refused(99, nil, "unknown kind")
	refused(KindAppend, nil, "append without its payload")
}

func TestDecodeAppendRefuses(t *testing.T) {
	_, good := Encode(nil, someAppend())
	for cut := range len(good) {
		if m, _, _, err := DecodeAppend(good[:cut]); !errors.Is(err, ErrMalformed) {
			t.Errorf("cut at %d: %+v, %v", cut, m, err)
		}
	}
	for name, change := range map[string]func(*Append){
		"no rows":            func(m *Append) { m.Rows, m.Payload = nil, nil },
		"offset not stamped": func(m *Append) { m.Rows[0].BaseOffset, m.Rows[0].LastOffset = -1, -1 },
		"epoch not stamped":  func(m *Append) { m.Rows[1].LeaderEpoch = -1 },
		"empty batch":        func(m *Append) { m.Rows[0].Length, m.Rows[1].Pos, m.Rows[1].Length = 0, 0, 100 },
		"rows go back":       func(m *Append) { m.Rows[1].BaseOffset, m.Rows[1].LastOffset = 1, 5 },
		"payload is short":   func(m *Append) { m.Payload = m.Payload[1:] },
	} {
		m := someAppend()
		change(&m)
		_, body := Encode(nil, m)
		if got, _, _, err := DecodeAppend(body); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for at, value := range map[int]byte{36: 1, appendLen + 1: 9, appendLen + 2: 1, appendLen + 7: 6, appendLen + 15: 1, appendLen + 23: 1, appendLen + 31: 1} {
		_, body := Encode(nil, someAppend())
		body[at] = value
		if got, _, _, err := DecodeAppend(body); !errors.Is(err, ErrMalformed) {
			t.Errorf("byte %d is %d: %+v, %v", at, value, got, err)
		}
	}
}

// FuzzDecode: no panic, and what is taken encodes to the very same bytes.
func FuzzDecode(f *testing.F) {
	for _, m := range someMessages() {
		kind, body := Encode(nil, m)
		f.Add(uint8(kind), body)
	}
	m := someAppend()
	kind, body := Encode(nil, m)
	f.Add(uint8(kind), append(body, m.Payload...))
	f.Fuzz(func(t *testing.T, kind uint8, body []byte) {
		if MessageKind(kind) == KindAppend {
			m, size, tail, err := DecodeAppend(body)
			if err != nil || len(tail) != size {
				return
			}
			m.Payload = tail
			if _, again := Encode(nil, m); !bytes.Equal(append(again, tail...), body) {
				t.Fatalf("%+v encodes to other bytes", m)
			}
			return
		}
		m, err := Decode(MessageKind(kind), body)
		if err != nil {
			return
		}
		if k, again := Encode(nil, m); uint8(k) != kind || !bytes.Equal(again, body) {
			t.Fatalf("%+v encodes to other bytes", m)
		}
	})
}
