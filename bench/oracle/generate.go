package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	stepsMin, stepsMax = 25, 45
	controlConn        = 0 // of all requests that no member of a group sends
)

// versions are the versions of each API that both brokers speak. A sequence follows from its seed alone, so they stand here.
var versions = map[int16]struct{ min, max int16 }{
	0: {3, 12}, 1: {4, 18}, 2: {1, 11}, 3: {0, 13}, 8: {2, 9}, 9: {1, 9}, 10: {0, 5}, 11: {0, 9}, 12: {0, 4}, 13: {0, 5}, 14: {0, 5},
	15: {0, 6}, 16: {0, 5}, 18: {0, 4}, 19: {2, 7}, 20: {1, 6}, 21: {0, 2}, 22: {0, 5}, 23: {2, 4}, 29: {1, 3}, 30: {1, 3}, 31: {1, 3},
	32: {1, 4}, 33: {0, 2}, 35: {1, 4}, 37: {0, 3}, 42: {0, 2}, 44: {0, 1}, 47: {0, 0}, 60: {0, 1}, 75: {0, 0},
}

// sequence is what is sent to both brokers.
type sequence struct {
	seed          uint64
	prefix        string // of the names of its topics and groups
	steps         []step
	repacked      bool // some topic has a compression of its own
	brokerConfigs bool // settings of the broker are changed, and set back behind it
}

// generator makes a sequence. What it does follows from the seed alone.
type generator struct {
	*rand.Rand
	sequence
	topics    []topicModel
	producers int
	fetches   int
	members   int
	broken    int
	stamped   bool // a batch claims the time of append
}

// topicModel is what the generator believes to be there; it may be wrong, which is no matter: both brokers are asked the same.
type topicModel struct {
	name       string
	partitions int32
	records    []int64 // by partition, about
}

// generate makes the sequence of a seed. salt becomes a part of its names, for a broker that has met the sequence before.
func generate(seed uint64, salt string) *sequence {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0x7a6e)), sequence: sequence{seed: seed, prefix: fmt.Sprintf("s%d%s-", seed, salt)}}
	g.firstTopics()
	// Each sequence has a theme, so that requests of a kind meet what others of that kind have left, and some of everything else.
	theme := themes[g.IntN(len(themes))]
	for n := stepsMin + g.IntN(stepsMax-stepsMin); len(g.steps) < n; {
		if g.chance(70) {
			pick(g, theme...)(g)
		} else {
			pick(g, pick(g, themes...)...)(g)
		}
	}
	return &g.sequence
}

// themes are what the requests of a sequence are mostly about.
var themes = [][]func(*generator){
	{(*generator).createTopics, (*generator).deleteTopics, (*generator).createPartitions, (*generator).metadata,
		(*generator).describeTopicPartitions, (*generator).produce, (*generator).listOffsets},
	{(*generator).produce, (*generator).produce, (*generator).fetch, (*generator).fetch, (*generator).listOffsets,
		(*generator).deleteRecords, (*generator).offsetForLeaderEpoch, (*generator).describeLogDirs},
	{(*generator).produce, (*generator).badBatch, (*generator).badBatch, (*generator).listOffsets, (*generator).fetch},
	{(*generator).idempotent, (*generator).idempotent, (*generator).initProducerID, (*generator).fetch, (*generator).listOffsets},
	{(*generator).fetchSession, (*generator).fetchSession, (*generator).produce, (*generator).deleteRecords},
	{(*generator).topicConfigs, (*generator).topicConfigs, (*generator).describeConfigs, (*generator).produce, (*generator).fetch,
		(*generator).alterConfigs},
	{(*generator).brokerConfigChange, (*generator).describeConfigs, (*generator).createTopics, (*generator).produce,
		(*generator).describeCluster},
	{(*generator).groupLife, (*generator).groupStray, (*generator).commit, (*generator).fetchOffsets, (*generator).describeGroups,
		(*generator).listGroups},
	{(*generator).commit, (*generator).commit, (*generator).fetchOffsets, (*generator).fetchOffsets, (*generator).deleteOffsets,
		(*generator).deleteGroups, (*generator).describeGroups, (*generator).findCoordinator},
	{(*generator).staticGroup, (*generator).groupLife, (*generator).groupStray, (*generator).describeGroups},
	{(*generator).apiVersions, (*generator).rawBytes, (*generator).acls, (*generator).describeCluster, (*generator).metadata,
		(*generator).findCoordinator, (*generator).initProducerID},
}

