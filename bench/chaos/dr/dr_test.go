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
		twice         bool // there were two failovers
	}{
		"in the log":                        {log: map[int64]int{10: 1}},
		"in an archive":                     {archived: map[int64]int{10: 1}, lost: 1},
		"its repetition was acknowledged":   {log: map[int64]int{10: 1}, archived: map[int64]int{7: 1}},
		"in neither":                        {want: "neither"},
		"another is at its offset":          {log: map[int64]int{10: 2}, want: "neither"},
		"elsewhere in the log":              {log: map[int64]int{11: 1}, want: "is in the log at 11"},
		"elsewhere in an archive":           {archived: map[int64]int{11: 1}, want: "neither"},
		"in both":                           {log: map[int64]int{10: 1}, archived: map[int64]int{10: 1}, want: "in the log and in an archive"},
		"an earlier try has survived":       {log: map[int64]int{7: 1}, archived: map[int64]int{10: 1}, twice: true, lost: 1},
		"an earlier try, by one failover":   {log: map[int64]int{7: 1}, archived: map[int64]int{10: 1}, want: "in an archive and in the log at 7"},
		"a later try, by two failovers":     {log: map[int64]int{20: 1}, archived: map[int64]int{10: 1}, twice: true, want: "in an archive and in the log at 20"},
		"in an archive, and once more told": {log: map[int64]int{20: 1}, archived: map[int64]int{10: 1}, want: "in an archive and in the log at 20"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory(0)
			h.acknowledged(1, 10)
			f := &found{log: c.log, archived: c.archived, numbers: map[int]int64{}}
			for offset, number := range c.log {
				f.numbers[number] = offset
			}
			lost, err := (&suite{}).settle(h, f, map[int64]ack{10: {1, time.Now()}}, c.twice)
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

// TestLossesAreHeldAgainstTheReports: of two failovers each answers for its own.
func TestLossesAreHeldAgainstTheReports(t *testing.T) {
	at := func(n int64) *int64 { return &n }
	since := time.Now()
	first := &report{Partitions: []partitionReport{{Topic: topic, Partition: 1, ShippedEnd: at(10), ActiveEnd: at(13), Resumes: at(100), LostRecords: at(3)}}}
	first.Lost.UnknownSince = &since
	second := &report{Partitions: []partitionReport{{Topic: topic, Partition: 1, ShippedEnd: at(105), ActiveEnd: at(105), Resumes: at(200), LostRecords: at(0)}}}
	early, late := ack{at: since.Add(-time.Second)}, ack{at: since.Add(time.Second)}
	for name, c := range map[string]struct {
		lost    map[int64]ack
		reports []*report
		untold  bool
		want    string // of the error; empty = none
	}{
		"known":                             {lost: map[int64]ack{10: early, 12: early}, reports: []*report{first}},
		"unknown":                           {lost: map[int64]ack{13: late}, reports: []*report{first}},
		"shipped":                           {lost: map[int64]ack{9: early}, reports: []*report{first}, want: "reported as shipped"},
		"acknowledged before":               {lost: map[int64]ack{13: early}, reports: []*report{first}, want: "before the moment"},
		"without a failover":                {lost: map[int64]ack{9: early}, want: "by no failover"},
		"above where the site goes on":      {lost: map[int64]ack{100: late}, reports: []*report{first}, want: "by no failover"},
		"by the second one":                 {lost: map[int64]ack{11: early, 104: early}, reports: []*report{first, second}, want: "reported as shipped (up to 105)"},
		"by the second one, which knew all": {lost: map[int64]ack{105: late}, reports: []*report{first, second}, want: "no more than what is below 105"},
		"nobody got the report":             {lost: map[int64]ack{9: early}, untold: true},
	} {
		t.Run(name, func(t *testing.T) {
			err := (&round{reports: c.reports, untold: c.untold}).asReported(1, c.lost)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
		})
	}
	first.Partitions[0].LostRecords = at(1)
	if err := (&round{reports: []*report{first}}).asReported(1, map[int64]ack{10: early, 12: early}); err == nil {
		t.Fatal("more known losses than reported are not noticed")
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
	rounds := plan(120, 1, 1, all)
	for _, k := range rounds {
		count[k.name]++
		if !k.failure {
			planned++
		}
	}
	if len(rounds) != 120 || planned != 60 || len(count) != len(kinds) {
		t.Fatalf("%d rounds, %d planned, kinds %v", len(rounds), planned, count)
	}
	again, other := plan(120, 1, 1, all), plan(120, 1, 2, all)
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

// TestLongPausesFailTheRun: half of them, not a single one.
func TestLongPausesFailTheRun(t *testing.T) {
	of := func(switchover, failover time.Duration) round {
		return round{kind: &kind{}, figures: figures{switchover: switchover, failover: failover, moved: -1}}
	}
	for _, c := range []struct {
		rounds []round
		text   string
	}{
		{[]round{of(time.Second, -1), of(-1, 2*time.Second), of(20*time.Second, 20*time.Second), of(time.Second, time.Second)}, ""},
		{[]round{of(-1, -1)}, ""},
		{[]round{of(time.Second, 6*time.Second), of(time.Second, 7*time.Second), of(time.Second, time.Second)}, "failover"},
		{[]round{of(6*time.Second, time.Second)}, "switchover"},
	} {
		s := &suite{load: &load{}, done: c.rounds}
		if err := s.table(); (err == nil) != (c.text == "") || err != nil && !strings.Contains(err.Error(), c.text) {
			t.Errorf("%q: %v", c.text, err)
		}
	}
}
