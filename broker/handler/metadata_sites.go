package handler

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/replication/site"
)

// awaitLeaders waits, for handoverWait at most, until somebody is known to take produces of each partition that the request is about: in the
// middle of a switchover nobody does, nor where the other site has just gone. What a client is told then it may keep for seconds: franz-go asks
// again after MetadataMinAge (5 s), kafka-go after up to MetadataTTL (6 s).
func (h *Handler) awaitLeaders(ctx context.Context, c call[*kmsg.MetadataRequest]) {
	if !h.leaderless(c) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, handoverWait)
	defer cancel()
	tick := time.NewTicker(handoverLook)
	defer tick.Stop()
	for h.leaderless(c) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// leaderless says that nobody is known to take produces of a partition that the request is about, and that this may change in a moment.
func (h *Handler) leaderless(c call[*kmsg.MetadataRequest]) bool {
	if !h.sites.settling() {
		return false
	}
	image := h.controller.Image()
	if everyTopic(c) {
		for _, t := range image.Topics() {
			if h.lacksLeader(t) {
				return true
			}
		}
		return false
	}
	for i := range c.req.Topics {
		t, ok := image.TopicByID(c.req.Topics[i].TopicID)
		if !ok {
			t, ok = image.Topic(deref(c.req.Topics[i].Topic))
		}
		if ok && h.lacksLeader(t) {
			return true
		}
	}
	return false
}

// lacksLeader says that nobody is known to take produces of a partition, which has somebody that could: this broker, or one of the other site
// that has told of itself.
func (h *Handler) lacksLeader(t *controller.Topic) bool {
	serves := h.sites.leads()
	gone := !serves && h.sites.BrokenOff()
	for i := range t.Partitions {
		if !serves {
			if node, epoch := h.sites.Leader(site.PartitionID{Topic: t.ID, Partition: int32(i)}); node >= 0 && (epoch < 0 || gone) {
				return true
			}
			continue
		}
		p := h.find(t, int32(i))
		if p == nil || p.Offline() != nil {
			continue
		}
		if leader := p.Leader(); leader < 0 || !h.leads(p, leader) || p.Fenced() {
			return true
		}
	}
	return false
}
