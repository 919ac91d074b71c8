package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	startLimit = 90 * time.Second
	stopLimit  = 30 * time.Second
)

// process is a broker that oracle has started.
type process struct {
	command *exec.Cmd
	logFile string
	ended   chan struct{} // closed when it has; err is set then
	err     error
}

func startProcess(logFile, name string, args ...string) (*process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	p := &process{command: exec.Command(name, args...), logFile: logFile, ended: make(chan struct{})}
	p.command.Stdout, p.command.Stderr = log, log
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the process, awaited by stop
		p.err = p.command.Wait()
		close(p.ended)
	}()
	return p, nil
}

// stop ends the broker with SIGTERM, or with SIGKILL when it takes too long.
func (p *process) stop() {
	_ = p.command.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-p.ended:
	case <-time.After(stopLimit):
		_ = p.command.Process.Kill()
		<-p.ended
	}
}

// tail is the end of a broker's log.
func tail(logFile string) string {
	const bytesMax = 4000
	data, err := os.ReadFile(logFile)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-bytesMax):])
}

// freeAddresses finds ports that nobody listens on.
func freeAddresses(count int) ([]string, error) {
	var all []string
	for range count {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all at the end, so that they differ
		all = append(all, l.Addr().String())
	}
	return all, nil
}

// aligned are the settings that both brokers get.
var aligned = []string{
	"node.id=1", "group.initial.rebalance.delay.ms=0", "offsets.topic.replication.factor=1", "offsets.topic.num.partitions=4",
	"log.retention.ms=-1", "log.cleaner.backoff.ms=3600000", "num.partitions=2",
}

// startTandem runs the binary on a folder.
func startTandem(ctx context.Context, binary, dir string) (*process, *side, error) {
	addresses, err := freeAddresses(1)
	if err != nil {
		return nil, nil, err
	}
	args := []string{"serve"}
	own := []string{"log.dirs=" + filepath.Join(dir, "tandem"), "listeners=PLAINTEXT://" + addresses[0], "admin.listener="}
	for _, s := range append(own, aligned...) {
		args = append(args, "--set", s)
	}
	p, err := startProcess(filepath.Join(dir, "tandem.log"), binary, args...)
	if err != nil {
		return nil, nil, err
	}
	s := &side{name: "Tandem", address: addresses[0]}
	return p, s, s.await(ctx, p)
}

// await returns when the broker answers what sequences ask; p is its process, nil = somebody else's.
func (s *side) await(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	var ended <-chan struct{}
	log := ""
	if p != nil {
		ended, log = p.ended, p.logFile
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.warmUp()
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("%s ended at start: %w\n%s", s.name, p.err, tail(log))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w\n%s", s.name, err, tail(log))
		case <-tick.C:
		}
	}
}

// errNotYet says that a broker still starts.
var errNotYet = errors.New("not ready yet")

// warmUp asks until the broker gives producer ids and coordinates all groups, where it does so at all.
func (s *side) warmUp() error {
	resp, err := s.ask(kmsg.NewPtrInitProducerIDRequest(), 1)
	if err != nil {
		return err
	}
	if resp.(*kmsg.InitProducerIDResponse).ErrorCode != 0 {
		return errNotYet
	}
	resp, err = s.ask(kmsg.NewPtrApiVersionsRequest(), 0)
	if err != nil {
		return err
	}
	for _, k := range resp.(*kmsg.ApiVersionsResponse).ApiKeys {
		if k.ApiKey == 11 {
			return s.warmGroups()
		}
	}
	return nil
}

// warmGroups asks for so many groups that each partition of the offsets has one.
func (s *side) warmGroups() error {
	var groups []string
	for i := range 64 {
		groups = append(groups, fmt.Sprintf("warm-%d", i))
	}
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.CoordinatorKeys = groups
	resp, err := s.ask(find, 4)
	if err != nil {
		return err
	}
	for _, c := range resp.(*kmsg.FindCoordinatorResponse).Coordinators {
		if c.ErrorCode != 0 {
			return errNotYet
		}
	}
	describe := kmsg.NewPtrDescribeGroupsRequest()
	describe.Groups = groups
	if resp, err = s.ask(describe, 5); err != nil {
		return err
	}
	for _, g := range resp.(*kmsg.DescribeGroupsResponse).Groups {
		if g.ErrorCode != 0 {
			return errNotYet
		}
	}
	return nil
}

// served are the APIs that the broker has.
func (s *side) served() (map[int16]bool, error) {
	resp, err := s.ask(kmsg.NewPtrApiVersionsRequest(), 0)
	if err != nil {
		return nil, err
	}
	keys := map[int16]bool{}
	for _, k := range resp.(*kmsg.ApiVersionsResponse).ApiKeys {
		keys[k.ApiKey] = true
		if v, ok := versions[k.ApiKey]; ok && (k.MinVersion > v.min || k.MaxVersion < v.max) {
			return nil, fmt.Errorf("%s speaks %s %d-%d, and sequences %d-%d", s.name, kmsg.NameForKey(k.ApiKey), k.MinVersion, k.MaxVersion,
				v.min, v.max)
		}
	}
	return keys, nil
}

// trimmed is a text without blanks around it.
func trimmed(text []byte) string { return strings.TrimSpace(string(text)) }
