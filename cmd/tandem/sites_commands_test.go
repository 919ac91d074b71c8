//go:build linux && (amd64 || arm64)

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tandembroker/tandem/broker/brokertest"
	"github.com/tandembroker/tandem/broker/sites/operator"
)

// watched is a `tandem dr` that goes on until it is told to end.
type watched struct {
	t       *testing.T
	command *exec.Cmd
	lines   *bufio.Scanner
	errs    bytes.Buffer
}

func watch(t *testing.T, args ...string) *watched {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	w := &watched{t: t, command: exec.CommandContext(ctx, self, append([]string{"dr"}, args...)...)}
	w.command.Env = append(os.Environ(), beTandem+"=1")
	w.command.Stderr = &w.errs
	out, err := w.command.StdoutPipe()
	if err = errors.Join(err, w.command.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = w.command.Wait()
	})
	w.lines = bufio.NewScanner(out)
	return w
}

// line is the next line; "" = there is none.
func (w *watched) line() string {
	w.lines.Scan()
	return w.lines.Text()
}

// end interrupts it, as Control-C does, and returns what it printed behind that, and its exit code.
func (w *watched) end() (rest string, code int) {
	w.t.Helper()
	if err := w.command.Process.Signal(syscall.SIGINT); err != nil {
		w.t.Fatal(err)
	}
	for w.lines.Scan() {
		rest += w.lines.Text() + "\n"
	}
	_ = w.command.Wait()
	return rest, w.command.ProcessState.ExitCode()
}

// TestStatusThatIsWatched goes on over the loss of the broker that it asks, where it knows another one, and ends with an interrupt, well.
func TestStatusThatIsWatched(t *testing.T) {
	t.Parallel()
	east, west := startSites(t)
	east.write("t", 1, 1)
	west.has("t")
	both := "--bootstrap-server=" + east.address + "," + west.address
	people := watch(t, "status", "--watch", both)
	machine := watch(t, "status", "--watch", "--json", both, "--timeout", "5s")
	for people.line() != "answered by     east" {
	}
	read := func() (st operator.Status) {
		t.Helper()
		line := machine.line()
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&st); err != nil || strings.TrimSpace(line) == "" {
			t.Fatalf("%v in %q\n%s", err, line, &machine.errs)
		}
		return st
	}
	if st := read(); !st.Green || st.AnsweredBy != "east" {
		t.Errorf("%+v", st)
	}
	east.kill()
	for st := read(); st.AnsweredBy != "west" || st.Contact.Connected; st = read() {
	}
	if st := read(); st.Green || st.Lag != nil || st.Contact.SilenceMs == nil {
		t.Errorf("%+v", st)
	}
	for people.line() != "answered by     west" {
	}
	for _, w := range []*watched{people, machine} {
		rest, code := w.end()
		if code != 0 || w.errs.Len() > 0 {
			t.Errorf("exit code %d: %s", code, &w.errs)
		}
		for line := range strings.Lines(rest) {
			if w == machine && !json.Valid([]byte(line)) {
				t.Errorf("no JSON: %q", line)
			}
		}
	}
	west.signal(syscall.SIGSTOP) // where nobody has answered at all, an interrupt is a failure
	silent := watch(t, "status", "--watch", "--json", "--bootstrap-server="+west.address)
	time.AfterFunc(200*time.Millisecond, func() { _ = silent.command.Process.Signal(syscall.SIGINT) })
	if line := silent.line(); line != "" {
		t.Errorf("a process that stands still answers: %q", line)
	}
	_ = silent.command.Wait()
	if code := silent.command.ProcessState.ExitCode(); code != 1 || !json.Valid(silent.errs.Bytes()) {
		t.Errorf("exit code %d: %s", code, &silent.errs)
	}
	west.signal(syscall.SIGCONT)
}

