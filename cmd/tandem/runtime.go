package main

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

const (
	// spareProcs run goroutines while others sit in fdatasync: the runtime takes a processor back from a blocked system call
	// only after a while, and on a small machine most of them would be blocked so (docs/performance.md).
	spareProcs = 2
)

// tuneRuntime fits the Go runtime to a broker. GOMAXPROCS and GOMEMLIMIT in the environment win. The soft memory limit
// makes a burst work the collector harder instead of having the kernel kill the broker; memoryLimit is in bytes, -1 = three
// quarters of what there is.
func tuneRuntime(memoryLimit int64) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + spareProcs)
	}
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	if memoryLimit < 0 {
		memoryLimit = memoryOfMachine() / 4 * 3
	}
	if memoryLimit > 0 {
		debug.SetMemoryLimit(memoryLimit)
	}
}

// memoryOfMachine is what the machine or this process's cgroup has, in bytes; 0 = unknown.
func memoryOfMachine() int64 {
	least := int64(math.MaxInt64)
	for _, path := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		if data, err := os.ReadFile(path); err == nil {
			if n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64); err == nil && n > 0 {
				least = min(least, n)
			}
		}
	}
	if data, err := os.ReadFile("/proc/meminfo"); err == nil {
		fields := strings.Fields(string(data)) // MemTotal: 12345 kB
		if len(fields) > 2 && fields[0] == "MemTotal:" {
			if n, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
				least = min(least, n<<10)
			}
		}
	}
	if least == math.MaxInt64 {
		return 0
	}
	return least
}
