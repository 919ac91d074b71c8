package main

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// committed is an offset that is committed.
type committed struct {
	topic     string
	partition int32
	offset    int64
	epoch     int32
	metadata  *string
}

func (g *generator) commits() []committed {
	var out []committed
	stored := 0
	for range 1 + g.IntN(3) {
		topic := g.topic()
		partition := g.partition(topic)
		if slices.ContainsFunc(out, func(c committed) bool { return c.topic == topic && c.partition == partition }) {
			continue
		}
		c := committed{topic: topic, partition: partition, offset: pick[int64](g, 0, 1, 5, 1000, -1, -5), epoch: pick[int32](g, -1, -1, 0, 4)}
		switch g.IntN(5) {
		case 0:
			c.metadata = kmsg.StringPtr("about " + topic)
		case 1:
			length := pick(g, 4096, 4097, 100)
			if stored == 0 { // Kafka keeps a group in mind that only refused commits have named
				length = min(length, 4096)
			}
			c.metadata = kmsg.StringPtr(strings.Repeat("m", length))
		case 2:
			c.metadata = kmsg.StringPtr("")
		}
		if m := g.named(topic); m != nil && partition >= 0 && partition < m.partitions {
			stored++
		}
		out = append(out, c)
	}
	return out
}

func fillCommit(r *kmsg.OffsetCommitRequest, commits []committed) {
	for _, c := range commits {
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = c.partition, c.offset, c.epoch, c.metadata
		i := slices.IndexFunc(r.Topics, func(t kmsg.OffsetCommitRequestTopic) bool { return t.Topic == c.topic })
		if i < 0 {
			t := kmsg.NewOffsetCommitRequestTopic()
			t.Topic, i = c.topic, len(r.Topics)
			r.Topics = append(r.Topics, t)
		}
		r.Topics[i].Partitions = append(r.Topics[i].Partitions, p)
	}
}

// commitOf commits as a member.
func (g *generator) commitOf(m *member, delta int32) {
	commits := g.commits()
	request(g, m.conn, 8, func(s *side, r *kmsg.OffsetCommitRequest, _ int16) {
		r.Group, r.MemberID, r.Generation, r.InstanceID = m.group, m.id(s), m.generation(s, delta), m.instance
		fillCommit(r, commits)
	}, nil)
}

// commit commits without membership, as a simple consumer does.
func (g *generator) commit() {
	commits, group := g.commits(), pick(g, g.group(), g.group(), g.group(), "")
	generation, id := pick[int32](g, -1, -1, -1, -1, 0, 3), pick(g, "", "", "", "nobody")
	var instance *string
	if g.chance(8) {
		instance = kmsg.StringPtr("i1")
	}
	none := g.chance(5)
	request(g, controlConn, 8, func(_ *side, r *kmsg.OffsetCommitRequest, _ int16) {
		r.Group, r.MemberID, r.Generation, r.InstanceID = group, id, generation, instance
		if !none {
			fillCommit(r, commits)
		}
	}, nil)
}

func (g *generator) fetchOffsets() {
	all, stable := g.chance(30), g.chance(20)
	groups := []string{g.group()}
	if g.chance(30) {
		groups = append(groups, g.group())
	}
	if g.chance(8) {
		groups[0] = ""
	}
	if len(groups) > 1 && groups[0] == groups[1] {
		groups = groups[:1]
	}
	topic := g.topic()
	partitions := []int32{g.partition(topic)}
	if other := g.partition(topic); other != partitions[0] {
		partitions = append(partitions, other)
	}
	var id *string
	epoch := int32(-1)
	if g.chance(10) {
		id, epoch = kmsg.StringPtr(pick(g, "nobody", "")), pick[int32](g, 0, -1, 3)
	}
	request(g, controlConn, 9, func(_ *side, r *kmsg.OffsetFetchRequest, version int16) {
		r.RequireStable = stable
		r.Group = groups[0]
		if !all || version < 2 {
			t := kmsg.NewOffsetFetchRequestTopic()
			t.Topic, t.Partitions = topic, partitions
			r.Topics = append(r.Topics, t)
		}
		for _, name := range groups {
			x := kmsg.NewOffsetFetchRequestGroup()
			x.Group, x.MemberID, x.MemberEpoch = name, id, epoch
			if !all {
				t := kmsg.NewOffsetFetchRequestGroupTopic()
				t.Topic, t.Partitions = topic, partitions
				x.Topics = append(x.Topics, t)
			}
			r.Groups = append(r.Groups, x)
		}
	}, nil)
}

func (g *generator) deleteOffsets() {
	group, topic := pick(g, g.group(), g.group(), g.prefix+"no-group", ""), g.topic()
	partition := g.partition(topic)
	request(g, controlConn, 47, func(_ *side, r *kmsg.OffsetDeleteRequest, _ int16) {
		r.Group = group
		p := kmsg.NewOffsetDeleteRequestTopicPartition()
		p.Partition = partition
		t := kmsg.NewOffsetDeleteRequestTopic()
		t.Topic, t.Partitions = topic, append(t.Partitions, p)
		r.Topics = append(r.Topics, t)
	}, nil)
}
