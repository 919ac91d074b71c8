package raft

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	hraft "github.com/hashicorp/raft"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/entry"
)

func TestLeaderEpochsBeginAtTheFloorAndRise(t *testing.T) {
	d := newDisk(t)
	for restart := range 3 {
		b := d.start(t, Options{})
		m := &recorder{}
		g := b.openGroup(t, 1, m, 7)
		if _, epoch, ok := g.Serving(); !ok || epoch != int32(7+restart) {
			t.Fatalf("start %d: leader epoch %d, %v", restart, epoch, ok)
		}
		if node, epoch := g.Leader(); node != 1 || epoch != int32(7+restart) {
			t.Fatalf("leader %d, epoch %d", node, epoch)
		}
		if n := m.count(entry.EpochBase); n != 1 {
			t.Fatalf("start %d: %d epoch bases in the log", restart, n)
		}
		b.stop(t)
	}
}

func TestProposalsAreStampedOnce(t *testing.T) {
	b := newDisk(t).start(t, Options{})
	g := b.openGroup(t, 1, &recorder{}, 3)
	for i, want := range []int64{0, 2, 4} {
		if got := mustCommit(t, g, 2); got != want {
			t.Fatalf("proposal %d went to offset %d, want %d", i, got, want)
		}
	}
	raw := readAt(t, g, 0)
	for want := int64(0); want < 6; want += 2 {
		batch, rest, err := record.Next(raw)
		if err != nil {
			t.Fatal(err)
		}
		raw = rest
		if batch.BaseOffset() != want || batch.LeaderEpoch() != 3 {
			t.Fatalf("batch has base offset %d, leader epoch %d", batch.BaseOffset(), batch.LeaderEpoch())
		}
		if err := batch.CheckCRC(); err != nil {
			t.Fatal(err)
		}
	}
	// What GetLog returns is the header that the machine saw, never the payload.
	var l hraft.Log
	if err := newLogStoreView(g).GetLog(g.sg.LastIndex(), &l); err != nil {
		t.Fatal(err)
	}
	var h entry.Header
	if err := h.Decode(l.Data); err != nil || l.Extensions != nil || h.Rows[0].BaseOffset != 4 || h.PayloadCRC == 0 {
		t.Fatalf("GetLog: %+v, %v", h, err)
	}
}

// newLogStoreView reads the log of a running Raft group.
func newLogStoreView(g *Group) *logStore { return &logStore{g: g, sg: g.sg} }

func TestManyInFlight(t *testing.T) {
	b := newDisk(t).start(t, Options{})
	m := &recorder{}
	g := b.openGroup(t, 1, m, 0)
	var futures []*Future
	for range 500 { // more than the library buffers
		f, _ := propose(t, g, 1, 100)
		futures = append(futures, f)
	}
	for i, f := range futures {
		if r, err := f.Wait(context20(t)); err != nil || r.(int64) != int64(i) {
			t.Fatalf("proposal %d: %v, %v", i, r, err)
		}
		select {
		case <-f.Stored():
		default:
			t.Fatal("applied, but not stored")
		}
	}
	if _, offsets := m.seen(); len(offsets) != 500 || !slices.IsSorted(offsets) {
		t.Fatalf("machine saw %d batches", len(offsets))
	}
}

func TestReplayAfterRestart(t *testing.T) {
	d := newDisk(t)
	b := d.start(t, Options{})
	g := b.openGroup(t, 1, &recorder{}, 0)
	for range 10 {
		mustCommit(t, g, 1)
	}
	b.stop(t)
	b = d.start(t, Options{})
	m := &recorder{}
	g = b.openGroup(t, 1, m, 0)
	if _, offsets := m.seen(); len(offsets) != 10 {
		t.Fatalf("replayed %v", offsets)
	}
	if got := mustCommit(t, g, 1); got != 10 {
		t.Fatalf("next offset %d", got)
	}
}

func TestSnapshotAlsoOfAnIdleGroup(t *testing.T) {
	d := newDisk(t)
	b := d.start(t, Options{})
	g := b.openGroup(t, 1, &recorder{}, 0)
	mustCommit(t, g, 1)
	b.stop(t)
	b = d.start(t, Options{})
	g = b.openGroup(t, 1, &recorder{}, 0)
	if err := b.Checkpoint(context20(t)); err != nil { // nothing but a barrier since the start
		t.Fatal(err)
	}
	snap, ok := g.sg.Snapshot()
	if !ok || snap.Index != g.raft.Load().LastIndex() || string(snap.State) != "1" {
		t.Fatalf("snapshot %+v, last index %d", snap, g.raft.Load().LastIndex())
	}
	if first := g.sg.FirstIndex(); first != 0 {
		t.Fatalf("entries from index %d on are still there", first)
	}
	mustCommit(t, g, 1)
	b.stop(t)
	b = d.start(t, Options{})
	m := &recorder{}
	g = b.openGroup(t, 1, m, 0)
	if _, offsets := m.seen(); string(m.restored) != "1" || len(offsets) != 1 || offsets[0] != 1 {
		t.Fatalf("restored %q, replayed %v", m.restored, offsets)
	}
	if got := mustCommit(t, g, 1); got != 2 {
		t.Fatalf("next offset %d", got)
	}
}

