package metrics

import (
	"iter"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// partitions collects all metrics of partitions from one listing, so that those of a partition belong together.
type partitions struct {
	list  func() iter.Seq[Partition]
	count *prometheus.Desc
	ready *prometheus.Desc
	each  []partitionMetric
}

type partitionMetric struct {
	desc  *prometheus.Desc
	value func(*Partition) float64
}

func newPartitions(list func() iter.Seq[Partition]) *partitions {
	one := func(name, help string, value func(*Partition) float64) partitionMetric {
		return partitionMetric{prometheus.NewDesc("tandem_partition_"+name, help, []string{"topic", "partition"}, nil), value}
	}
	return &partitions{
		list:  list,
		count: prometheus.NewDesc("tandem_partitions", "Partitions with data on this broker.", nil, nil),
		ready: prometheus.NewDesc("tandem_partitions_ready", "Partitions of this broker that serve reads and writes.", nil, nil),
		each: []partitionMetric{
			one("log_start_offset", "First offset that can be read.", func(p *Partition) float64 { return float64(p.LogStart) }),
			one("high_watermark", "Offset below which records are committed.", func(p *Partition) float64 { return float64(p.HighWatermark) }),
			one("last_stable_offset", "Offset below which read_committed consumers read.", func(p *Partition) float64 { return float64(p.LastStable) }),
			one("log_end_offset", "Offset of the next record.", func(p *Partition) float64 { return float64(p.LogEnd) }),
			one("bytes", "Size of the segments.", func(p *Partition) float64 { return float64(p.Bytes) }),
			one("leader_epoch", "Leader epoch.", func(p *Partition) float64 { return float64(p.LeaderEpoch) }),
		},
	}
}

// Describe is part of prometheus.Collector.
func (c *partitions) Describe(out chan<- *prometheus.Desc) {
	out <- c.count
	out <- c.ready
	for _, m := range c.each {
		out <- m.desc
	}
}

// Collect is part of prometheus.Collector.
func (c *partitions) Collect(out chan<- prometheus.Metric) {
	count, ready := 0, 0
	for p := range c.list() {
		count++
		if p.Ready {
			ready++
		}
		id := strconv.Itoa(int(p.ID))
		for _, m := range c.each {
			out <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, m.value(&p), p.Topic, id)
		}
	}
	out <- prometheus.MustNewConstMetric(c.count, prometheus.GaugeValue, float64(count))
	out <- prometheus.MustNewConstMetric(c.ready, prometheus.GaugeValue, float64(ready))
}
