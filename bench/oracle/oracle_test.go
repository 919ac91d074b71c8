package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/brokertest"
)

var rewrite = flag.Bool("rewrite", false, "write the generated part of docs/compatibility.md anew")

const (
	sequencesMin   = 300
	sequencesShort = 40
	brokers        = 4
)

// tandemSide starts a broker in this process.
func tandemSide(t *testing.T) *side {
	t.Helper()
	b := brokertest.Start(t, aligned...)
	s := &side{name: "Tandem", address: b.Address()}
	t.Cleanup(func() {
		s.end()
		if s.probe != nil {
			s.probe.close()
		}
	})
	if err := s.await(b.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return s
}

func recordedAnswers(t *testing.T) []recorded {
	t.Helper()
	root := filepath.Join("..", "..")
	release, all, err := readRecord(filepath.Join(root, filepath.FromSlash(recordFile)))
	if err != nil {
		t.Fatal(err)
	}
	pom, err := os.ReadFile(filepath.Join(root, "bench", "interop", "pom.xml"))
	if err != nil {
		t.Fatal(err)
	}
	if want := kafkaRelease(pom); release != want {
		t.Fatalf("the recorded answers are of Apache Kafka %s, not %s: go run ./bench/oracle -record", release, want)
	}
	if len(all) < sequencesMin {
		t.Fatalf("%d sequences are recorded, at least %d are wanted", len(all), sequencesMin)
	}
	return all
}

// playAll plays the sequences on some brokers at once: most of the time is waiting for the disk.
func playAll(t *testing.T, all []recorded) ([]*sequence, [][]exchange) {
	t.Helper()
	sequences, answers := make([]*sequence, len(all)), make([][]exchange, len(all))
	failed := make([]error, brokers)
	var group sync.WaitGroup
	for n := range brokers {
		s := tandemSide(t)
		if _, err := s.served(); err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			for i := n; i < len(all) && failed[n] == nil; i += brokers {
				sequences[i] = generate(all[i].seed, "")
				answers[i], failed[n] = s.play(sequences[i])
			}
		})
	}
	group.Wait()
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
	return sequences, answers
}

// TestAnswersAsRecordedOfKafka plays the recorded sequences on Tandem and compares with what Apache Kafka answered.
func TestAnswersAsRecordedOfKafka(t *testing.T) {
	all := recordedAnswers(t)
	if testing.Short() {
		all = all[:sequencesShort]
	}
	began := time.Now()
	sequences, answers := playAll(t, all)
	c := &comparison{out: t.Output()}
	for i, r := range all {
		if got, want := answers[i][0].request, r.kafka[0].request; got != want {
			t.Fatalf("the recorded answers are of other requests: go run ./bench/oracle -record\n%s\n%s", want, got)
		}
		c.add(sequences[i], r.kafka, answers[i])
	}
	t.Logf("%d sequences, %d requests in %v", c.sequences, c.requests, time.Since(began).Round(time.Millisecond))
	if c.differing > 0 {
		t.Errorf("%d of %d sequences differ from Apache Kafka", c.differing, c.sequences)
	}
	if testing.Short() {
		return
	}
	for _, d := range differences {
		if c.seen[d.what] == 0 {
			t.Errorf("a difference that is not seen any more: %s", d.what)
		}
	}
}

// TestRecordCoversTheAPIs: each API of the table of versions is there in all of its versions, and is answered with errors too.
func TestRecordCoversTheAPIs(t *testing.T) {
	never := []int16{9, 16, 35} // OffsetFetch, ListGroups, DescribeLogDirs have nothing to complain of in a broker that is well
	all := recordedAnswers(t)
	seen, codes := map[string]int{}, map[string]map[string]int{}
	for _, r := range all {
		for _, x := range r.kafka {
			fields := strings.Fields(x.request)
			if len(fields) < 3 {
				continue
			}
			seen[fields[1]+" "+fields[2]]++
			for _, line := range x.answer {
				if path, code, ok := strings.Cut(line, "="); ok && strings.HasSuffix(path, "ErrorCode") {
					if codes[fields[1]] == nil {
						codes[fields[1]] = map[string]int{}
					}
					codes[fields[1]][code]++
				}
			}
		}
	}
	for key, v := range versions {
		name := kmsg.NameForKey(key)
		for version := v.min; version <= v.max; version++ {
			if seen[fmt.Sprintf("%s v%d", name, version)] == 0 {
				t.Errorf("%s version %d is in no sequence", name, version)
			}
		}
		if len(codes[name]) == 0 && !slices.Contains(never, key) {
			t.Errorf("%s is never answered with an error", name)
		}
	}
}

// TestCompatibilityDifferences holds a part of docs/compatibility.md against the list of known differences.
func TestCompatibilityDifferences(t *testing.T) {
	const begin, end = "<!-- generated: differences -->\n", "<!-- end -->"
	name := filepath.Join("..", "..", "docs", "compatibility.md")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no generated part of differences", name)
	}
	var b strings.Builder
	b.WriteString("| What | Kafka | Tandem | Why |\n|---|---|---|---|\n")
	for _, d := range differences {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", d.what, d.kafka, d.tandem, d.why)
	}
	want := before + begin + b.String() + end + after
	switch {
	case want == string(text):
	case !*rewrite:
		t.Errorf("%s is not what the list says: go test ./bench/oracle -run Compatibility -rewrite", name)
	default:
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestComparisonBites: another answer is found and printed, a known difference is not, and names hide no broken equality.
func TestComparisonBites(t *testing.T) {
	q := generate(1, "")
	x := func(lines ...string) []exchange { return []exchange{{request: "#0 Metadata v9 x", answer: lines}} }
	for name, tc := range map[string]struct {
		kafka, tandem []exchange
		differs       bool
	}{
		"same":           {x("A=1", "B=2"), x("B=2", "A=1"), false},
		"value":          {x("A=1"), x("A=2"), true},
		"missing":        {x("A=1", "B=2"), x("A=1"), true},
		"more":           {x("A=1"), x("A=1", "B=2"), true},
		"known":          {x("A.ErrorMessage=null"), x("A.ErrorMessage=(text)"), false},
		"no code":        {x("ErrorCode=3 UNKNOWN_TOPIC_OR_PARTITION"), x(), true},
		"fewer requests": {append(x(), x()...), x(), true},
	} {
		c := &comparison{out: io.Discard}
		c.add(q, tc.kafka, tc.tandem)
		if (c.differing > 0) != tc.differs {
			t.Errorf("%s: %d differ", name, c.differing)
		}
	}
	n := newNames()
	if a, b, again := n.name("member", "x", false), n.name("member", "y", false), n.name("member", "x", false); a == b || a != again {
		t.Errorf("names %s, %s, %s", a, b, again)
	}
}

// TestSequencesRepeat: a sequence follows from its seed, so that a recorded answer has its request.
func TestSequencesRepeat(t *testing.T) {
	for seed := range uint64(20) {
		a, b := generate(seed, ""), generate(seed, "")
		if len(a.steps) != len(b.steps) || len(a.steps) < stepsMin {
			t.Fatalf("seed %d: %d steps, then %d", seed, len(a.steps), len(b.steps))
		}
		for i := range a.steps {
			if a.steps[i].conn != b.steps[i].conn || a.steps[i].key != b.steps[i].key || a.steps[i].note != b.steps[i].note {
				t.Errorf("seed %d, step %d differs from itself", seed, i)
			}
		}
	}
}