func TestRolesAlternate(t *testing.T) {
	b := newDisk(t).start(t, Options{})
	m := &recorder{}
	g := b.openGroup(t, 1, m, 0)
	for range 3 {
		term, _, _ := g.Serving()
		g.Elect()
		eventually(t, "a new term", func() bool { now, _, ok := g.Serving(); return ok && now > term })
	}
	if err := b.Stop(groupID(1)); err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, role := range m.mu.roles {
		if want := []string{"leading", "following"}[i%2]; role != want {
			t.Fatalf("roles %v", m.mu.roles)
		}
	}
	if len(m.mu.roles)%2 != 0 || m.mu.epoch != 3 {
		t.Fatalf("roles %v, last epoch %d", m.mu.roles, m.mu.epoch)
	}
}

// A proposal that was checked in one leadership and reaches the log in the next one must not be appended.
func TestStaleProposalOfALostLeadershipIsVoid(t *testing.T) {
	b := newDisk(t).start(t, Options{})
	m := &recorder{}
	g := b.openGroup(t, 1, m, 0)
	mustCommit(t, g, 1)

	h, payload := batch(t, 1, 10)
	released := 0
	f := &Future{header: h, payload: payload, release: func() { released++ }, done: make(chan struct{})}
	if err := g.enqueue(f, true); err != nil {
		t.Fatal(err)
	}
	term, _, _ := g.Serving()
	g.Elect()
	eventually(t, "a new term", func() bool { now, _, ok := g.Serving(); return ok && now > term })
	if _, err := f.Wait(context20(t)); !errors.Is(err, ErrNotLeader) || released != 1 {
		t.Fatalf("stale proposal: %v, released %d times", err, released)
	}
	g.send(f) // late, as if it had waited in the library's channel all the time
	eventually(t, "a void in the log", func() bool { return m.count(entry.Void) == 1 })
	if got := mustCommit(t, g, 1); got != 1 {
		t.Fatalf("next offset %d, want 1", got)
	}
}

// A proposal that the library refuses leaves a gap: what follows it in flight must not overtake it.
// What was checked in one leadership must not be proposed in the next, even if nobody noticed that there was a change: what it
// was checked against may not be in the log.
func TestProposalCheckedInAnEarlierTermIsRefused(t *testing.T) {
	g := newDisk(t).start(t, Options{}).openGroup(t, 1, &recorder{}, 0)
	before, _, _ := g.Serving()
	g.Elect()
	eventually(t, "a new leadership", func() bool { term, _, ok := g.Serving(); return ok && term > before })
	end := g.sg.State().NextOffset
	for term, want := range map[uint64]error{before: ErrNotLeader, before + 100: ErrNotLeader} {
		h, payload := batch(t, 1, 10)
		h.ValidatedTerm = term
		released := 0
		if _, err := g.Propose(h, payload, func() { released++ }).Wait(context20(t)); !errors.Is(err, want) || released != 1 {
			t.Errorf("term %d: %v, released %d times", term, err, released)
		}
	}
	h, payload := batch(t, 1, 10)
	h.ValidatedTerm, _, _ = g.Serving()
	if _, err := g.Propose(h, payload, nil).Wait(context20(t)); err != nil || h.Rows[0].BaseOffset != end {
		t.Errorf("in its term: offset %d, want %d, %v", h.Rows[0].BaseOffset, end, err)
	}
}

func TestSequenceGapIsVoid(t *testing.T) {
	b := newDisk(t).start(t, Options{})
	m := &recorder{}
	g := b.openGroup(t, 1, m, 0)
	mustCommit(t, g, 1)

	h, payload := batch(t, 1, 10)
	lost := &Future{header: h, payload: payload, done: make(chan struct{})}
	if err := g.enqueue(lost, true); err != nil { // and never sent
		t.Fatal(err)
	}
	var behind []*Future
	for range 3 {
		f, _ := propose(t, g, 1, 10)
		behind = append(behind, f)
	}
	for _, f := range append(behind, lost) {
		if _, err := f.Wait(context20(t)); !errors.Is(err, ErrVoid) {
			t.Fatalf("got %v", err)
		}
	}
	eventually(t, "nothing in flight", func() bool { return !g.Draining() })
	if got := mustCommit(t, g, 1); got != 1 {
		t.Fatalf("next offset %d, want 1", got)
	}
	if n := m.count(entry.Data); n != 2 {
		t.Fatalf("machine saw %d batches", n)
	}
}

