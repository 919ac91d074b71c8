package meta

import (
	"encoding/binary"
	"fmt"

	"github.com/tandembroker/tandem/storage/entry"
)

// JournalCheckpoint is the value of checkpoint/journal.
type JournalCheckpoint struct {
	First uint64 // the first journal sequence that is still needed; 0 = all
	Mark  uint64 // everything up to this journal sequence is synced
	Clean bool   // the last process stopped after a full checkpoint and wrote nothing since
}

const journalCheckpointLen = 17

// Append encodes c behind dst.
func (c *JournalCheckpoint) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, c.First)
	dst = binary.BigEndian.AppendUint64(dst, c.Mark)
	if c.Clean {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// Decode reads what Append wrote. Errors: ErrCorrupt.
func (c *JournalCheckpoint) Decode(b []byte) error {
	if len(b) != journalCheckpointLen || b[16] > 1 {
		return fmt.Errorf("%w: journal checkpoint of %d bytes", ErrCorrupt, len(b))
	}
	c.First = binary.BigEndian.Uint64(b)
	c.Mark = binary.BigEndian.Uint64(b[8:])
	c.Clean = b[16] == 1
	return nil
}

// GroupCheckpoint is all of a Raft group that lies at or below its snapshot, and its vote
// (docs/formats.md section 6, bucket raft).
type GroupCheckpoint struct {
	SnapshotIndex      uint64
	SnapshotTerm       uint64
	CurrentTerm        uint64
	VotedTerm          uint64
	LogStart           int64
	LogEnd             int64 // next write offset behind the snapshot
	EndSegment         int64 // where the bytes up to the snapshot end: segment base offset ...
	EndPosition        int64 // ... and byte position in it
	LogDir             uint16
	SiteEpoch          uint32
	TermBase           uint64
	EpochBase          uint32
	LeaderEpoch        int32 // of the last entry, -1 = none
	AppendSequence     uint64
	ValidatedTerm      uint64
	ConfigurationIndex uint64
	Candidate          string // voted for in VotedTerm
	Configuration      []byte // hashicorp EncodeConfiguration
	Folder             string // relative to the log dir; "" = no segments (the metadata Raft group)
	State              []byte // of the machine behind Raft

	Sealed    []SealedSegment // the segments below EndSegment, by base; nil = not known (the row was version 1)
	EpochsCRC uint32          // of the leader epochs from LogStart to LogEnd; 0 = not known
	Replacing *Replacement    // about to be done to Sealed, or done; nil = none

	Sites *GroupSites // nil = the row is of format level 1
}

// SealedSegment is a segment that nothing is appended to any more.
type SealedSegment struct {
	Base int64
	Size uint32 // bytes
}

// Replacement says that the sealed segments with the base offsets First to Last become one of Size bytes, with base First.
type Replacement struct {
	First, Last int64
	Size        uint32
}

// GroupCheckpointVersion is the newest version of the rows; all from 1 on are read.
const GroupCheckpointVersion = 3

// Version is the one that c is stored as.
func (c *GroupCheckpoint) Version() byte {
	if c.Sites != nil {
		return 3
	}
	return 2
}

const (
	groupCheckpointLen = 112
	sealedLen          = 12
	sealedUnknown      = 1<<32 - 1 // as their count
	replacementLen     = 20
)

// blobMax bounds each of the four trailing byte strings.
const blobMax = 64 << 20

// Append encodes c behind dst.
func (c *GroupCheckpoint) Append(dst []byte) []byte {
	u64 := binary.BigEndian.AppendUint64
	dst = u64(u64(u64(u64(dst, c.SnapshotIndex), c.SnapshotTerm), c.CurrentTerm), c.VotedTerm)
	dst = u64(u64(dst, uint64(c.LogStart)), uint64(c.LogEnd))
	dst = u64(u64(dst, uint64(c.EndSegment)), uint64(c.EndPosition))
	dst = binary.BigEndian.AppendUint16(dst, c.LogDir)
	dst = append(dst, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, c.SiteEpoch)
	dst = u64(dst, c.TermBase)
	dst = binary.BigEndian.AppendUint32(dst, c.EpochBase)
	dst = binary.BigEndian.AppendUint32(dst, uint32(c.LeaderEpoch))
	dst = u64(u64(u64(dst, c.AppendSequence), c.ValidatedTerm), c.ConfigurationIndex)
	for _, blob := range [][]byte{[]byte(c.Candidate), c.Configuration, []byte(c.Folder), c.State} {
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(blob)))
		dst = append(dst, blob...)
	}
	dst = c.appendSealed(dst)
	if c.Sites != nil {
		dst = c.Sites.Append(dst)
	}
	return dst
}

