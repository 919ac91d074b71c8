package storage

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
	"github.com/tandembroker/tandem/storage/meta"
)

// TypeCommand is hashicorp/raft's LogCommand: the entries whose Data is an entry header and that may have a payload.
const TypeCommand uint8 = 0

// Entry is one Raft log entry.
type Entry struct {
	Index, Term uint64
	Type        uint8  // hashicorp/raft LogType
	Data        []byte // of TypeCommand: the stamped header. Owned by the Group after Append
	Payload     []byte // stamped record batches, borrowed until Append returns; nil in what Entry returns
	Place       log.Position
	PlaceLength uint32 // of the payload at Place, bytes; 0 = none
}

// Vote is what a Raft group must never forget.
type Vote struct {
	Term      uint64 // current term
	VotedTerm uint64
	Candidate string // voted for in VotedTerm
}

// Snapshot is all that a Raft group keeps of its entries up to Index, beside the records themselves.
type Snapshot struct {
	Index, Term        uint64
	Configuration      []byte // hashicorp EncodeConfiguration
	ConfigurationIndex uint64
	State              []byte // of the machine behind Raft
	LogStart           int64  // log start offset of the partition
}

// basis is what the entries above a snapshot go on from.
type basis struct {
	entry.State
	lineage entry.Lineage // kept at format level 2 only; never changed in place
}

// newBasis is that of an empty log whose first offset is start.
func newBasis(level int, start int64) basis {
	b := basis{entry.NewState(start), entry.Lineage{LogStart: start}}
	if level >= entry.LevelSites {
		b.Raise()
	}
	return b
}

// advance moves b past a stored entry; lineage is its own already.
func (b *basis) advance(h *entry.Header) error {
	if err := b.State.Advance(h); err != nil || b.Level < entry.LevelSites {
		return err
	}
	return b.lineage.Advance(h)
}

// stored is an entry in memory.
type stored struct {
	term        uint64
	sequence    uint64 // of its journal record
	data        []byte
	place       log.Position
	placeLength uint32
	kind        uint8 // LogType
	cut         bool  // a truncate-to that was carried out: the bytes end at place
}

// Group is the log of one Raft group. Append, TruncateSuffix, TruncatePrefix and SetVote are called by one goroutine at a time
// (they exclude each other in any case); everything else is safe for concurrent use.
type Group struct {
	store   *Store
	id      GroupID
	folder  string // relative to dir; "" = no segments
	dir     *folder
	dirIdx  uint16
	log     *log.Log // nil without segments, or offline since Open
	offline atomic.Pointer[error]
	hurt    string // why it was offline when it was opened, where its journal records do not show it; immutable then

	write struct { // held across I/O: it orders the appends
		sync.Mutex
		scratch
		cachedDirty bool // payloads of class cached are in the segment, not synced
		closed      bool
	}
	save struct { // held across a SaveSnapshot
		sync.Mutex
		end    log.Position // where the bytes up to the snapshot end
		sealed []log.Sealed // the segments below; nil = not known
		epochs uint32       // log.Checkpoint.EpochsCRC
		gone   bool         // deleted: its row must not come back
		cut    uint64       // index of the newest truncate-to that was carried out
	}
	mu struct {
		sync.RWMutex
		entries  []stored // contiguous
		first    uint64   // index of entries[0]
		last     uint64   // of the newest entry, or the snapshot's index when there is none
		state    entry.State
		base     basis // behind the snapshot
		vote     Vote
		snapshot Snapshot
		uncut    uint64 // index of a truncate-to that is not carried out yet; 0 = none
		referred uint64 // of the first entry of class cached whose payload is in the segment only, and not synced; 0 = none

		// What pins the journal, besides entries above the snapshot. 0 = nothing.
		pending uint64 // lower bound of the sequences of an append under way
		voteAt  uint64 // record of a vote that is not in meta.db yet
		bornAt  uint64 // record of the creation, while the group is not in meta.db
		pin     uint64 // first record of a group that is offline since Open

		cutAt uint64 // newest record that took entries away; it pins nothing
		cutTo uint64 // the highest index that was taken away, as far as the journal still has it
	}
}

func newGroup(s *Store, id GroupID, folderName string) *Group {
	g := &Group{store: s, id: id, folder: folderName}
	g.mu.first = 1
	return g
}

// ID is the Raft group id.
func (g *Group) ID() GroupID { return g.id }

// Folder is the partition's folder relative to its log dir, "" for the metadata Raft group.
func (g *Group) Folder() string { return g.folder }

// Log is the partition's segments; nil for the metadata Raft group and for a group that was offline when the store was opened.
func (g *Group) Log() *log.Log { return g.log }

// Offline is nil, or why the group takes and serves nothing (wraps ErrOffline).
func (g *Group) Offline() error {
	if p := g.offline.Load(); p != nil {
		return *p
	}
	if err := g.store.folderError(g.dir); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrOffline, g, err)
	}
	return nil
}

