package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/tandembroker/tandem/storage/entry"
)

// Kind says what a record is (docs/formats.md section 5).
type Kind uint8

const (
	Entry        Kind = 1  // a Raft log entry
	Vote         Kind = 2  // term and vote of a Raft group
	DeleteRange  Kind = 3  // a suffix of the Raft log is replaced
	Mark         Kind = 4  // nothing but the mark in the header
	Dropped      Kind = 5  // recovery voided a suffix of the Raft log
	VoidPayloads Kind = 6  // a truncate-to is being carried out (format level 2)
	Reset        Kind = 7  // the Raft log restarts above a snapshot
	Created      Kind = 8  // the Raft group exists from here on
	Deleted      Kind = 9  // the Raft group and its data are gone
	Carry        Kind = 10 // a copy of an earlier record; Recovery returns it under that one's kind, with Carried set
	CarryEnd     Kind = 11 // the copies in front of it replace all that the Raft group had before
)

// MaySkip marks a kind that an older binary may pass over.
const MaySkip Kind = 0x80

func (k Kind) known() bool { return k >= Entry && k <= CarryEnd }

func (k Kind) String() string {
	names := [...]string{"kind 0", "entry", "vote", "delete range", "mark", "dropped", "void payloads", "reset", "created", "deleted",
		"carried", "carried end"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Placement says where the payload of an entry is.
type Placement uint8

const (
	None        Placement = 0 // there is none
	Inline      Placement = 1 // in the record; the copy in the segment may be unsynced
	ByReference Placement = 2 // in the segment only
)

// Record is one journal record. Append borrows its slices until Ticket.Wait returns.
type Record struct {
	Kind    Kind
	Class   entry.Class // kind Entry
	LogType uint8       // hashicorp/raft LogType; kind Entry
	Group   entry.GroupID
	Index   uint64
	Term    uint64

	Placement     Placement
	Segment, Pos  int64  // where the payload is in the partition's segments: base offset and byte
	PayloadLength uint32 // bytes
	PayloadCRC    uint32
	Data          []byte // of the Raft log; kind Entry
	Inline        []byte // the payload when Placement is Inline; nil in records that recovery returns (Recovery.Inline)
	Body          []byte // of the other kinds, encoded by VoteRecord and the like

	// Set by recovery; what Append is given here is ignored.
	Sequence     uint64
	PrevIndex    uint64 // last index of the Raft group before this record, as far as the journal knows; 0 = none
	PrevSequence uint64 // sequence of the Raft group's record before; 0 = none
	Carried      bool   // a copy, which counts only with the CarryEnd behind it

	at     location
	inline uint32 // kind Carry: where the inline payload begins in Body; 0 = none
}

// location is where recovery found a record.
type location struct {
	file int   // in Recovery.files
	pos  int64 // of the header
	size uint32
}

// LastIndex is the last index that the Raft group has behind this record, as far as the journal knows.
func (r *Record) LastIndex() uint64 { return lastIndex(r.Kind, r.Index, r.PrevIndex) }

func lastIndex(k Kind, index, prevIndex uint64) uint64 {
	switch k {
	case Entry, Reset:
		return index
	case DeleteRange, Dropped:
		return min(index-1, index) // index 0 cannot be, and must not become the largest number
	case Created, Deleted:
		return 0
	}
	return prevIndex
}

// VoteRecord makes current term and vote of a Raft group durable, in one record.
func VoteRecord(group entry.GroupID, term, votedTerm uint64, candidate string) Record {
	b := make([]byte, 0, 18+len(candidate))
	b = binary.BigEndian.AppendUint64(b, term)
	b = binary.BigEndian.AppendUint64(b, votedTerm)
	b = appendString(b, candidate)
	return Record{Kind: Vote, Group: group, Term: term, Body: b}
}

// DeleteRangeRecord removes the indexes from to to, both included, which must be a suffix.
func DeleteRangeRecord(group entry.GroupID, from, to uint64) Record {
	b := binary.BigEndian.AppendUint64(nil, from)
	return Record{Kind: DeleteRange, Group: group, Index: from, Body: binary.BigEndian.AppendUint64(b, to)}
}

// DroppedRecord removes the indexes from from on.
func DroppedRecord(group entry.GroupID, from uint64) Record {
	return Record{Kind: Dropped, Group: group, Index: from, Body: binary.BigEndian.AppendUint64(nil, from)}
}

// ResetRecord restarts a Raft group's log above a snapshot at index and term.
func ResetRecord(group entry.GroupID, index, term uint64) Record {
	b := binary.BigEndian.AppendUint64(nil, index)
	return Record{Kind: Reset, Group: group, Index: index, Term: term, Body: binary.BigEndian.AppendUint64(b, term)}
}

// CreatedRecord makes a Raft group exist: its folder in the log dir of that number ("" = no segments) and first offset.
// A folder name above 65,535 bytes is cut; no file system takes one.
func CreatedRecord(group entry.GroupID, folder string, dir uint16, start int64) Record {
	b := appendString(nil, folder)
	b = binary.BigEndian.AppendUint16(b, dir)
	return Record{Kind: Created, Group: group, Body: binary.BigEndian.AppendUint64(b, uint64(start))}
}

func appendString(b []byte, s string) []byte {
	s = s[:min(len(s), math.MaxUint16)]
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// VoteBody is the body of a Vote record.
type VoteBody struct {
	Term, VotedTerm uint64
	Candidate       string
}

// Vote decodes a Vote record. Errors: ErrCorrupt.
func (r *Record) Vote() (VoteBody, error) {
	if len(r.Body) < 18 || len(r.Body) != 18+int(binary.BigEndian.Uint16(r.Body[16:])) {
		return VoteBody{}, r.badBody()
	}
	return VoteBody{binary.BigEndian.Uint64(r.Body), binary.BigEndian.Uint64(r.Body[8:]), string(r.Body[18:])}, nil
}

// DeleteRange decodes a DeleteRange record: both ends are included. Errors: ErrCorrupt.
func (r *Record) DeleteRange() (from, to uint64, err error) {
	if len(r.Body) != 16 || r.Index == 0 || binary.BigEndian.Uint64(r.Body) != r.Index {
		return 0, 0, r.badBody()
	}
	return r.Index, binary.BigEndian.Uint64(r.Body[8:]), nil
}

// Created decodes a Created record. Errors: ErrCorrupt.
func (r *Record) Created() (folder string, dir uint16, start int64, err error) {
	if len(r.Body) < 12 {
		return "", 0, 0, r.badBody()
	}
	n := int(binary.BigEndian.Uint16(r.Body))
	if len(r.Body) != 12+n {
		return "", 0, 0, r.badBody()
	}
	rest := r.Body[2+n:]
	return string(r.Body[2 : 2+n]), binary.BigEndian.Uint16(rest), int64(binary.BigEndian.Uint64(rest[2:])), nil
}

func (r *Record) badBody() error {
	return fmt.Errorf("%w: %s record %d: body of %d bytes", ErrCorrupt, r.Kind, r.Sequence, len(r.Body))
}

// checkBody decodes the body of r once, so that a record that passes the scan can be used.
func (r *Record) checkBody() error {
	var err error
	switch r.Kind {
	case Vote:
		_, err = r.Vote()
	case DeleteRange:
		_, _, err = r.DeleteRange()
	case Created:
		_, _, _, err = r.Created()
	case Dropped:
		if len(r.Body) != 8 || r.Index == 0 || binary.BigEndian.Uint64(r.Body) != r.Index {
			err = r.badBody()
		}
	case Reset:
		if len(r.Body) != 16 || binary.BigEndian.Uint64(r.Body) != r.Index || binary.BigEndian.Uint64(r.Body[8:]) != r.Term {
			err = r.badBody()
		}
	case Carry:
		if len(r.Body) < carriedPrefix || !mayBeCarried(Kind(r.Body[0])) {
			err = r.badBody()
		}
	case CarryEnd:
		_, err = r.CarriedEnd()
	case VoidPayloads:
		_, err = r.VoidPayloads()
	case Mark, Deleted:
		if len(r.Body) != 0 {
			err = r.badBody()
		}
	}
	return err
}

// size is the length of r as a record, framing not included.
func (r *Record) size() int {
	if r.Kind != Entry {
		return HeaderLen + len(r.Body)
	}
	return HeaderLen + entryFixedLen + len(r.Data) + len(r.Inline)
}

// check refuses what could not be read back.
func (r *Record) check() error {
	switch {
	case r.size() > RecordBytesMax:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, r.size(), RecordBytesMax)
	case !r.Kind.known():
		return fmt.Errorf("%w %d", ErrKind, r.Kind)
	case r.Kind == Entry && (r.Placement > ByReference || (r.Placement == Inline) != (len(r.Inline) > 0)):
		return fmt.Errorf("%w: entry %d of %s: placement %d with %d bytes inline", ErrCorrupt, r.Index, r.Group, r.Placement, len(r.Inline))
	case r.Kind == Entry && r.Placement == Inline && uint64(len(r.Inline)) != uint64(r.PayloadLength):
		return fmt.Errorf("%w: entry %d of %s: %d bytes inline, payload length %d", ErrCorrupt, r.Index, r.Group, len(r.Inline), r.PayloadLength)
	}
	return r.checkBody()
}

// appendRecord appends the record to dst; h has everything but kind, class, type, length, body CRC, inline offset, group,
// index and term, which come from r.
func appendRecord(dst []byte, r *Record, h *header) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, HeaderLen)...)
	h.kind, h.class, h.logType, h.group, h.index, h.term, h.inline = r.Kind, r.Class, r.LogType, r.Group, r.Index, r.Term, r.inline
	if r.Kind == Entry {
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(r.Data)))
		dst = append(dst, byte(r.Placement), 0, 0, 0)
		dst = binary.BigEndian.AppendUint64(dst, uint64(r.Segment))
		dst = binary.BigEndian.AppendUint64(dst, uint64(r.Pos))
		dst = binary.BigEndian.AppendUint32(dst, r.PayloadLength)
		dst = binary.BigEndian.AppendUint32(dst, r.PayloadCRC)
		dst = append(dst, r.Data...)
		if len(r.Inline) > 0 {
			h.inline = uint32(len(dst) - start - HeaderLen)
			dst = append(dst, r.Inline...)
		}
	} else {
		dst = append(dst, r.Body...)
	}
	h.length = uint32(len(dst) - start)
	h.bodyCRC = crc32.Checksum(dst[start+HeaderLen:], castagnoli)
	h.put(dst[start : start+HeaderLen])
	return dst
}

