package storage

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/tandembroker/tandem/storage/entry"
)

// model is what the harness knows of a store: what was acknowledged, and what was sent and not yet answered.
// It is a value: the groups are replaced, never changed in place, so that a copy of the map is a snapshot.
type model struct {
	version int // rises with every change
	groups  map[GroupID]*groupModel
}

type existence int

const (
	absent existence = iota
	creating
	present
	deleting
	deletedForGood
)

// groupModel is the model of one Raft group.
type groupModel struct {
	is       existence
	again    bool // creating what was deleted: the journal may still know that, and refuse it
	folder   string
	start    int64
	entries  []Entry // acknowledged, from index 1 on, with payloads
	durable  uint64  // index up to which a power loss may take nothing
	vote     Vote
	snapshot uint64
	cut      uint64 // newest truncate-to that was carried out

	// Sent, not answered; at most one of them.
	appending  []Entry
	truncating uint64 // from
	voting     *Vote
	saving     uint64 // snapshot index
	cutting    uint64 // truncate-to
}

// atBatch is a batch that a log holds.
type atBatch struct {
	bytes []byte
	last  int64
	epoch int32
}

// batches are those that entries leave, where all truncations but the one at index uncut are carried out, and the newest that is.
func batches(entries []Entry, uncut uint64) (list []atBatch, cut uint64, err error) {
	for i := range entries {
		e := &entries[i]
		if e.Type != TypeCommand {
			continue
		}
		var h entry.Header
		if err := h.Decode(e.Data); err != nil {
			return nil, 0, err
		}
		for k := range h.Rows {
			r := &h.Rows[k]
			list = append(list, atBatch{e.Payload[r.Pos : r.Pos+r.Length], r.LastOffset, r.LeaderEpoch})
		}
		if h.Kind == entry.TruncateTo && e.Index != uncut {
			c, err := entry.ParseTruncation(h.Body)
			if err != nil {
				return nil, 0, err
			}
			list, cut = slices.DeleteFunc(list, func(b atBatch) bool { return b.last >= c.Offset }), e.Index
		}
	}
	return list, cut, nil
}

func (m model) with(id GroupID, change func(*groupModel)) model {
	g := groupModel{}
	if old := m.groups[id]; old != nil {
		g = *old
	}
	change(&g)
	groups := maps.Clone(m.groups)
	if groups == nil {
		groups = map[GroupID]*groupModel{}
	}
	groups[id] = &g
	return model{version: m.version + 1, groups: groups}
}

// check compares a recovered store with the model: acknowledged ⊆ recovered ⊆ sent, in order, bytes equal.
func (m model) check(s *Store) error {
	for _, g := range s.Groups() {
		if err := g.Offline(); err != nil {
			return fmt.Errorf("a power loss took it offline: %w", err)
		}
		gm := m.groups[g.ID()]
		if gm == nil || gm.is == absent || gm.is == deletedForGood {
			return fmt.Errorf("%s exists, the model says %+v", g, gm)
		}
	}
	for id, gm := range m.groups {
		g, ok := s.Group(id)
		switch {
		case ok:
			if err := gm.check(g); err != nil {
				return fmt.Errorf("%s: %w", g, err)
			}
		case gm.is == present:
			return fmt.Errorf("%s is gone", gm.folder)
		}
	}
	return nil
}

