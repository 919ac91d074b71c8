package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/config"
)

// testLimit bounds every wait of these tests.
const testLimit = 30 * time.Second

// running is a broker under test.
type running struct {
	*Broker
	stop  context.CancelFunc
	ended chan error
}

// settings loads a configuration of a broker on free ports.
func settings(t *testing.T, dir string, set ...string) *config.Config {
	t.Helper()
	cfg, err := config.Load(config.Input{Set: append([]string{
		"log.dirs=" + dir, "listeners=PLAINTEXT://127.0.0.1:0", "admin.listener=127.0.0.1:0", "disk.ballast.bytes=0", "disk.reserve.bytes=0",
	}, set...)})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func options(t *testing.T) Options {
	return Options{Version: "test", Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), OnFatal: func(err error) { t.Errorf("fatal: %v", err) }}
}

func start(t *testing.T, cfg *config.Config) *running {
	t.Helper()
	b, err := New(cfg, options(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Broker: b, stop: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- b.Run(ctx) }() // ended by stop, awaited in close
	t.Cleanup(func() { _ = r.close() })
	r.await(t)
	return r
}

// await waits until /readyz says ok.
func (r *running) await(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(testLimit)
	for r.Ready() != nil {
		if time.Now().After(deadline) {
			t.Fatalf("not ready: %v", r.Ready())
		}
		time.Sleep(time.Millisecond)
	}
}

// close stops the broker; the second call returns nil.
func (r *running) close() error {
	r.stop()
	err := <-r.ended
	r.ended <- nil
	return err
}

func (r *running) client(t *testing.T, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(options, kgo.SeedBrokers(r.Addr("PLAINTEXT").String()), kgo.AllowAutoTopicCreation(),
		kgo.MetadataMinAge(10*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func (r *running) produce(t *testing.T, topic string, from, to int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testLimit)
	defer cancel()
	client := r.client(t, kgo.UnknownTopicRetries(100))
	defer client.Close()
	records := make([]*kgo.Record, 0, to-from)
	for i := from; i < to; i++ {
		records = append(records, &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "record %d", i)})
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// consume reads count records of partition 0 and checks offset and content of each.
func (r *running) consume(t *testing.T, topic string, count int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testLimit)
	defer cancel()
	client := r.client(t, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	defer client.Close()
	for next := 0; next < count; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("at record %d: %v", next, err)
		}
		for _, record := range fetches.Records() {
			if want := fmt.Sprintf("record %d", next); record.Offset != int64(next) || string(record.Value) != want {
				t.Fatalf("offset %d holds %q, want %q at %d", record.Offset, record.Value, want, next)
			}
			next++
		}
	}
}

func (r *running) get(t *testing.T, path string) (int, string) {
	t.Helper()
	response, err := http.Get("http://" + r.AdminAddr().String() + path)
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

// awaitMetrics waits until /metrics has all of want: a request is counted only after its answer was sent.
func (r *running) awaitMetrics(t *testing.T, want ...string) {
	t.Helper()
	deadline := time.Now().Add(testLimit)
	for {
		_, body := r.get(t, "/metrics")
		i := slices.IndexFunc(want, func(w string) bool { return !strings.Contains(body, w) })
		if i < 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("/metrics has no %q", want[i])
		}
		time.Sleep(time.Millisecond)
	}
}

func TestRecordsSurviveRestarts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	for round, set := range [][]string{nil, {"journal.inline.max.bytes=0"}, {"write.caching=true"}} {
		r := start(t, settings(t, dir, set...))
		r.produce(t, "words", 1000*round, 1000*round+1000)
		r.consume(t, "words", 1000*round+1000)
		if err := r.close(); err != nil {
			t.Fatal(err)
		}
	}
	r := start(t, settings(t, dir))
	r.consume(t, "words", 3000)
	r.awaitMetrics(t, `tandem_partition_high_watermark{partition="0",topic="words"} 3000`, "tandem_partitions_ready 1",
		"tandem_writable 1", `tandem_fsync_total{what="journal"}`, "tandem_journal_bytes_total", "tandem_segment_bytes_total",
		"go_memstats_mallocs_total", `tandem_request_seconds_count{api="Fetch"}`)
	if code, body := r.get(t, "/readyz"); code != http.StatusOK {
		t.Errorf("readyz: %d %s", code, body)
	}
}

// TestStopWithAClientThatReadsNothing stops a broker while a client leaves a large answer unread, as a consumer does whose
// application is busy: the drain runs out of time, the last checkpoint must not.
func TestStopWithAClientThatReadsNothing(t *testing.T) {
	cfg := settings(t, filepath.Join(t.TempDir(), "data"))
	b, err := New(cfg, options(t))
	if err != nil {
		t.Fatal(err)
	}
	b.drainTimeout = 100 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{Broker: b, stop: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- b.Run(ctx) }() // ended by stop, awaited in close
	t.Cleanup(func() { _ = r.close() })
	r.await(t)
	const size = 900_000
	client := r.client(t, kgo.UnknownTopicRetries(100), kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer client.Close()
	for range 40 { // more than the socket buffers of both sides hold
		if err := client.ProduceSync(ctx, &kgo.Record{Topic: "large", Value: make([]byte, size)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	nc, err := net.Dial("tcp", r.Addr("PLAINTEXT").String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxBytes = 4, 64<<20
	topic, p := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	topic.Topic, p.PartitionMaxBytes = "large", 64<<20
	topic.Partitions = append(topic.Partitions, p)
	req.Topics = append(req.Topics, topic)
	if _, err := nc.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(nc, make([]byte, 4)); err != nil { // the answer is under way
		t.Fatal(err)
	}
	if err := r.close(); err != nil {
		t.Errorf("not stopped cleanly: %v", err)
	}
}

// TestFailedStartLetsGo makes starts fail at different depths; afterwards the data directory and the ports must be free.
func TestFailedStartLetsGo(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := filepath.Join(t.TempDir(), "data")
	for _, set := range []string{"listeners=PLAINTEXT://" + taken.Addr().String(), "admin.listener=" + taken.Addr().String()} {
		if b, err := New(settings(t, dir, set), options(t)); err == nil {
			t.Errorf("%s: started although the port is taken", set)
			_ = b.close(false)
		}
	}
	first := start(t, settings(t, dir))
	if _, err := New(settings(t, dir), options(t)); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("a second broker on the same data: %v", err)
	}
	first.produce(t, "after", 0, 10)
	first.consume(t, "after", 10)
	if err := errors.Join(first.close(), first.close()); err != nil {
		t.Error(err)
	}
	if _, err := New(settings(t, dir, "node.id=2"), options(t)); err == nil || !strings.Contains(err.Error(), "node.id=1") {
		t.Errorf("another node on the same data: %v", err)
	}
}
