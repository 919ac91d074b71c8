package journal

import "github.com/tandembroker/tandem/storage/entry"

// Tail is the newest record of a Raft group.
type Tail struct {
	Group    entry.GroupID
	Sequence uint64
	Need     uint64 // what Tails was told of it
}

// Tails says how far the journal is written, and which Raft groups have got a newer record since the call before, in no order;
// the first call lists those with one above Options.TailsKnown. All of it is on disk, payloads that count included, once Mark is
// at or above written. It waits for a batch under way. need is asked for each of them while nothing is written, and must not wait for the
// journal. A journal that has failed says 0, nil.
func (j *Journal) Tails(need func(entry.GroupID) uint64) (written uint64, changed []Tail) {
	j.duty.Lock()
	defer j.duty.Unlock()
	if j.Err() != nil {
		return 0, nil // what could not be written has its tail all the same
	}
	o := &j.owner
	changed = make([]Tail, len(o.changed))
	for i, id := range o.changed {
		t := o.groups[id]
		t.listed = false
		o.groups[id] = t
		changed[i] = Tail{id, t.sequence, need(id)}
	}
	o.changed = o.changed[:0]
	return o.written, changed
}
