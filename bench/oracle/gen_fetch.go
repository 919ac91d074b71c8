package main

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// wanted is a partition of a fetch.
type wanted struct {
	topic         string
	partition     int32
	offset        int64
	current, last int32 // epochs, ahead of the leader's; -2 = none
	logStart      int64
	bytesMax      int32
}

func (g *generator) wanted() wanted {
	topic := g.topic()
	w := wanted{topic: topic, partition: g.partition(topic), current: -2, last: -2, logStart: -1}
	w.bytesMax = pick[int32](g, 1<<20, 1<<20, 1<<20, 0, 1, 200)
	w.offset = g.offset(topic, w.partition)
	if g.chance(20) {
		w.current = pick[int32](g, 0, 0, 1)
	}
	if g.chance(10) {
		w.last = pick[int32](g, 0, 0, 1)
	}
	return w
}

// fill adds the partition to a request.
func (w wanted) fill(s *side, r *kmsg.FetchRequest) {
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.LogStartOffset = w.partition, w.offset, w.bytesMax, w.logStart
	if w.current > -2 {
		p.CurrentLeaderEpoch = s.epoch(w.topic, w.partition, w.current)
	}
	if w.last > -2 {
		p.LastFetchedEpoch = s.epoch(w.topic, w.partition, w.last)
	}
	for i := range r.Topics {
		if r.Topics[i].Topic == w.topic {
			for _, other := range r.Topics[i].Partitions {
				if other.Partition == w.partition {
					return // twice is a difference of its own
				}
			}
			r.Topics[i].Partitions = append(r.Topics[i].Partitions, p)
			return
		}
	}
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID, t.Partitions = w.topic, s.id(w.topic), append(t.Partitions, p)
	r.Topics = append(r.Topics, t)
}

// fetch reads some partitions without a session.
func (g *generator) fetch() {
	var all []wanted
	for range g.IntN(4) {
		all = append(all, g.wanted())
	}
	bytesMax, minBytes, wait := pick[int32](g, 1<<20, 1<<20, 0, 1, 300), pick[int32](g, 0, 1, 1, 1<<20), pick[int32](g, 0, 0, 10)
	isolation := pick[int8](g, 0, 0, 1)
	request(g, controlConn, 1, func(s *side, r *kmsg.FetchRequest, _ int16) {
		r.ReplicaID, r.MaxBytes, r.MinBytes, r.MaxWaitMillis, r.IsolationLevel = -1, bytesMax, minBytes, wait, isolation
		r.SessionID, r.SessionEpoch = 0, -1
		for _, w := range all {
			w.fill(s, r)
		}
	}, nil)
}

// fetchSession opens a session and goes on with it, with what goes wrong in one.
func (g *generator) fetchSession() {
	g.fetches++
	name := fmt.Sprintf("session%d", g.fetches)
	var all []wanted
	for range 1 + g.IntN(3) {
		w := g.wanted()
		w.bytesMax = 1 << 20
		all = append(all, w)
	}
	low := g.chance(30)
	step := func(epoch int32, topics []wanted, forgotten []wanted, after func(*side, kmsg.Response)) {
		topics, forgotten = slices.Clone(topics), slices.Clone(forgotten) // sent later
		st := request(g, controlConn, 1, func(s *side, r *kmsg.FetchRequest, version int16) {
			r.ReplicaID, r.MaxBytes, r.MinBytes, r.MaxWaitMillis = -1, 1<<20, 0, 0
			r.SessionEpoch = epoch
			if id, ok := s.vars[name].(int64); ok {
				r.SessionID = int32(id)
			} else if epoch != 0 {
				r.SessionID = 1234
			}
			for _, w := range topics {
				w.fill(s, r)
			}
			for _, w := range forgotten {
				t := kmsg.NewFetchRequestForgottenTopic()
				t.Topic, t.TopicID, t.Partitions = w.topic, s.id(w.topic), []int32{w.partition}
				r.ForgottenTopics = append(r.ForgottenTopics, t)
			}
		}, after)
		inner, version := st.build, int16(7+g.IntN(12))
		switch { // topics are named by id from 13 on, and a session has one of both
		case low:
			version = int16(7 + g.IntN(6))
		case g.chance(85):
			version = int16(13 + g.IntN(6))
		}
		st.build = func(s *side) kmsg.Request {
			r := inner(s)
			r.SetVersion(version)
			return r
		}
	}
	step(0, all, nil, func(s *side, resp kmsg.Response) {
		if resp := resp.(*kmsg.FetchResponse); resp.ErrorCode == 0 {
			s.vars[name] = int64(resp.SessionID)
		}
	})
	epoch := int32(1)
	for range 1 + g.IntN(5) {
		switch g.IntN(8) {
		case 0, 1:
			step(epoch, nil, nil, nil)
			epoch++
		case 2:
			g.produce()
			step(epoch, nil, nil, nil)
			epoch++
		case 3:
			step(epoch, []wanted{g.wanted()}, nil, nil)
			epoch++
		case 4:
			step(epoch, nil, []wanted{all[g.IntN(len(all))]}, nil)
			epoch++
		case 5:
			step(epoch+pick[int32](g, 1, -1, 5), nil, nil, nil)
		case 6:
			g.deleteRecords()
			step(epoch, nil, nil, nil)
			epoch++
		case 7:
			all[0].offset = g.offset(all[0].topic, all[0].partition)
			step(epoch, all[:1], nil, nil)
			epoch++
		}
	}
	if g.chance(50) {
		step(-1, nil, nil, nil)
		step(epoch, nil, nil, nil)
	}
}
