package entry

import (
	"encoding/binary"
	"fmt"
)

// Site and epoch arithmetic (docs/formats.md section 1).
const (
	SiteEpochBits   = 13
	LeaderEpochBits = 18
	OffsetBandBits  = 42
	ProducerIDBits  = 40
)

// NoFence means that the log is not fenced.
const NoFence = ^uint32(0)

// State is what decides whether a command may be appended to one Raft group's log. Copy it freely.
type State struct {
	SiteEpoch      uint32
	FenceTarget    uint32 // NoFence = none
	HasEpochBase   bool
	TermBase       uint64
	EpochBase      uint32
	LastTerm       uint64 // validated term of the last command entry
	AppendSequence uint64 // of the last command entry in LastTerm
	LastEpoch      int32  // leader epoch of the last data entry, -1 = none
	NextOffset     int64  // the log end offset; the next write is at or above it
	Sites
}

// NewState is the state of an empty log whose first offset is start.
func NewState(start int64) State {
	return State{FenceTarget: NoFence, LastEpoch: -1, NextOffset: start}
}

// VoidReason says why an entry is stored as a void; 0 = it is not.
type VoidReason uint8

const (
	Admitted       VoidReason = 0
	VoidTerm       VoidReason = 1 // validated in another term than the one it is stored in
	VoidSequence   VoidReason = 2 // an earlier entry of this leadership is missing
	VoidSiteEpoch  VoidReason = 3 // proposed under an older site epoch
	VoidFenced     VoidReason = 4 // the log is fenced
	VoidBand       VoidReason = 5 // its offsets would pass the site epoch's band
	VoidEpochBound VoidReason = 6 // the leader epoch of this site epoch is exhausted
	VoidRole       VoidReason = 7 // the log does not take such an entry in its role
	VoidLink       VoidReason = 8 // shipped data that does not continue the log
)

