package handler

// OffsetFetch (key 9), versions 1 to 9.
//
//	2  no list of topics = all of the group; an error of the group stands at the top, before it was at each partition
//	5  leader epochs     6  flexible     7  require stable: offsets of open transactions, of which there are none
//	8  several groups    9  member id and epoch of the new consumer protocol, which other groups do not look at
//
// An offset that was never committed is -1 and no error; so is every offset of a group or partition that does not exist. What is
// named twice is answered once: a small request must not make a large answer.

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/group"
)

const (
	offsetFetchVersionTop   = 2
	offsetFetchVersionBatch = 8
)

func (h *Handler) offsetFetch(_ context.Context, c call[*kmsg.OffsetFetchRequest]) kmsg.Response {
	resp := kmsg.NewPtrOffsetFetchResponse()
	if c.version >= offsetFetchVersionBatch {
		before := make(map[string]*asked, len(c.req.Groups))
		resp.Groups = make([]kmsg.OffsetFetchResponseGroup, 0, len(c.req.Groups))
		for i := range c.req.Groups {
			if g := &c.req.Groups[i]; first(before, g) {
				resp.Groups = append(resp.Groups, h.offsetsOf(g))
			}
		}
		return resp
	}
	req := groupOf(c.req)
	first(map[string]*asked{}, req)
	g := h.offsetsOf(req)
	resp.ErrorCode = g.ErrorCode
	resp.Topics = make([]kmsg.OffsetFetchResponseTopic, 0, len(g.Topics))
	for _, t := range g.Topics {
		topic := kmsg.NewOffsetFetchResponseTopic()
		topic.Topic, topic.Partitions = t.Topic, make([]kmsg.OffsetFetchResponseTopicPartition, 0, len(t.Partitions))
		for _, p := range t.Partitions {
			topic.Partitions = append(topic.Partitions, kmsg.OffsetFetchResponseTopicPartition(p))
		}
		resp.Topics = append(resp.Topics, topic)
	}
	if g.ErrorCode != codeNone && c.version < offsetFetchVersionTop {
		resp.Topics = allFailed(req.Topics, g.ErrorCode)
	}
	return resp
}

// groupOf is a request for one group in the form of one for many.
func groupOf(req *kmsg.OffsetFetchRequest) *kmsg.OffsetFetchRequestGroup {
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = req.Group
	if req.Topics != nil {
		g.Topics = make([]kmsg.OffsetFetchRequestGroupTopic, 0, len(req.Topics))
	}
	for _, t := range req.Topics {
		topic := kmsg.NewOffsetFetchRequestGroupTopic()
		topic.Topic, topic.Partitions = t.Topic, t.Partitions
		g.Topics = append(g.Topics, topic)
	}
	return &g
}

// offsetsOf answers for one group.
func (h *Handler) offsetsOf(req *kmsg.OffsetFetchRequestGroup) kmsg.OffsetFetchResponseGroup {
	resp := kmsg.NewOffsetFetchResponseGroup()
	resp.Group = req.Group
	var want []group.TopicPartition // nil = all
	if req.Topics != nil {
		want = make([]group.TopicPartition, 0, partitionsOf(req))
	}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			want = append(want, group.TopicPartition{Topic: t.Topic, Partition: p})
		}
	}
	found, err := h.offsets.Fetch(req.Group, want)
	if err != nil {
		resp.ErrorCode = h.fail("OffsetFetch", codeOf(err))
		return resp
	}
	if h.sites != nil {
		h.resume(found)
	}
	if req.Topics == nil {
		resp.Topics = byTopic(found)
		return resp
	}
	resp.Topics = make([]kmsg.OffsetFetchResponseGroupTopic, 0, len(req.Topics))
	for _, t := range req.Topics {
		resp.Topics = append(resp.Topics, offsetsOfTopic(t.Topic, found[:len(t.Partitions)]))
		found = found[len(t.Partitions):]
	}
	return resp
}

// resume moves offsets that were committed on the other site's branch to where their group goes on in the logs of this one.
func (h *Handler) resume(found []group.Committed) {
	image := h.controller.Image()
	for i := range found {
		c := &found[i]
		if p, code := h.lookup(image, c.Topic, c.Partition); code == codeNone && c.Offset >= 0 {
			c.Offset, c.LeaderEpoch = p.Resume(c.Offset, c.LeaderEpoch)
		}
	}
}

// partitionsOf is how many partitions the request names.
func partitionsOf(g *kmsg.OffsetFetchRequestGroup) int {
	n := 0
	for i := range g.Topics {
		n += len(g.Topics[i].Partitions)
	}
	return n
}

// asked is what a request has asked about a group so far.
type asked struct {
	all        bool
	partitions map[group.TopicPartition]struct{} // nil = none
}

// first takes out of g what the request has asked before. False: that was all of the group, and so is this.
func first(groups map[string]*asked, g *kmsg.OffsetFetchRequestGroup) bool {
	a := groups[g.Group]
	if a == nil {
		a = &asked{}
		groups[g.Group] = a
	}
	if g.Topics == nil {
		again := a.all
		a.all = true
		return !again
	}
	if a.partitions == nil {
		a.partitions = make(map[group.TopicPartition]struct{}, partitionsOf(g))
	}
	for i := range g.Topics {
		t := &g.Topics[i]
		t.Partitions = slices.DeleteFunc(t.Partitions, func(id int32) bool {
			before := len(a.partitions)
			a.partitions[group.TopicPartition{Topic: t.Topic, Partition: id}] = struct{}{}
			return len(a.partitions) == before
		})
	}
	return true
}

func byTopic(found []group.Committed) []kmsg.OffsetFetchResponseGroupTopic {
	topics := map[string][]group.Committed{}
	for _, c := range found {
		topics[c.Topic] = append(topics[c.Topic], c)
	}
	var out []kmsg.OffsetFetchResponseGroupTopic
	for name, list := range topics {
		out = append(out, offsetsOfTopic(name, list))
	}
	return out
}

func offsetsOfTopic(name string, list []group.Committed) kmsg.OffsetFetchResponseGroupTopic {
	out := kmsg.NewOffsetFetchResponseGroupTopic()
	out.Topic, out.Partitions = name, make([]kmsg.OffsetFetchResponseGroupTopicPartition, 0, len(list))
	none := text("") // one for all
	for _, c := range list {
		p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
		p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = c.Partition, c.Offset, c.LeaderEpoch, none
		if c.Metadata != "" {
			p.Metadata = text(c.Metadata)
		}
		out.Partitions = append(out.Partitions, p)
	}
	return out
}

// allFailed says at each partition what is wrong with the group.
func allFailed(topics []kmsg.OffsetFetchRequestGroupTopic, code int16) []kmsg.OffsetFetchResponseTopic {
	out := make([]kmsg.OffsetFetchResponseTopic, 0, len(topics))
	for _, t := range topics {
		topic := kmsg.NewOffsetFetchResponseTopic()
		topic.Topic, topic.Partitions = t.Topic, make([]kmsg.OffsetFetchResponseTopicPartition, 0, len(t.Partitions))
		for _, id := range t.Partitions {
			p := kmsg.NewOffsetFetchResponseTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode = id, -1, noEpoch, text(""), code
			topic.Partitions = append(topic.Partitions, p)
		}
		out = append(out, topic)
	}
	return out
}
