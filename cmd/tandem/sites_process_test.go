//go:build linux && (amd64 || arm64)

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tandembroker/tandem/broker/brokertest"
	"github.com/tandembroker/tandem/broker/sites/operator"
)

// siteProcess is one broker of a pair of sites, a process of its own. Its SITE listener keeps its address over restarts.
type siteProcess struct {
	*process
	t       *testing.T
	name    string
	dir     string
	own     string // SITE listener
	address string // of clients, of this run
	set     map[string]string
}

const plainSite = "PLAINTEXT:PLAINTEXT,SITE:PLAINTEXT"

// newSites are two sites that are not started yet: east is to be active, west its standby, and each dials the other.
func newSites(t *testing.T) (east, west *siteProcess) {
	t.Helper()
	dir := t.TempDir()
	make := func(name, node, role string) *siteProcess {
		return &siteProcess{t: t, name: name, dir: filepath.Join(dir, name), own: brokertest.Reserve(t), set: map[string]string{
			"site.name": name, "node.id": node, "site.role": role, "listener.security.protocol.map": plainSite, "group.initial.rebalance.delay.ms": "0",
		}}
	}
	east, west = make("east", "1", "active"), make("west", "101", "standby")
	east.set["site.peers"], west.set["site.peers"] = "west@"+west.own, "east@"+east.own
	return east, west
}

// startSites starts a pair and waits until it is green.
func startSites(t *testing.T) (east, west *siteProcess) {
	t.Helper()
	east, west = newSites(t)
	east.start()
	west.start()
	east.green()
	west.green()
	return east, west
}

// start runs the site's broker until it listens.
func (s *siteProcess) start() {
	s.t.Helper()
	s.process, s.address = startTandem(s.t, s.dir, s.settings()...)
}

func (s *siteProcess) settings() []string {
	set := []string{"listeners=PLAINTEXT://127.0.0.1:0,SITE://" + s.own}
	for key, value := range s.set {
		if value != "" {
			set = append(set, key+"="+value)
		}
	}
	return set
}

// stop ends the broker as an operator does.
func (s *siteProcess) stop() {
	s.t.Helper()
	s.signal(syscall.SIGTERM)
	if code := s.wait(); code != exitDone {
		s.t.Fatalf("%s: exit code %d", s.name, code)
	}
}

// anew starts the site's broker with nothing, as the way out of many things says.
func (s *siteProcess) anew(set ...string) {
	s.t.Helper()
	if !s.ended {
		s.stop()
	}
	if err := os.RemoveAll(s.dir); err != nil {
		s.t.Fatal(err)
	}
	s.change(set...)
	s.start()
}

// change sets key=value.
func (s *siteProcess) change(set ...string) {
	for _, text := range set {
		key, value, _ := strings.Cut(text, "=")
		s.set[key] = value
	}
}

// dr runs `tandem dr args` as a process, against this site's broker.
func (s *siteProcess) dr(args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	return s.drFor("15s", args...)
}

// drFor is dr with a --timeout.
func (s *siteProcess) drFor(timeout string, args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	return drAt(s.t, append(args, "--bootstrap-server", s.address, "--timeout", timeout)...)
}

// drAt runs `tandem dr args` as a process.
func drAt(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, self, append([]string{"dr"}, args...)...)
	command.Env = append(os.Environ(), beTandem+"=1")
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := command.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return command.ProcessState.ExitCode(), out.String(), errs.String()
}

// does runs a command that has to end with code and to say all of want.
func (s *siteProcess) does(code int, args string, want ...string) string {
	s.t.Helper()
	got, stdout, stderr := s.dr(strings.Fields(args)...)
	text := stdout + stderr
	if got != code {
		s.t.Fatalf("tandem dr %s at %s: exit code %d, want %d\n%s", args, s.name, got, code, text)
	}
	for _, w := range want {
		if !strings.Contains(text, w) {
			s.t.Errorf("tandem dr %s at %s does not say %q:\n%s", args, s.name, w, text)
		}
	}
	return text
}

// status is what both sites are like, asked of this one.
func (s *siteProcess) status() (st operator.Status) {
	s.t.Helper()
	code, stdout, stderr := s.dr("status", "--json")
	if code != 0 || stderr != "" || json.Unmarshal([]byte(stdout), &st) != nil {
		s.t.Fatalf("status of %s: exit code %d\n%s%s", s.name, code, stdout, stderr)
	}
	return st
}

// until waits for a status that is as it should be.
func (s *siteProcess) until(what string, ok func(operator.Status) bool) operator.Status {
	s.t.Helper()
	for late := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		st := s.status()
		if ok(st) {
			return st
		}
		if time.Now().After(late) {
			text, _ := json.MarshalIndent(st, "", " ")
			s.t.Fatalf("%s, asked of %s: not in %s\n%s", what, s.name, patience, text)
		}
	}
}

func (s *siteProcess) green() {
	s.t.Helper()
	s.until("green", func(st operator.Status) bool { return st.Green })
}

// tells waits until the status is not green for a reason with this text, and is what follows it to be done; both sides of --json and text.
func (s *siteProcess) tells(reason, next string) {
	s.t.Helper()
	s.until(fmt.Sprintf("%q", reason), func(st operator.Status) bool {
		return !st.Green && len(st.Reasons) > 0 && strings.Contains(st.Reasons[0].Text, reason)
	})
	s.does(0, "status", "green: no", reason, next)
}

// lines counts lines of the log that have all of these texts.
func (s *siteProcess) linesOf(texts ...string) (n int) {
	for _, line := range s.lines() {
		all := true
		for _, t := range texts {
			all = all && strings.Contains(line, t)
		}
		if all {
			n++
		}
	}
	return n
}

func (s *siteProcess) kgo(options ...kgo.Opt) *kgo.Client {
	s.t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(s.address), kgo.RetryBackoffFn(func(int) time.Duration { return retryPause }),
		kgo.MetadataMinAge(retryPause)}, options...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

// write writes count records of size bytes to a topic of one partition, and waits until all are acknowledged.
func (s *siteProcess) write(topic string, count, size int, more ...kgo.Opt) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	c := s.kgo(append(more, kgo.AllowAutoTopicCreation(), kgo.ProducerBatchCompression(kgo.NoCompression()))...)
	var records []*kgo.Record
	for i := range count {
		records = append(records, &kgo.Record{Topic: topic, Key: fmt.Append(nil, i), Value: bytes.Repeat([]byte{'v'}, size)})
	}
	if err := c.ProduceSync(ctx, records...).FirstErr(); err != nil {
		s.t.Fatalf("write to %s: %v", s.name, err)
	}
	c.Close()
}

// has waits until a topic's partition 0 is at the standby with so many records, green.
func (s *siteProcess) has(topic string) {
	s.t.Helper()
	s.until(topic+" is there", func(st operator.Status) bool {
		for _, t := range st.Topics {
			if t.Topic == topic && st.Green {
				return true
			}
		}
		return false
	})
}