// decode fills r from a header and its body, whose CRC was checked. Data and Body are borrowed from body; the inline payload
// stays where it is. Errors: ErrCorrupt.
func (r *Record) decode(h *header, body []byte) error {
	*r = Record{Kind: h.kind, Class: h.class, LogType: h.logType, Group: h.group, Index: h.index, Term: h.term,
		Sequence: h.sequence, PrevIndex: h.prevIndex, PrevSequence: h.prevSequence}
	if h.kind == Carry {
		return r.decodeCarried(h, body)
	}
	if h.kind != Entry {
		r.Body = body
		return r.checkBody()
	}
	if len(body) < entryFixedLen {
		return fmt.Errorf("%w: entry record %d: body of %d bytes", ErrCorrupt, h.sequence, len(body))
	}
	dataLen := uint64(binary.BigEndian.Uint32(body))
	r.Placement = Placement(body[4])
	r.Segment = int64(binary.BigEndian.Uint64(body[8:]))
	r.Pos = int64(binary.BigEndian.Uint64(body[16:]))
	r.PayloadLength = binary.BigEndian.Uint32(body[24:])
	r.PayloadCRC = binary.BigEndian.Uint32(body[28:])
	end := entryFixedLen + dataLen
	inline := uint64(0)
	if r.Placement == Inline {
		inline = uint64(r.PayloadLength)
	}
	if r.Placement > ByReference || end+inline != uint64(len(body)) || inline > 0 && uint64(h.inline) != end || inline == 0 && h.inline != 0 {
		return fmt.Errorf("%w: entry record %d: data of %d bytes, payload of %d, placement %d, body of %d", ErrCorrupt,
			h.sequence, dataLen, r.PayloadLength, r.Placement, len(body))
	}
	r.Data = body[entryFixedLen:end:end]
	return nil
}
