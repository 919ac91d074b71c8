package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// step is one request of a sequence, or the wait for an answer that an earlier step left open.
type step struct {
	conn int
	key  int16
	note string // what the request's fields do not show, such as what is wrong with a batch
	// build makes the request in its version, with what the side has answered so far.
	build func(s *side) kmsg.Request
	after func(s *side, resp kmsg.Response) // keeps what later steps need; nil = nothing
	// raw are bytes instead of a request; they get an answer of any kind, or the connection is closed.
	raw []byte
	// later: the answer may have to wait for other members of a group, so a step with collect waits for it. group is theirs.
	later   bool
	collect bool
	group   string
	// appends is how many records a Produce without an answer appends to each partition, where it is in order.
	appends map[string]int64
}

// exchange is a step as one side has seen it.
type exchange struct {
	request string
	answer  []string
	took    time.Duration
}

// play runs a sequence on one side.
func (s *side) play(q *sequence) ([]exchange, error) {
	s.begin(q.prefix)
	defer s.end()
	var all []exchange
	for i, st := range q.steps {
		began := time.Now()
		x, err := s.step(st)
		x.took = time.Since(began)
		if err != nil {
			return all, fmt.Errorf("%s: seed %d, step %d: %s: %w", s.name, q.seed, i+1, x.request, err)
		}
		all = append(all, x)
	}
	s.end()
	return all, s.clean(q)
}

func (s *side) step(st step) (exchange, error) {
	switch {
	case st.collect:
		x := exchange{request: fmt.Sprintf("#%d (the answer that was left open)", st.conn)}
		req := s.waiting[st.conn]
		delete(s.waiting, st.conn)
		if req == nil {
			return x, nil
		}
		return s.receive(st, x, req)
	case st.raw != nil:
		return s.rawStep(st)
	}
	req := st.build(s)
	x := exchange{request: s.describe(st, req)}
	before, err := s.groupText(st.group)
	if err != nil {
		return x, err
	}
	expected, err := s.expected(st, req)
	if err != nil {
		return x, err
	}
	c, err := s.conn(st.conn)
	if err != nil {
		return x, err
	}
	if err := c.send(req); err != nil {
		return s.closed(st, x, err)
	}
	switch {
	case st.later:
		s.waiting[st.conn] = req
		return x, s.arrived(st, c, before)
	case noAnswer(req):
		if x, err = s.unanswered(st, x, c); err != nil {
			return x, err
		}
		return x, s.follow(expected)
	}
	return s.receive(st, x, req)
}

// expected is where partitions end behind a Produce that has no answer.
func (s *side) expected(st step, req kmsg.Request) (map[string]int64, error) {
	if !noAnswer(req) || len(st.appends) == 0 {
		return nil, nil
	}
	ends := map[string]int64{}
	for key, records := range st.appends {
		end, err := s.latest(key)
		if err != nil {
			return nil, err
		}
		if end >= 0 {
			ends[key] = end + records
		}
	}
	return ends, nil
}

// describe is a request in one line.
func (s *side) describe(st step, req kmsg.Request) string {
	text := fmt.Sprintf("#%d %s v%d %s", st.conn, kmsg.NameForKey(req.Key()), req.GetVersion(),
		strings.Join(render(s, req, req.Key(), nil), " "))
	if st.note != "" {
		text += " | " + st.note
	}
	return text
}

func (s *side) receive(st step, x exchange, req kmsg.Request) (exchange, error) {
	c, err := s.conn(st.conn)
	if err != nil {
		return x, err
	}
	body, err := c.receive(answerLimit)
	if err != nil {
		return s.closed(st, x, err)
	}
	resp, err := decode(body, req)
	if err != nil {
		return x, err
	}
	unsettled := s.observe(req, resp)
	x.answer = render(s, resp, req.Key(), func(name string) bool {
		return !strings.HasPrefix(name, s.prefix) && !strings.Contains(x.request, name)
	})
	if unsettled != nil {
		x.answer = append(x.answer, "(then)="+unsettled.Error())
	}
	if st.after != nil {
		st.after(s, resp)
	}
	return x, nil
}

// closed is the answer of a broker that closed the connection.
func (s *side) closed(st step, x exchange, err error) (exchange, error) {
	switch {
	case errors.Is(err, errClosed):
		x.answer = []string{"(closed)"}
	case errors.Is(err, os.ErrDeadlineExceeded):
		x.answer = []string{"(no answer)"}
	default:
		return x, err
	}
	s.drop(st.conn)
	return x, nil
}

// noAnswer: a Produce with acks=0 gets none.
func noAnswer(req kmsg.Request) bool {
	p, ok := req.(*kmsg.ProduceRequest)
	return ok && p.Acks == 0
}

// unanswered finds out by a second request what became of one that has no answer.
func (s *side) unanswered(st step, x exchange, c *conn) (exchange, error) {
	probe := kmsg.NewPtrApiVersionsRequest()
	_, err := c.call(probe, answerLimit)
	if err != nil {
		return s.closed(st, x, err)
	}
	x.answer = []string{"(open)"}
	return x, nil
}

func (s *side) rawStep(st step) (exchange, error) {
	x := exchange{request: fmt.Sprintf("#%d bytes %x | %s", st.conn, st.raw, st.note)}
	c, err := s.conn(st.conn)
	if err != nil {
		return x, err
	}
	c.correlation = rawCorrelation
	if err := c.write(st.raw); err != nil {
		return s.closed(st, x, err)
	}
	body, err := c.receive(answerLimit)
	if err != nil {
		return s.closed(st, x, err)
	}
	x.answer = []string{fmt.Sprintf("bytes=%x", body[:min(len(body), 2)])}
	return x, nil
}

