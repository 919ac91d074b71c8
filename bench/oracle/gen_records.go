package main

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const produceTimeout = 5_000 // ms

// target is a partition and what is sent to it.
type target struct {
	topic     string
	partition int32
	batch     func(s *side) []byte // nil = null
}

// send adds a Produce of some partitions.
func (g *generator) send(acks int16, note string, targets ...target) {
	st := request(g, controlConn, 0, func(s *side, r *kmsg.ProduceRequest, _ int16) {
		r.Acks, r.TimeoutMillis = acks, produceTimeout
		for _, t := range targets {
			p := kmsg.NewProduceRequestTopicPartition()
			p.Partition = t.partition
			if t.batch != nil {
				p.Records = t.batch(s)
			}
			var topic *kmsg.ProduceRequestTopic
			for i := range r.Topics {
				if r.Topics[i].Topic == t.topic {
					topic = &r.Topics[i]
				}
			}
			if topic == nil {
				r.Topics = append(r.Topics, kmsg.NewProduceRequestTopic())
				topic = &r.Topics[len(r.Topics)-1]
				topic.Topic = t.topic
			}
			topic.Partitions = append(topic.Partitions, p)
		}
	}, nil)
	st.note = note
}

func (g *generator) acks() int16 { return pick[int16](g, -1, -1, -1, 1, 1, 0, 7, -2) }

// grow believes that records were appended.
func (g *generator) grow(topic string, partition int32, records int) {
	if m := g.named(topic); m != nil && partition >= 0 && int(partition) < len(m.records) {
		m.records[partition] += int64(records)
	}
}

// produce sends good batches.
func (g *generator) produce() {
	var targets []target
	var note string
	acks, appends := g.acks(), map[string]int64{}
	for range 1 + g.IntN(2) {
		spec := plainBatch(1 + g.IntN(6))
		spec.codec, spec.content, spec.size = int8(g.IntN(5)), g.IntN(100), pick(g, 1, 8, 100, 2000)
		spec.first += g.Int64N(100_000)
		if g.chance(10) && !g.repacked {
			spec.attributes, g.stamped = 1<<3, true // a client that claims the time of append
		}
		if g.chance(5) {
			spec.base = 40
		}
		topic := g.topic()
		t := target{topic, g.partition(topic), func(*side) []byte { return spec.encode() }}
		twice := false
		for _, other := range targets {
			twice = twice || other.topic == t.topic && other.partition == t.partition
		}
		if twice {
			continue
		}
		targets = append(targets, t)
		note += fmt.Sprintf("%s/%d: %d records, %s, %d bytes each, attributes %#x; ", topic, t.partition, spec.records, codecNames[spec.codec],
			spec.size, spec.attributes)
		if acks >= -1 && acks <= 1 {
			g.grow(topic, t.partition, spec.records)
			appends[epochKey(topic, t.partition)] = int64(spec.records)
		}
	}
	g.send(acks, note, targets...)
	g.steps[len(g.steps)-1].appends = appends
}

