package partition

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestManyPartitions starts, idles and checkpoints many single-replica partitions and logs what that takes; the number is
// TANDEM_TEST_PARTITIONS, 100 without. Figures are judged in bench/, here only that all of them serve.
func TestManyPartitions(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("TANDEM_TEST_PARTITIONS"))
	if n == 0 {
		n = 100
	}
	b := newBroker(t)
	goroutines, memory := runtime.NumGoroutine(), heap()
	started := time.Now()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { b.create(t, int32(i)) })
	}
	wg.Wait()
	t.Logf("%d created in %v; %.1f goroutines and %d bytes of heap and stacks each", n, time.Since(started),
		float64(runtime.NumGoroutine()-goroutines)/float64(n), (heap()-memory)/int64(n))
	for i := range n {
		mustAppend(t, b.get(t, int32(i)), write{producer: 1, size: 100})
	}
	started = time.Now()
	if err := b.host.Checkpoint(waitContext(t)); err != nil {
		t.Fatal(err)
	}
	t.Logf("checkpoint of %d dirty partitions in %v", n, time.Since(started))
	if os.Getenv("TANDEM_TEST_PARTITIONS") != "" {
		used := cpu()
		time.Sleep(idleFor)
		t.Logf("idle: %.2f %% of a core", float64(cpu()-used)/float64(idleFor)*100)
	}
	for _, end := range []func(testing.TB){b.kill, b.stop} {
		started = time.Now()
		end(t)
		ended := time.Since(started)
		started = time.Now()
		b.start(t)
		t.Logf("ended in %v, started in %v", ended, time.Since(started))
	}
	for i := range n {
		if got := mustAppend(t, b.get(t, int32(i)), write{producer: 1, size: 100}); got != 0 {
			t.Fatalf("partition %d: duplicate answered with offset %d", i, got)
		}
	}
}

// idleFor is how long the CPU time of idle partitions is measured.
const idleFor = 2 * time.Second

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func cpu() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(fmt.Sprint("getrusage: ", err))
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
