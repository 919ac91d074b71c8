package journal

import (
	"encoding/binary"

	"github.com/tandembroker/tandem/storage/entry"
)

// Voided is the body of a VoidPayloads record: the segments are to end at Offset, for the truncate-to behind index To.
type Voided struct {
	From, To uint64 // indexes of entries whose payloads are not asked for any more
	Offset   int64
	LogStart int64
	Segment  int64 // where the bytes below Offset end: base offset of the segment ...
	Pos      int64 // ... and position in it; all in front is synced
	Epochs   uint32
	Sealed   []VoidedSegment // the segments below, by base
}

// VoidedSegment is a segment in front of the cut.
type VoidedSegment struct {
	Base int64
	Size uint32 // bytes
}

const (
	voidedLen        = 56
	voidedSegmentLen = 12
)

// VoidPayloadsRecord makes v durable.
func VoidPayloadsRecord(group entry.GroupID, v *Voided) Record {
	b := make([]byte, 0, voidedLen+voidedSegmentLen*len(v.Sealed))
	for _, n := range []uint64{v.From, v.To, uint64(v.Offset), uint64(v.LogStart), uint64(v.Segment), uint64(v.Pos)} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = binary.BigEndian.AppendUint32(b, v.Epochs)
	b = binary.BigEndian.AppendUint32(b, uint32(len(v.Sealed)))
	for _, s := range v.Sealed {
		b = binary.BigEndian.AppendUint64(b, uint64(s.Base))
		b = binary.BigEndian.AppendUint32(b, s.Size)
	}
	return Record{Kind: VoidPayloads, Group: group, Index: v.From, Body: b}
}

// VoidPayloads decodes a VoidPayloads record. Errors: ErrCorrupt.
func (r *Record) VoidPayloads() (*Voided, error) {
	b := r.Body
	if len(b) < voidedLen || len(b) != voidedLen+voidedSegmentLen*int(binary.BigEndian.Uint32(b[52:])) {
		return nil, r.badBody()
	}
	u64 := binary.BigEndian.Uint64
	v := &Voided{From: u64(b), To: u64(b[8:]), Offset: int64(u64(b[16:])), LogStart: int64(u64(b[24:])), Segment: int64(u64(b[32:])),
		Pos: int64(u64(b[40:])), Epochs: binary.BigEndian.Uint32(b[48:])}
	if v.From != r.Index || v.From == 0 || v.To+1 < v.From || v.Offset < 0 || v.LogStart < 0 || v.LogStart > v.Offset ||
		v.Segment < 0 || v.Segment > v.Offset || v.Pos < 0 {
		return nil, r.badBody()
	}
	before := int64(-1)
	for b = b[voidedLen:]; len(b) > 0; b = b[voidedSegmentLen:] {
		s := VoidedSegment{int64(u64(b)), binary.BigEndian.Uint32(b[8:])}
		if s.Base <= before || s.Base >= v.Segment {
			return nil, r.badBody()
		}
		v.Sealed, before = append(v.Sealed, s), s.Base
	}
	return v, nil
}
