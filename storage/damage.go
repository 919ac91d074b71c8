package storage

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

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

// charge marks the Raft groups that damaged records of the journal belonged to. That these are hurt is stored with the next tails:
// one that was only under suspicion must be so at each start.
func (r *recovery) charge() {
	for i := range r.journal.Damage {
		d := &r.journal.Damage[i]
		err := fmt.Errorf("%w: journal file %s, byte %d: records %d to %d are damaged or missing", ErrCorrupt, d.File, d.Pos, d.From, d.To)
		for id := range r.suspects(d) {
			p := r.groups[id]
			if p == nil && r.deleted[id] == nil {
				p = newReplay(id, nil, r.kept) // its creation is lost: it must not be created again, empty
				r.groups[id] = p
			}
			if p == nil || !p.mayHaveLost(d) {
				continue
			}
			p.hurt = errors.Join(p.hurt, err)
			if p.first == 0 || d.From < p.first {
				p.first = d.From // keeps the damaged part in the journal: without it the group would look whole
			}
			r.store.tails.lost[id] = max(r.store.tails.lost[id], d.To)
		}
	}
}

// suspects are the Raft groups that the damage names, those whose newest record the tails say is in it, and where that is not all
// of it every one that no later record proves whole. Where the tails are complete, they clear all that need nothing of it.
func (r *recovery) suspects(d *journal.Damage) map[GroupID]bool {
	set := map[GroupID]bool{}
	if d.To < d.From {
		return set // no record is lost
	}
	for _, id := range d.Groups {
		set[id] = true
	}
	if d.Unidentified {
		for id := range r.groups {
			set[id] = set[id] || !contains(d.Whole, id)
		}
		// Every broker has it, and makes it first of all. Partitions whose creation is lost are nowhere without it.
		set[entry.MetadataGroup] = set[entry.MetadataGroup] || !contains(d.Whole, entry.MetadataGroup)
	}
	for id, t := range r.tails.Groups {
		set[id] = set[id] || d.From <= t.Last && t.Last <= d.To
	}
	maps.DeleteFunc(set, func(id GroupID, suspect bool) bool {
		t := r.tails.Groups[id] // zero: it needs nothing
		return !suspect || d.To <= r.tails.At && (t.Last < d.From || d.To < t.Need)
	})
	return set
}

func contains(ids []entry.GroupID, id entry.GroupID) bool {
	_, ok := slices.BinarySearchFunc(ids, id, compareIDs)
	return ok
}

// findFolders looks for the folders of partitions whose creation is lost: they can be deleted then, with their data.
func (r *recovery) findFolders() {
	taken := map[string]bool{}
	for _, p := range r.groups {
		taken[p.folder] = true
	}
	for id, p := range r.groups {
		if p.exists || p.folder != "" || id == entry.MetadataGroup {
			continue
		}
		for i, there := range r.folders {
			for name := range there {
				if strings.HasSuffix(name, fmt.Sprintf("-%d", id.Partition)) && !taken[name] && validFolder(name) &&
					belongsTo(r.store.dirs[i].fs, path.Join(r.store.dirs[i].path, name), id.Topic) {
					p.folder, p.dir = name, uint16(i)
				}
			}
		}
	}
}