func (gm *groupModel) check(g *Group) error {
	all := append(append([]Entry(nil), gm.entries...), gm.appending...)
	least := gm.durable
	if gm.truncating != 0 {
		least = min(least, gm.truncating-1)
	}
	last := g.mu.last
	snap, _ := g.Snapshot()
	if last < least || last > uint64(len(all)) {
		return fmt.Errorf("ends at index %d, acknowledged is %d, sent is %d", last, least, len(all))
	}
	if snap.Index != gm.snapshot && snap.Index != gm.saving {
		return fmt.Errorf("snapshot at %d, acknowledged is %d, sent is %d", snap.Index, gm.snapshot, gm.saving)
	}
	if snap.Index > 0 {
		want := gm.snapshotOf(all, snap.Index)
		if snap.Term != want.Term || !bytes.Equal(snap.State, want.State) || !bytes.Equal(snap.Configuration, want.Configuration) {
			return fmt.Errorf("snapshot %+v, sent was %+v", snap, want)
		}
	}
	if v := g.Vote(); v != gm.vote && (gm.voting == nil || v != *gm.voting) {
		return fmt.Errorf("vote %+v, acknowledged is %+v, sent is %+v", v, gm.vote, gm.voting)
	}
	basis := newBasis(g.store.level, gm.start)
	uncut := g.uncutIndex()
	kept, cut, err := batches(all[:last], uncut)
	switch {
	case err != nil:
		return err
	case cut < gm.cut:
		return fmt.Errorf("the truncation at index %d is undone, the newest is at %d", gm.cut, cut)
	case cut > gm.cut && cut != gm.cutting:
		return fmt.Errorf("a truncation at index %d that nobody asked for", cut)
	}
	var bytesWanted []byte
	for _, b := range kept {
		bytesWanted = append(bytesWanted, b.bytes...)
	}
	for i := range last {
		e := &all[i]
		if e.Type == TypeCommand {
			var h entry.Header
			if err := h.Decode(e.Data); err != nil {
				return err
			}
			if err := basis.advance(&h); err != nil {
				return err
			}
		}
		length := len(e.Payload)
		if e.Index < cut {
			length = 0
		}
		got, ok := g.Entry(e.Index)
		if !ok && e.Index > snap.Index {
			return fmt.Errorf("entry %d is missing", e.Index)
		}
		if ok && (got.Term != e.Term || got.Type != e.Type || !bytes.Equal(got.Data, e.Data) || int(got.PlaceLength) != length) {
			return fmt.Errorf("entry %d is %+v, sent was %+v", e.Index, got, e)
		}
	}
	if got := g.State(); got != basis.State {
		return fmt.Errorf("admission state %+v, should be %+v", got, basis.State)
	}
	if err := checkLineage(g, basis.lineage); err != nil {
		return err
	}
	if g.Log() == nil {
		return nil
	}
	got, err := readAll(g)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, bytesWanted) {
		return fmt.Errorf("records of %d bytes, sent were %d up to index %d; first difference at byte %d", len(got), len(bytesWanted), last,
			firstDifference(got, bytesWanted))
	}
	return nil
}

// checkLineage compares what g has of its lineage with want.
func checkLineage(g *Group, want entry.Lineage) error {
	if g.store.level < entry.LevelSites {
		return nil
	}
	_, _, got := g.Base()
	snap, _ := g.Snapshot()
	for i := snap.Index + 1; i <= g.mu.last; i++ {
		e, _ := g.Entry(i)
		if e.Type != TypeCommand {
			continue
		}
		var h entry.Header
		if err := h.Decode(e.Data); err != nil {
			return err
		}
		if err := got.Advance(&h); err != nil {
			return err
		}
	}
	want = want.Clone()
	for _, l := range []entry.Lineage{got, want} { // of what was written at level 1, the beginning is not known
		if len(l.Spans) > 0 && l.Spans[0].SiteEpoch == 0 && l.Spans[0].End >= 0 {
			l.Spans[0].FirstEpoch, l.Spans[0].Start = 0, 0
		}
	}
	if !slices.Equal(got.Spans, want.Spans) {
		return fmt.Errorf("lineage %+v, should be %+v", got.Spans, want.Spans)
	}
	return nil
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func (gm *groupModel) snapshotOf(entries []Entry, index uint64) Snapshot {
	return Snapshot{Index: index, LogStart: gm.start, Term: entries[index-1].Term, Configuration: []byte("configuration"),
		ConfigurationIndex: 1, State: fmt.Appendf(nil, "state at %d", index)}
}

// settle makes the model say what a recovered store holds: from now on that is what is acknowledged.
func (m model) settle(s *Store) model {
	out := model{version: m.version + 1, groups: map[GroupID]*groupModel{}}
	for id, gm := range m.groups {
		n := *gm
		g, ok := s.Group(id)
		if !ok {
			n = groupModel{is: absent, folder: gm.folder, start: gm.start}
			if gm.is == deletedForGood || gm.is == deleting || gm.is == creating && gm.again {
				n.is = deletedForGood
			}
			out.groups[id] = &n
			continue
		}
		snap, _ := g.Snapshot()
		all := append(append([]Entry(nil), gm.entries...), gm.appending...)
		n.is, n.entries, n.durable, n.vote, n.snapshot = present, all[:g.mu.last:g.mu.last], g.mu.last, g.Vote(), snap.Index
		n.appending, n.truncating, n.voting, n.saving, n.cutting = nil, 0, nil, 0, 0
		_, n.cut, _ = batches(n.entries, g.uncutIndex())
		out.groups[id] = &n
	}
	return out
}

func (g *Group) uncutIndex() uint64 {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.mu.uncut
}
