package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	idleMembers    = 10_000
	idlePartitions = 100             // of the topic; with 10,000 members in one group most have none
	idleHeartbeat  = 3 * time.Second // the clients' default
	idleSettles    = 30 * time.Second
	idleWatched    = time.Minute
	idleCores      = 0.2
	idleMegabytes  = 200
	idleAnswer     = 16  // bytes of the answer to a heartbeat, with its size
	clockTicks     = 100 // USER_HZ, the unit of /proc/PID/stat on Linux
)

// idleCase is members that do nothing but send heartbeats.
type idleCase struct {
	name    string
	groups  int
	perConn int // members that share a connection
	sets    []string
}

func idleCases() []idleCase {
	return []idleCase{
		{"100 groups of 100, a connection each", 100, 1, nil},
		{"100 groups of 100, 10 on a connection", 100, 10, nil},
		// The record of such a group has to fit into a batch, here as with Kafka.
		{"1 group of 10,000, a connection each", 1, 1, []string{"message.max.bytes=16777216"}},
	}
}

// runIdle measures the processor time and the memory that the broker takes for 10,000 members. Their client is a process of its
// own, so that each has its own limit of open files.
func runIdle(ctx context.Context, o options, r *report) error {
	for _, c := range idleCases() {
		if !strings.Contains("idle, "+c.name, o.only) {
			continue
		}
		if err := idleRound(ctx, o, r, c); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if o.quick {
			break
		}
	}
	return nil
}

func idleRound(ctx context.Context, o options, r *report, c idleCase) error {
	o.sets = append(append([]string(nil), o.sets...), c.sets...)
	b, err := startBroker(ctx, o)
	if err != nil {
		return err
	}
	defer b.discard()
	if err := (rival{"tandem", b}).prepare(ctx, idlePartitions); err != nil {
		return err
	}
	h := &herd{addr: b.addr, groups: c.groups, perConn: c.perConn}
	defer h.close()
	if err := h.join(idleMembers); err != nil {
		return err
	}
	joined, err := b.residentBytes()
	if err != nil {
		return err
	}
	h.beat(ctx)
	select { // until what joining took is gone, and each member has sent some heartbeats
	case <-time.After(idleSettles):
	case <-ctx.Done():
		return ctx.Err()
	}
	before, err := b.cpuSeconds()
	if err != nil {
		return err
	}
	beats, start := h.beats.Load(), time.Now()
	most := 0.0
	for time.Since(start) < idleWatched && ctx.Err() == nil {
		time.Sleep(time.Second)
		now, err := b.residentBytes()
		if err != nil {
			return err
		}
		most = max(most, now)
	}
	took := time.Since(start).Seconds()
	after, err := b.cpuSeconds()
	if err != nil {
		return err
	}
	beats = h.beats.Load() - beats
	if err := h.failed(); err != nil {
		return err
	}
	if want := idleMembers * took / idleHeartbeat.Seconds() * 0.9; float64(beats) < want {
		return fmt.Errorf("%d heartbeats in %.0f s, fewer than members send", beats, took)
	}
	r.add(sample{Figure: "groups", Case: "idle, " + c.name + ": processor", Round: 1, Broker: (after - before) / took, Unit: "cores",
		Extra: map[string]float64{"heartbeats_per_s": float64(beats) / took}}, target{below: idleCores})
	r.add(sample{Figure: "groups", Case: "idle, " + c.name + ": resident", Round: 1, Broker: most / 1e6, Unit: "MB",
		Extra: map[string]float64{"after_joining_MB": joined / 1e6}}, target{below: idleMegabytes})
	return nil
}

// cpuSeconds is the processor time that the process has taken.
func (b *broker) cpuSeconds() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", b.process.Pid()))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest) // from the third on: 14 and 15 are utime and stime
	if len(fields) < 13 {
		return 0, errors.New("/proc/PID/stat is short")
	}
	user, err := strconv.ParseFloat(fields[11], 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseFloat(fields[12], 64)
	return (user + system) / clockTicks, err
}

// herd is many members that are driven by few goroutines.
type herd struct {
	addr    string
	groups  int
	perConn int
	members []*member // those of a connection next to each other
	beats   atomic.Int64
	stop    context.CancelFunc
	wait    sync.WaitGroup
	mu      sync.Mutex
	err     error
}

// join has count members join their groups, all at once, and get an assignment. They do that on bare connections, because a
// JoinGroup keeps its connection waiting; members that share one are moved there afterwards.
func (h *herd) join(count int) error {
	size := count / h.groups
	for i := range count {
		m, err := newMember(h.addr, fmt.Sprintf("idle-%d", i/size), idlePartitions)
		if err != nil {
			return err
		}
		h.members = append(h.members, m)
	}
	for g := range h.groups {
		h.wait.Go(func() {
			if _, err := newRebalance(size, idlePartitions).run(nil, h.members[g*size:(g+1)*size], nil); err != nil {
				h.fail(err)
			}
		})
	}
	h.wait.Wait()
	for i, m := range h.members {
		m.c.buf, m.c.r = nil, nil // heartbeats are read without
		if first := i / h.perConn * h.perConn; first < i {
			m.c.close()
			m.c = h.members[first].c
		}
	}
	return h.failed()
}

// beat sends a heartbeat of each member every idleHeartbeat, evenly spread, until close. Answers are read by whoever sends the
// next one on the connection.
func (h *herd) beat(ctx context.Context) {
	ctx, h.stop = context.WithCancel(ctx)
	const drivers = 4
	for d := range drivers {
		h.wait.Go(func() { h.drive(ctx, h.members[len(h.members)*d/drivers:len(h.members)*(d+1)/drivers]) })
	}
}

func (h *herd) drive(ctx context.Context, members []*member) {
	frames := make([][]byte, len(members))
	for i, m := range members {
		frames[i] = m.c.frame(m.heartbeatRequest())
	}
	sent := make([]bool, len(members))
	start := time.Now()
	for round := 0; ; round++ {
		for i, m := range members {
			due := start.Add(time.Duration(round)*idleHeartbeat + idleHeartbeat*time.Duration(i)/time.Duration(len(members)))
			if wait := time.Until(due); wait > 5*time.Millisecond { // several at a time, so that the sender sleeps less often
				select {
				case <-ctx.Done():
					return
				case <-time.After(wait):
				}
			}
			if ctx.Err() != nil {
				return
			}
			if err := h.once(m, frames[i], &sent[i]); err != nil {
				h.fail(fmt.Errorf("member %q: %w", m.id, err))
				return
			}
		}
	}
}

// once reads the answer to the member's heartbeat before and sends the next.
func (h *herd) once(m *member, frame []byte, sent *bool) error {
	if err := m.c.net.SetDeadline(time.Now().Add(memberReadMax)); err != nil {
		return err
	}
	if *sent {
		var answer [idleAnswer]byte
		if _, err := io.ReadFull(m.c.net, answer[:]); err != nil {
			return err
		}
		resp := kmsg.NewPtrHeartbeatResponse()
		if err := decode(answer[8:], m.heartbeatRequest(), resp); err != nil {
			return err
		}
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return err
		}
		h.beats.Add(1)
	}
	*sent = true
	return m.c.send(frame)
}

func (h *herd) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil {
		h.err = err
	}
}

func (h *herd) failed() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

func (h *herd) close() {
	if h.stop != nil {
		h.stop()
	}
	h.wait.Wait()
	for _, m := range h.members {
		m.c.close()
	}
}
