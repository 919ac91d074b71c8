package site

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/tandembroker/tandem/storage/entry"
)

// MessageKind is the kind of a Message on the wire (docs/formats.md section 11).
type MessageKind uint8

const (
	KindHello    MessageKind = 16
	KindGreeting MessageKind = 17
	KindRefuse   MessageKind = 18
	KindRefused  MessageKind = 19
	KindAppend   MessageKind = 20
	KindProbe    MessageKind = 21
	KindAck      MessageKind = 22
	KindDrain    MessageKind = 23
	KindCompare  MessageKind = 24
	KindCompared MessageKind = 25
	KindLogStart MessageKind = 26
)

// PayloadBytesMax is the largest payload of an Append. It is above what a produce request may carry (socket.request.max.bytes).
const PayloadBytesMax = 128 << 20

// ErrMalformed is wrapped by whatever Decode and its kin answer: the bytes are no message.
var ErrMalformed = errors.New("site: malformed message")

const (
	helloLen     = 24
	greetingLen  = 32
	partitionLen = 24
	positionLen  = 12
	spanLen      = 40
	appendLen    = partitionLen + positionLen + 12 // in front of the entry header
	headerLen    = 40                              // of an entry, without rows
	rowLen       = 64
	spansMax     = 1 << entry.SiteEpochBits
)

// BodyMax is the longest body of a kind in bytes; of an Append the payload comes on top, which has a limit of its own. ok is false for
// what is no kind of a Message.
func BodyMax(kind MessageKind) (bytes int, ok bool) {
	switch kind {
	case KindHello:
		return helloLen, true
	case KindGreeting:
		return greetingLen, true
	case KindRefuse, KindRefused:
		return 4, true
	case KindAppend:
		return appendLen + headerLen + rowLen*entry.RowsMax, true
	case KindProbe, KindCompare:
		return partitionLen, true
	case KindAck:
		return partitionLen + positionLen + 24, true
	case KindLogStart:
		return partitionLen + 8, true
	case KindDrain:
		return partitionLen + 4 + positionLen + 16, true
	case KindCompared:
		return partitionLen + 12 + spanLen*spansMax, true
	}
	return 0, false
}

// Encode writes the body of m behind dst and returns its kind and the extended slice. The Payload of an Append is not copied: it follows on
// the wire, compressed or not.
func Encode(dst []byte, m Message) (MessageKind, []byte) {
	be := binary.BigEndian
	switch m := m.(type) {
	case Hello:
		dst = be.AppendUint32(append(dst, byte(m.Role), 0, 0, 0), m.Epoch)
		return KindHello, be.AppendUint64(be.AppendUint64(dst, uint64(m.Boot)), uint64(m.Sent))
	case Greeting:
		dst = be.AppendUint32(append(dst, byte(m.Role), m.flags(), 0, 0), m.Epoch)
		dst = be.AppendUint64(be.AppendUint64(dst, uint64(m.Boot)), uint64(m.Nonce))
		return KindGreeting, be.AppendUint64(dst, uint64(m.Sent))
	case Refuse:
		return KindRefuse, be.AppendUint32(dst, m.Target)
	case Refused:
		return KindRefused, be.AppendUint32(dst, m.Target)
	case Append:
		return KindAppend, m.EncodeHead(dst, len(m.Payload))
	case Probe:
		return KindProbe, m.Partition.encode(dst, m.Epoch)
	case Ack:
		rejected := byte(0)
		if m.Rejected {
			rejected = 1
		}
		dst = be.AppendUint64(m.End.encode(m.Partition.encode(dst, m.Epoch)), uint64(m.LogStart))
		return KindAck, be.AppendUint32(be.AppendUint64(append(dst, rejected, 0, 0, 0), uint64(m.Boot)), m.Log)
	case LogStart:
		return KindLogStart, be.AppendUint64(m.Partition.encode(dst, m.Epoch), uint64(m.Offset))
	case Drain:
		dst = m.End.encode(be.AppendUint32(m.Partition.encode(dst, m.Epoch), m.Target))
		return KindDrain, be.AppendUint64(be.AppendUint64(dst, uint64(m.Next)), uint64(m.Boot))
	case Compare:
		return KindCompare, m.Partition.encode(dst, m.Epoch)
	case Compared:
		dst = be.AppendUint64(m.Partition.encode(dst, m.Epoch), uint64(m.Lineage.LogStart))
		dst = be.AppendUint32(dst, uint32(len(m.Lineage.Spans)))
		for i := range m.Lineage.Spans {
			dst = encodeSpan(dst, &m.Lineage.Spans[i])
		}
		return KindCompared, dst
	}
	panic(fmt.Sprintf("site: message %T has no encoding", m))
}

