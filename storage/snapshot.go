package storage

import (
	"errors"
	"fmt"
	"sync"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
	"github.com/tandembroker/tandem/storage/meta"
	"github.com/tandembroker/tandem/storage/vfs"
)

// SaveSnapshot makes the segments durable, then stores snap and the newest vote in meta.db, in one transaction with whoever
// calls at the same time. On nil it is durable. The byte slices of snap are the Group's from then on. A snapshot at the same
// index as the last one replaces it. Errors: ErrCompacted for an older one, ErrGap for one above the last entry, ErrTerm when
// the entry at its index has another term, ErrCut for one below a truncation that was carried out (nothing happened), ErrNoSpace where the disk is full, to be tried again (nothing happened), else the Raft
// group or the store has failed.
func (g *Group) SaveSnapshot(snap Snapshot) error {
	g.save.Lock()
	defer g.save.Unlock()
	if err := g.store.Failed(); err != nil {
		return err
	}
	if g.save.gone {
		return ErrClosed
	}
	if err := g.Offline(); err != nil {
		return err
	}
	if snap.Index < g.save.cut { // the bytes that it would vouch for are gone
		return fmt.Errorf("%w: %s: snapshot at %d, truncation at %d", ErrCut, g, snap.Index, g.save.cut)
	}
	base, end, err := g.behind(snap.Index, snap.Term)
	if err != nil {
		return err
	}
	g.mu.RLock()
	last := g.mu.last
	g.mu.RUnlock()
	if g.log != nil {
		switch err := g.store.flush(g.log); {
		case errors.Is(err, log.ErrNoSpace):
			return fmt.Errorf("%w: %s: %w", ErrNoSpace, g, err)
		case err != nil:
			return g.fail(err)
		}
		g.payloadsAre(last)
		// Nothing of it changes any more, whatever becomes of the commit.
		g.save.sealed, g.save.epochs = g.log.Sealed(end), g.log.EpochsCRC(snap.LogStart, base.NextOffset)
	}
	return g.commit(snap, base, end)
}

// ReplaceSegments puts the files that r speaks of (log.SwapFile, log.SwapReady) in place of sealed segments: for compaction,
// below RetainFrom. What is about to be done is durable in meta.db before the first rename, so that no start takes a segment
// that is missing on purpose for lost, or one half done for whole. On nil all of it is durable. It waits for a snapshot under
// way. Errors: log.ErrInvalid where r does not fit the sealed segments of the last checkpoint, ErrNoSpace (nothing happened),
// log.ErrReplacing where it may or may not have happened: the files of r belong to the next start then. The Raft group or the store
// has failed in that case.
func (g *Group) ReplaceSegments(r log.Replacement) error {
	g.save.Lock()
	defer g.save.Unlock()
	if err := g.store.Failed(); err != nil {
		return err
	}
	if g.save.gone {
		return ErrClosed
	}
	if err := g.Offline(); err != nil {
		return err
	}
	if g.log == nil {
		return fmt.Errorf("%w: %s has no segments", log.ErrInvalid, g)
	}
	if err := r.Of(g.save.sealed); err != nil {
		return fmt.Errorf("%s: %w", g, err)
	}
	g.mu.RLock()
	snap, base := g.mu.snapshot, g.mu.base
	g.mu.RUnlock()
	if snap.Index < g.save.cut { // a start would compare the segments with those that there were at the truncation
		return fmt.Errorf("%w: %s: truncation at %d", log.ErrInvalid, g, g.save.cut)
	}
	cp, _, _ := g.checkpoint(snap, base, g.save.end)
	cp.Replacing = &meta.Replacement{First: r.First, Last: r.Last, Size: uint32(r.Size)}
	if err := g.store.commits.commit(g.id, cp); err != nil {
		if err = g.store.metaFailed(err); errors.Is(err, ErrNoSpace) {
			return err
		}
		return fmt.Errorf("%w: %w", log.ErrReplacing, err) // a commit that failed may be durable all the same
	}
	switch err := g.log.Replace(r); {
	case errors.Is(err, log.ErrInvalid): // retention was faster
		if row := g.commit(snap, base, g.save.end); row != nil {
			return fmt.Errorf("%w: %w: %w", log.ErrReplacing, row, err) // the row still says so
		}
		return err
	case err != nil:
		return g.fail(err) // the row says what a start has to finish
	}
	g.save.sealed = g.log.Sealed(g.save.end)
	return g.commit(snap, base, g.save.end)
}

// saveRow stores g's row again with the newest vote and the snapshot as it is.
func (g *Group) saveRow() error {
	g.save.Lock()
	defer g.save.Unlock()
	g.mu.RLock()
	snap, base, needed := g.mu.snapshot, g.mu.base, g.mu.voteAt != 0 || g.mu.bornAt != 0
	g.mu.RUnlock()
	if !needed || g.save.gone {
		return nil
	}
	return g.commit(snap, base, g.save.end)
}

// commit is called with g.save held. Errors: ErrNoSpace (nothing happened), else the store has failed.
func (g *Group) commit(snap Snapshot, base basis, end log.Position) error {
	if g.save.gone {
		return ErrClosed
	}
	cp, voteAt, bornAt := g.checkpoint(snap, base, end)
	if err := g.store.commits.commit(g.id, cp); err != nil {
		return g.store.metaFailed(err)
	}
	g.save.end = end
	g.mu.Lock()
	g.mu.snapshot, g.mu.base = snap, base
	g.mu.Unlock()
	g.saved(voteAt, bornAt)
	return nil
}

