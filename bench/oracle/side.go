package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	answerLimit = 3 * time.Second // more than any request of a sequence takes
	settleLimit = 10 * time.Second
	settlePoll  = 2 * time.Millisecond
	arriveLimit = 300 * time.Millisecond
)

// side is one of the two brokers, and what a sequence has learned of it.
type side struct {
	name    string
	address string
	// lag is how long a change of the metadata may take to reach all parts of the broker after it was answered. Kafka's controller
	// answers before its broker has followed.
	lag time.Duration

	conns   map[int]*conn
	probe   *conn // asks what is not part of the sequence
	prefix  string
	names   *names
	ids     map[string][16]byte // of topics, the newest of a name
	idNames map[[16]byte]string
	epochs  map[string]int32 // of leaders, by topic and partition
	vars    map[string]any   // what later requests need of answers
	waiting map[int]kmsg.Request
}

// begin forgets what the last sequence has left.
func (s *side) begin(prefix string) {
	s.end()
	s.conns, s.prefix, s.names = map[int]*conn{}, prefix, newNames()
	s.ids, s.idNames, s.epochs = map[string][16]byte{}, map[[16]byte]string{}, map[string]int32{}
	s.vars, s.waiting = map[string]any{}, map[int]kmsg.Request{}
}

func (s *side) end() {
	for _, c := range s.conns {
		c.close()
	}
	s.conns = nil
}

// conn is a connection of the sequence; one that was closed is opened again.
func (s *side) conn(number int) (*conn, error) {
	if c := s.conns[number]; c != nil {
		return c, nil
	}
	c, err := dial(s.address)
	if err == nil {
		s.conns[number] = c
	}
	return c, err
}

func (s *side) drop(number int) {
	if c := s.conns[number]; c != nil {
		c.close()
		delete(s.conns, number)
	}
}

// ask sends a request that is not part of the sequence.
func (s *side) ask(req kmsg.Request, version int16) (kmsg.Response, error) {
	if s.probe == nil {
		c, err := dial(s.address)
		if err != nil {
			return nil, err
		}
		s.probe = c
	}
	req.SetVersion(version)
	resp, err := s.probe.call(req, answerLimit)
	if err != nil {
		s.probe.close()
		s.probe = nil
		return nil, fmt.Errorf("%s: %T: %w", s.name, req, err)
	}
	return resp, nil
}

// num is a variable that an answer has set; without such an answer it is what no broker gives away.
func (s *side) num(name string) int64 {
	if v, ok := s.vars[name].(int64); ok {
		return v
	}
	return 987_654_321
}

// id is the newest id of a topic; one that was never there has an id that nobody gives.
func (s *side) id(topic string) [16]byte {
	if id, ok := s.ids[topic]; ok {
		return id
	}
	id := [16]byte{0xab}
	copy(id[1:], topic)
	return id
}

// epoch is the epoch of a partition's leader, ahead by delta.
func (s *side) epoch(topic string, partition, delta int32) int32 {
	return s.epochs[epochKey(topic, partition)] + delta
}

func epochKey(topic string, partition int32) string { return fmt.Sprintf("%s/%d", topic, partition) }

// epochText says an epoch as what it is to the leader's: E.
func (s *side) epochText(topic string, partition, epoch int32) string {
	leader, ok := s.epochs[epochKey(topic, partition)]
	switch {
	case epoch == -1:
		return "-1"
	case !ok:
		return fmt.Sprint(epoch)
	case epoch == leader:
		return "E"
	}
	return fmt.Sprintf("E%+d", epoch-leader)
}

func (s *side) idText(id [16]byte, masked bool) string {
	if id == ([16]byte{}) {
		return "zero"
	}
	if id[0] == 0xab && strings.HasPrefix(strings.TrimRight(string(id[1:]), "\x00"), s.prefix[:1]) {
		return "nobody's"
	}
	return s.names.name("id", id, masked)
}

func (s *side) producerText(id int64, masked bool) string {
	if id < 0 || id == 987_654_321 {
		return fmt.Sprint(id)
	}
	return s.names.name("producer", id, masked)
}

// learn asks for what requests and answers are told in terms of: ids and epochs of topics. It returns how many partitions each topic
// has; 0 = there is none.
func (s *side) learn(topics ...string) (map[string]int32, error) {
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	resp, err := s.ask(req, 12)
	if err != nil {
		return nil, err
	}
	counts := map[string]int32{}
	for _, t := range resp.(*kmsg.MetadataResponse).Topics {
		if t.Topic == nil || t.ErrorCode != 0 {
			continue
		}
		counts[*t.Topic] = int32(len(t.Partitions))
		s.ids[*t.Topic], s.idNames[t.TopicID] = t.TopicID, *t.Topic
		s.names.call("id", t.TopicID, *t.Topic)
		for _, p := range t.Partitions {
			if p.Leader >= 0 {
				s.epochs[epochKey(*t.Topic, p.Partition)] = p.LeaderEpoch
			}
		}
	}
	return counts, nil
}

// follow waits until partitions can be read up to an offset; not for ever, because they need not get there.
func (s *side) follow(ends map[string]int64) error {
	for key, want := range ends {
		for stop := time.Now().Add(arriveLimit); ; time.Sleep(settlePoll) {
			end, err := s.latest(key)
			if err != nil {
				return err
			}
			if end >= want || time.Now().After(stop) {
				break
			}
		}
	}
	return nil
}

// latest is up to where a partition can be read, -1 = nobody says.
func (s *side) latest(key string) (int64, error) {
	slash := strings.LastIndexByte(key, '/')
	id, err := strconv.Atoi(key[slash+1:])
	if err != nil {
		return -1, err
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	t, p := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	t.Topic, p.Partition, p.Timestamp = key[:slash], int32(id), -1
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := s.ask(req, 6)
	if err != nil {
		return -1, err
	}
	return resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].Offset, nil
}

// leads reports whether all partitions of a topic answer.
func (s *side) leads(topic string, partitions int32) (bool, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	for id := range partitions {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = id, -1
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	resp, err := s.ask(req, 6)
	if err != nil {
		return false, err
	}
	for _, t := range resp.(*kmsg.ListOffsetsResponse).Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				return false, nil
			}
		}
	}
	return true, nil
}

// settle waits until topics have as many partitions as want says, 0 = are gone, and until all of them lead; then for the rest of the
// broker to follow.
func (s *side) settle(want map[string]int32) error {
	end := time.Now().Add(settleLimit)
	for topic, partitions := range want {
		for {
			counts, err := s.learn(topic)
			if err != nil {
				return err
			}
			done := counts[topic] == partitions || partitions < 0 && counts[topic] > 0
			if done && counts[topic] > 0 {
				if done, err = s.leads(topic, counts[topic]); err != nil {
					return err
				}
			}
			if done {
				break
			}
			if time.Now().After(end) {
				return fmt.Errorf("topic %s has %d partitions, not %d, or they do not lead", topic, counts[topic], partitions)
			}
			time.Sleep(settlePoll)
		}
	}
	time.Sleep(s.lag)
	return nil
}