// TestWhatNobodyAnswers ends in time, with what to do: where nobody listens, where something else does, and at a broker that is of no site.
func TestWhatNobodyAnswers(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	stranger, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stranger.Close() }()
	go func() { // ends with the listener
		for {
			c, err := stranger.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
			_ = c.Close()
		}
	}()
	_, alone := startTandem(t, t.TempDir())
	dead := brokertest.Reserve(t)
	for _, c := range []struct {
		name, address string
		code          int
		text, next    string
	}{
		{"nobody listens", dead, 1, "no answer from " + dead, "--bootstrap-server takes any broker of either site"},
		{"nobody answers", silent.Addr().String(), 1, "no answer from " + silent.Addr().String(), "--bootstrap-server takes any broker of either site"},
		{"something else answers", stranger.Addr().String(), 1, "no answer from " + stranger.Addr().String(), "--bootstrap-server takes any broker of either site"},
		{"a broker of no site", alone, 3, "belongs to no site", "site.name"},
		{"no address", "west", 2, "HOST:PORT is expected", "tandem dr help"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for n, args := range []string{"status", "switchover --to west --yes", "failover --to west --active-is-down --yes", "abort --yes", "history", "verify", "lost list",
				"lost show", "lost replay --yes", "lost remove x --yes", "undelete t", "recopy --topic t --partition 0 --yes"} {
				began, asJSON := time.Now(), n%2 == 1
				all := append(strings.Fields(args), "--bootstrap-server", c.address, "--timeout", "100ms")
				if asJSON {
					all = append(all, "--json")
				}
				code, out, errs := drAt(t, all...)
				if code != c.code || out != "" || !strings.Contains(errs, c.text) || !strings.Contains(errs, c.next) || time.Since(began) > patience/3 {
					t.Errorf("%s: exit code %d after %s\n%s%s", args, code, time.Since(began), out, errs)
				}
				if asJSON && !json.Valid([]byte(errs)) {
					t.Errorf("%s: no JSON: %s", args, errs)
				}
			}
		})
	}
}

