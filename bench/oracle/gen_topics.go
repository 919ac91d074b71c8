package main

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const adminTimeout = 15_000 // ms

// firstTopics gives the sequence something to work on.
func (g *generator) firstTopics() {
	count := 1 + g.IntN(2)
	var topics []kmsg.CreateTopicsRequestTopic
	for i := range count {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = g.prefix+string(rune('a'+i)), int32(1+g.IntN(3)), 1
		if g.chance(30) {
			t.Configs = g.topicConfigsFor(true)
		}
		topics = append(topics, t)
		g.believe(t.Topic, t.NumPartitions)
	}
	request(g, controlConn, 19, func(_ *side, r *kmsg.CreateTopicsRequest, _ int16) { r.Topics, r.TimeoutMillis = topics, adminTimeout }, nil)
}

func (g *generator) believe(name string, partitions int32) {
	if g.named(name) != nil {
		return
	}
	g.topics = append(g.topics, topicModel{name: name, partitions: partitions, records: make([]int64, partitions)})
}

func (g *generator) createTopics() {
	var topics []kmsg.CreateTopicsRequestTopic
	validate := g.chance(25)
	for range 1 + g.IntN(2) {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic = g.newName()
		t.NumPartitions = pick[int32](g, 1, 1, 1, 2, 3, -1, 0, -2)
		t.ReplicationFactor = pick[int16](g, 1, 1, 1, 1, -1, 0, 2, -2)
		if g.chance(25) {
			t.ReplicaAssignment = g.assignment()
			if g.chance(70) {
				t.NumPartitions, t.ReplicationFactor = -1, -1
			}
		}
		if g.chance(40) {
			t.Configs = g.topicConfigsFor(g.chance(60))
		}
		topics = append(topics, t)
		good := t.NumPartitions > 0 && t.ReplicationFactor == 1 && len(t.Configs) == 0
		if good && !validate && strings.HasPrefix(t.Topic, g.prefix) {
			g.believe(t.Topic, t.NumPartitions)
		}
	}
	if g.chance(8) {
		topics = append(topics, topics[0])
	}
	request(g, controlConn, 19, func(_ *side, r *kmsg.CreateTopicsRequest, _ int16) {
		r.Topics, r.TimeoutMillis, r.ValidateOnly = topics, adminTimeout, validate
	}, nil)
}

// newName picks a name for a topic: mostly a good one that may be there already.
func (g *generator) newName() string {
	if g.chance(70) {
		return g.prefix + pick(g, "a", "c", "d", "e.f", "e_f", "g-h")
	}
	return pick(g, "", ".", "..", "bad name!", "ümlaut", g.prefix+strings.Repeat("x", 249-len(g.prefix)),
		g.prefix+strings.Repeat("x", 250-len(g.prefix)), "__consumer_offsets", g.prefix+"a")
}

func (g *generator) assignment() []kmsg.CreateTopicsRequestTopicReplicaAssignment {
	var out []kmsg.CreateTopicsRequestTopicReplicaAssignment
	add := func(partition int32, replicas ...int32) {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition, a.Replicas = partition, replicas
		out = append(out, a)
	}
	switch g.IntN(8) {
	case 0, 1, 2:
		add(0, 1)
		add(1, 1)
	case 3:
		add(0, 7) // no such broker
	case 4:
		add(0, 1)
		add(2, 1) // a gap
	case 5:
		add(0, 1, 1) // twice the same broker
	case 6:
		add(0) // none
	case 7:
		add(1, 1)
		add(1, 1)
	}
	return out
}

func (g *generator) deleteTopics() {
	var names []string
	for range 1 + g.IntN(2) {
		names = append(names, pick(g, g.topic(), g.prefix+"c", g.prefix+"d", g.prefix+"missing"))
	}
	if g.chance(10) {
		names = append(names, names[0])
	}
	how := make([]int, len(names))
	for i := range how {
		how[i] = g.IntN(10)
	}
	kept := g.topics[:0:0]
	for _, m := range g.topics {
		gone := false
		for _, n := range names {
			gone = gone || n == m.name
		}
		if !gone {
			kept = append(kept, m)
		}
	}
	g.topics = kept
	request(g, controlConn, 20, func(s *side, r *kmsg.DeleteTopicsRequest, _ int16) {
		r.TopicNames, r.TimeoutMillis = names, adminTimeout
		for i, name := range names {
			t := kmsg.NewDeleteTopicsRequestTopic()
			if how[i] != 0 && how[i] < 6 {
				t.Topic = &name
			}
			if how[i] >= 6 || how[i] == 1 {
				t.TopicID = s.id(name)
			}
			r.Topics = append(r.Topics, t)
		}
	}, nil)
	if g.chance(60) {
		g.createTopics()
	}
}

