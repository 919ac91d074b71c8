package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/entry"
)

// kind of a frame; from 16 on they are those of site.Message.
type kind uint8

const (
	kindHandshake kind = 1
	kindWelcome   kind = 2
	kindRefusal   kind = 3
	kindPing      kind = 4
	kindPong      kind = 5
	kindCredit    kind = 6
	kindBroker    kind = 8

	maySkip kind = 0x80
)

const (
	headerLen = 16
	flagZstd  = 1
	// flagBatches: the body's checksum covers it up to the payload, whose batches have their own. Of version versionBatches.
	flagBatches = 2

	handshakeBytesMax = 64 << 10
	refusalTextMax    = 1024
	skippedBytesMax   = 64 << 10
	brokerHeadLen     = 4

	// BrokerBytesMax is the longest Body of a Broker message.
	BrokerBytesMax = 16 << 20
	// brokerSmallMax is the longest one that goes over the control connection.
	brokerSmallMax = 64 << 10
)

var (
	errChecksum = errors.New("checksum does not fit")
	errProtocol = errors.New("protocol violated")
)

// header of a frame, without its checksums.
type header struct {
	kind  kind
	flags uint8
	size  int // of the body
	crc   uint32
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, entry.Castagnoli) }

// putHeader encodes h into the first headerLen bytes of b.
func putHeader(b []byte, h header) {
	binary.BigEndian.PutUint32(b, uint32(h.size))
	b[4], b[5], b[6], b[7] = byte(h.kind), h.flags, 0, 0
	binary.BigEndian.PutUint32(b[8:], h.crc)
	binary.BigEndian.PutUint32(b[12:], crc32.Checksum(b[:12], entry.Castagnoli))
}

// parseHeader reads the headerLen bytes of b. The size is that of the sender and has to be held against the kind's limit.
func parseHeader(b []byte) (header, error) {
	if crc32.Checksum(b[:12], entry.Castagnoli) != binary.BigEndian.Uint32(b[12:]) {
		return header{}, fmt.Errorf("frame header: %w", errChecksum)
	}
	h := header{kind: kind(b[4]), flags: b[5], size: int(binary.BigEndian.Uint32(b)), crc: binary.BigEndian.Uint32(b[8:])}
	if b[6] != 0 || b[7] != 0 {
		return header{}, fmt.Errorf("%w: reserved bytes of a frame of kind %d", errProtocol, h.kind)
	}
	if h.flags != 0 && (h.kind != kind(site.KindAppend) || h.flags != flagZstd && h.flags != flagBatches) && h.kind&maySkip == 0 {
		return header{}, fmt.Errorf("%w: flags %#x of a frame of kind %d", errProtocol, h.flags, h.kind)
	}
	return h, nil
}

// check holds a body against its header; of a payload with flagBatches it says nothing.
func (h header) check(body []byte) error {
	if h.flags == flagBatches && h.kind == kind(site.KindAppend) {
		body = site.HeadOf(body)
	}
	if checksum(body) != h.crc {
		return fmt.Errorf("frame of kind %d and %d bytes: %w", h.kind, h.size, errChecksum)
	}
	return nil
}

// sizeMax is the longest body of h's kind on a control or a data connection of an open session; an error where it has no business there.
func (h header) sizeMax(data bool) (int, error) {
	switch h.kind {
	case kindPing, kindPong:
		return 8, nil
	case kindCredit:
		if data {
			return 8, nil
		}
	case kindBroker:
		if data {
			return brokerHeadLen + BrokerBytesMax, nil
		}
		return brokerHeadLen + brokerSmallMax, nil
	case kind(site.KindAppend):
		if size, _ := site.BodyMax(site.KindAppend); data {
			return size + site.PayloadBytesMax, nil
		}
	default:
		if h.kind&maySkip != 0 {
			return skippedBytesMax, nil
		}
		size, ok := site.BodyMax(site.MessageKind(h.kind))
		if ok && !data {
			return size, nil
		}
		if !ok && h.kind > kindBroker {
			return 0, fmt.Errorf("%w: unknown kind %d, which may not be passed over", errProtocol, h.kind)
		}
	}
	return 0, fmt.Errorf("%w: a frame of kind %d on this connection", errProtocol, h.kind)
}

// appendFrame writes a whole frame behind dst; body writes its body.
func appendFrame(dst []byte, k kind, body func(dst []byte) []byte) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, headerLen)...)
	dst = body(dst)
	b := dst[start+headerLen:]
	putHeader(dst[start:], header{kind: k, size: len(b), crc: checksum(b)})
	return dst
}

// appendNumber writes a frame whose body is one number.
func appendNumber(dst []byte, k kind, n uint64) []byte {
	return appendFrame(dst, k, func(dst []byte) []byte { return binary.BigEndian.AppendUint64(dst, n) })
}

// appendMessage writes a control message, or a Broker one.
func appendMessage(dst []byte, m any) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, headerLen)...)
	k := kindBroker
	switch m := m.(type) {
	case Broker:
		dst = append(append(dst, m.Kind, 0, 0, 0), m.Body...)
	case site.Message:
		var mk site.MessageKind
		mk, dst = site.Encode(dst, m)
		k = kind(mk)
	}
	b := dst[start+headerLen:]
	putHeader(dst[start:], header{kind: k, size: len(b), crc: checksum(b)})
	return dst
}

// decodeBroker reads the body of a Broker message, which it copies.
func decodeBroker(body []byte) (Broker, error) {
	if len(body) < brokerHeadLen || body[1]|body[2]|body[3] != 0 {
		return Broker{}, fmt.Errorf("%w: broker message of %d bytes", errProtocol, len(body))
	}
	return Broker{body[0], append([]byte{}, body[brokerHeadLen:]...)}, nil
}
