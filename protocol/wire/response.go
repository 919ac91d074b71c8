package wire

import (
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// AppendResponse appends a whole response frame to dst: size, response header, body in the given version. Build bodies with
// kmsg.New...: the zero values of kmsg's structs are not Kafka's defaults.
func AppendResponse(dst []byte, correlationID int32, version int16, resp kmsg.Response) []byte {
	resp.SetVersion(version)
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlationID))
	if resp.IsFlexible() && resp.Key() != keyAPIVersions {
		// Response header version 1. An ApiVersions response keeps version 0, without tags, for ever: its reader does not yet
		// know which versions the broker speaks (KIP-511).
		dst = append(dst, 0)
	}
	dst = resp.AppendTo(dst)
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-framePrefix))
	return dst
}
