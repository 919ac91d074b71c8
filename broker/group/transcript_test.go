package group

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/brokertest/transcript"
)

// TestTranscripts runs testdata/*.txt (see package transcript). The answers of a command are those to clients, at once or to earlier
// requests, and records that were written. Commands (WHO is a client id; a client remembers
// member id and generation that it was last told; KEY=VALUE may be left out):
//
//	broker delay=D max=N epoch=N bytes=N   begins with an empty broker: initial delay, group.max.size, site epoch, memory
//	join WHO id= instance= session= rebalance= type= protocols=NAME:METADATA,... v=9
//	     (METADATA @A+B = a consumer's subscription to the topics A and B)
//	sync WHO id= instance= gen= type= protocol= assign=WHO:ASSIGNMENT,...
//	heartbeat WHO id= instance= gen=
//	leave WHO... | leave instance=I        members, or an administrator that removes a static one
//	commit WHO id= instance= gen=          asks whether offsets may be committed
//	advance D                              moves the clock
//	hold, stored, failed                   appends stay open from now on; the oldest is committed; it fails
//	crowded 1|0                            the log has no room, or has again
//	restart epoch=N                        restarts the broker with the records that are committed; in another site epoch: a promotion
//	unload                                 another broker has the groups from now on
//	generation N                           sets the generation
//	describe, list states= types=, delete
//	subscribed TOPIC
func TestTranscripts(t *testing.T) {
	transcript.Run(t, "testdata/*.txt", func(t *testing.T) transcript.Play {
		s := &dialogue{t: t}
		s.begin(membershipOptions{})
		return func(line string) ([]string, error) {
			s.out = nil
			err := s.run(parseCommand(line))
			s.pump()
			s.check(t)
			return s.out, err
		}
	})
}

// dialogue is what the commands work on. All are about the group "g".
type dialogue struct {
	*world
	t       *testing.T
	clients map[string]*knowledge
	out     []string // of one command
}

// knowledge is what a client was told.
type knowledge struct {
	id         string
	generation int32
}

func (s *dialogue) begin(opts membershipOptions) {
	s.world = newWorld(opts)
	s.clients = make(map[string]*knowledge)
	s.log.written = func(_ string, v *kmsg.GroupMetadataValue) {
		members := make([]string, len(v.Members))
		for i, m := range v.Members {
			members[i] = fmt.Sprintf("%s=%s", m.MemberID, m.Assignment)
		}
		s.say("record: generation %d, members [%s]", v.Generation, strings.Join(members, " "))
	}
}

func (s *dialogue) say(format string, args ...any) {
	s.out = append(s.out, fmt.Sprintf(format, args...))
}

// command is a line.
type command struct {
	verb string
	args []string
	keys map[string]string
}

func parseCommand(line string) command {
	c := command{keys: make(map[string]string)}
	for i, f := range strings.Fields(line) {
		key, value, ok := strings.Cut(f, "=")
		switch {
		case i == 0:
			c.verb = f
		case ok:
			c.keys[key] = value
		default:
			c.args = append(c.args, f)
		}
	}
	return c
}

func (c command) who() string {
	if len(c.args) == 0 {
		return "nobody"
	}
	return c.args[0]
}

func (c command) duration(key string, otherwise time.Duration) time.Duration {
	if d, err := time.ParseDuration(c.keys[key]); err == nil {
		return d
	}
	return otherwise
}

func (c command) number(key string, otherwise int) int {
	if n, err := strconv.Atoi(c.keys[key]); err == nil {
		return n
	}
	return otherwise
}

func (c command) text(key, otherwise string) string {
	if v, ok := c.keys[key]; ok {
		return v
	}
	return otherwise
}

func (c command) optional(key string) *string {
	if v, ok := c.keys[key]; ok {
		return &v
	}
	return nil
}

func (s *dialogue) run(c command) error {
	switch c.verb {
	case "broker":
		opts := membershipOptions{InitialDelay: c.duration("delay", 0), SizeMax: c.number("max", 0), SiteEpoch: int32(c.number("epoch", 0))}
		if n := c.number("bytes", 0); n > 0 {
			opts.MemberBytes = &budget{limit: int64(n)}
		}
		s.begin(opts)
	case "join":
		s.join(c)
	case "sync":
		s.sync(c)
	case "heartbeat", "commit", "leave":
		s.simple(c)
	case "advance":
		d, err := time.ParseDuration(c.who())
		if err != nil {
			return err
		}
		s.advance(d)
	case "hold":
		s.held = true
	case "stored":
		s.log.settle(s.now, nil)
	case "failed":
		s.log.settle(s.now, ErrCoordinatorNotAvailable)
	case "restart":
		s.opts.SiteEpoch = int32(c.number("epoch", int(s.opts.SiteEpoch)))
		s.restart(s.t)
	case "crowded":
		s.log.crowded = c.who() == "1"
	case "unload":
		s.s.unload()
	case "generation":
		n, err := strconv.Atoi(c.who())
		if err != nil {
			return err
		}
		s.s.find("g").generation = int32(n)
	case "describe", "list", "delete", "subscribed":
		s.inspect(c)
	default:
		return errors.New("unknown command")
	}
	return nil
}

func (s *dialogue) client(who string) *knowledge {
	if s.clients[who] == nil {
		s.clients[who] = &knowledge{generation: -1}
	}
	return s.clients[who]
}

