package storage

import (
	"errors"
	"time"

	"github.com/tandembroker/tandem/storage/meta"
)

// watchMark has meta.db follow the journal's mark between checkpoints, until Close. Without it a journal that has lost its end
// looks like one that a power loss ended there, as far as the last checkpoint.
func (s *Store) watchMark() {
	timer := time.NewTimer(s.opts.MarkSaveInterval)
	defer timer.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-timer.C:
			next := s.opts.MarkSaveInterval
			if waits, _ := s.saveMark(); waits { // a failure is fatal, and told there
				next /= 10
			}
			timer.Reset(next)
		}
	}
}

// saveMark stores the mark in meta.db where it has moved, with the tails up to it; not on a full disk, which takes no records
// whose mark would matter. It waits for no sync: waits says that one is to come.
func (s *Store) saveMark() (waits bool, err error) {
	s.rowing.Lock()
	defer s.rowing.Unlock()
	if s.Writable() != nil {
		return false, nil
	}
	t := &s.tails
	if t.taken.at == 0 && s.journal.NextSequence() > t.known+1 {
		s.takeTails(false)
	}
	if t.settle(s.journal.Mark()); t.ready.at <= t.known {
		return t.taken.at > 0, nil
	}
	return false, s.commitJournalLocked(s.meta.Journal(), nil, false)
}

// commitJournalLocked stores jc with the mark and the tails that are ready, and removes the rows of deleted Raft groups; with all
// it looks at all tails. s.rowing is held since jc was made of what was stored before. Errors: ErrNoSpace, else the store has failed.
func (s *Store) commitJournalLocked(jc meta.JournalCheckpoint, removed []GroupID, all bool) error {
	t := &s.tails
	jc.Mark = max(jc.Mark, t.ready.at)
	rows := s.changes(jc.First, all)
	slot := s.diskWatch.Begin()
	err := s.meta.Commit(meta.Commit{Removed: removed, Journal: &jc, Tails: &meta.Tails{At: max(t.known, t.ready.at), Groups: rows}})
	s.diskWatch.End(slot)
	if err != nil {
		return s.metaFailed(err)
	}
	t.store(rows)
	return nil
}

// beginTails stores the tails as recovery has found them, and with them which Raft groups it took to be hurt: a later start, of a
// journal that has gone on, must not judge otherwise. A full disk is not the end: the first store that succeeds does it.
func (s *Store) beginTails() error {
	if _, err := s.saveMark(); err != nil && !errors.Is(err, ErrNoSpace) {
		return err
	}
	return nil
}
