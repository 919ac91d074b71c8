package raft

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	hraft "github.com/hashicorp/raft"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
	"github.com/tandembroker/tandem/storage/vfs"
)

var logOptions = log.Options{}

func TestGuardR1HeartbeatsGoThroughTheMainLoop(t *testing.T) {
	b := newDisk(t).start(t, Options{})
	g := b.openGroup(t, 1, &recorder{}, 0)
	called := false
	g.trans.SetHeartbeatHandler(func(hraft.RPC) { called = true })
	n := b.options.Network
	other := n.join(g.sg, "2@other", time.Second)
	var resp hraft.AppendEntriesResponse
	err := other.AppendEntries(hraft.ServerID(b.serverID), "", &hraft.AppendEntriesRequest{
		RPCHeader: hraft.RPCHeader{ProtocolVersion: 3, ID: []byte("2@other"), Addr: []byte("2@other")}, Term: 1,
	}, &resp)
	if err != nil || called {
		t.Fatalf("heartbeat: %v, handler called: %v", err, called)
	}
	if resp.Success || resp.Term < 2 {
		t.Fatalf("a deposed leader was obeyed: %+v", resp)
	}
}

func TestGuardR1LowerTermIsRefused(t *testing.T) {
	s := newDisk(t).open(t)
	sg, err := s.CreateGroup(groupID(1), "t-1", 0, logOptions)
	if err != nil {
		t.Fatal(err)
	}
	st := &stableStore{g: &Group{}, sg: sg}
	for _, c := range []struct {
		term uint64
		ok   bool
	}{{5, true}, {5, true}, {4, false}, {6, true}} {
		if err := st.SetUint64([]byte(keyCurrentTerm), c.term); (err == nil) != c.ok {
			t.Fatalf("term %d: %v", c.term, err)
		}
	}
	if term, _ := st.GetUint64([]byte(keyCurrentTerm)); term != 6 {
		t.Fatalf("term %d", term)
	}
}