func (s *dialogue) join(c command) {
	who, k := c.who(), s.client(c.who())
	r := JoinRequest{
		GroupID: c.text("group", "g"), MemberID: c.text("id", k.id), InstanceID: c.optional("instance"), ClientID: who, ClientHost: "/127.0.0.1",
		ProtocolType: c.text("type", consumerType), SessionTimeout: c.duration("session", 10*time.Second),
		RebalanceTimeout: c.duration("rebalance", time.Minute),
		NeedsID:          c.number("v", 9) >= 4, SkipsAssignment: c.number("v", 9) >= 9,
	}
	for _, p := range strings.Split(c.text("protocols", "range:"+who), ",") {
		if name, metadata, ok := strings.Cut(p, ":"); ok {
			r.Protocols = append(r.Protocols, Protocol{Name: name, Metadata: subscription(metadata)})
		}
	}
	s.s.join(s.now, r, func(res JoinResult) {
		if res.Err != nil {
			if errors.Is(res.Err, ErrMemberIDRequired) {
				k.id = res.MemberID
			}
			if res.Generation == 0 {
				s.t.Errorf("%s: %v with generation 0", who, res.Err)
			}
			s.say("%s: %v [%s]", who, res.Err, res.MemberID)
			return
		}
		k.id, k.generation = res.MemberID, res.Generation
		members := make([]string, len(res.Members))
		for i, m := range res.Members {
			members[i] = fmt.Sprintf("%s:%.8q", m.MemberID, m.Metadata)
		}
		skip := ""
		if res.SkipAssignment {
			skip = " skips assignment"
		}
		s.say("%s: is %s in generation %d, %s, leader %s [%s]%s", who, res.MemberID, res.Generation, *res.Protocol, res.Leader, strings.Join(members, " "), skip)
	})
}

// subscription is the metadata of a consumer: of one that subscribes to the topics A and B for "@A+B".
func subscription(text string) []byte {
	topics, ok := strings.CutPrefix(text, "@")
	if !ok {
		return []byte(text)
	}
	m := kmsg.NewConsumerMemberMetadata()
	m.Version, m.Topics = 3, strings.Split(topics, "+")
	return m.AppendTo(nil)
}

func (s *dialogue) sync(c command) {
	who, k := c.who(), s.client(c.who())
	r := SyncRequest{
		GroupID: c.text("group", "g"), MemberID: c.text("id", k.id), InstanceID: c.optional("instance"), Generation: int32(c.number("gen", int(k.generation))),
		ProtocolType: c.optional("type"), Protocol: c.optional("protocol"),
	}
	if c.keys["assign"] != "" {
		given := make(map[string][]byte)
		r.Assignments = maps.All(given)
		defer func() { // the bytes are a frame's
			for _, b := range given {
				clear(b)
			}
		}()
		for _, a := range strings.Split(c.keys["assign"], ",") {
			to, what, _ := strings.Cut(a, ":")
			given[s.client(to).id] = []byte(what)
		}
	}
	s.s.sync(s.now, r, func(res SyncResult) {
		if res.Err != nil {
			s.say("%s: %v", who, res.Err)
			return
		}
		s.say("%s: assigned %q by %s %s", who, res.Assignment, *res.ProtocolType, *res.Protocol)
	})
}

// simple has the commands that are answered at once.
func (s *dialogue) simple(c command) {
	who, k := c.who(), s.client(c.who())
	generation := int32(c.number("gen", int(k.generation)))
	switch c.verb {
	case "heartbeat":
		err := s.s.heartbeat(s.now, HeartbeatRequest{
			GroupID: c.text("group", "g"), MemberID: c.text("id", k.id), InstanceID: c.optional("instance"), Generation: generation,
		})
		s.outcome(who, err)
	case "commit":
		g := s.s.find("g")
		err := g.validateCommit(c.text("id", k.id), c.optional("instance"), generation)
		if err == nil {
			s.s.touch(g, k.id, s.now)
		}
		s.outcome(who, err)
	case "leave":
		r := LeaveRequest{GroupID: c.text("group", "g")}
		if i := c.optional("instance"); i != nil {
			r.Members = []LeaveMember{{MemberID: c.text("id", ""), InstanceID: i}}
		}
		for _, w := range c.args {
			r.Members = append(r.Members, LeaveMember{MemberID: s.client(w).id})
		}
		errs, err := s.s.leave(s.now, r)
		if err != nil {
			s.outcome(who, err)
		}
		for i, err := range errs {
			s.outcome(r.Members[i].MemberID, err)
		}
	}
}

func (s *dialogue) outcome(who string, err error) {
	if err == nil {
		s.say("%s: ok", who)
		return
	}
	s.say("%s: %v", who, err)
}

func (s *dialogue) inspect(c command) {
	switch c.verb {
	case "describe":
		d, err := s.s.describe("g")
		if err != nil {
			s.say("%s: %v", d.State, err)
			return
		}
		s.say("%s %s %s, topics %v", d.State, d.ProtocolType, d.Protocol, sortedKeys(s.s.find("g").topics))
		for _, m := range d.Members {
			s.say("  %s %s%s metadata %.20q assignment %q", m.MemberID, m.ClientID, m.ClientHost, m.Metadata, m.Assignment)
		}
	case "list":
		f := Filter{}
		if v := c.optional("states"); v != nil {
			f.States = strings.Split(*v, ",")
		}
		if v := c.optional("types"); v != nil {
			f.Types = strings.Split(*v, ",")
		}
		for _, g := range s.s.list(f) {
			s.say("%s %s %s %s", g.GroupID, g.ProtocolType, g.State, g.Type)
		}
	case "delete":
		err := ErrGroupIDNotFound
		if g := s.s.find("g"); g != nil {
			err = g.deletable()
		}
		if err == nil {
			s.s.drop("g")
		}
		s.outcome("g", err)
	case "subscribed":
		s.say("%v", s.s.find("g").subscribed(c.who()))
	}
}
