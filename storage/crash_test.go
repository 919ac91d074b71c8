package storage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
	"github.com/tandembroker/tandem/storage/vfs"
)

// driver runs a workload against a store in a world and takes the states that a power loss could leave: before every call
// that changes the file system (segments and journal alike), and behind every operation.
type driver struct {
	rng   *rand.Rand
	dir   string // real folder of meta.db
	mem   *vfs.Mem
	store *Store
	mu    struct {
		sync.Mutex
		model  model
		store  *Store // nil while it is being opened
		states []*world
		rng    *rand.Rand
		off    bool
	}
	clones     int // random clones per instant, beside the one that keeps only what was synced
	concurrent bool
	killed     *world        // what run left behind
	busy       [4]sync.Mutex // per Raft group: what a broker never does at a time excludes each other
}

// actor does operations, one after the other.
type actor struct {
	*driver
	rng       *rand.Rand
	producers map[GroupID]*producer
}

// exclude holds off snapshots of a Raft group whose log is being cut or deleted: Raft cuts only what is not committed, and
// takes snapshots only of what is.
func (d *driver) exclude(id GroupID) (release func()) {
	i := slices.Index(crashGroups, id)
	d.busy[i].Lock()
	return d.busy[i].Unlock
}

func (d *driver) model() model {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.model
}

func (d *driver) change(id GroupID, change func(*groupModel)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.model = d.mu.model.with(id, change)
}

// take captures the world now. Where an operation was answered meanwhile, nobody can say whether before or after: no state.
func (d *driver) take(how string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.off {
		return
	}
	m := d.mu.model // answers wait for the lock
	d.mu.states = append(d.mu.states, capture(d.mem, d.dir, d.mu.store, m, nil, how+", synced only"))
	for range d.clones {
		d.mu.states = append(d.mu.states, capture(d.mem, d.dir, d.mu.store, m, d.mu.rng, how))
	}
}

func (d *driver) hook(c vfs.Call) vfs.Outcome {
	if c.Op&vfs.OpChanges != 0 {
		d.take(fmt.Sprintf("before call %d: op %#x of %s", c.N, c.Op, c.Name))
	}
	return vfs.Outcome{}
}

// run opens the world, checks it, does ops operations and returns the states taken.
func (d *driver) run(w *world, ops int) ([]*world, error) {
	d.mem = w.mem
	d.mu.model = w.model
	d.mem.SetHook(d.hook)
	s, err := w.start(d.dir)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	d.store = s
	defer d.kill(s)
	if err := w.model.check(s); err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.mu.model, d.mu.store = d.mu.model.settle(s), s
	d.mu.Unlock()
	d.take("behind the recovery")
	if d.concurrent {
		err = d.runConcurrently(ops)
	} else {
		err = d.runInTurn(ops)
	}
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.off = true
	return d.mu.states, nil
}

// kill ends the process: what it still tries to write or sync fails. As after a failed sync, what was not synced is in memory
// for the next process to read, and syncing it again does not bring it to the disk.
func (d *driver) kill(s *Store) {
	d.mem.SetHook((&vfs.Fault{Ops: vfs.OpChanges, Err: syscall.EIO, Sticky: true}).Hook)
	s.Close(false)
	d.mem.SetHook(nil)
	d.killed = capture(d.mem, d.dir, nil, d.model(), nil, "a killed process")
	d.killed.mem = d.mem // with all that is not on the disk
}

func (d *driver) runInTurn(ops int) error {
	a := &actor{driver: d, rng: d.rng, producers: map[GroupID]*producer{}}
	for i := range ops {
		what, err := a.step(crashGroups[a.rng.IntN(len(crashGroups))])
		if err != nil {
			return fmt.Errorf("operation %d (%s): %w", i, what, err)
		}
		d.take(fmt.Sprintf("behind operation %d: %s", i, what))
	}
	return nil
}