func (c *GroupCheckpoint) appendSealed(dst []byte) []byte {
	count := uint32(sealedUnknown)
	if c.Sealed != nil {
		count = uint32(len(c.Sealed))
	}
	dst = binary.BigEndian.AppendUint32(dst, count)
	for _, s := range c.Sealed {
		dst = binary.BigEndian.AppendUint64(dst, uint64(s.Base))
		dst = binary.BigEndian.AppendUint32(dst, s.Size)
	}
	dst = binary.BigEndian.AppendUint32(dst, c.EpochsCRC)
	r := c.Replacing
	if r == nil {
		return append(dst, 0)
	}
	dst = binary.BigEndian.AppendUint64(append(dst, 1), uint64(r.First))
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Last))
	return binary.BigEndian.AppendUint32(dst, r.Size)
}

// decodeSealed reads what appendSealed wrote, and returns what is behind it.
func (c *GroupCheckpoint) decodeSealed(b []byte) (rest []byte, err error) {
	bad := fmt.Errorf("%w: sealed segments of a Raft group checkpoint", ErrCorrupt)
	if len(b) < 9 {
		return nil, bad
	}
	count := binary.BigEndian.Uint32(b)
	b = b[4:]
	if count != sealedUnknown {
		if int64(count)*sealedLen+5 > int64(len(b)) {
			return nil, bad
		}
		c.Sealed = make([]SealedSegment, count)
		prev := int64(-1)
		for i := range c.Sealed {
			s := SealedSegment{int64(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint32(b[8:])}
			if s.Base <= prev || s.Base >= c.EndSegment {
				return nil, bad
			}
			c.Sealed[i], prev, b = s, s.Base, b[sealedLen:]
		}
	}
	c.EpochsCRC, b = binary.BigEndian.Uint32(b), b[4:]
	switch {
	case b[0] == 0:
		return b[1:], nil
	case len(b) >= 1+replacementLen && b[0] == 1:
		c.Replacing = &Replacement{int64(binary.BigEndian.Uint64(b[1:])), int64(binary.BigEndian.Uint64(b[9:])), binary.BigEndian.Uint32(b[17:])}
		return b[1+replacementLen:], nil
	}
	return nil, bad
}

// Decode reads what Append wrote as that version, or what version 1 was; the byte strings borrow from b. Errors: ErrCorrupt.
func (c *GroupCheckpoint) Decode(b []byte, version byte) error {
	if len(b) < groupCheckpointLen || b[66] != 0 || b[67] != 0 {
		return fmt.Errorf("%w: Raft group checkpoint of %d bytes", ErrCorrupt, len(b))
	}
	u64 := binary.BigEndian.Uint64
	c.SnapshotIndex, c.SnapshotTerm, c.CurrentTerm, c.VotedTerm = u64(b), u64(b[8:]), u64(b[16:]), u64(b[24:])
	c.LogStart, c.LogEnd = int64(u64(b[32:])), int64(u64(b[40:]))
	c.EndSegment, c.EndPosition = int64(u64(b[48:])), int64(u64(b[56:]))
	c.LogDir = binary.BigEndian.Uint16(b[64:])
	c.SiteEpoch = binary.BigEndian.Uint32(b[68:])
	c.TermBase = u64(b[72:])
	c.EpochBase = binary.BigEndian.Uint32(b[80:])
	c.LeaderEpoch = int32(binary.BigEndian.Uint32(b[84:]))
	c.AppendSequence, c.ValidatedTerm, c.ConfigurationIndex = u64(b[88:]), u64(b[96:]), u64(b[104:])
	b = b[groupCheckpointLen:]
	var blobs [4][]byte
	for i := range blobs {
		if len(b) < 4 || binary.BigEndian.Uint32(b) > blobMax || int(binary.BigEndian.Uint32(b)) > len(b)-4 {
			return fmt.Errorf("%w: byte string %d of a Raft group checkpoint", ErrCorrupt, i)
		}
		n := int(binary.BigEndian.Uint32(b))
		blobs[i], b = b[4:4+n], b[4+n:]
	}
	c.Candidate, c.Configuration, c.Folder, c.State = string(blobs[0]), blobs[1], string(blobs[2]), blobs[3]
	if version > 1 {
		var err error
		if b, err = c.decodeSealed(b); err != nil {
			return err
		}
	}
	if version > 2 {
		c.Sites = new(GroupSites)
		return c.Sites.Decode(b)
	}
	if len(b) != 0 {
		return fmt.Errorf("%w: %d bytes behind a Raft group checkpoint", ErrCorrupt, len(b))
	}
	return nil
}

// AdmissionState is the admission state behind the snapshot (docs/formats.md section 7). That of a row without Sites is of format
// level 1.
func (c *GroupCheckpoint) AdmissionState() entry.State {
	s := entry.State{
		SiteEpoch: c.SiteEpoch, FenceTarget: entry.NoFence, HasEpochBase: c.TermBase != 0, TermBase: c.TermBase,
		EpochBase: c.EpochBase, LastTerm: c.ValidatedTerm, AppendSequence: c.AppendSequence, LastEpoch: c.LeaderEpoch,
		NextOffset: c.LogEnd,
	}
	if c.Sites != nil {
		s.HasEpochBase, s.FenceTarget = c.Sites.HasEpochBase, c.Sites.FenceTarget
		s.Sites = entry.Sites{Level: entry.LevelSites, Role: c.Sites.Role, Base: c.Sites.Base, Shared: c.Sites.Shared, Cut: c.Sites.Cut}
	}
	return s
}

// Lineage is the log's history behind the snapshot; of a row without Sites, what there was before there were sites.
func (c *GroupCheckpoint) Lineage() entry.Lineage {
	if c.Sites == nil {
		s := c.AdmissionState()
		return s.LineageOfOne(c.LogStart)
	}
	return entry.Lineage{Spans: c.Sites.Spans, LogStart: c.LogStart}
}

// SetAdmissionState stores s as the state behind the snapshot, with the lineage that belongs to it where s is of format level 2.
// At level 1 a Raft term is never 0, so TermBase 0 says "no epoch base yet".
func (c *GroupCheckpoint) SetAdmissionState(s entry.State, lineage *entry.Lineage) {
	c.SiteEpoch, c.TermBase, c.EpochBase = s.SiteEpoch, s.TermBase, s.EpochBase
	c.ValidatedTerm, c.AppendSequence, c.LeaderEpoch, c.LogEnd = s.LastTerm, s.AppendSequence, s.LastEpoch, s.NextOffset
	if s.Level >= entry.LevelSites {
		c.Sites = &GroupSites{HasEpochBase: s.HasEpochBase, FenceTarget: s.FenceTarget, Role: s.Role, Base: s.Base, Shared: s.Shared,
			Cut: s.Cut, Spans: lineage.Spans}
	} else if !s.HasEpochBase {
		c.TermBase = 0
	}
}
