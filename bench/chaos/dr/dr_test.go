package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestAcknowledgedRecordsAreFoundOnce: each is in the log or in an archive, at its offset.
func TestAcknowledgedRecordsAreFoundOnce(t *testing.T) {
	for name, c := range map[string]struct {
		log, archived map[int64]int // offset -> number
		want          string        // of the error; empty = none
		lost          int
	}{
		"in the log":                        {log: map[int64]int{10: 1}},
		"in an archive":                     {archived: map[int64]int{10: 1}, lost: 1},
		"its repetition was acknowledged":   {log: map[int64]int{10: 1}, archived: map[int64]int{7: 1}},
		"in neither":                        {want: "neither"},
		"another is at its offset":          {log: map[int64]int{10: 2}, want: "neither"},
		"elsewhere in the log":              {log: map[int64]int{11: 1}, want: "is in the log at 11"},
		"elsewhere in an archive":           {archived: map[int64]int{11: 1}, want: "neither"},
		"in both":                           {log: map[int64]int{10: 1}, archived: map[int64]int{10: 1}, want: "in the log and in an archive"},
		"in an archive, and once more told": {log: map[int64]int{20: 1}, archived: map[int64]int{10: 1}, want: "in an archive and in the log at 20"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory(0)
			h.acknowledged(1, 10)
			f := &found{log: c.log, archived: c.archived, numbers: map[int]int64{}}
			for offset, number := range c.log {
				f.numbers[number] = offset
			}
			lost, err := (&suite{}).settle(h, f, map[int64]ack{10: {1, time.Now()}})
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			if len(lost) != c.lost {
				t.Fatalf("lost %v, want %d", lost, c.lost)
			}
		})
	}
}

func TestAnOffsetDenotesOneRecord(t *testing.T) {
	h := newHistory(3)
	h.acknowledged(1, 10)
	h.took(10, []byte(key(3, 1)))
	if len(h.mu.errs) > 0 {
		t.Fatal(h.mu.errs)
	}
	h.took(10, []byte(key(3, 2)))
	if len(h.mu.errs) != 1 {
		t.Fatalf("another record at an offset: %v", h.mu.errs)
	}
	h.took(11, []byte(key(2, 2)))
	if len(h.mu.errs) != 2 {
		t.Fatalf("a record of another partition: %v", h.mu.errs)
	}
}

func TestLostBelowTheReportedEndIsAFault(t *testing.T) {
	end := int64(10)
	var r report
	r.Partitions = append(r.Partitions, struct {
		Topic      string `json:"topic"`
		Partition  int32  `json:"partition"`
		ShippedEnd *int64 `json:"shipped_end"`
		Resumes    *int64 `json:"resumes"`
	}{Topic: topic, Partition: 1, ShippedEnd: &end})
	if err := shippedAreThere(1, map[int64]ack{10: {}}, []*report{&r}); err != nil {
		t.Fatal(err)
	}
	if err := shippedAreThere(1, map[int64]ack{9: {}}, []*report{&r}); err == nil {
		t.Fatal("a lost record that was reported as shipped is not noticed")
	}
}

// TestSegmentFilesAreComparedByBatch: where segments end does not matter, nor room behind the last batch.
func TestSegmentFilesAreComparedByBatch(t *testing.T) {
	dir := t.TempDir()
	write := func(site string, files ...string) {
		t.Helper()
		for i, content := range files {
			name := filepath.Join(dir, site, "t-0", strings.Repeat("0", 19)+string(rune('0'+i))+".log")
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	one := func(offset int64, payload string) string {
		b := binary.BigEndian.AppendUint64(nil, uint64(offset))
		return string(binary.BigEndian.AppendUint32(b, uint32(len(payload)))) + payload
	}
	write("a", one(0, "x")+one(1, "y"), one(2, "z"))
	write("b", one(0, "x")+one(1, "y")+one(2, "z")+strings.Repeat("\x00", 100))
	write("c", one(0, "x")+one(1, "Y")+one(2, "z"))
	write("d", one(0, "x")+one(1, "y"))
	for _, c := range []struct {
		site string
		end  int64
		same bool
	}{{"b", 3, true}, {"c", 3, false}, {"c", 1, true}, {"d", 3, false}, {"d", 2, true}} {
		x, err := logBytes(filepath.Join(dir, "a"), "t-0", c.end)
		if err != nil {
			t.Fatal(err)
		}
		y, err := logBytes(filepath.Join(dir, c.site), "t-0", c.end)
		if err != nil {
			t.Fatal(err)
		}
		if why := firstDifference(x, y); (why == "") != c.same {
			t.Errorf("%s below %d: %q", c.site, c.end, why)
		}
	}
}

// TestPlanHasEachKind: with as many switchovers as losses, and the same order for the same seed.
func TestPlanHasEachKind(t *testing.T) {
	all := regexp.MustCompile("")
	count := map[string]int{}
	planned := 0
	rounds := plan(120, 1, all)
	for _, k := range rounds {
		count[k.name]++
		if !k.failure {
			planned++
		}
	}
	if len(rounds) != 120 || planned != 60 || len(count) != len(kinds) {
		t.Fatalf("%d rounds, %d planned, kinds %v", len(rounds), planned, count)
	}
	again, other := plan(120, 1, all), plan(120, 2, all)
	same := true
	for i := range rounds {
		if rounds[i] != again[i] {
			t.Fatalf("round %d differs under the same seed", i)
		}
		same = same && rounds[i] == other[i]
	}
	if same {
		t.Fatal("another seed has the same order")
	}
}
