package dr

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tandembroker/tandem/broker/brokertest"
	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/replication/site"
)

var rewrite = flag.Bool("rewrite", false, "write the transcripts anew")

// scenarios are the pairs of sites that transcripts speak to; each is the name of a file in testdata.
var scenarios = map[string]func() operator.DR{
	"green":  func() operator.DR { return newFake() },
	"orders": func() operator.DR { return newFake() },
	"lost_site": func() operator.DR {
		f := newFake()
		f.lose(4 * time.Second)
		return f
	},
	"long_silence": func() operator.DR {
		f := newFake()
		f.lose(2 * time.Minute)
		return f
	},
	"halted": func() operator.DR {
		f := newFake()
		f.facts.Partitions[1].Halted = site.HaltGap
		return f
	},
	"lost_records": func() operator.DR { return newFake() },
	"different": func() operator.DR {
		f := newFake()
		f.differ = true
		return f
	},
	"no_site": func() operator.DR { return nil },
}

// run is Run with a clock that stands still, and its whole output.
func run(t *testing.T, address, input string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Run(t.Context(), append(args, "--bootstrap-server", address), surroundings(&out, &errs, input))
	return code, out.String(), errs.String()
}

// ids are different in all tests of a process; transcripts do not show them.
var ids atomic.Int64

func surroundings(out, errs *bytes.Buffer, input string) Surroundings {
	return Surroundings{
		In: strings.NewReader(input), Out: out, Err: errs, Terminal: input != "", Now: func() time.Time { return noon },
		Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		},
		NewID:   func() string { return fmt.Sprint("id", ids.Add(1)) },
		Produce: func([]string) (Producer, error) { return &fakeProducer{}, nil },
	}
}

// TestTranscripts holds what the command prints and its exit codes against testdata. A line that begins with $ is a command, with < what is
// typed at a terminal, with ! what came on standard error.
func TestTranscripts(t *testing.T) {
	for name, fake := range scenarios {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".txt")
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			address := serveFake(t, fake(), 0)
			got := play(t, address, string(want))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s is not what happens (-rewrite writes it anew); now:\n%s", file, got)
			}
		})
	}
}

var orderID = regexp.MustCompile(`"id": "id\d+"`)

// play runs the commands of a transcript and returns the transcript as it is now.
func play(t *testing.T, address, text string) string {
	t.Helper()
	var b strings.Builder
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		command, ok := strings.CutPrefix(line, "$ tandem dr ")
		if !ok {
			continue
		}
		input := ""
		if i+1 < len(lines) {
			if typed, ok := strings.CutPrefix(lines[i+1], "< "); ok {
				input = typed + "\n"
			}
		}
		code, stdout, stderr := run(t, address, input, strings.Fields(command)...)
		if b.Len() > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "%s\n", line)
		if input != "" {
			fmt.Fprintf(&b, "< %s", input)
		}
		stdout = orderID.ReplaceAllString(stdout, `"id": "..."`)
		b.WriteString(strings.TrimSuffix(stdout, "\n"))
		if stdout != "" {
			b.WriteString("\n")
		}
		for _, e := range strings.Split(strings.TrimSuffix(stderr, "\n"), "\n") {
			if e != "" {
				fmt.Fprintf(&b, "! %s\n", e)
			}
		}
		fmt.Fprintf(&b, "exit %d\n", code)
	}
	return b.String()
}

func TestUsageErrors(t *testing.T) {
	for _, args := range [][]string{nil, {"sttus"}, {"lost"}, {"lost", "sow"}, {"status", "x"}, {"status", "--to", "west"}, {"switchover"}, {"failover", "--yes"},
		{"undelete"}, {"undelete", "a", "b"}, {"lost", "remove"}, {"status", "--timeout", "0"}, {"status", "--timeout", "x"}, {"status", "--bootstrap-server", "x"},
		{"lost", "replay", "--from", "3"}} {
		var out, errs bytes.Buffer
		if code := Run(t.Context(), args, surroundings(&out, &errs, "")); code != 2 || out.Len() > 0 || errs.Len() == 0 {
			t.Errorf("%q: exit %d\n%s%s", args, code, &out, &errs)
		}
	}
	for _, args := range [][]string{{"help"}, {"--help"}, {"status", "-h"}} {
		var out, errs bytes.Buffer
		if code := Run(t.Context(), args, surroundings(&out, &errs, "")); code != 0 || !strings.Contains(out.String(), "failover") {
			t.Errorf("%q: exit %d\n%s%s", args, code, &out, &errs)
		}
	}
}

// TestWithJSONNothingElseIsPrinted: each line or document of either stream is JSON, whatever comes of the command.
func TestWithJSONNothingElseIsPrinted(t *testing.T) {
	f := newFake()
	f.lose(4 * time.Second)
	address := serveFake(t, f, 0)
	for _, args := range [][]string{{"status"}, {"history"}, {"verify"}, {"undelete", "orders"}, {"undelete", "x"}, {"lost", "list"}, {"lost", "show"}, {"lost", "replay", "--yes"},
		{"lost", "replay"}, {"switchover", "--to", "west", "--yes"}, {"failover", "--to", "west", "--active-is-down", "--dry-run"},
		{"failover", "--to", "west", "--active-is-down"}, {"failover", "--to", "west", "--yes"}, {"failover", "--to", "west", "--active-is-down", "--yes"}, {"abort", "--yes"}, {"status", "x"}} {
		_, stdout, stderr := run(t, address, "", append(args, "--json")...)
		for _, text := range []string{stdout, stderr} {
			d := json.NewDecoder(strings.NewReader(text))
			for d.More() {
				var v any
				if err := d.Decode(&v); err != nil {
					t.Errorf("%q: %v in\n%s", args, err, text)
					break
				}
			}
		}
		if stdout+stderr == "" {
			t.Errorf("%q prints nothing", args)
		}
	}
}