// badBatch sends a batch that is wrong in one way.
func (g *generator) badBatch() {
	spec := plainBatch(1 + g.IntN(4))
	spec.codec = pick[int8](g, 0, 0, 0, 1, 2, 3, 4)
	note := ""
	batches := 1
	switch g.IntN(16) {
	case 0:
		spec.wrongCRC, note = true, "wrong checksum"
	case 1:
		spec.magic, note = pick[int8](g, 0, 1, 3, -1), "wrong magic"
		note = fmt.Sprintf("%s %d", note, spec.magic)
	case 2:
		spec.countDelta = pick[int32](g, 1, -1, 1000)
		note = fmt.Sprintf("count %+d", spec.countDelta)
	case 3:
		spec.lastDelta = pick[int32](g, 1, -1, 5)
		note = fmt.Sprintf("last offset delta %+d", spec.lastDelta)
	case 4:
		spec.first, note = 4_100_000_000_000, "a time in the future"
	case 5:
		spec.first, note = pick[int64](g, -1, -2, 0), "an odd time"
		note = fmt.Sprintf("%s %d", note, spec.first)
	case 6:
		spec.cut, note = 1+g.IntN(5), "records cut short"
	case 7:
		spec.shorten, note = 1+g.IntN(70), "batch cut short"
	case 8:
		spec.garbage, note = true, "records that are none"
	case 9:
		spec.codec, note = pick[int8](g, 5, 7), "a codec that is not there"
	case 10:
		spec.records, note = 0, "no record"
	case 11:
		spec.attributes, note = 1<<5, "a control batch"
	case 12:
		spec.attributes, note = 1<<4, "transactional without a producer"
	case 13:
		batches, note = 2, "two batches"
	case 14:
		batches, note = 0, "no batch"
	case 15:
		spec.producer, spec.epoch, note = 7, 0, "a producer id without a sequence"
	}
	topic := g.topic()
	t := target{topic: topic, partition: g.partition(topic)}
	if spec.codec > 0 && (spec.cut > 0 || spec.garbage) { // Tandem does not look into it: to a topic that nothing else is sent to
		t = g.brokenTopic()
	}
	t.batch = func(*side) []byte {
		out := []byte{}
		for range batches {
			out = append(out, spec.encode()...)
		}
		return out
	}
	note = fmt.Sprintf("%s/%d: %d records, %s: %s", t.topic, t.partition, spec.records, codecNames[spec.codec], note)
	targets := []target{t}
	if other := g.topic(); other != topic && g.chance(30) {
		good := plainBatch(1)
		targets = append(targets, target{other, g.partition(other), func(*side) []byte { return good.encode() }})
		note += "; and a good one"
	}
	g.send(g.acks(), note, targets...)
}

// brokenTopic makes a topic for what only one of the brokers may take.
func (g *generator) brokenTopic() target {
	g.broken++
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = fmt.Sprintf("%sbroken%d", g.prefix, g.broken), 1, 1
	request(g, controlConn, 19, func(_ *side, r *kmsg.CreateTopicsRequest, _ int16) {
		r.Topics, r.TimeoutMillis = append(r.Topics, t), adminTimeout
	}, nil)
	return target{topic: t.Topic}
}

// initProducerID asks for an id, and keeps it.
func (g *generator) initProducerID() {
	g.producers++
	name := fmt.Sprintf("producer%d", g.producers)
	id, epoch := int64(-1), int16(-1)
	if g.chance(15) {
		id, epoch = pick[int64](g, 5, -1, -2), pick[int16](g, 0, 3, -1)
	}
	timeout := pick[int32](g, 0, 60_000, -1, 2_000_000_000)
	empty := g.chance(8)
	request(g, controlConn, 22, func(_ *side, r *kmsg.InitProducerIDRequest, _ int16) {
		r.ProducerID, r.ProducerEpoch, r.TransactionTimeoutMillis = id, epoch, timeout
		if empty {
			r.TransactionalID = kmsg.StringPtr("")
		}
	}, func(s *side, resp kmsg.Response) {
		if resp := resp.(*kmsg.InitProducerIDResponse); resp.ErrorCode == 0 {
			s.vars[name] = resp.ProducerID
		}
	})
}

// idempotent sends some batches of one producer: in order, again, with gaps, of older and newer epochs.
func (g *generator) idempotent() {
	if g.producers == 0 || g.chance(20) {
		g.initProducerID()
	}
	producer := fmt.Sprintf("producer%d", 1+g.IntN(g.producers))
	topic := g.topic()
	partition := g.partition(topic)
	next, epoch := int32(0), int16(0)
	for range 2 + g.IntN(6) {
		sequence, e, how := next, epoch, "in order"
		switch g.IntN(12) {
		case 0, 1:
			sequence, how = max(0, next-1-int32(g.IntN(6))), "again"
		case 2:
			sequence, how = next+1+int32(g.IntN(3)), "a gap"
		case 3:
			epoch++
			e, sequence, next, how = epoch, 0, 0, "a newer epoch"
		case 4:
			if epoch > 0 {
				e, how = epoch-1, "an older epoch"
			}
		case 5:
			epoch++
			e, sequence, how = epoch, next+3, "a newer epoch that does not begin at 0"
		case 6:
			sequence, how = pick[int32](g, 1<<31-1, 1<<31-2, 0, -1), "an odd sequence"
		}
		spec := plainBatch(1 + g.IntN(3))
		spec.sequence, spec.epoch, spec.content = sequence, e, g.IntN(50)
		if how == "in order" || how == "a newer epoch" {
			next += int32(spec.records)
			g.grow(topic, partition, spec.records)
		}
		note := fmt.Sprintf("%s/%d: %d records of %s, epoch %d, sequence %d: %s", topic, partition, spec.records, producer, e, sequence, how)
		g.send(pick[int16](g, -1, -1, -1, 1), note, target{topic, partition, func(s *side) []byte {
			spec.producer = s.num(producer)
			return spec.encode()
		}})
	}
}

