package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	floodJoins     = 5_000
	floodUnread    = 200 // connections that ask and do not read
	floodSession   = 6 * time.Second
	floodWatched   = 10 * time.Second
	floodMegabytes = 400
	// floodWait is far above what an answer takes, and far below what a member's session or a client's patience is.
	floodWait = 500 // ms, of the p99 of another group
)

// bystander is a group that goes on while others misbehave, in a process of its own, so that a flood that this one makes does not
// keep it waiting: a member that sends a heartbeat and a commit every 5 ms.
type bystander struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
}

// startBystander returns when the member has joined.
func startBystander(addr string) (*bystander, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b := &bystander{cmd: exec.Command(self, "_bystander", addr)}
	b.cmd.Stderr = os.Stderr
	if b.stdin, err = b.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	b.out = bufio.NewReader(out)
	if line, err := b.out.ReadString('\n'); err != nil || line != "joined\n" {
		_, stopped := b.p99()
		return nil, fmt.Errorf("bystander: %q: %w", line, errors.Join(err, stopped))
	}
	return b, nil
}

// p99 ends the run and returns what a heartbeat and a commit together took, in ms.
func (b *bystander) p99() (float64, error) {
	_ = b.stdin.Close()
	line, err := b.out.ReadString('\n')
	if err := errors.Join(err, b.cmd.Wait()); err != nil {
		return 0, fmt.Errorf("another group is disturbed: %w", err)
	}
	return strconv.ParseFloat(strings.TrimSpace(line), 64)
}

// standBy is the bystander's process.
func standBy(args []string) {
	if err := askInTurns(args[0]); err != nil {
		fmt.Fprintln(os.Stderr, "bystander:", err)
		os.Exit(1)
	}
}

