package wire

import (
	"bytes"
	"cmp"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestTableAgreesWithDefinitions(t *testing.T) {
	if !slices.IsSortedFunc(apis[:], func(a, b API) int { return cmp.Compare(a.Key, b.Key) }) {
		t.Error("not ordered by key")
	}
	if !slices.IsSortedFunc(schemas, func(a, b schema) int { return cmp.Compare(a.key, b.key) }) {
		t.Error("definitions not ordered by key")
	}
	for _, a := range APIs() {
		s := schemaFor(a.Key)
		req := kmsg.RequestForKey(a.Key)
		switch {
		case s == nil || req == nil:
			t.Errorf("%s: no definition", a.Name)
			continue
		case s.name != a.Name:
			t.Errorf("%s is called %s by Kafka", a.Name, s.name)
		case a.AcceptMin < s.min || a.Max > s.max || a.Max > req.MaxVersion():
			t.Errorf("%s %d-%d: definition has %d-%d, kmsg 0-%d", a.Name, a.AcceptMin, a.Max, s.min, s.max, req.MaxVersion())
		case a.Min > a.AcceptMin || a.AcceptMin > a.Max || a.SizeMax <= 0:
			t.Errorf("%s: %+v", a.Name, a)
		case a.Min != a.AcceptMin && a.Name != "Produce":
			t.Errorf("%s advertises versions that it refuses", a.Name)
		}
		for v := a.AcceptMin; v <= a.Max; v++ {
			req.SetVersion(v)
			if req.IsFlexible() != a.flexible(v) {
				t.Errorf("%s version %d: flexible is %v for us, not for kmsg", a.Name, v, a.flexible(v))
			}
		}
	}
	if _, ok := Lookup(24); ok {
		t.Error("AddPartitionsToTxn is served without a transaction coordinator")
	}
}

// TestAPIVersionsResponse checks the bytes of section 2, items 1 and 2 of the protocol notes: response header 0 in every
// version, and the answer in version 0 to a version that is not served.
func TestAPIVersionsResponse(t *testing.T) {
	resp := NewAPIVersionsResponse(99, nil)
	got := AppendResponse(nil, 7, resp.GetVersion(), resp)
	want := unhex(t, "00000010 00000007 0023 00000001 0012 0000 0004")
	if !bytes.Equal(got, want) {
		t.Errorf("unserved version: %x, want %x", got, want)
	}

	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "apache-kafka-java", "4.3.1"
	for version := int16(0); version <= 4; version++ {
		resp = NewAPIVersionsResponse(version, req)
		if resp.GetVersion() != version || resp.ErrorCode != 0 {
			t.Fatalf("version %d: %+v", version, resp)
		}
		got = AppendResponse(nil, 7, version, resp)
		back := kmsg.NewPtrApiVersionsResponse()
		back.SetVersion(version)
		if err := back.ReadFrom(got[8:]); err != nil { // header 0: size and correlation id, no tags
			t.Fatalf("version %d: %v", version, err)
		}
		if len(back.ApiKeys) != len(apis) || back.ApiKeys[0].ApiKey != 0 || back.ApiKeys[0].MinVersion != 0 || back.ApiKeys[0].MaxVersion != 12 {
			t.Errorf("version %d: %+v", version, back.ApiKeys)
		}
		if back.FinalizedFeaturesEpoch != -1 || len(back.SupportedFeatures) != 0 {
			t.Errorf("version %d: features %+v", version, back)
		}
	}
	if tail := got[len(got)-5:]; !bytes.Equal(tail, make([]byte, 5)) { // throttle time and one empty tag section, no feature tag
		t.Errorf("version 4 ends in %x", tail)
	}

	req.ClientSoftwareName = "-bad-"
	if resp = NewAPIVersionsResponse(3, req); resp.ErrorCode != errorInvalidRequest || len(resp.ApiKeys) != 0 {
		t.Errorf("bad software name: %+v", resp)
	}
	if resp = NewAPIVersionsResponse(2, req); resp.ErrorCode != 0 { // version 2 has no such field
		t.Errorf("version 2: %+v", resp)
	}
}

func TestAppendResponseHeader(t *testing.T) {
	resp := kmsg.NewPtrInitProducerIDResponse()
	resp.ProducerID, resp.ProducerEpoch = 5, 6
	for version, want := range map[int16]string{
		1: "ffff 00000014 00000003 00000000 0000 0000000000000005 0006",
		2: "ffff 00000016 00000003 00 00000000 0000 0000000000000005 0006 00",
	} {
		if got := AppendResponse([]byte{0xff, 0xff}, 3, version, resp); !bytes.Equal(got, unhex(t, want)) {
			t.Errorf("version %d: %x, want %s", version, got, want)
		}
	}
}
