package journal

import (
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestVoidPayloadsRecord(t *testing.T) {
	v := &Voided{From: 1, To: 2, Offset: 30, LogStart: 4, Segment: 25, Pos: 6, Epochs: 7, Sealed: []VoidedSegment{{0, 8}, {20, 9}}}
	r := VoidPayloadsRecord(group(1), v)
	want := "0000000000000001 0000000000000002 000000000000001e 0000000000000004 0000000000000019 0000000000000006 00000007 00000002 " +
		"0000000000000000 00000008 0000000000000014 00000009"
	if got := hex.EncodeToString(r.Body); got != strings.ReplaceAll(want, " ", "") {
		t.Fatalf("encoded %s, docs/formats.md says %s", got, want)
	}
	dir := memDir(t)
	o := Options{MarkInterval: time.Hour}
	j, _ := mustOpen(t, dir, o)
	mustAppend(t, j, true, r)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	_, found := mustOpen(t, dir, o)
	records := all(t, found)
	got, err := records[0].VoidPayloads()
	if err != nil || !reflect.DeepEqual(got, v) || records[0].LastIndex() != 0 {
		t.Fatalf("%+v, %v, last index %d", got, err, records[0].LastIndex())
	}
	for name, change := range map[string]func(*Voided){
		"from is 0":                      func(v *Voided) { v.From = 0 },
		"ends in front of its beginning": func(v *Voided) { v.From = 4 },
		"starts behind its end":          func(v *Voided) { v.LogStart = 31 },
		"segment behind the offset":      func(v *Voided) { v.Segment = 31 },
		"sealed behind the end":          func(v *Voided) { v.Sealed = []VoidedSegment{{25, 1}} },
		"sealed that do not rise":        func(v *Voided) { v.Sealed = []VoidedSegment{{5, 1}, {5, 1}} },
	} {
		bad := *v
		change(&bad)
		r := VoidPayloadsRecord(group(1), &bad)
		if err := r.check(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.Body = r.Body[:len(r.Body)-1]
	if err := r.check(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("cut short: %v", err)
	}
}
