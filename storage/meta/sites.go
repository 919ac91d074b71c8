package meta

import (
	"encoding/binary"
	"fmt"

	"github.com/tandembroker/tandem/storage/entry"
)

// GroupSites is what a row of format level 2 has behind that of level 1 (docs/formats.md section 6, version 3).
type GroupSites struct {
	HasEpochBase bool // TermBase and EpochBase are in force
	FenceTarget  uint32
	Role         entry.Role
	Base         int64
	Shared       int64
	Cut          entry.Cut
	Spans        []entry.EpochSpan // of the lineage, whose log start is the row's
}

const (
	sitesLen = 40 // up to the spans
	spanLen  = 40
)

// Append encodes s behind dst.
func (s *GroupSites) Append(dst []byte) []byte {
	inForce := byte(0)
	if s.HasEpochBase {
		inForce = 1
	}
	dst = append(dst, inForce, byte(s.Role), 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, s.FenceTarget)
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.Base))
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.Shared))
	dst = binary.BigEndian.AppendUint32(dst, s.Cut.SiteEpoch)
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.Cut.Offset))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(s.Spans)))
	for i := range s.Spans {
		e := &s.Spans[i]
		dst = binary.BigEndian.AppendUint32(dst, e.SiteEpoch)
		dst = binary.BigEndian.AppendUint32(dst, uint32(e.FirstEpoch))
		for _, offset := range []int64{e.Base, e.Shared, e.Start, e.End} {
			dst = binary.BigEndian.AppendUint64(dst, uint64(offset))
		}
	}
	return dst
}

// Decode reads what Append wrote, which must fill b. Errors: ErrCorrupt.
func (s *GroupSites) Decode(b []byte) error {
	bad := fmt.Errorf("%w: sites of a Raft group checkpoint, %d bytes", ErrCorrupt, len(b))
	if len(b) < sitesLen || b[0] > 1 || entry.Role(b[1]) > entry.Following || b[2]|b[3] != 0 {
		return bad
	}
	*s = GroupSites{
		HasEpochBase: b[0] == 1, Role: entry.Role(b[1]), FenceTarget: binary.BigEndian.Uint32(b[4:]),
		Base: int64(binary.BigEndian.Uint64(b[8:])), Shared: int64(binary.BigEndian.Uint64(b[16:])),
		Cut: entry.Cut{SiteEpoch: binary.BigEndian.Uint32(b[24:]), Offset: int64(binary.BigEndian.Uint64(b[28:]))},
	}
	count := binary.BigEndian.Uint32(b[36:])
	b = b[sitesLen:]
	if int64(count)*spanLen != int64(len(b)) || s.Base < 0 || s.Shared < entry.UnknownOffset || s.Cut.Offset < entry.UnknownOffset {
		return bad
	}
	for i := range count {
		e := entry.EpochSpan{SiteEpoch: binary.BigEndian.Uint32(b), FirstEpoch: int32(binary.BigEndian.Uint32(b[4:])),
			Base: int64(binary.BigEndian.Uint64(b[8:])), Shared: int64(binary.BigEndian.Uint64(b[16:])),
			Start: int64(binary.BigEndian.Uint64(b[24:])), End: int64(binary.BigEndian.Uint64(b[32:]))}
		if i > 0 && e.SiteEpoch <= s.Spans[i-1].SiteEpoch {
			return bad
		}
		s.Spans, b = append(s.Spans, e), b[spanLen:]
	}
	return nil
}