func TestGuardR2VoteIsOneRecord(t *testing.T) {
	d := newDisk(t)
	s := d.open(t)
	sg, err := s.CreateGroup(groupID(1), "t-1", 0, logOptions)
	if err != nil {
		t.Fatal(err)
	}
	st := &stableStore{g: &Group{}, sg: sg}
	vote := func(term uint64, candidate string) {
		t.Helper()
		for _, err := range []error{
			st.SetUint64([]byte(keyCurrentTerm), term),
			st.SetUint64([]byte(keyLastVoteTerm), term),
			st.Set([]byte(keyLastVoteCand), []byte(candidate)),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(st *stableStore, term uint64, candidate string) {
		t.Helper()
		gotTerm, err1 := st.GetUint64([]byte(keyLastVoteTerm))
		got, err2 := st.Get([]byte(keyLastVoteCand))
		if err := errors.Join(err1, err2); err != nil || gotTerm != term || string(got) != candidate {
			t.Fatalf("voted in term %d for %q (%v), want term %d, %q", gotTerm, got, err, term, candidate)
		}
	}
	check(st, 0, "")
	vote(2, "1@a")
	check(st, 2, "1@a")
	before := s.Journal().NextSequence()
	vote(3, "2@b")
	if n := s.Journal().NextSequence() - before; n != 2 { // the term, and the vote
		t.Fatalf("a vote took %d records", n)
	}
	// A crash between the library's two writes: the vote of term 4 must not be paired with the candidate of term 3.
	if err := st.SetUint64([]byte(keyCurrentTerm), 4); err != nil {
		t.Fatal(err)
	}
	if err := st.SetUint64([]byte(keyLastVoteTerm), 4); err != nil {
		t.Fatal(err)
	}
	check(st, 3, "2@b")
	if err := s.Close(false); err != nil {
		t.Fatal(err)
	}
	sg, _ = d.open(t).Group(groupID(1))
	check(&stableStore{g: &Group{}, sg: sg}, 3, "2@b")
	if v := sg.Vote(); v.Term != 4 {
		t.Fatalf("term %d after the restart", v.Term)
	}
}

// After a failed StoreLogs nothing is tried again, even where the disk is well the next moment: the library would stand for
// election, and send what failed once more, or something else under its index. After a restart the log is one that the clients'
// answers allow: what was acknowledged is there, and what failed is either there, once, or not.
func TestGuardR3FailedStoreEndsTheRaftGroup(t *testing.T) {
	for name, op := range map[string]vfs.Op{"write": vfs.OpWrite, "sync": vfs.OpSync} {
		t.Run(name, func(t *testing.T) {
			d := newMemDisk(t)
			b := d.start(t, Options{Timeout: 50 * time.Millisecond})
			m := &recorder{}
			g := b.openGroup(t, 1, m, 0)
			mustCommit(t, g, 1)
			elections := watchElections(g)
			fault := &vfs.Fault{Ops: op, Err: syscall.EIO}
			d.mem.SetHook(fault.Hook)
			var futures [3]*Future
			var releases [3]*int
			for i := range futures { // those behind the first one are in flight with it, or come too late
				futures[i], releases[i] = propose(t, g, 1, 100_000) // by reference: the segment is synced
			}
			for i, f := range futures {
				released := releases[i]
				if _, err := f.Wait(context20(t)); !errors.Is(err, ErrOffline) || !fault.Hit() || *released != 1 {
					t.Fatalf("got %v, released %d times", err, *released)
				}
			}
			if err := <-d.fatal; !errors.Is(err, syscall.EIO) {
				t.Fatalf("fatal with %v", err)
			}
			endsWithoutElection(t, g, elections)
			if err := g.WaitReady(context20(t)); !errors.Is(err, ErrOffline) {
				t.Fatalf("the Raft group serves again: %v", err)
			}
			if n := m.count(entry.Data); n != 1 {
				t.Fatalf("%d batches were applied", n)
			}
			b.stop(t)

			m = &recorder{}
			g = d.start(t, Options{}).openGroup(t, 1, m, 0)
			n := m.count(entry.Data)
			if n < 1 || n > 1+len(futures) {
				t.Fatalf("%d batches after the restart, 1 was acknowledged, %d were perhaps stored", n, len(futures))
			}
			if offset := mustCommit(t, g, 1); offset != int64(n) {
				t.Fatalf("offset %d behind %d batches", offset, n)
			}
		})
	}
}

// watchElections notes each time that g stands for election from now on.
func watchElections(g *Group) <-chan hraft.Observation {
	elections := make(chan hraft.Observation, 16)
	g.raft.Load().RegisterObserver(hraft.NewObserver(elections, false, func(o *hraft.Observation) bool {
		state, ok := o.Data.(hraft.RaftState)
		return ok && state == hraft.Candidate
	}))
	return elections
}

// endsWithoutElection waits until g has stopped by itself, and fails where it has stood for election instead.
func endsWithoutElection(t *testing.T, g *Group, elections <-chan hraft.Observation) {
	t.Helper()
	select {
	case <-g.stopped:
	case <-context20(t).Done():
		t.Fatal("the Raft group does not end")
	}
	if n := len(elections); n > 0 {
		t.Fatalf("stood for election %d times behind a failed store", n)
	}
}

func TestGuardR4GapEndsTheRaftGroup(t *testing.T) {
	b := newDisk(t).start(t, Options{})
	g := b.openGroup(t, 1, &recorder{}, 0)
	if !newLogStoreView(g).IsMonotonic() {
		t.Fatal("the library would leave gaps")
	}
	s := newLogStoreView(g)
	s.state = g.sg.State()
	last := g.sg.LastIndex()
	err := s.StoreLogs([]*hraft.Log{{Index: last + 2, Term: 9, Type: hraft.LogNoop}})
	if err == nil || g.sg.LastIndex() != last {
		t.Fatalf("a gap was stored: %v", err)
	}
	<-g.stopped
	if g.Offline() == nil {
		t.Fatal("the Raft group goes on")
	}
}

func TestGuardR4OnlyPrefixAndSuffixAreDeleted(t *testing.T) {
	b := newDisk(t).start(t, Options{})
	g := b.openGroup(t, 1, &recorder{}, 0)
	for range 5 {
		mustCommit(t, g, 1)
	}
	s := newLogStoreView(g)
	first, last := g.sg.FirstIndex(), g.sg.LastIndex()
	for _, r := range [][2]uint64{{first, first + 1}, {first + 2, last - 1}} { // no snapshot covers the first
		if err := s.DeleteRange(r[0], r[1]); err == nil {
			t.Errorf("deleting %d to %d of %d to %d left a hole", r[0], r[1], first, last)
		}
	}
	if g.Offline() != nil {
		t.Fatal(g.Offline())
	}
}

func TestGuardR5TimeoutsAreOneFigure(t *testing.T) {
	o := Options{Timeout: 4 * time.Second}.withDefaults()
	c := o.config("1@a", nil)
	if c.HeartbeatTimeout != o.Timeout || c.ElectionTimeout != o.Timeout || c.LeaderLeaseTimeout != o.Timeout ||
		c.CommitTimeout != o.Timeout/5 {
		t.Fatalf("%+v", c)
	}
	if err := hraft.ValidateConfig(c); err != nil {
		t.Fatal(err)
	}
}

func TestGuardR9BadStateTakesOneGroupOffline(t *testing.T) {
	d := newDisk(t)
	b := d.start(t, Options{})
	mustCommit(t, b.openGroup(t, 1, &recorder{}, 0), 1)
	mustCommit(t, b.openGroup(t, 2, &recorder{}, 0), 1)
	if err := b.Checkpoint(context20(t)); err != nil {
		t.Fatal(err)
	}
	b.stop(t)
	b = d.start(t, Options{})
	bad := errors.New("state of a newer version")
	if _, err := b.Open(groupID(1), &recorder{refuse: bad}, Boot{}); !errors.Is(err, ErrOffline) || !errors.Is(err, bad) {
		t.Fatalf("got %v", err)
	}
	mustCommit(t, b.openGroup(t, 2, &recorder{}, 0), 1)
	if _, err := decodeConfiguration([]byte("\xff\x00garbage")); err == nil {
		t.Fatal("a membership that does not decode was taken")
	}
}

func TestGuardR12OneGroupDoesNotCloseAnother(t *testing.T) {
	b := newDisk(t).start(t, Options{})
	b.openGroup(t, 1, &recorder{}, 0)
	g := b.openGroup(t, 2, &recorder{}, 0)
	if _, ok := any(g.trans).(hraft.WithClose); ok {
		t.Fatal("the library would close the transport")
	}
	if err := b.Stop(groupID(1)); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, g, 1)
}

func TestGuardR15PreVoteIsOn(t *testing.T) {
	var tr hraft.Transport = &endpoint{}
	if _, ok := tr.(hraft.WithPreVote); !ok {
		t.Fatal("the library turns pre-vote off")
	}
}

func TestLibraryLogIsBounded(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	l := &logger{slog.New(slog.NewTextHandler(&out, nil)), "g", newLimiter(func() time.Time { return now })}
	for range 1000 {
		l.Warn("heartbeat timeout reached")
		l.Info("entering follower state")
	}
	if n := strings.Count(out.String(), "\n"); n != logBurst {
		t.Fatalf("%d lines", n)
	}
	now = now.Add(logWindow)
	out.Reset()
	l.Warn("heartbeat timeout reached")
	if !strings.Contains(out.String(), "suppressed=990") {
		t.Fatal(out.String())
	}
}