// EncodeHead writes the body of m up to its payload, which has size bytes, behind dst.
func (m *Append) EncodeHead(dst []byte, size int) []byte {
	dst = append(m.Prev.encode(m.Partition.encode(dst, m.Epoch)), 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint64(dst, m.Metadata)
	h := entry.Header{Kind: entry.Data, SiteEpoch: m.Epoch, PayloadLength: uint32(size), Rows: m.Rows}
	return h.Append(dst)
}

// HeadSize is the length of the body of m up to its payload.
func (m *Append) HeadSize() int { return appendLen + headerLen + rowLen*len(m.Rows) }

// HeadOf is the part of an Append's body up to its payload, as far as the body itself says; nil where it is shorter.
func HeadOf(body []byte) []byte {
	if len(body) < appendLen+headerLen {
		return nil
	}
	end := appendLen + headerLen + rowLen*int(binary.BigEndian.Uint16(body[appendLen+32:]))
	if end > len(body) {
		return nil
	}
	return body[:end]
}

// Size is the length of the body of m with its payload, uncompressed.
func (m *Append) Size() int { return m.HeadSize() + len(m.Payload) }

// CheckPayload compares the payload of an Append that came with its rows, and its batches with their CRCs. Errors: entry.ErrCorrupt.
func (m *Append) CheckPayload() error {
	h := entry.Header{Kind: entry.Data, SiteEpoch: m.Epoch, PayloadLength: uint32(len(m.Payload)), Rows: m.Rows}
	return h.CheckLinked(m.Payload)
}

const (
	flagFailing = 1 << iota
	flagRenews
	flagLeased
	flagsEnd
)

func (m Greeting) flags() byte {
	var f byte
	if m.Failing {
		f |= flagFailing
	}
	if m.Renews {
		f |= flagRenews
	}
	if m.Leased {
		f |= flagLeased
	}
	return f
}

func (p PartitionID) encode(dst []byte, epoch uint32) []byte {
	dst = binary.BigEndian.AppendUint32(append(dst, p.Topic[:]...), uint32(p.Partition))
	return binary.BigEndian.AppendUint32(dst, epoch)
}

func (p Position) encode(dst []byte) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(dst, uint64(p.Next)), uint32(p.Epoch))
}

func encodeSpan(dst []byte, s *entry.EpochSpan) []byte {
	dst = binary.BigEndian.AppendUint32(dst, s.SiteEpoch)
	dst = binary.BigEndian.AppendUint32(dst, uint32(s.FirstEpoch))
	for _, v := range [...]int64{s.Base, s.Shared, s.Start, s.End} {
		dst = binary.BigEndian.AppendUint64(dst, uint64(v))
	}
	return dst
}

// Decode reads the body of a message. For an Append it has all but the payload: DecodeAppend. What it returns shares nothing with body.
// Errors: ErrMalformed.
func Decode(kind MessageKind, body []byte) (Message, error) {
	r := reader{b: body}
	var m Message
	switch kind {
	case KindHello:
		m = Hello{Role: r.role(), Epoch: r.zero(3).u32(), Boot: Boot(r.u64()), Sent: time.Duration(r.u64())}
	case KindGreeting:
		g := Greeting{Role: r.role()}
		flags := r.u8()
		r.check(flags < flagsEnd)
		g.Failing, g.Renews, g.Leased = flags&flagFailing != 0, flags&flagRenews != 0, flags&flagLeased != 0
		g.Epoch, g.Boot, g.Nonce, g.Sent = r.zero(2).u32(), Boot(r.u64()), Boot(r.u64()), time.Duration(r.u64())
		m = g
	case KindRefuse:
		m = Refuse{r.u32()}
	case KindRefused:
		m = Refused{r.u32()}
	case KindProbe:
		p, epoch := r.partition()
		m = Probe{p, epoch}
	case KindAck:
		p, epoch := r.partition()
		a := Ack{Partition: p, Epoch: epoch, End: r.position(), LogStart: r.offset()}
		rejected := r.u8()
		r.check(rejected <= 1)
		r.zero(3)
		a.Rejected, a.Boot, a.Log = rejected == 1, Boot(r.u64()), r.u32()
		m = a
	case KindLogStart:
		p, epoch := r.partition()
		m = LogStart{p, epoch, r.offset()}
	case KindDrain:
		p, epoch := r.partition()
		m = Drain{Partition: p, Epoch: epoch, Target: r.u32(), End: r.position(), Next: int64(r.u64()), Boot: Boot(r.u64())}
	case KindCompare:
		p, epoch := r.partition()
		m = Compare{p, epoch}
	case KindCompared:
		p, epoch := r.partition()
		m = Compared{p, epoch, r.lineage()}
	default:
		return nil, fmt.Errorf("%w: kind %d", ErrMalformed, kind)
	}
	if r.bad || len(r.b) != 0 {
		return nil, fmt.Errorf("%w: kind %d in %d bytes", ErrMalformed, kind, len(body))
	}
	return m, nil
}

