package metrics

import (
	"iter"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Metrics is the set of metrics of one broker. Safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	requests       *prometheus.HistogramVec
	errors         *prometheus.CounterVec
	produceBytes   prometheus.Counter
	produceBatches prometheus.Counter
	produceRecords prometheus.Counter
	produceLatency prometheus.Histogram
	fetchBytes     prometheus.Counter
	fetchLatency   prometheus.Histogram
	rejected       *prometheus.CounterVec
}

// latencyBuckets run from 100 µs, a produce whose sync is shared with others, to 30 s, a produce that waits for a quorum.
var latencyBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// New makes the metrics and registers those of the Go runtime and the process. version and nodeID become labels of
// tandem_info.
func New(version string, nodeID int32) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tandem_request_seconds", Help: "Time from a request's last byte to its response, by API.", Buckets: latencyBuckets,
		}, []string{"api"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tandem_request_errors_total", Help: "Errors answered, by API and Kafka error code.",
		}, []string{"api", "code"}),
		produceBytes:   counter("tandem_produce_bytes_total", "Bytes of record batches stored for producers."),
		produceBatches: counter("tandem_produce_batches_total", "Record batches stored for producers."),
		produceRecords: counter("tandem_produce_records_total", "Records stored for producers."),
		produceLatency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tandem_produce_seconds", Help: "Time from a batch's arrival to its acknowledgement.", Buckets: latencyBuckets,
		}),
		fetchBytes: counter("tandem_fetch_bytes_total", "Bytes of record batches sent to consumers."),
		fetchLatency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tandem_fetch_seconds", Help: "Time of a Fetch, waiting for records included.", Buckets: latencyBuckets,
		}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tandem_connections_rejected_total", Help: "Connections closed by the broker because of what they sent or how many there were.",
		}, []string{"reason"}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "tandem_info", Help: "Always 1.",
		ConstLabels: prometheus.Labels{"version": version, "node_id": strconv.Itoa(int(nodeID))},
	})
	info.Set(1)
	m.registry.MustRegister(info, m.requests, m.errors, m.produceBytes, m.produceBatches, m.produceRecords, m.produceLatency,
		m.fetchBytes, m.fetchLatency, m.rejected, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

// Request counts a request that was answered.
func (m *Metrics) Request(api string, took time.Duration) {
	m.requests.WithLabelValues(api).Observe(took.Seconds())
}

// RequestError counts an error code that was answered to an API; code 0 is not an error.
func (m *Metrics) RequestError(api string, code int16) {
	if code != 0 {
		m.errors.WithLabelValues(api, strconv.Itoa(int(code))).Inc()
	}
}

// Produced counts one batch that was stored and acknowledged.
func (m *Metrics) Produced(records, bytes int, took time.Duration) {
	m.produceBatches.Inc()
	m.produceRecords.Add(float64(records))
	m.produceBytes.Add(float64(bytes))
	m.produceLatency.Observe(took.Seconds())
}

// Fetched counts one Fetch and the bytes of records that it returned.
func (m *Metrics) Fetched(bytes int64, took time.Duration) {
	m.fetchBytes.Add(float64(bytes))
	m.fetchLatency.Observe(took.Seconds())
}

// Rejected counts a connection that the broker closed; reason is one of a few fixed words.
func (m *Metrics) Rejected(reason string) { m.rejected.WithLabelValues(reason).Inc() }

// Kind says how a watched value moves.
type Kind uint8

// A Counter only grows while the process lives; a Gauge goes up and down.
const (
	Counter Kind = iota
	Gauge
)

// Watch adds a metric that is asked for at each scrape. label and value tell apart metrics of one name, which must have the
// same help; both are empty where there is only one. read must be fast and safe for concurrent use. A name and label that are
// there already are an error of the program, and panic.
func (m *Metrics) Watch(kind Kind, name, help, label, value string, read func() float64) {
	var labels prometheus.Labels
	if label != "" {
		labels = prometheus.Labels{label: value}
	}
	if kind == Counter {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels}, read))
		return
	}
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, read))
}

// Partition is what a scrape shows of one partition.
type Partition struct {
	Topic         string
	ID            int32
	LogStart      int64
	HighWatermark int64
	LastStable    int64
	LogEnd        int64
	Bytes         int64
	LeaderEpoch   int32
	Ready         bool // serves reads and writes
}

// WatchPartitions adds the metrics of partitions; list is called once for each scrape, and must yield each partition once.
func (m *Metrics) WatchPartitions(list func() iter.Seq[Partition]) {
	m.registry.MustRegister(newPartitions(list))
}
