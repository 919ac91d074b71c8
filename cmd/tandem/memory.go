package main

import (
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// limitMemory sets the soft limit of the Go runtime, so that a burst makes the collector work harder instead of making the
// kernel kill the broker. GOMEMLIMIT in the environment wins. GOGC stays at Go's default: the data path reuses its buffers, so
// that the live heap is small and a larger factor would buy little but resident memory.
func limitMemory(configured int64) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	limit := configured
	if limit < 0 {
		limit = memoryOfMachine() / 4 * 3
	}
	if limit > 0 {
		debug.SetMemoryLimit(limit)
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