func (r VoidReason) String() string {
	names := [...]string{"admitted", "term", "sequence", "site epoch", "fenced", "offset band", "leader epochs exhausted", "role", "link"}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Epoch is the leader epoch of Raft term under s. ok is false where this site epoch has no epoch left or no base yet.
func (s *State) Epoch(term uint64) (epoch int32, ok bool) {
	if !s.HasEpochBase || term < s.TermBase {
		return -1, false
	}
	low := term - s.TermBase + uint64(s.EpochBase)
	if low >= 1<<LeaderEpochBits {
		return -1, false
	}
	return int32(s.SiteEpoch<<LeaderEpochBits | uint32(low)), true
}

// Admit decides whether the command h, stored by the leader of raftTerm, may take its place in the log. It is pure.
// Source: docs/formats.md, void rule.
func (s *State) Admit(h *Header, raftTerm uint64) VoidReason {
	next := s.AppendSequence + 1
	if raftTerm != s.LastTerm {
		next = 1
	}
	switch {
	case h.ValidatedTerm != raftTerm:
		return VoidTerm
	case h.AppendSequence != next:
		return VoidSequence
	case h.SiteEpoch < s.SiteEpoch:
		return VoidSiteEpoch
	}
	if s.Level >= LevelSites {
		if reason := s.admitSites(h); reason != Admitted || h.Linked() {
			return reason
		}
	}
	if h.Kind != Data {
		return Admitted
	}
	end := s.NextWrite()
	for i := range h.Rows {
		end += int64(h.Rows[i].LastOffsetDelta) + 1
	}
	_, ok := s.Epoch(raftTerm)
	switch {
	case s.FenceTarget != NoFence:
		return VoidFenced
	case end > BandEnd(s.SiteEpoch):
		return VoidBand
	case !ok:
		return VoidEpochBound
	}
	return Admitted
}

// Stamp gives an admitted proposal its offsets and leader epoch, and a fence its next offset. The batches of the payload are stamped
// by the caller. Data of a link comes stamped and stays as it is.
func (s *State) Stamp(h *Header, raftTerm uint64) {
	if s.Level >= LevelSites {
		if h.Kind == Fence {
			s.stampFence(h)
		}
		if h.Linked() {
			return
		}
	}
	epoch, _ := s.Epoch(raftTerm)
	next := s.NextWrite()
	for i := range h.Rows {
		r := &h.Rows[i]
		r.BaseOffset = next
		r.LastOffset = next + int64(r.LastOffsetDelta)
		r.LeaderEpoch = epoch
		next = r.LastOffset + 1
	}
}

// Advance moves s past a stored entry (a void counts its sequence only when it is the expected one, so that one lost
// proposal voids the rest of its leadership). Errors: ErrCorrupt when a stamped entry goes back, ErrKind for a reserved kind.
func (s *State) Advance(h *Header) error {
	switch h.Kind {
	case Void:
		return nil
	case EpochBase:
		if len(h.Body) != 16 {
			return fmt.Errorf("%w: epoch base of %d bytes", ErrCorrupt, len(h.Body))
		}
		s.HasEpochBase = true
		s.TermBase = binary.BigEndian.Uint64(h.Body)
		s.EpochBase = binary.BigEndian.Uint32(h.Body[8:])
		s.SiteEpoch = h.SiteEpoch
	case Data:
		for i := range h.Rows {
			r := &h.Rows[i]
			if r.BaseOffset < s.NextOffset {
				return fmt.Errorf("%w: base offset %d below the log end offset %d", ErrCorrupt, r.BaseOffset, s.NextOffset)
			}
			if r.LeaderEpoch < s.LastEpoch {
				return fmt.Errorf("%w: leader epoch %d behind %d", ErrCorrupt, r.LeaderEpoch, s.LastEpoch)
			}
			s.NextOffset, s.LastEpoch = r.LastOffset+1, r.LeaderEpoch
		}
	case LogStart, Metadata:
	default:
		if s.Level >= LevelSites && h.Kind&MaySkip == 0 {
			if err := s.advanceSites(h); err != nil {
				return err
			}
		} else if h.Kind&MaySkip == 0 {
			return fmt.Errorf("%w %d at format level 1", ErrKind, h.Kind)
		}
	}
	s.LastTerm, s.AppendSequence = h.ValidatedTerm, h.AppendSequence
	return nil
}

// EpochBaseBody encodes the body of an epoch-base entry.
func EpochBaseBody(termBase uint64, epochBase uint32) []byte {
	b := binary.BigEndian.AppendUint64(nil, termBase)
	b = binary.BigEndian.AppendUint32(b, epochBase)
	return append(b, 0, 0, 0, 0)
}

// LogStartBody encodes the body of a log-start entry.
func LogStartBody(offset int64) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(offset))
}

// PurgeBody encodes the body of a log-start entry by which somebody deletes what lies below offset on purpose; level 2.
func PurgeBody(offset int64) []byte {
	return append(LogStartBody(offset), 1, 0, 0, 0, 0, 0, 0, 0)
}

// ParseLogStart reads the body of a log-start entry; purge says that it was on purpose, as far as is known. Errors: ErrCorrupt.
func ParseLogStart(b []byte) (offset int64, purge bool, err error) {
	purge = len(b) == 16
	if !purge && len(b) != 8 || purge && binary.BigEndian.Uint64(b[8:]) != 1<<56 {
		return 0, false, fmt.Errorf("%w: log start of %d bytes", ErrCorrupt, len(b))
	}
	return int64(binary.BigEndian.Uint64(b)), purge, nil
}

// MakeVoid turns h into the void that takes its place.
func (h *Header) MakeVoid(reason VoidReason) {
	body := append(make([]byte, 0, 10), byte(h.Kind))
	body = binary.BigEndian.AppendUint64(body, h.AppendSequence)
	h.Kind, h.Rows, h.PayloadLength, h.PayloadCRC = Void, nil, 0, 0
	h.Body = append(body, byte(reason))
}
