package raft

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	hraft "github.com/hashicorp/raft"

	"github.com/tandembroker/tandem/storage"
)

// stateMax bounds a machine's state in a snapshot, bytes; storage keeps no more.
const stateMax = 64 << 20

// snapshotStore keeps the one newest snapshot in storage (hraft.SnapshotStore).
type snapshotStore struct {
	sg *storage.Group
	// logStart is the log start offset that belongs to the snapshot under way; set by the machine's goroutine, read by the
	// sink. Only one snapshot is under way at a time.
	logStart int64
}

// Create implements hraft.SnapshotStore.
func (s *snapshotStore) Create(_ hraft.SnapshotVersion, index, term uint64, c hraft.Configuration, configurationIndex uint64,
	_ hraft.Transport) (hraft.SnapshotSink, error) {
	return &sink{store: s, snap: storage.Snapshot{
		Index: index, Term: term, Configuration: hraft.EncodeConfiguration(c), ConfigurationIndex: configurationIndex,
	}}, nil
}

// List implements hraft.SnapshotStore.
func (s *snapshotStore) List() ([]*hraft.SnapshotMeta, error) {
	snap, ok := s.sg.Snapshot()
	if !ok {
		return nil, nil
	}
	m, err := snapshotMeta(snap)
	if err != nil {
		return nil, err
	}
	return []*hraft.SnapshotMeta{m}, nil
}

// Open implements hraft.SnapshotStore.
func (s *snapshotStore) Open(id string) (*hraft.SnapshotMeta, io.ReadCloser, error) {
	snap, ok := s.sg.Snapshot()
	if !ok || snapshotID(snap) != id {
		return nil, nil, fmt.Errorf("raft: %s has no snapshot %s", s.sg, id)
	}
	m, err := snapshotMeta(snap)
	if err != nil {
		return nil, nil, err
	}
	return m, io.NopCloser(bytes.NewReader(snap.State)), nil
}

func snapshotID(s storage.Snapshot) string { return fmt.Sprintf("%d-%d", s.Term, s.Index) }

func snapshotMeta(s storage.Snapshot) (*hraft.SnapshotMeta, error) {
	c, err := decodeConfiguration(s.Configuration)
	if err != nil {
		return nil, err
	}
	return &hraft.SnapshotMeta{
		Version: hraft.SnapshotVersionMax, ID: snapshotID(s), Index: s.Index, Term: s.Term,
		Configuration: c, ConfigurationIndex: s.ConfigurationIndex, Size: int64(len(s.State)),
	}, nil
}

// decodeConfiguration turns the panic of hraft.DecodeConfiguration into an error (R9).
func decodeConfiguration(b []byte) (c hraft.Configuration, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("raft: membership does not decode: %v", r)
		}
	}()
	return hraft.DecodeConfiguration(b), nil
}

// sink collects a machine's state; Close makes the snapshot durable.
//
// A snapshot that a leader sent (InstallSnapshot) ends in SaveSnapshot as well, which refuses one above the last entry
// (storage.ErrGap): hashicorp/raft would not reset the log above it, and later appends would fail for ever (R16).
type sink struct {
	store *snapshotStore
	snap  storage.Snapshot
	done  bool
}

var errState = errors.New("raft: state of the machine too large")

// Write implements io.Writer.
func (s *sink) Write(b []byte) (int, error) {
	if len(s.snap.State)+len(b) > stateMax {
		return 0, fmt.Errorf("%w: above %d bytes", errState, stateMax)
	}
	s.snap.State = append(s.snap.State, b...)
	return len(b), nil
}

// ID implements hraft.SnapshotSink.
func (s *sink) ID() string { return snapshotID(s.snap) }

// Cancel implements hraft.SnapshotSink.
func (s *sink) Cancel() error {
	s.done = true
	return nil
}

// Close implements hraft.SnapshotSink; on nil the snapshot is durable.
func (s *sink) Close() error {
	if s.done {
		return nil
	}
	s.done = true
	s.snap.LogStart = s.store.logStart
	return s.store.sg.SaveSnapshot(s.snap)
}