// A void in the middle of nothing else leaves a gap as well: the sequence goes on behind the last stored command.
func TestSequenceGoesOnBehindAVoid(t *testing.T) {
	b := newDisk(t).start(t, Options{})
	m := &recorder{}
	last := int64(1)<<entry.OffsetBandBits - 1 // of site epoch 0
	g, err := b.Open(groupID(1), m, Boot{Folder: "t-1", Start: last})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.WaitReady(context20(t)); err != nil {
		t.Fatal(err)
	}
	f, released := propose(t, g, 2, 10)
	if _, err := f.Wait(context20(t)); !errors.Is(err, ErrVoid) || *released != 1 {
		t.Fatalf("past the band: %v, released %d times", err, *released)
	}
	eventually(t, "nothing in flight", func() bool { return !g.Draining() })
	if got := mustCommit(t, g, 1); got != last {
		t.Fatalf("next offset %d, want %d", got, last)
	}
}

func TestProposeIsRefusedWhileDraining(t *testing.T) {
	b := newDisk(t).start(t, Options{})
	g := b.openGroup(t, 1, &recorder{}, 0)
	g.mu.Lock()
	g.mu.broken = true
	g.mu.inFlight++
	g.mu.Unlock()
	f, released := propose(t, g, 1, 10)
	if _, err := f.Wait(context20(t)); !errors.Is(err, ErrVoid) || *released != 1 || !g.Draining() {
		t.Fatalf("got %v, released %d times", err, *released)
	}
	g.mu.Lock()
	g.mu.inFlight--
	g.mu.Unlock()
	mustCommit(t, g, 1)
}

func TestStopFailsWhatIsInFlight(t *testing.T) {
	b := newDisk(t).start(t, Options{})
	g := b.openGroup(t, 1, &recorder{}, 0)
	var futures []*Future
	var released []*int
	for range 50 {
		f, r := propose(t, g, 1, 10)
		futures, released = append(futures, f), append(released, r)
	}
	if err := b.Stop(groupID(1)); err != nil {
		t.Fatal(err)
	}
	for i, f := range futures {
		_, err := f.Wait(context20(t))
		if err != nil && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrNotLeader) {
			t.Fatal(err)
		}
		if *released[i] != 1 {
			t.Fatalf("payload %d released %d times", i, *released[i])
		}
	}
	f, _ := propose(t, g, 1, 10)
	if _, err := f.Wait(context20(t)); !errors.Is(err, ErrClosed) {
		t.Fatalf("after the end: %v", err)
	}
	if err := g.WaitReady(context20(t)); !errors.Is(err, ErrClosed) {
		t.Fatalf("after the end: %v", err)
	}
}

func TestRemoveDeletesTheData(t *testing.T) {
	d := newDisk(t)
	b := d.start(t, Options{})
	g := b.openGroup(t, 1, &recorder{}, 0)
	mustCommit(t, g, 1)
	if err := b.Remove(groupID(1)); err != nil {
		t.Fatal(err)
	}
	b.stop(t)
	b = d.start(t, Options{})
	if _, ok := b.store.Group(groupID(1)); ok {
		t.Fatal("still there after a restart")
	}
	if _, err := os.Stat(filepath.Join(d.dir, "t-1")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("its folder is still there: %v", err)
	}
}

// A crash between the two writes of the bootstrap must not leave a Raft group that never elects a leader.
func TestBootstrapIsFinishedAfterACrash(t *testing.T) {
	d := newDisk(t)
	s := d.open(t)
	sg, err := s.CreateGroup(groupID(1), "t-1", 0, logOptions)
	if err != nil {
		t.Fatal(err)
	}
	if err := (&stableStore{sg: sg}).SetUint64([]byte(keyCurrentTerm), 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(false); err != nil {
		t.Fatal(err)
	}
	b := d.start(t, Options{})
	mustCommit(t, b.openGroup(t, 1, &recorder{}, 0), 1)
}

// A clean stop right after a creation: nothing was applied yet, and the checkpoint must not fail on that.
func TestCheckpointBeforeTheFirstBarrier(t *testing.T) {
	d := newDisk(t)
	b := d.start(t, Options{})
	var voters = []string{b.serverID, "2@elsewhere"} // so that nobody is elected
	if _, err := b.Open(groupID(1), &recorder{}, Boot{Folder: "t-1", Voters: voters}); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(context20(t)); err != nil {
		t.Fatal(err)
	}
	if err := b.store.Close(true); err != nil {
		t.Fatal(err)
	}
	if sg, ok := d.open(t).Group(groupID(1)); !ok || sg.LastIndex() != 1 {
		t.Fatal("the membership entry is gone")
	}
}

// A Raft group that nobody opened keeps its part of the journal and nothing else from being saved.
func TestCheckpointWithoutEveryGroupOpen(t *testing.T) {
	d := newDisk(t)
	b := d.start(t, Options{})
	g := b.openGroup(t, 1, &recorder{}, 0)
	mustCommit(t, g, 3)
	if err := b.Stop(g.ID()); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, b.openGroup(t, 2, &recorder{}, 0), 1)
	if err := b.Close(context20(t)); err != nil {
		t.Fatal(err)
	}
	if err := b.store.Close(true); err != nil {
		t.Fatal(err)
	}
	b = d.start(t, Options{})
	if g := b.openGroup(t, 1, &recorder{}, 0); g.sg.State().NextOffset != 3 {
		t.Errorf("the log ends at %d", g.sg.State().NextOffset)
	}
}
