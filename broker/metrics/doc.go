// Package metrics counts what the broker does and serves it on the admin listener: /metrics in Prometheus' text format, /livez,
// /readyz and /debug/pprof.
//
// Metrics has its own registry, so that nothing is shared between two brokers in one process. Hot paths call methods that add
// to a counter and allocate nothing; everything that can be asked for when a scrape comes (journal, partitions, connections) is
// asked for then, through Watch and WatchPartitions, and costs nothing in between.
package metrics