// runConcurrently has one goroutine for each Raft group, as in a broker.
func (d *driver) runConcurrently(ops int) error {
	var wg sync.WaitGroup
	errs := make([]error, len(crashGroups))
	for i, id := range crashGroups {
		a := &actor{driver: d, rng: rand.New(rand.NewPCG(d.rng.Uint64(), 3)), producers: map[GroupID]*producer{}}
		wg.Go(func() {
			for range ops/len(crashGroups) + 1 {
				if what, err := a.step(id); err != nil {
					errs[i] = fmt.Errorf("%s: %w", what, err)
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// crashGroups are the Raft groups of the workload; the last one is the metadata Raft group.
var crashGroups = []GroupID{groupID(1), groupID(2), groupID(3), entry.MetadataGroup}

func (d *actor) step(id GroupID) (string, error) {
	gm := d.model().groups[id]
	if gm == nil || gm.is != present {
		return "create", d.create(id)
	}
	g, ok := d.store.Group(id)
	if !ok {
		return "", fmt.Errorf("%s is gone", id)
	}
	switch n := d.rng.IntN(100); {
	case n < 70 && g.uncutIndex() != 0:
		return "carry out a truncate-to", d.cut(g)
	case n < 55 && d.store.level >= entry.LevelSites && d.rng.IntN(2) == 0 && g.Log() != nil:
		return "change the role", d.changeRole(g, gm)
	case n < 55:
		return "append", d.append(g, gm)
	case n < 65:
		return "truncate", d.truncate(g)
	case n < 75:
		return "vote", d.vote(g, gm)
	case n < 84:
		return "snapshot", d.snapshot(g)
	case n < 88:
		_, err := d.store.saveMark()
		return "save the mark", err
	case n < 96:
		return "checkpoint", d.store.Checkpoint(context.Background(), func(_ context.Context, g *Group) error { return d.snapshot(g) })
	case n < 98 && id != entry.MetadataGroup:
		return "delete", d.remove(id)
	default:
		return "drop a prefix", g.TruncatePrefix(gm.snapshot)
	}
}

func (d *actor) create(id GroupID) error {
	folder, start := "", int64(0)
	if id != entry.MetadataGroup {
		folder, start = fmt.Sprintf("crash-%d", id.Partition), int64(d.rng.IntN(2)*1000)
	}
	was := d.model().groups[id]
	again := was != nil && was.is == deletedForGood
	d.change(id, func(g *groupModel) { *g = groupModel{is: creating, folder: folder, start: start, again: again} })
	g, err := d.store.CreateGroup(id, folder, start, log.Options{SegmentBytes: 8 << 10})
	if err != nil && !errors.Is(err, ErrExists) {
		return err
	}
	if errors.Is(err, ErrExists) && again {
		d.change(id, func(g *groupModel) { *g = *was })
		return nil
	}
	d.change(id, func(g *groupModel) { g.is = present })
	d.producers[id] = newProducer(d.rng, start)
	if g != nil {
		d.producers[id].state = g.State()
	}
	return err
}

func (d *actor) remove(id GroupID) error {
	defer d.exclude(id)()
	d.change(id, func(g *groupModel) { g.is = deleting })
	if err := d.store.DeleteGroup(id); err != nil {
		return err
	}
	d.change(id, func(g *groupModel) { *g = groupModel{is: deletedForGood} })
	return nil
}

// leader is the producer of g, in a new term now and then.
func (d *actor) leader(g *Group, gm *groupModel) *producer {
	p := d.producers[g.ID()]
	if p == nil || d.rng.IntN(10) == 0 {
		term := max(gm.vote.Term, g.State().LastTerm)
		if n := len(gm.entries); n > 0 {
			term = max(term, gm.entries[n-1].Term)
		}
		p = newProducer(d.rng, gm.start)
		p.resume(uint64(len(gm.entries)), term, g.State())
		d.producers[g.ID()] = p
	}
	return p
}

func (d *actor) append(g *Group, gm *groupModel) error {
	p := d.leader(g, gm)
	var entries []Entry
	class := entry.Synced
	if d.rng.IntN(3) == 0 {
		class = entry.Cached
	}
	if len(gm.entries) == 0 {
		entries = append(entries, p.noop())
	}
	if g.Log() != nil && !p.state.HasEpochBase && p.state.Role != entry.Following {
		entries = append(entries, p.epochBase())
	}
	linked := p.state.Role == entry.Following
	for range 1 + d.rng.IntN(3) {
		switch {
		case g.uncutIndex() != 0 || linked && p.state.Shared < 0 || p.state.FenceTarget != entry.NoFence: // it takes no records now
			entries = append(entries, p.command(entry.Header{Kind: entry.LogStart, Body: entry.LogStartBody(0)}, nil))
		case linked:
			entries = append(entries, p.linked([]int{20, 300, 900, 2500}[d.rng.IntN(4)], class))
		case g.Log() == nil:
			entries = append(entries, p.command(entry.Header{Kind: entry.Metadata, Body: []byte("{}")}, nil))
		case d.rng.IntN(12) == 0:
			entries = append(entries, p.command(entry.Header{Kind: entry.LogStart, Class: class, Body: entry.LogStartBody(0)}, nil))
		default:
			entries = append(entries, p.data([]int{20, 300, 900, 2500}[d.rng.IntN(4)], class))
		}
	}
	return d.send(g, p, entries)
}

// send appends what p has made.
func (d *actor) send(g *Group, p *producer, entries []Entry) error {
	d.change(g.ID(), func(m *groupModel) { m.appending = entries })
	if err := g.Append(append([]Entry(nil), entries...), p.state); err != nil {
		return err
	}
	d.change(g.ID(), func(m *groupModel) {
		m.entries = append(m.entries[:len(m.entries):len(m.entries)], entries...)
		m.appending = nil
		for i := range entries {
			if entries[i].Type != TypeCommand || entry.Class(entries[i].Data[2]) == entry.Synced {
				m.durable = uint64(len(m.entries))
			}
		}
	})
	return nil
}

// changeRole stores an entry of a kind of two sites, whichever the log takes now.
func (d *actor) changeRole(g *Group, gm *groupModel) error {
	p := d.leader(g, gm)
	var entries []Entry
	if len(gm.entries) == 0 {
		entries = append(entries, p.noop())
	}
	s := p.state
	switch n := d.rng.IntN(4); {
	case s.SiteEpoch > 1000:
		return nil
	case s.Role == entry.Following && s.Shared < 0 && n < 3 && g.uncutIndex() == 0 && (s.LastEpoch < 0 || entry.SiteEpochOf(s.LastEpoch) < s.SiteEpoch):
		kept, _, err := batches(gm.entries, 0)
		if err != nil {
			return err
		}
		offset, epoch := gm.start, int32(-1)
		n := d.rng.IntN(len(kept) + 1)
		if gm.start > 0 { // of what was written at level 1, nobody knows that it did not begin at 0
			n = max(n, min(1, len(kept)))
		}
		if n > 0 {
			offset, epoch = kept[n-1].last+1, kept[n-1].epoch
		}
		entries = append(entries, p.truncateTo(offset, epoch))
	case s.Role == entry.Following && s.Shared < 0 && d.rng.IntN(2) == 0:
		entries = append(entries, p.follow(s.SiteEpoch, s.NextOffset))
	case s.Role == entry.Following:
		entries = append(entries, p.promote(s.SiteEpoch+1+uint32(d.rng.IntN(3))), p.epochBase())
	case s.HasEpochBase && s.FenceTarget == entry.NoFence && n == 0:
		entries = append(entries, p.fence(s.SiteEpoch+1))
	default:
		entries = append(entries, p.follow(s.SiteEpoch+1, -1))
	}
	return d.send(g, p, entries)
}

// cut carries out the truncate-to that is stored.
func (d *actor) cut(g *Group) error {
	defer d.exclude(g.ID())()
	index := g.uncutIndex()
	d.change(g.ID(), func(m *groupModel) { m.cutting = index })
	if err := g.TruncateTo(index); err != nil {
		return err
	}
	d.change(g.ID(), func(m *groupModel) { m.cut, m.cutting = index, 0 })
	return nil
}

func (d *actor) truncate(g *Group) error {
	defer d.exclude(g.ID())()
	gm := d.model().groups[g.ID()]
	last, committed := uint64(len(gm.entries)), max(gm.snapshot, gm.cut)
	if last <= committed {
		return nil
	}
	from := last - d.rng.Uint64N(min(last-committed, 4))
	state, err := g.StateAt(from - 1)
	if err != nil {
		return err
	}
	d.change(g.ID(), func(m *groupModel) { m.truncating = from })
	if err := g.TruncateSuffix(from, state); err != nil {
		return err
	}
	d.change(g.ID(), func(m *groupModel) {
		m.entries = m.entries[: from-1 : from-1]
		m.durable = min(m.durable, from-1)
		m.truncating = 0
	})
	delete(d.producers, g.ID()) // a new leader
	return nil
}

func (d *actor) vote(g *Group, gm *groupModel) error {
	v := Vote{Term: gm.vote.Term + uint64(d.rng.IntN(2)), VotedTerm: gm.vote.VotedTerm, Candidate: gm.vote.Candidate}
	if v.Term > v.VotedTerm {
		v.VotedTerm, v.Candidate = v.Term, fmt.Sprintf("%d@disk", d.rng.IntN(9))
	}
	d.change(g.ID(), func(m *groupModel) { m.voting = &v })
	if err := g.SetVote(v); err != nil {
		return err
	}
	d.change(g.ID(), func(m *groupModel) { m.vote, m.voting = v, nil })
	return nil
}

func (d *driver) snapshot(g *Group) error {
	defer d.exclude(g.ID())()
	if now, ok := d.mu.store.Group(g.ID()); !ok || now != g {
		return nil // deleted, or another one by now
	}
	gm := d.model().groups[g.ID()]
	last := uint64(len(gm.entries))
	if uncut := g.uncutIndex(); uncut != 0 {
		last = uncut - 1 // what is behind is not applied
	}
	if gm.is != present || last <= gm.snapshot {
		return nil
	}
	index := last - d.random(min(last-gm.snapshot, 3))
	d.change(g.ID(), func(m *groupModel) { m.saving = index })
	err := g.SaveSnapshot(gm.snapshotOf(gm.entries, index))
	if errors.Is(err, ErrCut) && index < gm.cut {
		d.change(g.ID(), func(m *groupModel) { m.saving = 0 })
		return nil // it was taken in front of the truncation
	}
	if err != nil {
		return err
	}
	d.change(g.ID(), func(m *groupModel) { m.snapshot, m.saving, m.durable = index, 0, max(m.durable, index) })
	return nil
}

// random is below n; snapshots of several Raft groups run at a time.
func (d *driver) random(n uint64) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.rng.Uint64N(n)
}

// crashSearch explores states from an empty directory on: each is recovered and checked, some are the start of more work, and
// so of crashes during recovery and behind it.
type crashSearch struct {
	target  int64
	states  atomic.Int64 // distinct ones, checked
	worlds  atomic.Int64 // that were worked on
	mu      sync.Mutex
	seen    map[uint64]bool
	stopped atomic.Bool
}

func (c *crashSearch) fresh(w *world) bool {
	h := w.fingerprint()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[h] {
		return false
	}
	c.seen[h] = true
	return true
}

// explore runs one seed: a chain of worlds, each taken from the states of the one before.
func (c *crashSearch) explore(t *testing.T, seed uint64, dir string) error {
	rng := rand.New(rand.NewPCG(seed, 1))
	w := &world{mem: vfs.NewMem(), how: "an empty directory"}
	trail := ""
	for range 4 {
		if rng.IntN(2) == 0 {
			w.level = 2 // for good
		}
		d := &driver{rng: rng, dir: dir, clones: 2, concurrent: rng.IntN(3) == 0}
		d.mu.rng = rand.New(rand.NewPCG(seed, 2))
		trail += " > " + w.how
		c.worlds.Add(1)
		states, err := d.run(w, 20)
		if err != nil {
			return fmt.Errorf("%s: %w", trail, err)
		}
		for _, state := range states {
			if c.stopped.Load() {
				return nil
			}
			if !c.fresh(state) {
				continue
			}
			if err := c.verify(state, rng, dir); err != nil {
				return fmt.Errorf("%s > %s: %w", trail, state.how, err)
			}
			if c.states.Add(1) >= c.target {
				c.stopped.Store(true)
			}
		}
		w = states[rng.IntN(len(states))]
		if rng.IntN(3) == 0 {
			w = d.killed
		}
	}
	return nil
}

// verify recovers a state, checks it, and checks that what was recovered survives another power loss at once.
func (c *crashSearch) verify(state *world, rng *rand.Rand, dir string) error {
	w := &world{mem: state.mem.CrashClone(nil), meta: state.meta, model: state.model, level: state.level} // the state itself stays as it is
	s, err := w.start(dir)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	err = state.model.check(s)
	if err != nil || rng.IntN(4) > 0 {
		return errors.Join(err, s.Close(false))
	}
	again := capture(w.mem, dir, s, state.model.settle(s), nil, "")
	if err := s.Close(false); err != nil {
		return err
	}
	s, err = again.start(dir)
	if err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	defer s.Close(false)
	if err := again.model.check(s); err != nil {
		return fmt.Errorf("recovered, and lost again: %w", err)
	}
	return nil
}

// TestPowerLoss is the main proof of this package. TANDEM_SEED=n runs one seed, TANDEM_STATES=n looks for so many states.
func TestPowerLoss(t *testing.T) {
	target := int64(20000)
	if testing.Short() {
		target = 1500
	}
	if more := os.Getenv("TANDEM_STATES"); more != "" {
		if _, err := fmt.Sscan(more, &target); err != nil {
			t.Fatal(err)
		}
	}
	c := &crashSearch{target: target, seen: map[uint64]bool{}}
	base := uint64(time.Now().UnixNano())
	seeds := make(chan uint64)
	if one := os.Getenv("TANDEM_SEED"); one != "" {
		if _, err := fmt.Sscan(one, &base); err != nil {
			t.Fatal(err)
		}
		if err := c.explore(t, base, scratchDir(t)); err != nil {
			t.Fatalf("seed %d: %v", base, err)
		}
		return
	}
	start := time.Now()
	var wg sync.WaitGroup
	for range 2 {
		dir := scratchDir(t)
		wg.Go(func() {
			for seed := range seeds {
				if err := c.explore(t, seed, dir); err != nil {
					c.stopped.Store(true)
					t.Errorf("TANDEM_SEED=%d: %v", seed, err)
				}
			}
		})
	}
	for i := uint64(0); !c.stopped.Load(); i++ {
		seeds <- base + i
	}
	close(seeds)
	wg.Wait()
	t.Logf("%d distinct states in %d worlds, %v", c.states.Load(), c.worlds.Load(), time.Since(start).Round(time.Millisecond))
}
