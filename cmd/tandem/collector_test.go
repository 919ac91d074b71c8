package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestCollectorPaceFollowsTheLiveHeapAndTheStacks(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct {
		in   memoryClasses
		want int
	}{
		"just started":              {memoryClasses{}, gcPercentMax},
		"small heap":                {memoryClasses{live: 16 * mib, scanned: mib, stacks: 2 * mib}, gcPercentMax},
		"a thousand partitions":     {memoryClasses{live: 30 * mib, scanned: 10 * mib, stacks: 30 * mib}, 150},
		"thousands of idle clients": {memoryClasses{live: 45 * mib, scanned: 10 * mib, stacks: 48 * mib}, gcPercentMin},
		"large heap":                {memoryClasses{live: 4 << 30, scanned: mib, stacks: mib}, gcPercentMin},
	} {
		if got := c.in.gcPercent(); got != c.want {
			t.Errorf("%s: %d percent, want %d", name, got, c.want)
		}
	}
}

func TestCollectorPaceReadsMetricsThatExist(t *testing.T) {
	known := map[string]metrics.ValueKind{}
	for _, d := range metrics.All() {
		known[d.Name] = d.Kind
	}
	for _, s := range memorySamples() {
		if known[s.Name] != metrics.KindUint64 {
			t.Errorf("%s is no number of bytes", s.Name)
		}
	}
}

func TestCollectorRunsAfterABurst(t *testing.T) {
	before := debug.SetGCPercent(gcPercentMax)
	defer debug.SetGCPercent(before)
	now := time.Now()
	p := &pacer{samples: memorySamples(), percent: gcPercentMax, last: now}
	held := make([]byte, heapAndStacks)
	if p.measure(now) {
		t.Error("at once")
	}
	p.last = now // the allocation may have made the collector run
	if p.measure(now.Add(collectAfter - 1)) {
		t.Error("too early")
	}
	if !p.measure(now.Add(collectAfter)) {
		t.Error("not after some time")
	}
	runtime.KeepAlive(held)
	if p.cycles++; p.measure(now.Add(2 * collectAfter)) {
		t.Error("although the collector has run")
	}
}

func TestCollectorPaceStops(t *testing.T) {
	before := debug.SetGCPercent(gcPercentMin)
	defer debug.SetGCPercent(before)
	t.Setenv("GOGC", "")
	paceCollector()()
}
