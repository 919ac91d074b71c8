package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	// gcPercentMax lets garbage grow to four times the live heap while that is small: the data path reuses its buffers. With Go's
	// 100 the collector took a tenth of the processors under many small produces (docs/performance.md).
	gcPercentMax = 400
	gcPercentMin = 100 // Go's default
	// heapAndStacks is what live heap, stacks and garbage may come to before the collector runs more often than gcPercentMax
	// says. Thousands of idle clients have a large live heap and large stacks and make little garbage: four times as much would
	// be most of the process (docs/performance.md).
	heapAndStacks = 120 << 20
	paceInterval  = time.Second
	// collectAfter is when the collector runs at the latest while heap and stacks are above that. What a burst of clients leaves
	// behind, and stacks that have grown, would stay for the two minutes that Go waits.
	collectAfter = 5 * time.Second
)

// memoryClasses is what the collector's pace depends on, in bytes.
type memoryClasses struct {
	live    uint64 // heap that the last collection found in use
	scanned uint64 // stacks and globals that it went through
	stacks  uint64 // of all goroutines
}

// gcPercent is how much garbage may come together, in percent of what the collector has to go through.
func (m memoryClasses) gcPercent() int {
	work := max(m.live+m.scanned, 1)
	room := uint64(heapAndStacks)
	room -= min(room, m.live+m.stacks)
	return int(min(max(room*100/work, gcPercentMin), gcPercentMax))
}

// pacer sets the pace of the collector.
type pacer struct {
	samples []metrics.Sample
	percent int
	cycles  uint64    // collections so far
	last    time.Time // when their number was seen to change
}

// The order is that of measure.
func memorySamples() []metrics.Sample {
	return []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/cycles/total:gc-cycles"}}
}

// measure sets the pace by what memory is like at now. It returns whether to collect at once.
func (p *pacer) measure(now time.Time) (collect bool) {
	metrics.Read(p.samples)
	value := func(i int) uint64 { return p.samples[i].Value.Uint64() }
	m := memoryClasses{live: value(0), scanned: value(1) + value(2), stacks: value(3)}
	if percent := m.gcPercent(); percent != p.percent {
		p.percent = percent
		debug.SetGCPercent(percent)
	}
	if cycles := value(5); cycles != p.cycles {
		p.cycles, p.last = cycles, now
	}
	return m.stacks+value(4) > heapAndStacks && now.Sub(p.last) >= collectAfter
}

// paceCollector sets the collector's pace as memory changes, until stop; GOGC in the environment wins.
func paceCollector() (stop func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	debug.SetGCPercent(gcPercentMax)
	p := &pacer{samples: memorySamples(), percent: gcPercentMax, last: time.Now()}
	quit := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() { // ended and awaited by stop
		tick := time.NewTicker(paceInterval)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case now := <-tick.C:
				if p.measure(now) {
					runtime.GC()
				}
			}
		}
	})
	return func() {
		close(quit)
		wait.Wait()
	}
}
