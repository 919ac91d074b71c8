package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/bench/internal/process"
)

const (
	startLimit = 90 * time.Second
	stopLimit  = 30 * time.Second
)

// aligned are the settings that both brokers get.
var aligned = []string{
	"node.id=1", "group.initial.rebalance.delay.ms=0", "offsets.topic.replication.factor=1", "offsets.topic.num.partitions=4",
	"log.retention.ms=-1", "log.cleaner.backoff.ms=3600000", "num.partitions=2",
}

// startTandem runs the binary on a folder. The process is not nil as soon as there is one to stop.
func startTandem(ctx context.Context, binary, dir string) (*process.Process, *side, error) {
	addresses, err := process.FreeAddresses(1)
	if err != nil {
		return nil, nil, err
	}
	own := []string{"log.dirs=" + filepath.Join(dir, "tandem"), "listeners=PLAINTEXT://" + addresses[0], "admin.listener="}
	s := &side{name: "Tandem", address: addresses[0]}
	p, err := process.Start(process.Command{Name: s.name, Args: process.Serve(binary, slices.Concat(own, aligned)...), Log: filepath.Join(dir, "tandem.log")})
	if err != nil {
		return nil, nil, err
	}
	return p, s, s.await(ctx, p)
}

// await returns when the broker, which p runs, answers what sequences ask.
func (s *side) await(ctx context.Context, p *process.Process) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	return p.Await(ctx, 50*time.Millisecond, s.warmUp)
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
