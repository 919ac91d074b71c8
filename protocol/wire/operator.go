package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// KeyOperator is the API key of operator requests (docs/formats.md section 13), the first of those that are Tandem's own. ApiVersions does
// not list it: no client of Kafka has business with it, and some stumble over keys that they do not know.
const KeyOperator int16 = 20000

// OperatorFormat is the version of an operator request's document that this binary speaks.
const OperatorFormat int16 = 0

const (
	// OperatorDocumentMax is the longest document of an operator request, in bytes.
	OperatorDocumentMax = 64 << 10
	// OperatorAnswerMax is the most that message, document and data of an answer have together, in bytes. An answer goes between two
	// sites as one message, which is what bounds it.
	OperatorAnswerMax = 12 << 20
)

// ownAPIs are Tandem's own, ordered by key, of versions that are not negotiated: a document has a version of its own instead, so that a
// broker which is too old for it says so rather than close the connection.
var ownAPIs = [...]API{
	{Key: KeyOperator, Name: "TandemOperator", SizeMax: OperatorDocumentMax + 4<<10},
}

// OwnAPIs returns the APIs that are Tandem's own and that ApiVersions does not list. The slice is the caller's.
func OwnAPIs() []API { return append([]API(nil), ownAPIs[:]...) }

// ownSchemas are the definitions of their requests.
var ownSchemas = []schema{
	{key: KeyOperator, name: "TandemOperator", fields: []field{
		{name: "Format", versions: versions{0, never}, nullable: none, tagged: none, kind: kindFixed, width: 2, memory: 8},
		{name: "Operation", versions: versions{0, never}, nullable: none, tagged: none, kind: kindFixed, width: 2, memory: 8},
		{name: "Document", versions: versions{0, never}, nullable: none, tagged: none, kind: kindBytes, memory: 24},
	}},
}

// OperatorRequest is an order or a question of the operator. It is encoded as one of Kafka's flexible requests.
type OperatorRequest struct {
	Format    int16  // of Document
	Operation int16  // broker/sites/operator has the list
	Document  []byte // JSON; borrowed from what ReadFrom was given
}

var _ kmsg.Request = (*OperatorRequest)(nil)

// Key implements kmsg.Request.
func (*OperatorRequest) Key() int16 { return KeyOperator }

// MaxVersion implements kmsg.Request.
func (*OperatorRequest) MaxVersion() int16 { return 0 }

// SetVersion implements kmsg.Request.
func (*OperatorRequest) SetVersion(int16) {}

// GetVersion implements kmsg.Request.
func (*OperatorRequest) GetVersion() int16 { return 0 }

// IsFlexible implements kmsg.Request.
func (*OperatorRequest) IsFlexible() bool { return true }

// ResponseKind implements kmsg.Request.
func (*OperatorRequest) ResponseKind() kmsg.Response { return new(OperatorResponse) }

// AppendTo implements kmsg.Request.
func (r *OperatorRequest) AppendTo(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(r.Format))
	dst = binary.BigEndian.AppendUint16(dst, uint16(r.Operation))
	return append(appendSpan(dst, r.Document), 0)
}

// ReadFrom implements kmsg.Request. Error: ErrMalformed.
func (r *OperatorRequest) ReadFrom(src []byte) error {
	in := reader{src: src}
	r.Format, r.Operation, r.Document = in.int16(), in.int16(), in.compact()
	in.skipTags()
	if in.bad || len(r.Document) > OperatorDocumentMax {
		return fmt.Errorf("%w: operator request of %d bytes", ErrMalformed, len(src))
	}
	return nil
}

// OperatorResponse answers an OperatorRequest.
type OperatorResponse struct {
	Code     int16  // 0 = done; broker/sites/operator has the list
	Message  string // for people; "" = none
	Document []byte // JSON; empty = none
	Data     []byte // what would be dear in JSON
}

var _ kmsg.Response = (*OperatorResponse)(nil)

// Key implements kmsg.Response.
func (*OperatorResponse) Key() int16 { return KeyOperator }

// MaxVersion implements kmsg.Response.
func (*OperatorResponse) MaxVersion() int16 { return 0 }

// SetVersion implements kmsg.Response.
func (*OperatorResponse) SetVersion(int16) {}

// GetVersion implements kmsg.Response.
func (*OperatorResponse) GetVersion() int16 { return 0 }

// IsFlexible implements kmsg.Response.
func (*OperatorResponse) IsFlexible() bool { return true }

// RequestKind implements kmsg.Response.
func (*OperatorResponse) RequestKind() kmsg.Request { return new(OperatorRequest) }

// AppendTo implements kmsg.Response.
func (r *OperatorResponse) AppendTo(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(r.Code))
	dst = appendSpan(dst, []byte(r.Message))
	dst = appendSpan(dst, r.Document)
	return append(appendSpan(dst, r.Data), 0)
}

// ReadFrom implements kmsg.Response. Document and Data are borrowed from src. Error: ErrMalformed.
func (r *OperatorResponse) ReadFrom(src []byte) error {
	in := reader{src: src}
	r.Code, r.Message, r.Document, r.Data = in.int16(), string(in.compact()), in.compact(), in.compact()
	in.skipTags()
	if in.bad || len(r.Message)+len(r.Document)+len(r.Data) > OperatorAnswerMax {
		return fmt.Errorf("%w: operator answer of %d bytes", ErrMalformed, len(src))
	}
	return nil
}

// compact reads compact bytes that must not be null.
func (r *reader) compact() []byte {
	n := r.uvarint()
	if n == 0 {
		r.fail()
		return nil
	}
	return r.span(int(n) - 1)
}

func appendSpan(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))+1), b...)
}