func askInTurns(addr string) error {
	m, err := newMember(addr, "bystander", idlePartitions)
	if err != nil {
		return err
	}
	defer m.c.close()
	if err := m.settle(); err != nil {
		return err
	}
	fmt.Println("joined")
	quit := make(chan struct{})
	go func() { // ends with the standard input, or the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(quit)
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var took []float64
	for n := int64(1); ; n++ {
		select {
		case <-quit:
			slices.Sort(took)
			fmt.Println(took[len(took)*99/100])
			return nil
		case <-tick.C:
		}
		start := time.Now()
		if err := m.heartbeat(); err != nil {
			return fmt.Errorf("heartbeat: %w", err)
		}
		if err := m.commit(n); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		took = append(took, time.Since(start).Seconds()*1000)
	}
}

// runFlood measures what misbehaving clients cost: memory, and another group's heartbeats and commits meanwhile.
func runFlood(ctx context.Context, o options, r *report) error {
	o.sets = append(append([]string(nil), o.sets...), "group.initial.rebalance.delay.ms=1000")
	for _, c := range []struct {
		name string
		run  func(ctx context.Context, b *broker, r *report) error
	}{
		{"nobody", func(ctx context.Context, _ *broker, _ *report) error { return pause(ctx, floodWatched) }},
		{"5,000 connections join at once", floodJoin},
		{"200 connections ask and do not read", floodNoReading},
		{"50 members send no heartbeats", floodSilent},
	} {
		if err := floodRound(ctx, o, r, c.name, c.run); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

func floodRound(ctx context.Context, o options, r *report, name string, run func(context.Context, *broker, *report) error) error {
	b, err := startBroker(ctx, o)
	if err != nil {
		return err
	}
	defer b.discard()
	if err := (rival{"tandem", b}).prepare(ctx, idlePartitions); err != nil {
		return err
	}
	if err := b.coordinators(ctx, "bystander", "flood", "unread", "silent"); err != nil {
		return err
	}
	other, err := startBystander(b.addr)
	if err != nil {
		return err
	}
	watch, stop := context.WithCancel(ctx)
	most := make(chan float64, 1)
	go func() { most <- b.mostResident(watch) }() // ended by stop, awaited below
	err = run(ctx, b, r)
	stop()
	resident := <-most
	p99, disturbed := other.p99()
	if err := errors.Join(err, disturbed); err != nil {
		return err
	}
	r.add(sample{Figure: "groups", Case: "flood, " + name + ": resident", Round: 1, Broker: resident / 1e6, Unit: "MB"}, target{below: floodMegabytes})
	r.add(sample{Figure: "groups", Case: "flood, " + name + ": p99 of another group", Round: 1, Broker: p99, Unit: "ms"}, target{below: floodWait})
	return nil
}

// coordinators waits until groups can be asked for: their partitions of __consumer_offsets are created one after the other.
func (b *broker) coordinators(ctx context.Context, groups ...string) error {
	for _, group := range groups {
		m, err := newMember(b.addr, group, idlePartitions)
		if err != nil {
			return err
		}
		err = m.coordinator(ctx)
		m.c.close()
		if err != nil {
			return err
		}
	}
	return nil
}

// mostResident is the largest resident set until ctx ends.
func (b *broker) mostResident(ctx context.Context) float64 {
	most := 0.0
	for {
		if now, err := b.residentBytes(); err == nil {
			most = max(most, now)
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			return most
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// floodJoin has thousands of connections join one group at once, and then go without a word.
func floodJoin(ctx context.Context, b *broker, r *report) error {
	members := make([]*member, floodJoins)
	for i := range members {
		m, err := newMember(b.addr, "flood", idlePartitions)
		if err != nil {
			return err
		}
		defer m.c.close()
		members[i] = m
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	answers := map[string]int{}
	start := time.Now()
	for _, m := range members {
		wait.Go(func() {
			_, err := m.join()
			what := "joined"
			if err != nil {
				what = err.Error()
			}
			mu.Lock()
			answers[what]++
			mu.Unlock()
		})
	}
	wait.Wait()
	r.add(sample{Figure: "groups", Case: "flood, 5,000 connections join at once: answered", Round: 1, Broker: time.Since(start).Seconds(), Unit: "s",
		Extra: map[string]float64{"joined": float64(answers["joined"])}}, target{below: 60})
	if answers["joined"] != floodJoins {
		return fmt.Errorf("answers: %v", answers)
	}
	return ctx.Err()
}

// floodNoReading has connections ask for what is committed, and not read the answers, until the broker takes no more.
func floodNoReading(ctx context.Context, b *broker, _ *report) error {
	owner, err := newMember(b.addr, "unread", idlePartitions)
	if err != nil {
		return err
	}
	defer owner.c.close()
	if err := owner.commit(1); err != nil {
		return err
	}
	var wait sync.WaitGroup
	deadline := time.Now().Add(floodWatched)
	failures := make(chan error, floodUnread)
	for range floodUnread {
		wait.Go(func() {
			c, err := dialConn(b.addr)
			if err != nil {
				failures <- err
				return
			}
			defer c.close()
			req := kmsg.NewPtrOffsetFetchRequest()
			req.Version, req.Group = offsetFetchVersion, "unread"
			frame := c.frame(req)
			_ = c.net.SetWriteDeadline(deadline)
			for c.send(frame) == nil { // until the deadline, or the broker has closed the connection
			}
			_ = pause(ctx, time.Until(deadline))
		})
	}
	wait.Wait()
	close(failures)
	return <-failures
}

// floodSilent has members join and never send a heartbeat; the figure is when the group is without them.
func floodSilent(ctx context.Context, b *broker, r *report) error {
	members := make([]*member, groupMembers)
	for i := range members {
		m, err := newMember(b.addr, "silent", idlePartitions)
		if err != nil {
			return err
		}
		defer m.c.close()
		m.session = floodSession
		members[i] = m
	}
	if _, err := newRebalance(groupMembers, idlePartitions).run(nil, members, nil); err != nil {
		return err
	}
	start := time.Now()
	asking, err := newMember(b.addr, "silent", idlePartitions)
	if err != nil {
		return err
	}
	defer asking.c.close()
	for {
		state, left, err := asking.describe()
		if err != nil {
			return err
		}
		if state == "Empty" {
			break
		}
		if time.Since(start) > 3*floodSession {
			return fmt.Errorf("%d members are still there after %v", left, time.Since(start))
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	r.add(sample{Figure: "groups", Case: "flood, 50 members send no heartbeats: evicted", Round: 1, Broker: time.Since(start).Seconds(), Unit: "s",
		Extra: map[string]float64{"session_s": floodSession.Seconds()}}, target{below: 2 * floodSession.Seconds()})
	return nil
}

// describe is the state of the member's group and how many members it has.
func (m *member) describe() (state string, members int, err error) {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Version, req.Groups = describeVersion, []string{m.group}
	resp := kmsg.NewPtrDescribeGroupsResponse()
	if err := m.call(req, resp); err != nil {
		return "", 0, err
	}
	if len(resp.Groups) != 1 {
		return "", 0, errors.New("DescribeGroups answered nothing")
	}
	g := &resp.Groups[0]
	return g.State, len(g.Members), kerr.ErrorForCode(g.ErrorCode)
}
