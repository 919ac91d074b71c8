package controller

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"reflect"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/storage/entry"
)

// TestFactsOfTheOtherSite go there and back, and are checked before they are believed.
func TestFactsOfTheOtherSite(t *testing.T) {
	active, _, _ := twoSites(t)
	active.must(active.do(commandRegisterBroker, registerBroker{Node: 2, Disks: []string{"d"}, Endpoints: []Endpoint{{"X", "h", 9092}}}))
	frame, err := active.LocalFacts()
	active.must(err)
	f, err := DecodeFacts(frame)
	active.must(err)
	want := &PeerSite{Name: "east", Brokers: []PeerBroker{{Node: 1}, {Node: 2, Endpoints: []Endpoint{{"X", "h", 9092}}}}}
	if !reflect.DeepEqual(f, want) {
		t.Errorf("got %+v, want %+v", f, want)
	}
	for _, bad := range []PeerSite{
		{Brokers: []PeerBroker{{Node: -1}}}, {Brokers: []PeerBroker{{Node: 2}, {Node: 1}}}, {Brokers: []PeerBroker{{Node: 2}, {Node: 2}}},
		{Brokers: []PeerBroker{{Node: 2, Endpoints: []Endpoint{{"X", "", 1}}}}}, {Brokers: []PeerBroker{{Node: 2, Endpoints: []Endpoint{{"X", "h", 0}}}}},
		{Brokers: make([]PeerBroker, factsBrokersMax+1)},
	} {
		frame, err := encodeFrame(frameFacts, bad)
		active.must(err)
		if _, err := DecodeFacts(frame); !errors.Is(err, ErrFrame) {
			t.Errorf("%+v: %v", bad.Brokers[:1], err)
		}
	}
}

// TestLogicalMetadataIsCheckedBeforeItIsBelieved lists documents that are refused.
func TestLogicalMetadataIsCheckedBeforeItIsBelieved(t *testing.T) {
	id := uuid.New()
	good := logicalTopic{Name: "a", ID: id, Partitions: 2, Replicas: 1, Runs: []partitionRun{{1, 1, entry.BandStart(1)}}}
	base := Version{1, 1}
	with := func(change func(*logical, *logicalTopic)) logical {
		l, top := logical{Version: Version{1, 2}, Base: &base}, good
		top.Runs = slices.Clone(good.Runs)
		change(&l, &top)
		if l.Topics == nil {
			l.Topics = []logicalTopic{top}
		}
		return l
	}
	for what, c := range map[string]struct {
		l  logical
		ok bool
	}{
		"good":                   {with(func(*logical, *logicalTopic) {}), true},
		"an illegal name":        {with(func(_ *logical, t *logicalTopic) { t.Name = "a/b" }), false},
		"a name that is aside":   {with(func(_ *logical, t *logicalTopic) { t.Name = "a~b" }), false},
		"the metadata":           {with(func(_ *logical, t *logicalTopic) { t.Name = metadataTopic }), false},
		"no id":                  {with(func(_ *logical, t *logicalTopic) { t.ID = uuid.Nil }), false},
		"the metadata's id":      {with(func(_ *logical, t *logicalTopic) { t.ID = entry.MetadataGroup.Topic }), false},
		"no partition":           {with(func(_ *logical, t *logicalTopic) { t.Partitions, t.Runs = 0, nil }), false},
		"two billion partitions": {with(func(_ *logical, t *logicalTopic) { t.Partitions = 2e9 }), false},
		"a partition of later":   {with(func(_ *logical, t *logicalTopic) { t.Runs[0].Born = 2 }), false},
		"a start in between":     {with(func(_ *logical, t *logicalTopic) { t.Runs = []partitionRun{{1, 1, 5}} }), false},
		"runs out of order":      {with(func(_ *logical, t *logicalTopic) { t.Runs = []partitionRun{{1, 1, 0}, {1, 0, 0}} }), false},
		"a run behind the end":   {with(func(_ *logical, t *logicalTopic) { t.Runs = []partitionRun{{2, 1, 0}} }), false},
		"twice":                  {with(func(l *logical, t *logicalTopic) { l.Topics = []logicalTopic{good, good} }), false},
		"changes to the past":    {with(func(l *logical, _ *logicalTopic) { l.Base = &Version{1, 2} }), false},
		"everything and deletions": {with(func(l *logical, _ *logicalTopic) {
			l.Base, l.Cluster, l.Removed = nil, map[string]string{}, []removal{{Name: "x"}}
		}), false},
		"everything but configs": {with(func(l *logical, _ *logicalTopic) { l.Base = nil }), false},
		"a negative floor":       {with(func(l *logical, _ *logicalTopic) { l.Floors = map[string]int32{"x": -1} }), false},
		"too many producer ids":  {with(func(l *logical, _ *logicalTopic) { l.NextPID = 1<<40 + 1 }), false},
	} {
		frame, err := encodeLogical(c.l)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeLogical(frame); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzLogical(f *testing.F) {
	frame, _ := encodeLogical(logical{Topics: []logicalTopic{{Name: "a", ID: uuid.New(), Partitions: 1}}, Cluster: map[string]string{}})
	f.Add(frame)
	facts, _ := encodeFrame(frameFacts, PeerSite{Name: "x", Brokers: []PeerBroker{{Node: 1, Endpoints: []Endpoint{{"X", "h", 1}}}}})
	f.Add(facts)
	f.Fuzz(func(t *testing.T, data []byte) {
		// The checksum keeps a fuzzer out: it is made right.
		if len(data) >= frameHeader {
			data = slices.Clone(data)
			binary.BigEndian.PutUint32(data[4:], crc32.Checksum(data[frameHeader:], castagnoli))
		}
		if l, err := decodeLogical(data); err == nil {
			again, err := encodeLogical(l)
			if err != nil {
				t.Fatal(err)
			}
			if m, err := decodeLogical(again); err != nil || !reflect.DeepEqual(l.Version, m.Version) || len(l.Topics) != len(m.Topics) {
				t.Errorf("read again: %v", err)
			}
		}
		if _, err := DecodeFacts(data); err == nil && len(data) < frameHeader {
			t.Error("facts of nothing")
		}
	})
}
