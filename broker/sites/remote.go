package sites

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/replication/site"
)

// remote is what the other site has told of itself. Safe for concurrent use.
type remote struct {
	greeted atomic.Bool  // it has our facts, in this session
	last    atomic.Int64 // when anything came, by the driver's clock, ns; 0 = never

	mu struct {
		sync.Mutex
		head    *head
		have    *have  // of a standby
		cluster string // cluster id, from its handshake; "" = it had none
		facts   *controller.PeerSite
		report  report // newest; of Links only what links has
		links   map[site.PartitionID]linkReport
		heard   time.Time // zero = never, in this run
		asOf    time.Time // the newest report was made at this time or later
	}
}

// leader is who leads a partition at the other site, as last heard; -1, -1 = unknown.
func (r *remote) leader(id site.PartitionID) (node, epoch int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, ok := r.mu.links[id]
	if !ok {
		return -1, -1
	}
	return l.Leader, l.Epoch
}

// setReport takes a report that comes now and was made at asOf or later.
func (r *remote) setReport(told report, now, asOf time.Time) {
	links := make(map[site.PartitionID]linkReport, len(told.Links))
	for _, l := range told.Links {
		links[site.PartitionID{Topic: l.Topic, Partition: l.Partition}] = l
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	told.Links = nil
	r.mu.report, r.mu.links, r.mu.heard, r.mu.asOf = told, links, now, asOf
}

// made is when the newest report was made, at the earliest; zero = there was none in this run.
func (r *remote) made() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.asOf
}

// told is the newest report, without the links, and when it came; zero = never, in this run.
func (r *remote) told() (report, time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.report, r.mu.heard
}

func (r *remote) link(id site.PartitionID) (linkReport, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, ok := r.mu.links[id]
	return l, ok
}

// reported are the partitions of the newest report. The map must not be changed.
func (r *remote) reported() map[site.PartitionID]linkReport {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.links
}

func (r *remote) setHead(h head) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.head = &h
}

func (r *remote) setHave(h have) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.have = &h
}

// followed is what a standby has said that it has of the metadata here; ok is false where it has said nothing.
func (r *remote) followed() (h have, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.have == nil {
		return have{}, false
	}
	return *r.mu.have, true
}

// active is the head of an active site of this epoch; nil = none was heard of.
func (r *remote) active(epoch uint32) *head {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.head == nil || r.mu.head.Epoch != epoch {
		return nil
	}
	h := *r.mu.head
	return &h
}

// full says that the other site has no room for what is shipped.
func (r *remote) full() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.mu.report.Troubles, func(t operator.Trouble) bool { return t.Code == operator.TroubleNoRoom })
}
