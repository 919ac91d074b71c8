package wire

import (
	"bytes"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestOperatorRequest(t *testing.T) {
	sent := &OperatorRequest{Format: OperatorFormat, Operation: 3, Document: []byte(`{"to":"west"}`)}
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("tandem")).AppendRequest(nil, sent, 7)
	want := unhex(t, "00000024 4e20 0000 00000007 0006 74616e64656d 00 0000 0003 0e 7b22746f223a2277657374227d 00")
	if !bytes.Equal(frame, want) {
		t.Fatalf("%x, want %x", frame, want)
	}
	h, err := ParseHeader(frame[4:])
	if err != nil || h.Key != KeyOperator || h.CorrelationID != 7 || h.ClientID != "tandem" {
		t.Fatalf("%+v: %v", h, err)
	}
	body, err := Decode(h)
	if err != nil {
		t.Fatal(err)
	}
	if got := body.(*OperatorRequest); got.Operation != 3 || string(got.Document) != `{"to":"west"}` {
		t.Errorf("%+v", got)
	}
	h.Version = 1
	if _, err := Decode(h); !errors.Is(err, ErrUnsupportedVersion) {
		t.Errorf("version 1: %v", err)
	}
}

func TestOperatorResponse(t *testing.T) {
	sent := &OperatorResponse{Code: 3, Message: "no", Document: []byte(`{}`), Data: []byte{1}}
	frame := AppendResponse(nil, 7, 0, sent)
	if want := unhex(t, "00000010 00000007 00 0003 03 6e6f 03 7b7d 02 01 00"); !bytes.Equal(frame, want) {
		t.Fatalf("%x, want %x", frame, want)
	}
	var got OperatorResponse
	if err := got.ReadFrom(frame[9:]); err != nil || got.Code != 3 || got.Message != "no" || string(got.Document) != `{}` || len(got.Data) != 1 {
		t.Errorf("%+v: %v", got, err)
	}
}

// TestOwnAPIsAreNotAdvertised: clients of Kafka never see them, and still they are served.
func TestOwnAPIsAreNotAdvertised(t *testing.T) {
	if len(OwnAPIs()) == 0 {
		t.Fatal("there are none")
	}
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "x", "1"
	for _, k := range NewAPIVersionsResponse(4, req).ApiKeys {
		if k.ApiKey >= KeyOperator {
			t.Errorf("key %d is advertised", k.ApiKey)
		}
	}
	for _, a := range OwnAPIs() {
		if found, ok := Lookup(a.Key); !ok || found.Name != a.Name || a.SizeMax <= 0 || a.PreLogin || schemaFor(a.Key) == nil || requestFor(a.Key) == nil {
			t.Errorf("%+v is not served", a)
		}
	}
}

// FuzzOperator: whatever comes, what is read is bounded, and is the same when it is written and read again.
func FuzzOperator(f *testing.F) {
	f.Add((&OperatorRequest{Operation: 1, Document: []byte(`{}`)}).AppendTo(nil))
	f.Add((&OperatorResponse{Code: 1, Message: "m", Document: []byte(`{}`), Data: []byte{0}}).AppendTo(nil))
	f.Add([]byte{0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Add([]byte{0, 0, 0, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var req, again OperatorRequest
		if err := req.ReadFrom(b); err == nil {
			if Check(KeyOperator, 0, b) != nil {
				t.Fatalf("%x is read and does not pass the check", b)
			}
			if err := again.ReadFrom(req.AppendTo(nil)); err != nil || again.Operation != req.Operation || !bytes.Equal(again.Document, req.Document) {
				t.Fatalf("%+v, read again %+v: %v", req, again, err)
			}
		}
		var resp, back OperatorResponse
		if err := resp.ReadFrom(b); err == nil {
			if err := back.ReadFrom(resp.AppendTo(nil)); err != nil || back.Code != resp.Code || back.Message != resp.Message || !bytes.Equal(back.Data, resp.Data) {
				t.Fatalf("%+v, read again %+v: %v", resp, back, err)
			}
		}
	})
}