func (g *Group) setOffline(err error) {
	err = fmt.Errorf("%w: %s: %w", ErrOffline, g, err)
	if g.offline.CompareAndSwap(nil, &err) {
		g.store.opts.Logger.Error("Raft group offline", "group", g.id, "folder", g.folder, "err", err)
	}
}

func (g *Group) String() string {
	if g.folder == "" {
		return "Raft group " + g.id.String()
	}
	return "partition " + g.folder
}

// usable says whether g may write.
func (g *Group) usable() error {
	if err := g.store.Failed(); err != nil {
		return err
	}
	if g.write.closed {
		return ErrClosed
	}
	return g.Offline()
}

// State is the admission state behind the last stored entry.
func (g *Group) State() entry.State {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.mu.state
}

// FirstIndex is the index of the first entry at hand; 0 = none.
func (g *Group) FirstIndex() uint64 {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if len(g.mu.entries) == 0 {
		return 0
	}
	return g.mu.first
}

// LastIndex is the index of the last entry at hand; 0 = none (the log may still begin above a snapshot).
func (g *Group) LastIndex() uint64 {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if len(g.mu.entries) == 0 {
		return 0
	}
	return g.mu.last
}

// Entry returns the entry at index, without its payload. Data must not be changed.
func (g *Group) Entry(index uint64) (Entry, bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if index < g.mu.first || index-g.mu.first >= uint64(len(g.mu.entries)) {
		return Entry{}, false
	}
	e := &g.mu.entries[index-g.mu.first]
	return Entry{Index: index, Term: e.term, Type: e.kind, Data: e.data, Place: e.place, PlaceLength: e.placeLength}, true
}

// Vote is the vote as last stored.
func (g *Group) Vote() Vote {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.mu.vote
}

// Snapshot is the newest durable snapshot. Its byte slices must not be changed.
func (g *Group) Snapshot() (Snapshot, bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.mu.snapshot, g.mu.snapshot.Index > 0
}

// RetainFrom is the offset behind the newest durable snapshot: what lies below is not needed by any entry above it, so
// compaction may touch it, and retention may where it also lies below that snapshot's LogStart: a restart takes a segment
// above that for lost.
func (g *Group) RetainFrom() int64 {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.mu.base.NextOffset
}

// dirty says whether a checkpoint has anything to save for g, and whether that takes a new snapshot.
func (g *Group) dirty() (save, snapshot bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	snapshot = g.mu.last > g.mu.snapshot.Index
	return snapshot || g.mu.voteAt != 0 || g.mu.bornAt != 0, snapshot
}

// needs is the first journal sequence that recovery would need for g; 0 = none.
func (g *Group) needs() uint64 {
	g.mu.RLock()
	defer g.mu.RUnlock()
	var need uint64
	for _, at := range []uint64{g.mu.pending, g.mu.voteAt, g.mu.bornAt, g.mu.pin} {
		if at != 0 && (need == 0 || at < need) {
			need = at
		}
	}
	if above := max(g.mu.snapshot.Index+1, g.mu.first); above-g.mu.first < uint64(len(g.mu.entries)) {
		if at := g.mu.entries[above-g.mu.first].sequence; need == 0 || at < need { // sequences rise with the indexes
			need = at
		}
	}
	return need
}

// checkpoint is g's row of meta.db as it stands: the given snapshot, the admission state and end behind it, the newest vote,
// and the sealed segments of g.save. It also returns the records that the row makes superfluous. g.save is held.
func (g *Group) checkpoint(snap Snapshot, base basis, end log.Position) (cp *meta.GroupCheckpoint, voteAt, bornAt uint64) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	cp = &meta.GroupCheckpoint{
		SnapshotIndex: snap.Index, SnapshotTerm: snap.Term,
		CurrentTerm: g.mu.vote.Term, VotedTerm: g.mu.vote.VotedTerm, Candidate: g.mu.vote.Candidate,
		LogStart: snap.LogStart, EndSegment: end.Segment, EndPosition: end.Pos, LogDir: g.dirIdx, Folder: g.folder,
		ConfigurationIndex: snap.ConfigurationIndex, Configuration: snap.Configuration, State: snap.State,
	}
	if g.save.sealed != nil {
		cp.Sealed = make([]meta.SealedSegment, len(g.save.sealed))
		for i, s := range g.save.sealed {
			cp.Sealed[i] = meta.SealedSegment{Base: s.Base, Size: uint32(s.Size)}
		}
	}
	cp.EpochsCRC = g.save.epochs
	cp.SetAdmissionState(base.State, &base.lineage)
	return cp, g.mu.voteAt, g.mu.bornAt
}

// saved notes that meta.db holds what checkpoint returned.
func (g *Group) saved(voteAt, bornAt uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.voteAt == voteAt {
		g.mu.voteAt = 0
	}
	if g.mu.bornAt == bornAt {
		g.mu.bornAt = 0
	}
}
