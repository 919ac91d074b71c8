package storage

import (
	"time"

	"github.com/tandembroker/tandem/storage/meta"
)

// watchMark has meta.db follow the journal's mark between checkpoints, until Close. Without it a journal that has lost its end
// looks like one that a power loss ended there, as far as the last checkpoint.
func (s *Store) watchMark() {
	tick := time.NewTicker(s.opts.MarkSaveInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
			_ = s.saveMark() // a failure is fatal, and told there
		}
	}
}

// saveMark stores the mark in meta.db where it has moved; not on a full disk, which takes no records whose mark would matter.
func (s *Store) saveMark() error {
	s.rowing.Lock()
	defer s.rowing.Unlock()
	jc := s.meta.Journal()
	mark := s.journal.Mark()
	if mark <= jc.Mark || s.Writable() != nil {
		return nil
	}
	jc.Mark = mark
	return s.commitJournalLocked(jc, nil)
}

// commitJournalLocked stores jc, and removes the rows of deleted Raft groups. s.rowing is held since jc was made of what was stored
// before. Errors:
// ErrNoSpace, else the store has failed.
func (s *Store) commitJournalLocked(jc meta.JournalCheckpoint, removed []GroupID) error {
	slot := s.syncWatch.Begin()
	err := s.meta.Commit(meta.Commit{Removed: removed, Journal: &jc})
	s.syncWatch.End(slot)
	if err != nil {
		return s.metaFailed(err)
	}
	return nil
}
