package metrics

import (
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestAdmin(t *testing.T) {
	m := New("v-test", 7)
	m.Watch(Counter, "tandem_fsync_total", "Syncs.", "what", "journal", func() float64 { return 42 })
	m.Watch(Counter, "tandem_fsync_total", "Syncs.", "what", "segments", func() float64 { return 43 })
	m.Watch(Gauge, "tandem_connections", "Open.", "", "", func() float64 { return 9 })
	m.WatchPartitions(func() iter.Seq[Partition] {
		return slices.Values([]Partition{
			{Topic: "a", ID: 0, LogStart: 1, HighWatermark: 2, LastStable: 2, LogEnd: 3, Bytes: 400, LeaderEpoch: 5, Ready: true},
			{Topic: "a", ID: 1},
		})
	})
	m.Request("Produce", 2*time.Millisecond)
	m.RequestError("Produce", 6)
	m.RequestError("Produce", 0)
	m.Produced(3, 100, time.Millisecond)
	m.Fetched(50, time.Millisecond)
	m.Rejected("limit")
	var notReady atomic.Pointer[error]
	reason := errors.New("two partitions are not open yet")
	notReady.Store(&reason)
	listener, err := Listen(net.Listen, "127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	a := m.Serve(listener, AdminOptions{Logger: slog.New(slog.DiscardHandler), Ready: func() error {
		if p := notReady.Load(); p != nil {
			return *p
		}
		return nil
	}})
	base := "http://" + listener.Addr().String()
	if code, body := get(t, base+"/livez"); code != 200 || body != "ok\n" {
		t.Errorf("livez: %d %q", code, body)
	}
	if code, body := get(t, base+"/readyz"); code != 503 || !strings.Contains(body, reason.Error()) {
		t.Errorf("readyz: %d %q", code, body)
	}
	notReady.Store(nil)
	if code, _ := get(t, base+"/readyz"); code != 200 {
		t.Errorf("readyz: %d", code)
	}
	if code, body := get(t, base+"/debug/pprof/goroutine?debug=1"); code != 200 || !strings.Contains(body, "goroutine profile") {
		t.Errorf("pprof: %d %.80q", code, body)
	}
	_, body := get(t, base+"/metrics")
	for _, want := range []string{
		"go_memstats_mallocs_total ", "go_goroutines ", "process_resident_memory_bytes ", `tandem_info{node_id="7",version="v-test"} 1`,
		`tandem_fsync_total{what="journal"} 42`, `tandem_fsync_total{what="segments"} 43`, "tandem_connections 9", `tandem_partition_high_watermark{partition="0",topic="a"} 2`, "tandem_partitions 2",
		"tandem_partitions_ready 1", "tandem_produce_records_total 3", "tandem_produce_bytes_total 100", "tandem_fetch_bytes_total 50",
		`tandem_request_errors_total{api="Produce",code="6"} 1`, `tandem_request_seconds_count{api="Produce"} 1`,
		`tandem_connections_rejected_total{reason="limit"} 1`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics has no %q", want)
		}
	}
	if strings.Contains(body, `code="0"`) {
		t.Error("success is counted as an error")
	}
	if err := errors.Join(a.Close(context.Background()), a.Close(context.Background())); err != nil {
		t.Error(err)
	}
	if _, err := http.Get(base + "/livez"); err == nil {
		t.Error("the listener is still open after Close")
	}
}

func TestListenMovesOnlyTheDefault(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if _, err := Listen(net.Listen, taken.Addr().String(), false); err == nil || !strings.Contains(err.Error(), "admin.listener=") {
		t.Errorf("a taken address that was asked for: %v", err)
	}
	moved, err := Listen(net.Listen, taken.Addr().String(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer moved.Close()
	if moved.Addr().String() == taken.Addr().String() {
		t.Error("did not move")
	}
}

// TestHotPathAllocatesNothing holds the counters of the produce and fetch paths to their promise.
func TestHotPathAllocatesNothing(t *testing.T) {
	m := New("v", 1)
	m.Request("Produce", time.Millisecond)
	if n := testing.AllocsPerRun(1000, func() {
		m.Produced(1, 1, time.Millisecond)
		m.Fetched(1, time.Millisecond)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
