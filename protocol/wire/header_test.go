package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseHeader(t *testing.T) {
	for _, c := range []struct {
		name, bytes string
		want        RequestHeader
	}{
		{"v1", "0003 0001 00000007 0002 6162 ffffffff", RequestHeader{3, 1, 7, "ab", []byte{0xff, 0xff, 0xff, 0xff}}},
		{"v1, null client id", "0003 0001 00000007 ffff 01", RequestHeader{3, 1, 7, "", []byte{1}}},
		{"v2", "0003 0009 00000007 0002 6162 00 01", RequestHeader{3, 9, 7, "ab", []byte{1}}},
		{"v2, null client id", "0003 0009 80000000 ffff 00 01", RequestHeader{3, 9, -1 << 31, "", []byte{1}}},
		{"v2, tags", "0003 0009 00000007 0000 02 05 02 aaaa 81 00 00 01", RequestHeader{3, 9, 7, "", []byte{1}}},
		{"ApiVersions v3", "0012 0003 00000001 ffff 00 02 61 02 62 00", RequestHeader{18, 3, 1, "", []byte{2, 'a', 2, 'b', 0}}},
		{"no body", "0012 0000 00000001 ffff", RequestHeader{18, 0, 1, "", []byte{}}},
	} {
		h, err := ParseHeader(unhex(t, c.bytes))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if !bytes.Equal(h.Body, c.want.Body) {
			t.Errorf("%s: body %x", c.name, h.Body)
		}
		h.Body, c.want.Body = nil, nil
		if h.Key != c.want.Key || h.Version != c.want.Version || h.CorrelationID != c.want.CorrelationID || h.ClientID != c.want.ClientID {
			t.Errorf("%s: %+v", c.name, h)
		}
	}
}

func TestParseHeaderRefuses(t *testing.T) {
	for _, c := range []struct {
		name, bytes string
		want        error
	}{
		{"empty", "", ErrMalformed},
		{"half a header", "0003 0001 0000", ErrMalformed},
		{"no client id", "0003 0001 00000007", ErrMalformed},
		{"client id longer than the frame", "0003 0001 00000007 7fff 6162", ErrMalformed},
		{"client id of length -2", "0003 0001 00000007 fffe 6162", ErrMalformed},
		{"v2 without tags", "0003 0009 00000007 0000", ErrMalformed},
		{"tag longer than the frame", "0003 0009 00000007 0000 01 05 ffffffff0f", ErrMalformed},
		{"tag count that does not end", "0003 0009 00000007 0000 ffffffffffffffff", ErrMalformed},
		{"unknown API", "03e8 0000 00000001 ffff", ErrUnknownAPI},
		{"Produce 2", "0000 0002 00000001 ffff", ErrUnsupportedVersion},
		{"Produce -1", "0000 ffff 00000001 ffff", ErrUnsupportedVersion},
		{"Fetch 19", "0001 0013 00000001 ffff 00", ErrUnsupportedVersion},
	} {
		if _, err := ParseHeader(unhex(t, c.bytes)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestParseHeaderOfNewerApiVersions: KIP-511. The header must be readable, for the answer needs its correlation id.
func TestParseHeaderOfNewerApiVersions(t *testing.T) {
	h, err := ParseHeader(unhex(t, "0012 7fff 0000002a 0002 6162 00 ff"))
	if !errors.Is(err, ErrUnsupportedVersion) || h.CorrelationID != 42 || h.ClientID != "ab" || h.Version != 32767 {
		t.Fatalf("%+v, %v", h, err)
	}
}

// TestK1NineByteRequest is hazard K1: an ApiVersions v3 body of nine bytes whose tag section claims 2^32-1 tags. Before
// kmsg 1.15.1 decoding it took 50 CPU-seconds; anybody may send it before login.
func TestK1NineByteRequest(t *testing.T) {
	const tags = "ffffffff0f"
	body := unhex(t, "0012 0003 00000001 ffff 00"+"02 61 02 62"+tags)
	header := unhex(t, "0012 0003 00000001 ffff "+tags)
	done := make(chan struct{})
	go func() {
		defer close(done)
		h, err := ParseHeader(body)
		if err != nil || len(h.Body) != 9 {
			t.Errorf("%+v, %v", h, err)
		}
		if _, err := Decode(h); !errors.Is(err, ErrMalformed) {
			t.Errorf("in the body: %v", err)
		}
		if _, err := ParseHeader(header); !errors.Is(err, ErrMalformed) {
			t.Errorf("in the header: %v", err)
		}
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second): // it takes microseconds, or most of a minute
		t.Fatal("still counting tags")
	}
}

// TestK1EverywhereElse puts the same count into every other place where a tag section may be.
func TestK1EverywhereElse(t *testing.T) {
	const tags = "ffffffff0f"
	rng := newRand(t)
	for _, v := range everyVersion() {
		if v.version < schemaFor(v.key).flexible {
			continue
		}
		for range 5 { // every zero byte may be an empty tag section
			good := randomRequest(rng, v).AppendTo(nil)
			for i, b := range good {
				if b == 0 {
					body := append(good[:i:i], unhex(t, tags)...)
					body = append(body, good[i+1:]...)
					if Check(v.key, v.version, body) == nil {
						decodeWithin(t, v, body)
					}
				}
			}
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	for _, s := range []string{
		"0003 0001 00000007 0002 6162 ffffffff",
		"0003 0009 00000007 0000 02 05 02 aaaa 81 00 00 01",
		"0012 0063 00000001 ffff 00",
		"0000 0009 00000001 ffff 00 00",
	} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(b)
		if err != nil {
			return
		}
		// Written again, without tags, it reads the same.
		api, _ := Lookup(h.Key)
		e := encoder{flexible: api.flexible(h.Version)}
		e.int16(h.Key)
		e.int16(h.Version)
		e.int32(h.CorrelationID)
		e.int16(int16(len(h.ClientID)))
		e.dst = append(e.dst, h.ClientID...)
		e.emptyTags()
		again, err := ParseHeader(append(e.dst, h.Body...))
		if err != nil || again.ClientID != h.ClientID || !bytes.Equal(again.Body, h.Body) {
			t.Fatalf("%+v, %v; was %+v", again, err, h)
		}
	})
}

// FuzzRequest sends bodies of every API and version through the walk and kmsg.
func FuzzRequest(f *testing.F) {
	rng := newRand(f)
	for _, v := range everyVersion() {
		for range 2 {
			f.Add(v.key, v.version, randomRequest(rng, v).AppendTo(nil))
		}
	}
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		if Check(key, version, body) != nil {
			return
		}
		if req := kmsg.RequestForKey(key); req == nil || version > req.MaxVersion() {
			return
		}
		v := requestVersion{key, version}
		decodeWithin(t, v, body)
		reencodesEqual(t, v, body)
	})
}

// reencodesEqual: what was decoded is encoded into a request that decodes to the same.
func reencodesEqual(t *testing.T, v requestVersion, body []byte) {
	t.Helper()
	first, err := Decode(RequestHeader{Key: v.key, Version: v.version, Body: body})
	if err != nil {
		t.Fatal(err)
	}
	encoded := first.AppendTo(nil)
	second, err := Decode(RequestHeader{Key: v.key, Version: v.version, Body: encoded})
	if err != nil {
		t.Fatalf("%s: %v\n%x\nencoded again:\n%x", v, err, body, encoded)
	}
	if again := second.AppendTo(nil); !bytes.Equal(again, encoded) {
		t.Fatalf("%s: %x\nencodes to\n%x, then to\n%x", v, body, encoded, again)
	}
}