func (g *generator) listOffsets() {
	isolation := pick[int8](g, 0, 0, 1)
	type ask struct {
		topic     string
		partition int32
		timestamp int64
		epoch     int32
	}
	var asks []ask
	twice := g.chance(4)
	for range 1 + g.IntN(3) {
		topic := g.topic()
		partition := g.partition(topic)
		if slices.ContainsFunc(asks, func(a ask) bool { return a.topic == topic && a.partition == partition }) && !twice {
			continue
		}
		asks = append(asks, ask{topic, partition,
			pick[int64](g, -1, -1, -2, -2, -3, -4, -5, -6, -7, 0, baseTime, baseTime+5_000, baseTime+50_000, baseTime+1_000_000),
			pick[int32](g, -2, -2, -2, 0, 1)})
	}
	request(g, controlConn, 2, func(s *side, r *kmsg.ListOffsetsRequest, _ int16) {
		r.ReplicaID, r.IsolationLevel, r.TimeoutMillis = -1, isolation, produceTimeout
		for _, a := range asks {
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Partition, p.Timestamp = a.partition, a.timestamp
			if a.epoch > -2 {
				p.CurrentLeaderEpoch = s.epoch(a.topic, a.partition, a.epoch)
			}
			i := slices.IndexFunc(r.Topics, func(t kmsg.ListOffsetsRequestTopic) bool { return t.Topic == a.topic })
			if i < 0 {
				t := kmsg.NewListOffsetsRequestTopic()
				t.Topic, i = a.topic, len(r.Topics)
				r.Topics = append(r.Topics, t)
			}
			r.Topics[i].Partitions = append(r.Topics[i].Partitions, p)
		}
	}, nil)
}

func (g *generator) offsetForLeaderEpoch() {
	topic := g.topic()
	partition := g.partition(topic)
	current, asked := pick[int32](g, -2, 0, 0, 1), pick[int32](g, 0, 0, 1, 5)
	replica := pick[int32](g, -2, -1)
	request(g, controlConn, 23, func(s *side, r *kmsg.OffsetForLeaderEpochRequest, _ int16) {
		r.ReplicaID = replica
		p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		p.Partition, p.LeaderEpoch = partition, s.epoch(topic, partition, asked)
		if current > -2 {
			p.CurrentLeaderEpoch = s.epoch(topic, partition, current)
		}
		t := kmsg.NewOffsetForLeaderEpochRequestTopic()
		t.Topic, t.Partitions = topic, append(t.Partitions, p)
		r.Topics = append(r.Topics, t)
	}, nil)
}

func (g *generator) deleteRecords() {
	topic := g.topic()
	partition := g.partition(topic)
	offset := g.offset(topic, partition)
	request(g, controlConn, 21, func(_ *side, r *kmsg.DeleteRecordsRequest, _ int16) {
		r.TimeoutMillis = adminTimeout
		p := kmsg.NewDeleteRecordsRequestTopicPartition()
		p.Partition, p.Offset = partition, offset
		t := kmsg.NewDeleteRecordsRequestTopic()
		t.Topic, t.Partitions = topic, append(t.Partitions, p)
		r.Topics = append(r.Topics, t)
	}, nil)
}