// behind replays the entries between the durable snapshot and index: what goes on behind index, and where its bytes end.
func (g *Group) behind(index, term uint64) (base basis, end log.Position, err error) {
	end = g.save.end
	g.mu.RLock()
	old, last, first := g.mu.snapshot, g.mu.last, g.mu.first
	base = g.mu.base
	entries := g.mu.entries // elements above the snapshot change only under g.save
	g.mu.RUnlock()
	switch {
	case index < old.Index:
		return base, end, fmt.Errorf("%w: %s: snapshot at %d behind %d", ErrCompacted, g, index, old.Index)
	case index > last:
		return base, end, fmt.Errorf("%w: %s: snapshot at %d, last entry %d", ErrGap, g, index, last)
	case index == old.Index:
		if term != old.Term {
			return base, end, fmt.Errorf("%w: %s: snapshot at %d of term %d, stored is %d", ErrTerm, g, index, term, old.Term)
		}
		return base, end, nil
	}
	if at := entries[index-first].term; at != term {
		return base, end, fmt.Errorf("%w: %s: snapshot at %d of term %d, entry has %d", ErrTerm, g, index, term, at)
	}
	base.lineage = base.lineage.Clone()
	err = g.advance(base.advance, entries[old.Index+1-first:index+1-first], old.Index+1)
	for i := index; i > old.Index; i-- {
		if e := &entries[i-first]; e.placeLength > 0 {
			end = log.Position{Segment: e.place.Segment, Pos: e.place.Pos + int64(e.placeLength)}
			break
		} else if e.cut {
			end = e.place
			break
		}
	}
	return base, end, err
}

// advance calls it for the commands among entries, the first of which has index first.
func (g *Group) advance(it func(*entry.Header) error, entries []stored, first uint64) error {
	var h entry.Header
	for i := range entries {
		if entries[i].kind != TypeCommand {
			continue
		}
		err := h.Decode(entries[i].data)
		if err == nil {
			err = it(&h)
		}
		if err != nil {
			return fmt.Errorf("%s: index %d: %w", g, first+uint64(i), err)
		}
	}
	return nil
}

// StateAt is the admission state behind the entry at index, which must be the snapshot's or above it: what Append and
// TruncateSuffix need when a suffix goes. Errors: ErrCompacted, ErrGap.
func (g *Group) StateAt(index uint64) (entry.State, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	state, snapshot := g.mu.base.State, g.mu.snapshot.Index
	switch {
	case index < snapshot:
		return state, fmt.Errorf("%w: %s: state at %d, snapshot at %d", ErrCompacted, g, index, snapshot)
	case index > g.mu.last:
		return state, fmt.Errorf("%w: %s: state at %d, last entry %d", ErrGap, g, index, g.mu.last)
	case index == snapshot:
		return state, nil
	}
	err := g.advance(state.Advance, g.mu.entries[snapshot+1-g.mu.first:index+1-g.mu.first], snapshot+1)
	return state, err
}

// commitsMax bounds how many Raft groups one transaction of meta.db takes.
const commitsMax = 4096

// combiner turns many concurrent checkpoints into few transactions. Its goroutine is stopped and awaited by close.
type combiner struct {
	store    func(meta.Commit) error // of meta.db
	watch    *vfs.DiskWatch
	requests chan *commitRequest
	done     chan struct{}
	mu       struct {
		sync.RWMutex
		closed bool
	}
}

type commitRequest struct {
	id   GroupID
	cp   *meta.GroupCheckpoint
	done chan error
}

func newCombiner(db *meta.DB, watch *vfs.DiskWatch) *combiner {
	c := &combiner{store: db.Commit, watch: watch, requests: make(chan *commitRequest, commitsMax), done: make(chan struct{})}
	go c.run() // stopped and awaited in close
	return c
}

// commit returns when cp is durable.
func (c *combiner) commit(id GroupID, cp *meta.GroupCheckpoint) error {
	r := &commitRequest{id: id, cp: cp, done: make(chan error, 1)}
	c.mu.RLock()
	if c.mu.closed {
		c.mu.RUnlock()
		return ErrClosed
	}
	c.requests <- r
	c.mu.RUnlock()
	return <-r.done
}

func (c *combiner) run() {
	defer close(c.done)
	for r := range c.requests {
		batch := []*commitRequest{r}
	more:
		for len(batch) < commitsMax {
			select {
			case r, ok := <-c.requests:
				if !ok {
					break more
				}
				batch = append(batch, r)
			default:
				break more
			}
		}
		groups := make(map[GroupID]*meta.GroupCheckpoint, len(batch))
		for _, r := range batch {
			groups[r.id] = r.cp
		}
		slot := c.watch.Begin()
		err := c.store(meta.Commit{Groups: groups})
		c.watch.End(slot)
		for _, r := range batch {
			r.done <- err
		}
	}
}

func (c *combiner) close() {
	c.mu.Lock()
	closed := c.mu.closed
	c.mu.closed = true
	c.mu.Unlock()
	if !closed {
		close(c.requests)
	}
	<-c.done
}
