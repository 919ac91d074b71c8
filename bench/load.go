package main

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// lane is one connection of a load: it keeps window requests in flight, taking its frames in turn.
type lane struct {
	conn   *conn
	window int
	frames [][]byte
	check  func(body []byte) error
}

// outcome is what a load achieved.
type outcome struct {
	requests int64
	elapsed  time.Duration
	p50, p99 time.Duration // request to response
}

func (o outcome) perSecond() float64 { return float64(o.requests) / o.elapsed.Seconds() }

// extra is the latencies, for the report.
func (o outcome) extra() map[string]float64 {
	return map[string]float64{"p50_ms": o.p50.Seconds() * 1000, "p99_ms": o.p99.Seconds() * 1000}
}

// drive runs all lanes until more says no, and waits for what is in flight. more is called before each request, by all lanes.
func drive(lanes []*lane, more func() bool) (outcome, error) {
	var wg sync.WaitGroup
	errs := make([]error, len(lanes))
	times := make([][]time.Duration, len(lanes))
	start := time.Now()
	for i, l := range lanes {
		wg.Go(func() { times[i], errs[i] = l.run(more) })
	}
	wg.Wait()
	return summarizeTimes(times, errs, time.Since(start))
}

// summarizeTimes is the outcome of lanes that took times for their requests, or ended with errs.
func summarizeTimes(times [][]time.Duration, errs []error, elapsed time.Duration) (outcome, error) {
	all := slices.Concat(times...)
	for _, err := range errs {
		if err != nil {
			return outcome{}, err
		}
	}
	if len(all) == 0 {
		return outcome{}, fmt.Errorf("nothing was sent")
	}
	slices.Sort(all)
	return outcome{int64(len(all)), elapsed, all[len(all)/2], all[len(all)*99/100]}, nil
}

func (l *lane) run(more func() bool) ([]time.Duration, error) {
	var times []time.Duration
	sent := make([]time.Time, 0, l.window) // of the requests in flight, oldest first
	next := 0
	for {
		for len(sent) < l.window && more() {
			sent = append(sent, time.Now())
			if err := l.conn.send(l.frames[next]); err != nil {
				return nil, err
			}
			next = (next + 1) % len(l.frames)
		}
		if len(sent) == 0 {
			return times, nil
		}
		body, err := l.conn.receive(l.conn.correlation - int32(len(sent)) + 1)
		if err != nil {
			return nil, err
		}
		times = append(times, time.Since(sent[0]))
		sent = append(sent[:0], sent[1:]...)
		if err := l.check(body); err != nil {
			return nil, err
		}
	}
}

// during returns a more for drive that says yes for d.
func during(d time.Duration) func() bool {
	end := time.Now().Add(d)
	return func() bool { return time.Now().Before(end) }
}

// times returns a more for drive that says yes n times.
func times(n int64) func() bool {
	var left atomic.Int64
	left.Store(n)
	return func() bool { return left.Add(-1) >= 0 }
}

// producers opens connections that each keep one request in flight; a request carries batch to one partition or to several
// neighbours (each), as a stock producer that has batches for several partitions of a broker sends them.
func producers(addr, topic string, partitions, each int32, connections int, batch []byte) ([]*lane, error) {
	var requests []*kmsg.ProduceRequest
	for first := int32(0); first < partitions; first += each {
		var group []int32
		for i := range each {
			group = append(group, (first+i)%partitions)
		}
		requests = append(requests, produceRequest(topic, batch, group...))
	}
	lanes := make([]*lane, connections)
	for i := range lanes {
		c, err := dialConn(addr)
		if err != nil {
			closeLanes(lanes)
			return nil, err
		}
		l := &lane{conn: c, window: 1, check: func(body []byte) error { return produced(body, requests[0]) }}
		for j := range max(len(requests), connections) { // more connections than requests: they send the same
			if j%connections == i {
				l.frames = append(l.frames, c.frame(requests[j%len(requests)]))
			}
		}
		lanes[i] = l
	}
	return lanes, nil
}

func closeLanes(lanes []*lane) {
	for _, l := range lanes {
		if l != nil {
			l.conn.close()
		}
	}
}
