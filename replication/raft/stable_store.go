package raft

import (
	"fmt"

	"github.com/tandembroker/tandem/storage"
)

// The keys that hashicorp/raft uses, and all that it uses.
const (
	keyCurrentTerm  = "CurrentTerm"
	keyLastVoteTerm = "LastVoteTerm"
	keyLastVoteCand = "LastVoteCand"
)

// stableStore keeps term and vote in the journal (hraft.StableStore). Writes come from the main loop only.
type stableStore struct {
	g  *Group
	sg *storage.Group
	// votedTerm is the LastVoteTerm that waits for its LastVoteCand: written apart, a crash or error between the two would
	// pair a term with the candidate of another one, which is then granted a vote unseen (R2).
	votedTerm uint64
}

// Set implements hraft.StableStore.
func (s *stableStore) Set(key, val []byte) error {
	if string(key) != keyLastVoteCand {
		return fmt.Errorf("raft: %s: stable store has no key %q", s.sg, key)
	}
	v := s.sg.Vote()
	v.VotedTerm, v.Candidate = s.votedTerm, string(val)
	if err := s.sg.SetVote(v); err != nil {
		s.g.fail(fmt.Errorf("raft: %s: store vote of term %d: %w", s.sg, v.VotedTerm, err))
		return err
	}
	return nil
}

// Get implements hraft.StableStore.
func (s *stableStore) Get(key []byte) ([]byte, error) {
	if string(key) != keyLastVoteCand {
		return nil, fmt.Errorf("raft: %s: stable store has no key %q", s.sg, key)
	}
	if c := s.sg.Vote().Candidate; c != "" {
		return []byte(c), nil
	}
	return nil, nil
}

// SetUint64 implements hraft.StableStore.
func (s *stableStore) SetUint64(key []byte, val uint64) error {
	v := s.sg.Vote()
	switch string(key) {
	case keyLastVoteTerm:
		s.votedTerm = val
		return nil
	case keyCurrentTerm:
		if val == v.Term {
			return nil
		}
		if val < v.Term {
			// R1: the library panics on this error, and must: its memory has gone behind what it promised.
			return fmt.Errorf("raft: %s: term %d behind %d", s.sg, val, v.Term)
		}
		v.Term = val
		if err := s.sg.SetVote(v); err != nil {
			// Returning it would panic the process where only this Raft group's log dir may be lost. The group is shutting
			// down from here on, and no vote can be stored, so the term that it forgets binds nobody.
			s.g.fail(fmt.Errorf("raft: %s: store term %d: %w", s.sg, val, err))
		}
		return nil
	}
	return fmt.Errorf("raft: %s: stable store has no key %q", s.sg, key)
}

// GetUint64 implements hraft.StableStore.
func (s *stableStore) GetUint64(key []byte) (uint64, error) {
	v := s.sg.Vote()
	switch string(key) {
	case keyLastVoteTerm:
		return v.VotedTerm, nil
	case keyCurrentTerm:
		return v.Term, nil
	}
	return 0, fmt.Errorf("raft: %s: stable store has no key %q", s.sg, key)
}
