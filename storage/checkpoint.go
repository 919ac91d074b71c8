package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/tandembroker/tandem/storage/log"
)

const (
	// checkpointWorkers bounds the snapshots under way: enough that few transactions of meta.db take them all.
	checkpointWorkers = 64
	// checkpointSyncs bounds the segment syncs under way, so that a checkpoint does not crowd out the journal's.
	checkpointSyncs = 2
)

// CheckpointC fires when a checkpoint is due: by journal bytes, by payload bytes, or by time with anything to save.
func (s *Store) CheckpointC() <-chan struct{} { return s.due }

// Checkpoint calls snapshot, concurrently, for each Raft group with entries above its snapshot, which must end in
// Group.SaveSnapshot; stores all votes and creations; then names in meta.db what is still needed of the journal and drops the
// rest. A Raft group whose snapshot fails keeps its part of the journal, the others are saved; the errors are joined.
// One at a time; later callers wait.
func (s *Store) Checkpoint(ctx context.Context, snapshot func(context.Context, *Group) error) error {
	s.checkpointing.Lock()
	defer s.checkpointing.Unlock()
	if err := s.Failed(); err != nil {
		return err
	}
	s.journalBytes.Store(0)
	s.payloadBytes.Store(0)
	err := s.saveGroups(ctx, snapshot)
	if ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	if err = errors.Join(err, s.dropJournal()); s.Failed() != nil {
		return err
	}
	return errors.Join(err, s.carry())
}

// saveGroups brings every dirty Raft group into meta.db.
func (s *Store) saveGroups(ctx context.Context, snapshot func(context.Context, *Group) error) error {
	work := make(chan *Group)
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	for range checkpointWorkers {
		wg.Go(func() {
			for g := range work {
				if err := saveGroup(ctx, g, snapshot); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	for _, g := range s.Groups() {
		if ctx.Err() != nil {
			break
		}
		if save, _ := g.dirty(); save && g.Offline() == nil {
			work <- g
		}
	}
	close(work)
	wg.Wait()
	return errors.Join(errs...)
}

func saveGroup(ctx context.Context, g *Group, snapshot func(context.Context, *Group) error) error {
	var err error
	if _, above := g.dirty(); above {
		if err = snapshot(ctx, g); err != nil {
			err = fmt.Errorf("storage: snapshot of %s: %w", g, err)
		}
	}
	if err = errors.Join(err, g.saveRow()); err != nil {
		if now, ok := g.store.Group(g.id); !ok || now != g {
			return nil // deleted meanwhile
		}
	}
	return err
}

// dropJournal commits what is needed of the journal and how far it is synced, then unlinks what lies below: in this order,
// because unlinks reorder at power loss.
func (s *Store) dropJournal() error {
	first, err := s.saveJournal()
	if err != nil {
		return err
	}
	s.forget(first)
	if err := s.journal.TruncateFront(first); err != nil {
		return s.fatal(err)
	}
	return nil
}

// saveJournal stores what is needed of the journal, how far it is synced, and the tails.
func (s *Store) saveJournal() (first uint64, err error) {
	s.rowing.Lock()
	defer s.rowing.Unlock()
	t := &s.tails
	t.settle(s.journal.Mark())
	s.takeTails(true)
	// Records of class cached may not be synced yet, and nothing above the mark can be dropped.
	if _, err := s.journal.Append(nil, true).Wait(); err != nil {
		return 0, s.fatal(err)
	}
	t.settle(s.journal.Mark())
	jc := s.meta.Journal()
	keep, removed := s.keep()
	// Not above the mark that is stored with it either: the journal never ends below its own first record.
	jc.First = max(jc.First, min(keep, max(jc.Mark, t.ready.at)+1))
	return jc.First, s.commitJournalLocked(jc, removed, true)
}

// keep is the first journal sequence that recovery needs, and the deleted Raft groups that meta.db may forget with it.
func (s *Store) keep() (first uint64, removed []GroupID) {
	// Read before the groups: an append that begins later has a higher sequence. Nothing above the mark is dropped, so that
	// the journal never ends below its own first record.
	first = min(s.journal.NextSequence(), s.journal.Mark()+1)
	s.mu.Lock()
	groups := slices.Collect(maps.Values(s.mu.groups)) // with the deletions: a group is in one of them, at any time
	for id, d := range s.mu.deleted {
		if d.finished {
			removed = append(removed, id)
		} else {
			first = min(first, d.needs)
		}
	}
	for _, at := range s.mu.creating {
		first = min(first, at)
	}
	s.mu.Unlock()
	for _, g := range groups {
		if need := g.needs(); need != 0 {
			first = min(first, need)
		}
	}
	return first, removed
}

// forget drops the deletions that neither meta.db nor what is left of the journal knows of: only then may their ids be used
// again, because a deleted record hides whatever a younger Raft group of the same id has in meta.db.
func (s *Store) forget(first uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, d := range s.mu.deleted {
		if d.finished && d.sequence < first {
			delete(s.mu.deleted, id)
		}
	}
}

// flush makes l durable as a checkpoint needs it; only a few at a time.
func (s *Store) flush(l *log.Log) error {
	s.syncs <- struct{}{}
	defer func() { <-s.syncs }()
	return l.Flush()
}

// cachedWeight is how many bytes of class cached count as one of class synced towards a checkpoint: the checkpoint is what
// syncs them, and their topics were made not to wait for the disk.
const cachedWeight = 4

// written counts towards the next checkpoint.
func (s *Store) written(journalBytes, payloadBytes int64, synced bool) {
	s.space.wrote(journalBytes + payloadBytes)
	if !synced {
		payloadBytes /= cachedWeight
	}
	j, p := s.journalBytes.Add(journalBytes), s.payloadBytes.Add(payloadBytes)
	if j >= s.opts.CheckpointBytes || p >= s.opts.CheckpointPayloadBytes {
		s.fireDue()
	}
}

func (s *Store) fireDue() {
	select {
	case s.due <- struct{}{}:
	default:
	}
}
