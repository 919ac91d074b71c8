package raft

import (
	"fmt"

	hraft "github.com/hashicorp/raft"

	"github.com/tandembroker/tandem/storage"
	"github.com/tandembroker/tandem/storage/entry"
)

// verify looks at everything stored that hashicorp/raft or the machine would panic on (R9): entries without a gap up to the
// snapshot, known types, headers that decode and follow each other, memberships that decode.
func verify(sg *storage.Group) error {
	if err := sg.Offline(); err != nil {
		return err
	}
	snap, hasSnapshot := sg.Snapshot()
	if hasSnapshot {
		if _, err := decodeConfiguration(snap.Configuration); err != nil {
			return fmt.Errorf("snapshot at index %d: %w", snap.Index, err)
		}
	}
	first, last := sg.FirstIndex(), sg.LastIndex()
	if first > snap.Index+1 {
		return fmt.Errorf("%w: entries begin at index %d, the snapshot ends at %d", storage.ErrCorrupt, first, snap.Index)
	}
	if last < snap.Index && last != 0 {
		return fmt.Errorf("%w: entries end at index %d, below the snapshot at %d", storage.ErrCorrupt, last, snap.Index)
	}
	if sg.Vote().Term == 0 && (hasSnapshot || last > 0) {
		return fmt.Errorf("%w: entries without a term", storage.ErrCorrupt)
	}
	for i := first; i != 0 && i <= last; i++ {
		e, ok := sg.Entry(i)
		if !ok {
			return fmt.Errorf("%w: no entry at index %d", storage.ErrCorrupt, i)
		}
		if err := verifyEntry(e); err != nil {
			return fmt.Errorf("index %d: %w", i, err)
		}
	}
	if last >= snap.Index && last > 0 {
		if _, err := sg.StateAt(last); err != nil {
			return err
		}
	}
	return nil
}

func verifyEntry(e storage.Entry) error {
	switch hraft.LogType(e.Type) {
	case hraft.LogCommand:
		var h entry.Header
		return h.Decode(e.Data)
	case hraft.LogConfiguration:
		_, err := decodeConfiguration(e.Data)
		return err
	case hraft.LogNoop, hraft.LogBarrier:
		return nil
	}
	return fmt.Errorf("%w: Raft entry of type %d", storage.ErrCorrupt, e.Type)
}
