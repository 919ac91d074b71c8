package group

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"
)

var seedFlag = flag.Uint64("seed", 0, "run the random clients with this seed only")

// TestRandomClients lets clients do at random what they may do, and what they may not, while records are slow or fail and the
// broker restarts. Then the clients behave, and all must soon be in one generation. At any time:
//
//   - a generation has one leader while the broker runs,
//   - an assignment is what the leader of that generation gave to that client,
//   - each request is answered once, unless the broker restarted meanwhile.
func TestRandomClients(t *testing.T) {
	if *seedFlag != 0 {
		runRandomClients(t, *seedFlag)
		return
	}
	for seed := uint64(1); seed <= 400; seed++ {
		runRandomClients(t, seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// crowd is the clients of one group.
type crowd struct {
	*world
	t       *testing.T
	rng     *rand.Rand
	clients []*robot
	leaders map[lead]string // the client that was asked to assign
	boot    int             // counts restarts; an answer of a former life would be a mistake
}

// lead names a generation. One that was not stored is counted again after a restart, as in Kafka.
type lead struct {
	boot       int
	generation int32
}

// robot is one client.
type robot struct {
	name       string
	instance   *string
	old        bool // does not know MEMBER_ID_REQUIRED
	id         string
	generation int32
	leads      []JoinMember
	assigned   bool
	waits      bool // for an answer
	request    int  // counts them, so that an answer can be told from that to an earlier one
	session    time.Duration
}

func runRandomClients(t *testing.T, seed uint64) {
	c := &crowd{t: t, rng: rand.New(rand.NewPCG(seed, 7)), leaders: make(map[lead]string)}
	opts := membershipOptions{InitialDelay: time.Duration(c.rng.IntN(2)) * 3 * time.Second, MemberBytes: &budget{limit: 1 << 20}}
	if c.rng.IntN(4) == 0 {
		opts.SizeMax = 4
	}
	c.world = newWorld(opts)
	for i := range 2 + c.rng.IntN(5) {
		r := &robot{name: fmt.Sprintf("c%d", i), old: c.rng.IntN(3) == 0, session: time.Duration(6+c.rng.IntN(20)) * time.Second}
		if c.rng.IntN(3) == 0 {
			r.instance = pointer("i" + r.name)
		}
		c.clients = append(c.clients, r)
	}
	for range 300 {
		c.chaos()
		c.check(t)
	}
	c.held = false
	c.opts.SizeMax = 0
	c.s.opts.SizeMax = 0
	c.pump()
	for range 1800 {
		for _, r := range c.clients {
			c.behave(r)
			c.pump()
		}
		c.advance(time.Second)
		c.check(t)
		if c.settled() {
			return
		}
	}
	t.Errorf("seed %d: the group does not come to rest: %s", seed, c.s.find("g").state)
}

// chaos does one thing at random.
func (c *crowd) chaos() {
	r := c.clients[c.rng.IntN(len(c.clients))]
	switch n := c.rng.IntN(100); {
	case n < 40:
		c.behave(r)
	case n < 50:
		c.join(r)
	case n < 56:
		c.sync(r)
	case n < 60:
		c.forget(r)
	case n < 64 && r.id != "":
		_, _ = c.s.leave(c.now, LeaveRequest{GroupID: "g", Members: []LeaveMember{{MemberID: r.id, InstanceID: r.instance}}})
	case n < 66 && r.instance != nil:
		_, _ = c.s.leave(c.now, LeaveRequest{GroupID: "g", Members: []LeaveMember{{InstanceID: r.instance}}})
	case n < 85:
		c.advance(time.Duration(c.rng.IntN(4000)) * time.Millisecond)
	case n < 87:
		c.advance(time.Duration(c.rng.IntN(60)) * time.Second)
	case n < 90:
		c.held = !c.held
	case n < 97 && len(c.log.open) > 0:
		var err error
		if c.rng.IntN(3) == 0 {
			err = ErrCoordinatorNotAvailable
		}
		c.log.settle(c.now, err)
	case n < 98:
		c.boot++
		c.restart(c.t)
		for _, r := range c.clients {
			r.waits = false // the connection is gone
		}
	}
	c.pump()
}

// forget is a client that restarts.
func (c *crowd) forget(r *robot) {
	r.id, r.generation, r.leads, r.assigned, r.waits = "", -1, nil, false, false
	r.request++
}

// behave does what a client has to do next.
func (c *crowd) behave(r *robot) {
	switch {
	case r.waits:
	case r.id == "" || r.generation < 0:
		c.join(r)
	case !r.assigned:
		c.sync(r)
	default:
		err := c.s.heartbeat(c.now, HeartbeatRequest{GroupID: "g", MemberID: r.id, InstanceID: r.instance, Generation: r.generation})
		c.lost(r, err)
	}
}

// lost notes what a client takes from an error.
func (c *crowd) lost(r *robot, err error) {
	switch {
	case err == nil:
		return
	case errors.Is(err, ErrUnknownMember), errors.Is(err, ErrFencedInstance), errors.Is(err, ErrGroupMaxSize):
		r.id = ""
	}
	r.generation, r.leads, r.assigned = -1, nil, false
}

// asks begins a request; answered is called with its answer and returns whether the client still cares.
func (c *crowd) asks(r *robot) (answered func() bool) {
	r.request++
	r.waits = true
	number, boot, done := r.request, c.boot, false
	return func() bool {
		if done || boot != c.boot {
			c.t.Errorf("%s: a second answer, or one of a broker that is gone", r.name)
		}
		done = true
		if number != r.request {
			return false
		}
		r.waits = false
		return true
	}
}

func (c *crowd) join(r *robot) {
	answered := c.asks(r)
	c.s.join(c.now, JoinRequest{
		GroupID: "g", MemberID: r.id, InstanceID: r.instance, ClientID: r.name, ProtocolType: consumerType,
		Protocols: []Protocol{{"range", []byte(r.name)}, {"sticky", []byte(r.name)}}, NeedsID: !r.old, SkipsAssignment: !r.old,
		SessionTimeout: r.session, RebalanceTimeout: 20 * time.Second,
	}, func(res JoinResult) {
		if res.Err == nil && len(res.Members) > 0 && !res.SkipAssignment {
			led := lead{c.boot, res.Generation}
			if l, ok := c.leaders[led]; ok && l != r.name {
				c.t.Errorf("generation %d is led by %s and by %s", res.Generation, l, r.name)
			}
			c.leaders[led] = r.name
		}
		switch {
		case !answered():
		case errors.Is(res.Err, ErrMemberIDRequired):
			r.id = res.MemberID
		case res.Err != nil:
			c.lost(r, res.Err)
		default:
			r.id, r.generation, r.assigned, r.leads = res.MemberID, res.Generation, false, nil
			if !res.SkipAssignment {
				r.leads = res.Members
			}
		}
	})
}

func (c *crowd) sync(r *robot) {
	answered, generation := c.asks(r), r.generation
	given := make(map[string][]byte)
	for _, m := range r.leads {
		given[m.MemberID] = fmt.Appendf(nil, "%d/%s", generation, m.Metadata)
	}
	c.s.sync(c.now, SyncRequest{
		GroupID: "g", MemberID: r.id, InstanceID: r.instance, Generation: generation, Assignments: maps.All(given),
		ProtocolType: pointer(consumerType),
	}, func(res SyncResult) {
		if !answered() {
			return
		}
		if res.Err != nil {
			c.lost(r, res.Err)
			return
		}
		r.assigned = true
		if got, want := string(res.Assignment), fmt.Sprintf("%d/%s", generation, r.name); got != want {
			c.t.Errorf("%s is assigned %q in generation %d", r.name, got, generation)
		}
	})
}

// settled says whether all are in one generation, and nothing is under way.
func (c *crowd) settled() bool {
	g := c.s.find("g")
	if g == nil || g.state != stateStable || len(g.order) != len(c.clients) || len(g.unsynced) > 0 {
		return false
	}
	for _, r := range c.clients {
		if r.waits || !r.assigned || r.generation != g.generation || g.members[r.id] == nil {
			return false
		}
	}
	return true
}