// arrived waits until the broker has taken a request whose answer may come late: until there is an answer, or the group shows that
// it knows.
func (s *side) arrived(st step, c *conn, before string) error {
	if st.group == "" {
		return nil // the order does not matter
	}
	for end := time.Now().Add(arriveLimit); time.Now().Before(end); time.Sleep(settlePoll) {
		if c.readable() {
			return nil
		}
		now, err := s.groupText(st.group)
		if err != nil {
			return err
		}
		if now != before || strings.HasPrefix(now, "PreparingRebalance") {
			return nil
		}
	}
	return nil
}

// groupText is what DescribeGroups shows of a group, as far as it tells that something has happened.
func (s *side) groupText(group string) (string, error) {
	if group == "" {
		return "", nil
	}
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{group}
	resp, err := s.ask(req, 5)
	if err != nil {
		return "", err
	}
	g := resp.(*kmsg.DescribeGroupsResponse).Groups[0]
	return fmt.Sprintf("%s %d", g.State, len(g.Members)), nil
}

// observe waits for what an answer promises: topics that appear, grow or go, and configurations.
func (s *side) observe(req kmsg.Request, resp kmsg.Response) error {
	want := map[string]int32{}
	changed := false
	switch resp := resp.(type) {
	case *kmsg.ProduceResponse:
		return s.stored(resp)
	case *kmsg.CreateTopicsResponse:
		for _, t := range resp.Topics {
			if t.ErrorCode == 0 && !req.(*kmsg.CreateTopicsRequest).ValidateOnly {
				want[t.Topic] = -1
			}
		}
	case *kmsg.CreatePartitionsResponse:
		for _, t := range resp.Topics {
			for _, asked := range req.(*kmsg.CreatePartitionsRequest).Topics {
				if asked.Topic == t.Topic && t.ErrorCode == 0 && !req.(*kmsg.CreatePartitionsRequest).ValidateOnly {
					want[t.Topic] = asked.Count
				}
			}
		}
	case *kmsg.DeleteTopicsResponse:
		for _, t := range resp.Topics {
			name := s.idNames[t.TopicID]
			if t.Topic != nil {
				name = *t.Topic
			}
			if t.ErrorCode == 0 && name != "" {
				want[name] = 0
			}
		}
	case *kmsg.MetadataResponse:
		for _, t := range resp.Topics {
			if t.Topic == nil || !creates(req.(*kmsg.MetadataRequest)) {
				continue
			}
			if _, known := s.ids[*t.Topic]; t.ErrorCode == 3 || t.ErrorCode == 0 && !known {
				want[*t.Topic] = -1
			}
		}
	case *kmsg.AlterConfigsResponse, *kmsg.IncrementalAlterConfigsResponse:
		changed = true
	}
	if len(want) > 0 {
		return s.settle(want)
	}
	if changed {
		time.Sleep(s.lag)
	}
	return nil
}

// stored waits until what a Produce has appended can be read: with acks=1 it is answered before.
func (s *side) stored(resp *kmsg.ProduceResponse) error {
	ends := map[string]int64{}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode == 0 {
				ends[epochKey(t.Topic, p.Partition)] = p.BaseOffset + 1
			}
		}
	}
	return s.follow(ends)
}

// creates reports whether topics that a request names and nobody has are created: before version 4, always.
func creates(r *kmsg.MetadataRequest) bool {
	return len(r.Topics) > 0 && (r.AllowAutoTopicCreation || r.Version < 4)
}

// clean removes what a sequence has left, so that the next one meets a broker without it.
func (s *side) clean(q *sequence) error {
	all := kmsg.NewPtrMetadataRequest()
	resp, err := s.ask(all, 1)
	if err != nil {
		return err
	}
	del := kmsg.NewPtrDeleteTopicsRequest()
	del.TimeoutMillis = int32(settleLimit.Milliseconds())
	for _, t := range resp.(*kmsg.MetadataResponse).Topics {
		if strings.HasPrefix(*t.Topic, s.prefix) {
			del.TopicNames = append(del.TopicNames, *t.Topic)
		}
	}
	if len(del.TopicNames) > 0 {
		if _, err := s.ask(del, 4); err != nil {
			return err
		}
	}
	if err := s.cleanGroups(); err != nil {
		return err
	}
	if !q.brokerConfigs {
		return nil
	}
	for _, name := range []string{"1", ""} {
		reset := kmsg.NewPtrAlterConfigsRequest()
		r := kmsg.NewAlterConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeBroker, name
		reset.Resources = append(reset.Resources, r)
		if _, err := s.ask(reset, 1); err != nil {
			return err
		}
	}
	time.Sleep(s.lag)
	return nil
}

// cleanGroups deletes the groups of a sequence, but for those that still have members.
func (s *side) cleanGroups() error {
	resp, err := s.ask(kmsg.NewPtrListGroupsRequest(), 0)
	if err != nil || resp.(*kmsg.ListGroupsResponse).ErrorCode != 0 {
		return err
	}
	del := kmsg.NewPtrDeleteGroupsRequest()
	for _, g := range resp.(*kmsg.ListGroupsResponse).Groups {
		if g.Group == "" || strings.HasPrefix(g.Group, s.prefix) {
			del.Groups = append(del.Groups, g.Group)
		}
	}
	if len(del.Groups) == 0 {
		return nil
	}
	_, err = s.ask(del, 1)
	return err
}

// byPath takes the lines of an answer apart: the paths, sorted, and what is at each.
func (x exchange) byPath() (paths []string, values map[string]string) {
	values = map[string]string{}
	for _, line := range x.answer {
		path, value, _ := strings.Cut(line, "=")
		if _, twice := values[path]; !twice {
			paths = append(paths, path)
		}
		values[path] = value
	}
	slices.Sort(paths)
	return paths, values
}
