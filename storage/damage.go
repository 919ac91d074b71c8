package storage

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/journal"
)

// note remembers up to where p's records in the journal are superfluous: at an entry that the checkpoint covers, all before it
// are, votes included, since the checkpoint was taken later.
func (p *replay) note(rec *journal.Record) {
	if rec.Kind == journal.Entry && !rec.Carried && rec.Index <= p.snapshotIndex() {
		p.covered = rec.Sequence
	}
}

// mayHaveLost says whether the damage d of the journal can have hit p.
func (p *replay) mayHaveLost(d *journal.Damage) bool {
	return d.To >= d.From && p.bornAt <= d.To && p.covered <= d.To
}

// charge marks the Raft groups that damaged records of the journal belonged to: those named by the damage, and where nothing
// names all of them, every one that is proven whole neither by a later record nor by its checkpoint.
func (r *recovery) charge() {
	for i := range r.journal.Damage {
		d := &r.journal.Damage[i]
		err := fmt.Errorf("%w: journal file %s, byte %d: records %d to %d are damaged or missing", ErrCorrupt, d.File, d.Pos, d.From, d.To)
		suspects := d.Groups
		if d.Unidentified && !contains(d.Whole, entry.MetadataGroup) {
			// Every broker has it, and makes it first of all. Partitions whose creation is lost are nowhere without it.
			suspects = append(slices.Clone(suspects), entry.MetadataGroup)
		}
		for _, id := range suspects {
			if r.groups[id] == nil && r.deleted[id] == nil {
				r.groups[id] = newReplay(id, nil, r.kept) // its creation is lost: it must not be created again, empty
			}
		}
		for id, p := range r.groups {
			if (contains(d.Groups, id) || d.Unidentified && !contains(d.Whole, id)) && p.mayHaveLost(d) {
				p.hurt = errors.Join(p.hurt, err)
				if p.first == 0 || d.From < p.first {
					p.first = d.From // keeps the damaged part in the journal: without it the group would look whole
				}
			}
		}
	}
}

func contains(ids []entry.GroupID, id entry.GroupID) bool {
	_, ok := slices.BinarySearchFunc(ids, id, compareIDs)
	return ok
}
