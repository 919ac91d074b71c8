package entry

import (
	"encoding/binary"
	"fmt"
)

// Promotion is the body of a promote entry: the log goes over to SiteEpoch, which its own site writes.
type Promotion struct {
	SiteEpoch uint32
	Planned   bool  // by switchover: nothing was lost
	Base      int64 // first offset of the site epoch
	Shared    int64 // the other site surely holds this log up to here; -1 = not known
}

// Append encodes p behind dst.
func (p Promotion) Append(dst []byte) []byte {
	planned := byte(0)
	if p.Planned {
		planned = 1
	}
	dst = binary.BigEndian.AppendUint32(dst, p.SiteEpoch)
	dst = append(dst, planned, 0, 0, 0)
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.Base))
	return binary.BigEndian.AppendUint64(dst, uint64(p.Shared))
}

// ParsePromotion decodes the body of a promote entry. Errors: ErrCorrupt.
func ParsePromotion(b []byte) (Promotion, error) {
	if len(b) != 24 || b[4] > 1 || b[5]|b[6]|b[7] != 0 {
		return Promotion{}, fmt.Errorf("%w: promote of %d bytes", ErrCorrupt, len(b))
	}
	p := Promotion{SiteEpoch: binary.BigEndian.Uint32(b), Planned: b[4] == 1,
		Base: int64(binary.BigEndian.Uint64(b[8:])), Shared: int64(binary.BigEndian.Uint64(b[16:]))}
	if p.SiteEpoch >= 1<<SiteEpochBits || p.Base < 0 || p.Shared < UnknownOffset || p.Shared > p.Base {
		return Promotion{}, fmt.Errorf("%w: promote to site epoch %d at offset %d, shared %d", ErrCorrupt, p.SiteEpoch, p.Base, p.Shared)
	}
	return p, nil
}

// Followed is the body of a follow entry: SiteEpoch belongs to the other site, and only its link appends here.
type Followed struct {
	SiteEpoch uint32
	Shared    int64 // all of this log up to here is in the other site's; -1 = not compared yet
}

// Append encodes f behind dst.
func (f Followed) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, f.SiteEpoch)
	dst = append(dst, 0, 0, 0, 0)
	return binary.BigEndian.AppendUint64(dst, uint64(f.Shared))
}

// ParseFollowed decodes the body of a follow entry. Errors: ErrCorrupt.
func ParseFollowed(b []byte) (Followed, error) {
	if len(b) != 16 || binary.BigEndian.Uint32(b[4:]) != 0 {
		return Followed{}, fmt.Errorf("%w: follow of %d bytes", ErrCorrupt, len(b))
	}
	f := Followed{binary.BigEndian.Uint32(b), int64(binary.BigEndian.Uint64(b[8:]))}
	if f.SiteEpoch >= 1<<SiteEpochBits || f.Shared < UnknownOffset {
		return Followed{}, fmt.Errorf("%w: follow of site epoch %d, shared %d", ErrCorrupt, f.SiteEpoch, f.Shared)
	}
	return f, nil
}

// Fencing is the body of a fence: nothing is produced behind it until Target is promoted, or refused for good.
type Fencing struct {
	Target uint32
	Next   int64 // the next offset, where a planned promotion goes on; stamped when the fence is stored
}

// Append encodes f behind dst.
func (f Fencing) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, f.Target)
	dst = append(dst, 0, 0, 0, 0)
	return binary.BigEndian.AppendUint64(dst, uint64(f.Next))
}

// ParseFencing decodes the body of a fence. Errors: ErrCorrupt.
func ParseFencing(b []byte) (Fencing, error) {
	if len(b) != 16 || binary.BigEndian.Uint32(b[4:]) != 0 {
		return Fencing{}, fmt.Errorf("%w: fence of %d bytes", ErrCorrupt, len(b))
	}
	f := Fencing{binary.BigEndian.Uint32(b), int64(binary.BigEndian.Uint64(b[8:]))}
	if f.Target >= 1<<SiteEpochBits || f.Next < UnknownOffset {
		return Fencing{}, fmt.Errorf("%w: fence for site epoch %d at offset %d", ErrCorrupt, f.Target, f.Next)
	}
	return f, nil
}

// UnfenceBody encodes the body of an un-fence entry.
func UnfenceBody(target uint32) []byte {
	return append(binary.BigEndian.AppendUint32(nil, target), 0, 0, 0, 0)
}

// ParseUnfence decodes the body of an un-fence entry. Errors: ErrCorrupt.
func ParseUnfence(b []byte) (target uint32, err error) {
	if len(b) != 8 || binary.BigEndian.Uint32(b[4:]) != 0 || binary.BigEndian.Uint32(b) >= 1<<SiteEpochBits {
		return 0, fmt.Errorf("%w: un-fence of %d bytes", ErrCorrupt, len(b))
	}
	return binary.BigEndian.Uint32(b), nil
}

// Truncation is the body of a truncate-to entry: the log ends at Offset again.
type Truncation struct {
	Offset      int64
	LeaderEpoch int32 // of the last batch that stays; -1 = none stays
}

// Append encodes c behind dst.
func (c Truncation) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(c.Offset))
	dst = binary.BigEndian.AppendUint32(dst, uint32(c.LeaderEpoch))
	return append(dst, 0, 0, 0, 0)
}

// ParseTruncation decodes the body of a truncate-to entry. Errors: ErrCorrupt.
func ParseTruncation(b []byte) (Truncation, error) {
	if len(b) != 16 || binary.BigEndian.Uint32(b[12:]) != 0 {
		return Truncation{}, fmt.Errorf("%w: truncate-to of %d bytes", ErrCorrupt, len(b))
	}
	c := Truncation{int64(binary.BigEndian.Uint64(b)), int32(binary.BigEndian.Uint32(b[8:]))}
	if c.Offset < 0 || c.LeaderEpoch < -1 {
		return Truncation{}, fmt.Errorf("%w: truncate to offset %d, leader epoch %d", ErrCorrupt, c.Offset, c.LeaderEpoch)
	}
	return c, nil
}
