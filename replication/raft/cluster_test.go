package raft

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	hraft "github.com/hashicorp/raft"

	"github.com/tandembroker/tandem/storage/entry"
)

// cluster is three brokers in one process with one Raft group.
type cluster struct {
	net      *Network
	brokers  []*broker
	groups   []*Group
	machines []*recorder
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{net: NewNetwork()}
	var voters []string
	for i := range 3 {
		d := newDisk(t)
		d.node = int32(i + 1)
		b := d.start(t, Options{Network: c.net, Timeout: 300 * time.Millisecond, CommitTimeout: 10 * time.Millisecond})
		c.brokers = append(c.brokers, b)
		voters = append(voters, b.serverID)
	}
	for _, b := range c.brokers {
		m := &recorder{}
		g, err := b.Open(groupID(1), m, Boot{Folder: "t-1", Voters: voters})
		if err != nil {
			t.Fatal(err)
		}
		c.groups, c.machines = append(c.groups, g), append(c.machines, m)
	}
	c.groups[0].Elect() // what the timers would do, later
	return c
}

// leader waits for a serving leader that is not the one at not.
func (c *cluster) leader(t *testing.T, not int) int {
	t.Helper()
	leader := -1
	eventually(t, "a leader", func() bool {
		for i, g := range c.groups {
			if i != not && g.Ready() {
				leader = i
				return true
			}
		}
		return false
	})
	return leader
}

// isolate cuts broker i off; -1 = nobody.
func (c *cluster) isolate(i int) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.net.mu.cut = nil
	if i >= 0 {
		id := hraft.ServerID(c.brokers[i].serverID)
		c.net.mu.cut = func(from, to hraft.ServerID) bool { return from == id || to == id }
	}
}

// A deposed leader's uncommitted suffix is replaced; every replica ends with the same bytes, and no stored but uncommitted
// batch was acknowledged.
func TestFailoverReplacesTheSuffix(t *testing.T) {
	c := newCluster(t)
	old := c.leader(t, -1)
	_, before, _ := c.groups[old].Serving()
	for range 5 {
		mustCommit(t, c.groups[old], 1)
	}
	c.isolate(old)
	lost, released := propose(t, c.groups[old], 1, 10)
	<-lost.Stored()
	select {
	case <-lost.Done():
		t.Fatalf("acknowledged by one of three: %v", lost.Err())
	default:
	}
	c.groups[(old+1)%3].Elect()
	now := c.leader(t, old)
	_, epoch, _ := c.groups[now].Serving()
	for range 3 {
		mustCommit(t, c.groups[now], 2)
	}
	c.isolate(-1)
	if _, err := lost.Wait(context20(t)); !errors.Is(err, ErrNotLeader) || *released != 1 {
		t.Fatalf("lost proposal: %v, released %d times", err, *released)
	}
	eventually(t, "all replicas at the same end", func() bool {
		for i := range c.groups {
			if err := c.groups[i].Offline(); err != nil {
				t.Fatalf("replica %d: %v", i, err)
			}
			if c.groups[i].sg.Log().LogEnd() != 11 || c.machines[i].count(entry.Data) != 8 {
				return false
			}
		}
		return true
	})
	want := readAt(t, c.groups[now], 0)
	for i := range c.groups {
		if !bytes.Equal(readAt(t, c.groups[i], 0), want) {
			t.Errorf("replica %d differs", i)
		}
	}
	if got := c.groups[old].sg.State(); got != c.groups[now].sg.State() {
		t.Errorf("admission state %+v, the leader's %+v", got, c.groups[now].sg.State())
	}
	if epoch <= before {
		t.Errorf("leader epoch %d after a failover, %d before", epoch, before)
	}
}

// A follower never patches: a payload that does not match its header ends its Raft group instead of being stored.
func TestFollowerVerifiesThePayload(t *testing.T) {
	b := newDisk(t).start(t, Options{})
	g := b.openGroup(t, 1, &recorder{}, 0)
	s := newLogStoreView(g)
	s.state = g.sg.State()
	term, _, _ := g.Serving()
	h, payload := batch(t, 1, 10)
	h.ValidatedTerm, h.AppendSequence = term, s.state.AppendSequence+1
	s.state.Stamp(h, term)
	stamp(h, payload)
	payload[len(payload)-1] ^= 1
	err := s.StoreLogs([]*hraft.Log{{Index: g.sg.LastIndex() + 1, Term: term, Data: h.Append(nil), Extensions: payload}})
	if !errors.Is(err, errPayload) {
		t.Fatalf("got %v", err)
	}
	<-g.stopped
}

func TestServerIDNamesTheDisk(t *testing.T) {
	id := ServerID(7, "disk")
	if n, ok := parseServerID(id); id != "7@disk" || !ok || n != 7 {
		t.Fatal(fmt.Sprint(id, n, ok))
	}
	for _, bad := range []string{"", "7", "x@disk", "99999999999@disk"} {
		if _, ok := parseServerID(bad); ok {
			t.Errorf("%q was taken", bad)
		}
	}
}