// DecodeAppend reads an Append up to its payload, whose bytes, compressed or not, are tail, a part of body; the uncompressed payload must
// have size bytes. The Append itself shares nothing with body and has no Payload yet. Errors: ErrMalformed.
func DecodeAppend(body []byte) (m Append, size int, tail []byte, err error) {
	r := reader{b: body}
	m.Partition, m.Epoch = r.partition()
	m.Prev = r.position()
	m.Metadata = r.zero(4).u64()
	if r.bad || len(r.b) < headerLen {
		return Append{}, 0, nil, fmt.Errorf("%w: append in %d bytes", ErrMalformed, len(body))
	}
	rows := int(binary.BigEndian.Uint16(r.b[32:]))
	end := headerLen + rowLen*rows
	if rows == 0 || rows > entry.RowsMax || end > len(r.b) {
		return Append{}, 0, nil, fmt.Errorf("%w: append of %d rows in %d bytes", ErrMalformed, rows, len(body))
	}
	var h entry.Header
	if err := h.Decode(r.b[:end]); err != nil {
		return Append{}, 0, nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if h.Kind != entry.Data || h.Class != entry.Synced || h.SiteEpoch != m.Epoch || h.ValidatedTerm != 0 || h.AppendSequence != 0 ||
		h.PayloadCRC != 0 || h.PayloadLength > PayloadBytesMax {
		return Append{}, 0, nil, fmt.Errorf("%w: entry of kind %d, class %d and %d bytes in an append", ErrMalformed, h.Kind, h.Class, h.PayloadLength)
	}
	for i := range h.Rows {
		if row := &h.Rows[i]; row.BaseOffset < 0 || row.LeaderEpoch < 0 || row.Length == 0 {
			return Append{}, 0, nil, fmt.Errorf("%w: row %d of an append is not stamped", ErrMalformed, i)
		}
	}
	m.Rows = h.Rows
	return m, int(h.PayloadLength), r.b[end:], nil
}

// reader takes fields off the front of b. A field that is not there is zero and makes it bad.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) check(ok bool) { r.bad = r.bad || !ok }

func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.b, r.bad = nil, true
		return make([]byte, n)
	}
	field := r.b[:n]
	r.b = r.b[n:]
	return field
}

func (r *reader) u8() byte    { return r.take(1)[0] }
func (r *reader) u32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }

// zero passes over n reserved bytes.
func (r *reader) zero(n int) *reader {
	for _, b := range r.take(n) {
		r.check(b == 0)
	}
	return r
}

func (r *reader) role() Role {
	role := Role(r.u8())
	r.check(role <= Active)
	return role
}

func (r *reader) partition() (p PartitionID, epoch uint32) {
	copy(p.Topic[:], r.take(16))
	p.Partition = int32(r.u32())
	r.check(p.Partition >= 0)
	return p, r.u32()
}

// offset is one that a log may have.
func (r *reader) offset() int64 {
	o := int64(r.u64())
	r.check(o >= 0)
	return o
}

func (r *reader) position() Position {
	p := Position{int64(r.u64()), int32(r.u32())}
	r.check(p.Next >= 0 && p.Epoch >= -1)
	return p
}

// lineage checks what the search in a Lineage relies on: that site epochs rise.
func (r *reader) lineage() entry.Lineage {
	l := entry.Lineage{LogStart: int64(r.u64())}
	count := r.u32()
	if count > spansMax || len(r.b) != spanLen*int(count) {
		r.bad = true
		return entry.Lineage{}
	}
	for i := range count {
		s := entry.EpochSpan{SiteEpoch: r.u32(), FirstEpoch: int32(r.u32()), Base: int64(r.u64()), Shared: int64(r.u64()),
			Start: int64(r.u64()), End: int64(r.u64())}
		r.check(s.SiteEpoch < epochsMax && (i == 0 || s.SiteEpoch > l.Spans[i-1].SiteEpoch))
		l.Spans = append(l.Spans, s)
	}
	return l
}