func (g *generator) createPartitions() {
	var topics []kmsg.CreatePartitionsRequestTopic
	validate := g.chance(30)
	for range 1 + g.IntN(2) {
		t := kmsg.NewCreatePartitionsRequestTopic()
		t.Topic = g.topic()
		t.Count = pick[int32](g, 1, 2, 3, 4, 4, 5, 0, -1)
		if g.chance(30) {
			a := kmsg.NewCreatePartitionsRequestTopicAssignment()
			a.Replicas = pick(g, []int32{1}, []int32{7}, []int32{1, 1}, []int32{})
			t.Assignment = append(t.Assignment, a)
			if g.chance(30) {
				t.Assignment = append(t.Assignment, a)
			}
		}
		topics = append(topics, t)
	}
	if g.chance(8) {
		topics = append(topics, topics[0])
	}
	request(g, controlConn, 37, func(_ *side, r *kmsg.CreatePartitionsRequest, _ int16) {
		r.Topics, r.TimeoutMillis, r.ValidateOnly = topics, adminTimeout, validate
	}, nil)
}

func (g *generator) metadata() {
	all, none, create := g.chance(15), g.chance(8), g.chance(20)
	var names []string
	for range 1 + g.IntN(2) {
		names = append(names, g.topic())
	}
	if create {
		names = append(names, g.prefix+pick(g, "auto", "auto2"))
	}
	byID, operations := g.chance(40), g.chance(40)
	request(g, controlConn, 3, func(s *side, r *kmsg.MetadataRequest, version int16) {
		r.AllowAutoTopicCreation = create && !all
		r.IncludeTopicAuthorizedOperations, r.IncludeClusterAuthorizedOperations = operations, operations
		if all {
			return
		}
		r.Topics = []kmsg.MetadataRequestTopic{}
		if none && version > 0 {
			return
		}
		for _, name := range names {
			t := kmsg.NewMetadataRequestTopic()
			t.Topic = &name
			if byID && version >= 10 {
				t.TopicID = s.id(name)
				if version >= 12 {
					t.Topic = nil
				}
			}
			r.Topics = append(r.Topics, t)
		}
	}, nil)
}

func (g *generator) describeTopicPartitions() {
	var names []string
	for range g.IntN(3) {
		names = append(names, g.topic())
	}
	limit := pick[int32](g, 2000, 1, 2, 0, -1)
	cursor, at := g.chance(30), g.partition("")
	cursorTopic := g.topic()
	request(g, controlConn, 75, func(_ *side, r *kmsg.DescribeTopicPartitionsRequest, _ int16) {
		for _, name := range names {
			t := kmsg.NewDescribeTopicPartitionsRequestTopic()
			t.Topic = name
			r.Topics = append(r.Topics, t)
		}
		r.ResponsePartitionLimit = limit
		if cursor {
			r.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: cursorTopic, Partition: at}
		}
	}, nil)
}

func (g *generator) describeCluster() {
	operations, endpoint := g.chance(50), pick[int8](g, 1, 1, 1, 2, 3)
	request(g, controlConn, 60, func(_ *side, r *kmsg.DescribeClusterRequest, _ int16) {
		r.IncludeClusterAuthorizedOperations, r.EndpointType = operations, endpoint
	}, nil)
}

func (g *generator) describeLogDirs() {
	all := g.chance(20)
	var topics []kmsg.DescribeLogDirsRequestTopic
	for range 1 + g.IntN(2) {
		t := kmsg.NewDescribeLogDirsRequestTopic()
		t.Topic = g.topic()
		for range 1 + g.IntN(2) {
			t.Partitions = append(t.Partitions, g.partition(t.Topic))
		}
		topics = append(topics, t)
	}
	request(g, controlConn, 35, func(_ *side, r *kmsg.DescribeLogDirsRequest, _ int16) {
		if !all {
			r.Topics = topics
		}
	}, nil)
}

func (g *generator) apiVersions() {
	name := pick(g, "oracle", "oracle", "", "bad name!")
	request(g, controlConn, 18, func(_ *side, r *kmsg.ApiVersionsRequest, _ int16) {
		r.ClientSoftwareName, r.ClientSoftwareVersion = name, "1.0"
	}, nil)
}

func (g *generator) acls() {
	switch g.IntN(3) {
	case 0:
		request(g, controlConn, 29, func(_ *side, r *kmsg.DescribeACLsRequest, _ int16) {
			r.ResourceType, r.ResourcePatternType, r.Operation, r.PermissionType = 1, 1, 1, 1
		}, nil)
	case 1:
		request(g, controlConn, 30, func(_ *side, r *kmsg.CreateACLsRequest, _ int16) {
			c := kmsg.NewCreateACLsRequestCreation()
			c.ResourceType, c.ResourceName, c.ResourcePatternType, c.Principal, c.Host, c.Operation, c.PermissionType = 2, "t", 3, "User:a", "*", 3, 3
			r.Creations = append(r.Creations, c)
		}, nil)
	default:
		request(g, controlConn, 31, func(_ *side, r *kmsg.DeleteACLsRequest, _ int16) {
			f := kmsg.NewDeleteACLsRequestFilter()
			f.ResourceType, f.ResourcePatternType, f.Operation, f.PermissionType = 1, 1, 1, 1
			r.Filters = append(r.Filters, f)
		}, nil)
	}
}
