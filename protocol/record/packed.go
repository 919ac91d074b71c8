package record

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/s2"
)

// checkMark says whether src begins as what codec writes, so that records that are packed otherwise, or not at all, are not taken
// unopened: no consumer could get past them. Snappy without framing has no mark, only a length.
func checkMark(codec Codec, src []byte) error {
	ok := true
	switch codec {
	case Gzip:
		ok = bytes.HasPrefix(src, []byte{0x1f, 0x8b})
	case LZ4:
		return bad(LZ4, checkLZ4(src))
	case Zstd:
		const skippable = 0x184d2a50 // and the next 15
		ok = bytes.HasPrefix(src, []byte{0x28, 0xb5, 0x2f, 0xfd}) || len(src) >= 4 && binary.LittleEndian.Uint32(src)&^0xf == skippable
	case Snappy:
		if !bytes.HasPrefix(src, xerialHeader[:8]) {
			_, err := s2.DecodedLen(src)
			ok = err == nil
		}
	}
	if !ok {
		return fmt.Errorf("%w: the records are not packed with %v", ErrInvalid, codec)
	}
	return nil
}
