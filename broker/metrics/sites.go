package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Sites is how a pair of sites stands, as one of them sees it.
type Sites struct {
	Active, Serving, Connected bool
	Epoch                      uint32
	Topics                     []SiteTopic
	Halted                     int // links that have stopped
	Archives                   int // of lost records, of both sites
}

// SiteTopic is how far the standby is behind in one topic. Where that is not known of all its partitions there are no figures.
type SiteTopic struct {
	Topic          string
	Known          bool
	Records, Bytes float64
	Seconds        float64 // of the partition that is furthest behind
}

// sites collects all metrics of a pair of sites from one look.
type sites struct {
	look func() Sites

	active, serving, connected, epoch, halted, unknown, archives *prometheus.Desc
	records, bytes, seconds                                      *prometheus.Desc
}

func newSites(look func() Sites) *sites {
	one := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("tandem_site_"+name, help, labels, nil)
	}
	return &sites{
		look:      look,
		active:    one("active", "1 where this site has the active role."),
		serving:   one("serving", "1 where this site takes writes."),
		connected: one("connected", "1 while the other site is in contact."),
		epoch:     one("epoch", "Site epoch, which rises with each promotion."),
		halted:    one("links_halted", "Partitions whose link has stopped for good: tandem dr status says why."),
		unknown:   one("lag_unknown", "Topics of which it is not known how far the standby is behind; they have no lag."),
		archives:  one("lost_archives", "Archives of records that a site had alone."),
		records:   one("lag_records", "Records that the standby does not have.", "topic"),
		bytes:     one("lag_bytes", "Bytes that the standby does not have, up to an index interval more.", "topic"),
		seconds:   one("lag_seconds", "Time since the oldest record that the standby does not have was on disk at the active, by one clock.", "topic"),
	}
}

// WatchSites adds the metrics of a pair of sites; look is called at each scrape.
func (m *Metrics) WatchSites(look func() Sites) { m.registry.MustRegister(newSites(look)) }

// Describe is part of prometheus.Collector.
func (c *sites) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.active, c.serving, c.connected, c.epoch, c.halted, c.unknown, c.archives, c.records, c.bytes, c.seconds} {
		out <- d
	}
}

// Collect is part of prometheus.Collector.
func (c *sites) Collect(out chan<- prometheus.Metric) {
	s := c.look()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	truth := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	gauge(c.active, truth(s.Active))
	gauge(c.serving, truth(s.Serving))
	gauge(c.connected, truth(s.Connected))
	gauge(c.epoch, float64(s.Epoch))
	gauge(c.halted, float64(s.Halted))
	gauge(c.archives, float64(s.Archives))
	unknown := 0
	for _, t := range s.Topics {
		if !t.Known {
			unknown++
			continue
		}
		gauge(c.records, t.Records, t.Topic)
		gauge(c.bytes, t.Bytes, t.Topic)
		gauge(c.seconds, t.Seconds, t.Topic)
	}
	gauge(c.unknown, float64(unknown))
}