// TestBrokenConnectionsDoNotBeginAnOrderTwice: each connection ends before its second answer.
func TestBrokenConnectionsDoNotBeginAnOrderTwice(t *testing.T) {
	f := newFake()
	address := serveFake(t, f, 1)
	if code, stdout, stderr := run(t, address, "yes\n", "switchover", "--to", "west"); code != 0 || !strings.Contains(stdout, "west is the active site (site epoch 5).") {
		t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
	}
	if f.orders != 1 {
		t.Errorf("%d orders were begun", f.orders)
	}
}

func TestOtherBrokersAreTried(t *testing.T) {
	dead := brokertest.Reserve(t)
	address := serveFake(t, newFake(), 0)
	if code, _, stderr := run(t, dead+","+address, "", "status"); code != 0 {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if code, _, stderr := run(t, dead, "", "status"); code != 1 || !strings.Contains(stderr, dead) || !strings.Contains(stderr, "next:") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

// TestOrderThatDoesNotEnd: the command ends in time, and says that the order goes on.
func TestOrderThatDoesNotEnd(t *testing.T) {
	f := newFake()
	address := serveFake(t, f, 0)
	var out, errs bytes.Buffer
	s := surroundings(&out, &errs, "")
	now := noon
	s.Now = func() time.Time { now = now.Add(40 * time.Second); return now }
	if code := Run(t.Context(), []string{"switchover", "--to", "west", "--yes", "--bootstrap-server", address}, s); code != 1 || !strings.Contains(errs.String(), "goes on") {
		t.Errorf("exit %d: %s%s", code, &out, &errs)
	}
}

// TestWatch: until the operator has seen enough; each status is a line of JSON.
func TestWatch(t *testing.T) {
	address := serveFake(t, newFake(), 0)
	var out, errs bytes.Buffer
	s := surroundings(&out, &errs, "")
	slept := 0
	s.Sleep = func(context.Context, time.Duration) error {
		if slept++; slept == 3 {
			return context.Canceled
		}
		return nil
	}
	if code := Run(t.Context(), []string{"status", "--watch", "--json", "--bootstrap-server", address}, s); code != 0 || strings.Count(out.String(), "\n") != 3 {
		t.Errorf("exit %d: %s%s", code, &out, &errs)
	}
}

// fakeProducer takes records until stop of them were written.
type fakeProducer struct {
	partitions int32
	stop       int
	written    []Record
}

func (p *fakeProducer) Partitions(context.Context, string) (int32, error) {
	return max(p.partitions, 1), nil
}
func (p *fakeProducer) Close() {}

func (p *fakeProducer) Produce(_ context.Context, records []Record) (int, error) {
	for i, r := range records {
		if p.stop > 0 && len(p.written) == p.stop {
			return i, fmt.Errorf("broker gone")
		}
		p.written = append(p.written, r)
	}
	return len(records), nil
}

// TestReplay: in order, to the partition they came from, without what no reader of committed data saw.
func TestReplay(t *testing.T) {
	address := serveFake(t, newFake(), 0)
	replay := func(p *fakeProducer, args ...string) (int, string) {
		var out, errs bytes.Buffer
		s := surroundings(&out, &errs, "")
		s.Produce = func([]string) (Producer, error) { return p, nil }
		code := Run(t.Context(), append([]string{"lost", "replay", "--yes", "--bootstrap-server", address}, args...), s)
		return code, out.String() + errs.String()
	}
	offsets := func(p *fakeProducer) (all []int64) {
		for _, r := range p.written {
			all = append(all, r.Offset)
		}
		return all
	}
	p := &fakeProducer{partitions: 2}
	if code, text := replay(p); code != 0 || !slices.Equal(offsets(p), []int64{99, 100, 103}) || p.written[0].Partition != 1 || p.written[0].Topic != "orders" ||
		string(p.written[0].Key) != "k1" || p.written[1].Key != nil || string(p.written[0].Headers[0].Value) != "<&>" {
		t.Errorf("exit %d: %s\n%+v", code, text, p.written)
	}
	p = &fakeProducer{partitions: 1}
	if code, text := replay(p, "--topic", "other"); code != 0 || len(p.written) != 3 || p.written[0].Topic != "other" || p.written[0].Partition != 0 {
		t.Errorf("exit %d: %s\n%+v", code, text, p.written)
	}
	p = &fakeProducer{stop: 1}
	code, text := replay(p)
	if code != 1 || len(p.written) != 1 || !strings.Contains(text, "--from 100") {
		t.Errorf("exit %d: %s\n%+v", code, text, p.written)
	}
	p = &fakeProducer{}
	if code, text := replay(p, newFake().archives[0].ID, "--from", "100"); code != 0 || !slices.Equal(offsets(p), []int64{100, 103}) {
		t.Errorf("exit %d: %s\n%v", code, text, offsets(p))
	}
}