// within returns the sequence without requests of APIs that a broker does not serve, and how many those are.
func (q *sequence) within(served map[int16]bool) (*sequence, int) {
	kept := *q
	kept.steps = slices.DeleteFunc(slices.Clone(q.steps), func(st step) bool { return st.build != nil && !served[st.key] })
	return &kept, len(q.steps) - len(kept.steps)
}

// pick returns one of some.
func pick[T any](g *generator, of ...T) T { return of[g.IntN(len(of))] }

// chance is true in so many of a hundred cases.
func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

// version picks a version of an API, the newest more often than others.
func (g *generator) version(key int16) int16 {
	v := versions[key]
	if g.chance(25) {
		return v.max
	}
	return v.min + int16(g.IntN(int(v.max-v.min)+1))
}

// request adds a step of a connection. fill fills in the request of the version that was picked.
func request[R kmsg.Request](g *generator, conn int, key int16, fill func(s *side, r R, version int16),
	after func(s *side, resp kmsg.Response)) *step {
	version := g.version(key)
	g.steps = append(g.steps, step{conn: conn, key: key, after: after, build: func(s *side) kmsg.Request {
		r := kmsg.RequestForKey(key).(R)
		if d, ok := any(r).(interface{ Default() }); ok {
			d.Default()
		}
		r.SetVersion(version)
		fill(s, r, version)
		return r
	}})
	return &g.steps[len(g.steps)-1]
}

// model returns the generator's belief about a topic that exists, or nil.
func (g *generator) model() *topicModel {
	if len(g.topics) == 0 {
		return nil
	}
	return &g.topics[g.IntN(len(g.topics))]
}

// named returns the model of a topic, or nil.
func (g *generator) named(topic string) *topicModel {
	for i := range g.topics {
		if g.topics[i].name == topic {
			return &g.topics[i]
		}
	}
	return nil
}

// topic picks the name of a topic: mostly one that is there.
func (g *generator) topic() string {
	if m := g.model(); m != nil && g.chance(90) {
		return m.name
	}
	return pick(g, g.prefix+"missing", g.prefix+"missing2", "bad name!", "")
}

// partition picks a partition of a topic: mostly one that is there.
func (g *generator) partition(topic string) int32 {
	if m := g.named(topic); m != nil && g.chance(92) {
		return int32(g.IntN(int(m.partitions)))
	}
	return pick[int32](g, 0, 1, 9, -1)
}

// offset picks an offset of a partition: mostly one that is there.
func (g *generator) offset(topic string, partition int32) int64 {
	end := int64(3)
	if m := g.named(topic); m != nil && partition >= 0 && int(partition) < len(m.records) {
		end = m.records[partition]
	}
	switch {
	case g.chance(60):
		return g.Int64N(end + 1)
	case g.chance(50):
		return end
	}
	return pick[int64](g, 0, 1, end-1, end+1, end+100, -1, -2)
}

const rawCorrelation = 77

// rawBytes sends what is no request: an API or a version that is not there, a body that ends early.
func (g *generator) rawBytes() {
	key := pick[int16](g, 0, 3, 18, 19, 999, -1, 7, 4)
	version := pick[int16](g, 0, 1, 3, 40, -1)
	if versions[key].max > 0 && g.chance(50) {
		version = versions[key].max
	}
	body := pick(g, nil, []byte{0xff}, []byte{0, 0, 0, 1, 0}, []byte{0x7f, 0xff, 0xff, 0xff, 0, 1, 2})
	if key == 18 && version > 4 {
		body = nil
	}
	frame := binary.BigEndian.AppendUint16(nil, uint16(key))
	frame = binary.BigEndian.AppendUint16(frame, uint16(version))
	frame = binary.BigEndian.AppendUint32(frame, rawCorrelation)
	frame = append(binary.BigEndian.AppendUint16(frame, uint16(len(clientID))), clientID...)
	frame = append(frame, body...)
	frame = append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)
	g.steps = append(g.steps, step{conn: 9, raw: frame, note: fmt.Sprintf("key %d, version %d, body %x", key, version, body)})
}
