package transport

import (
	"bufio"
	"bytes"
	"testing"

	"github.com/tandembroker/tandem/replication/site"
)

// FuzzHandshake: no panic, and what is taken encodes to the same bytes, but for those of later versions.
func FuzzHandshake(f *testing.F) {
	h := hello{Handshake: west(), session: 1, count: 2, credit: 3}
	f.Add(appendHello(nil, &h)[headerLen:])
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := parseHello(body)
		if err != nil {
			return
		}
		if again := appendHello(nil, &got)[headerLen:]; !bytes.HasPrefix(body, again) {
			t.Fatalf("%x comes back as %x", body, again)
		}
	})
}

// FuzzVerdict: no panic, and a refusal that is taken encodes to the same bytes.
func FuzzVerdict(f *testing.F) {
	f.Add(uint8(3), appendVerdict(nil, refuse(CodeSite, "why"))[headerLen:])
	f.Add(uint8(2), []byte{})
	f.Fuzz(func(t *testing.T, k uint8, body []byte) {
		if err, refused := parseVerdict(kind(k), body).(*Refusal); refused && err.Text == string(body[4:]) {
			if again := appendVerdict(nil, err)[headerLen:]; !bytes.Equal(again, body) {
				t.Fatalf("%x comes back as %x", body, again)
			}
		}
	})
}

// FuzzFrames reads a frame with good checksums and any content, and one behind it that has none: no panic, no message beyond the credit.
func FuzzFrames(f *testing.F) {
	f.Add(uint8(20), uint8(0), appendBytes(batch(0, 0, 100))[headerLen:], []byte{}, true)
	f.Add(uint8(8), uint8(0), []byte{1, 0, 0, 0, 'x'}, appendNumber(nil, kindPing, 1), false)
	f.Add(uint8(6), uint8(0), make([]byte, 8), []byte{}, true)
	encoder, err := newEncoder()
	if err != nil {
		f.Fatal(err)
	}
	_, packed := site.Encode(nil, batch(0, 0, 1000))
	f.Add(uint8(20), uint8(1), encoder.EncodeAll(make([]byte, 1000), packed), []byte{}, true)
	f.Add(uint8(20), uint8(flagBatches), batchesFrame(realBatch(f, 0, 100))[headerLen:], []byte{}, true)
	f.Fuzz(func(t *testing.T, k, flags uint8, body, rest []byte, data bool) {
		taken := 0
		tr, err := create(Options{Self: west, Credit: 1, Receive: func(PeerID, any, func()) { taken++ }})
		if err != nil {
			t.Fatal(err)
		}
		c := newConn(tr, nil, nil)
		c.data, c.mu.granted, c.version = data, 1, versionMax
		c.s = newSession(tr, &hello{}, &hello{count: 1}, false, "")
		frame := make([]byte, headerLen, headerLen+len(body)+len(rest))
		h := header{kind: kind(k), flags: flags, size: len(body), crc: checksum(body)}
		if flags == flagBatches && h.kind == kind(site.KindAppend) {
			h.crc = checksum(site.HeadOf(body))
		}
		putHeader(frame, h)
		c.in = bufio.NewReader(bytes.NewReader(append(append(frame, body...), rest...)))
		if err := c.read(); err == nil {
			t.Fatal("the end was not noticed")
		}
		if data && taken > 1 {
			t.Fatalf("%d messages with credit for one", taken)
		}
	})
}