// TestLostRecordsAreShownAndWrittenBack: as they were, by a broker of either site, as often as the operator says so, and until they are removed.
func TestLostRecordsAreShownAndWrittenBack(t *testing.T) {
	t.Parallel()
	east, west := newSites(t)
	between := brokertest.NewRelay(t, west.own)
	east.change("site.peers=west@" + between.Addr())
	west.change("site.peers=")
	east.start()
	west.start()
	east.write("t", 10, 10)
	east.topic("many", map[string]string{"max.message.bytes": "400000"})
	east.has("many")
	west.has("t")
	for _, s := range []*siteProcess{east, west} {
		s.does(0, "lost list", "No records were lost.")
		s.does(0, "lost show --json")
		s.does(0, "lost replay --yes", "No records were lost.")
		s.does(2, "lost show nosuch", `no archive "nosuch"`, "tandem dr lost list")
	}
	between.Cut(true)
	lost := []*kgo.Record{
		{Topic: "t", Key: []byte{0, 0xff, '"'}, Value: []byte("v\n1"), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte{1, 2}}, {Key: "h", Value: nil}}, Timestamp: time.UnixMilli(1_700_000_000_123)},
		{Topic: "t", Key: []byte("tombstone"), Value: nil, Timestamp: time.UnixMilli(1_700_000_000_124)},
		{Topic: "t", Key: nil, Value: []byte{}, Timestamp: time.UnixMilli(1_700_000_000_125)},
	}
	many := make([]*kgo.Record, 1500) // more than the topic takes in a batch, and nothing makes them smaller
	for i := range many {
		many[i] = &kgo.Record{Topic: "many", Key: fmt.Append(nil, i), Value: make([]byte, 3000)}
		_, _ = rand.Read(many[i].Value) // never fails
	}
	c := east.kgo(kgo.ProducerBatchMaxBytes(400_000))
	for _, records := range [][]*kgo.Record{lost, many} {
		if err := c.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	east.kill()
	west.until("the silence", func(st operator.Status) bool { return !st.Contact.Connected })
	west.does(0, "failover --to west --active-is-down --yes", "west is the active site")
	west.write("t", 1, 1)
	between.Cut(false)
	east.start()
	west.has("t")
	west.until("archives", func(st operator.Status) bool { return st.Archives.Archives == 2 && st.Green }) // which alone are no reason

	var list operator.LostList
	var id string // of what t has lost
	for _, s := range []*siteProcess{east, west} {
		s.does(0, "lost list", "t-0.", "east", "10-12", "many-0.", "0-1499")
		if err := json.Unmarshal([]byte(s.does(0, "lost list --json")), &list); err != nil || len(list.Archives) != 2 || list.Missing != "" {
			t.Fatalf("%+v: %v", list, err)
		}
		for _, a := range list.Archives {
			if a.Topic == "t" {
				id = a.ID
			}
		}
		s.does(0, "lost show "+id, "t-0  offset 10", `"tombstone" = null`, `null = ""`)
		s.showsAsJSON("lost show --json "+id, lost)
		if all := s.does(0, "lost show --json"); strings.Count(all, "\n") != 1503 || strings.Count(all, `"topic":"t"`) != 3 {
			t.Errorf("%d lines of all archives", strings.Count(all, "\n"))
		}
		s.does(3, "lost replay", "nobody said yes: Write up to 1503 records of 2 archives to their topics?", "--yes")
		s.does(3, "lost replay --json "+id, "nobody said yes")
		s.does(1, "lost replay --topic nosuch --yes", "there is no topic nosuch, and a replay makes none", "create the topic")
		s.does(2, "lost replay nosuch --yes", `no archive "nosuch"`)
		s.does(2, "lost replay --from 11 --yes", "--from is for one archive")
		s.does(3, "lost remove "+id, "nobody said yes")
	}
	east.does(0, "lost replay --yes", "3 records written to t", "1500 records written to many")
	var done []map[string]any
	if err := json.Unmarshal([]byte(west.does(0, "lost replay --yes --json --from 11 "+id)), &done); err != nil || len(done) != 1 || done[0]["written"] != 2.0 {
		t.Errorf("%v: %v", done, err)
	}
	west.topic("u", nil)
	west.does(0, "lost replay --yes --topic u "+id, "3 records written to u")
	if all := west.keys("t", "", 16); all["tombstone"] != 2 || all[string(lost[0].Key)] != 1 || all[""] != 2 {
		t.Errorf("written back once, and from the second on once more: %v", all)
	}
	if all := east.keys("u", "", 3); all["tombstone"] != 1 {
		t.Errorf("%v", all)
	}
	if all := west.keys("many", "", 1500); len(all) != 1500 {
		t.Errorf("%d keys are written back", len(all))
	}
	east.has("u")
	east.does(0, "verify", "equal: ")
	west.does(0, "lost remove --yes "+id, "is deleted")
	for _, s := range []*siteProcess{east, west} {
		s.does(0, "lost list", "many-0.")
		s.does(2, "lost remove --yes "+id, "no archive")
		s.does(0, "history", "failover", "followed")
	}
	var h operator.History
	if err := json.Unmarshal([]byte(east.does(0, "history --json")), &h); err != nil || len(h.Events) < 3 {
		t.Errorf("%+v: %v", h, err)
	}
	east.kill()
	west.does(1, "lost show", "not all archives can be read", "tandem dr lost list")
	west.does(0, "lost list", "incomplete: those of the other site")
}

// showsAsJSON: an object a line, which names all that a record has, with bytes in base64.
func (s *siteProcess) showsAsJSON(args string, want []*kgo.Record) {
	s.t.Helper()
	lines := strings.Split(strings.TrimSuffix(s.does(0, args), "\n"), "\n")
	if len(lines) != len(want) {
		s.t.Fatalf("%d lines of %d records: %q", len(lines), len(want), lines)
	}
	bytesOf := func(b []byte) any {
		if b == nil {
			return nil
		}
		return base64.StdEncoding.EncodeToString(b)
	}
	for i, r := range want {
		var got map[string]any
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil {
			s.t.Fatalf("%v: %q", err, lines[i])
		}
		headers := []any{}
		for _, h := range r.Headers {
			headers = append(headers, map[string]any{"key": h.Key, "value": bytesOf(h.Value)})
		}
		wanted := map[string]any{"topic": "t", "partition": 0.0, "offset": float64(10 + i), "timestamp": float64(r.Timestamp.UnixMilli()),
			"key": bytesOf(r.Key), "value": bytesOf(r.Value), "headers": headers, "transaction": "none"}
		if fmt.Sprint(got) != fmt.Sprint(wanted) {
			s.t.Errorf("%s:\n%v, want\n%v", args, got, wanted)
		}
	}
}
