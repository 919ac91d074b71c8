package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/s2"
)

// Xerial framing, which the Java client writes (snappy-java's SnappyOutputStream): a 16-byte header, then blocks of
// length (4 bytes) and raw snappy. Some clients send one raw snappy block without any of it; both are read.
const (
	xerialHeaderLen = 16
	xerialBlockLen  = 32 << 10 // unpacked bytes a block when writing, as in the Java client
)

var xerialHeader = [xerialHeaderLen]byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1}

var errSnappyLength = errors.New("block length")

// appendXerial appends src in xerial framing.
func appendXerial(dst, src []byte) []byte {
	dst = append(dst, xerialHeader[:]...)
	var block []byte
	for len(src) > 0 {
		n := min(len(src), xerialBlockLen)
		block = s2.EncodeSnappy(block[:cap(block)], src[:n])
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(block)))
		dst = append(dst, block...)
		src = src[n:]
	}
	return dst
}

// xerial reads snappy data block by block.
type xerial struct {
	in     []byte // blocks to come
	framed bool
	limit  int64  // largest block that may be unpacked
	block  []byte // backing of out
	out    []byte // unpacked, not read yet
}

func (x *xerial) reset(src []byte, limit int64) {
	x.framed = bytes.HasPrefix(src, xerialHeader[:8])
	if x.framed {
		if len(src) < xerialHeaderLen {
			src = src[:0] // the header is all there is, and not even whole
		} else {
			src = src[xerialHeaderLen:]
		}
	}
	if cap(x.block) > windowKept {
		x.block = nil
	}
	x.in, x.limit, x.out = src, limit, nil
}

// Read implements io.Reader.
func (x *xerial) Read(p []byte) (int, error) {
	for len(x.out) == 0 {
		if len(x.in) == 0 {
			return 0, io.EOF
		}
		if err := x.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, x.out)
	x.out = x.out[n:]
	return n, nil
}

// next unpacks one block. Its header says how long the result is and can lie (CVE-2023-34455), so the claim is compared with
// the limit and with what snappy can do at best (a 3-byte element makes 64 bytes) before anything is allocated.
func (x *xerial) next() error {
	const ratioBest, ratioSlack = 22, 64
	block := x.in
	if x.framed {
		if bytes.HasPrefix(x.in, xerialHeader[:8]) && len(x.in) >= xerialHeaderLen {
			x.in = x.in[xerialHeaderLen:] // streams written one behind the other
			return nil
		}
		if len(x.in) < 4 {
			return errSnappyLength
		}
		n := binary.BigEndian.Uint32(x.in)
		if uint64(n) > uint64(len(x.in)-4) {
			return errSnappyLength
		}
		block = x.in[4 : 4+n]
	}
	claimed, err := s2.DecodedLen(block)
	if err != nil {
		return err
	}
	if claimed > ratioBest*len(block)+ratioSlack {
		return fmt.Errorf("%w: %d bytes from %d", errSnappyLength, claimed, len(block))
	}
	if int64(claimed) > x.limit {
		return fmt.Errorf("%w: snappy block of %d bytes", ErrTooLarge, claimed)
	}
	if x.out, err = s2.Decode(x.block[:cap(x.block)], block); err != nil {
		return err
	}
	x.block = x.out[:0]
	if x.framed {
		x.in = x.in[4+len(block):]
	} else {
		x.in = nil
	}
	return nil
}
