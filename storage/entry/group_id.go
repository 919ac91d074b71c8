package entry

import (
	"encoding/binary"
	"fmt"

	"github.com/google/uuid"
)

// GroupID names a Raft group (docs/formats.md section 2). It is comparable and fit for a map key.
type GroupID struct {
	Topic       uuid.UUID
	Partition   int32
	Incarnation uint32
}

// GroupIDLen is the encoded length in bytes.
const GroupIDLen = 24

// MetadataGroup is the Raft group of the cluster metadata; Kafka's id of __cluster_metadata.
var MetadataGroup = GroupID{Topic: uuid.UUID{15: 1}}

// Append encodes id behind dst.
func (id GroupID) Append(dst []byte) []byte {
	dst = append(dst, id.Topic[:]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(id.Partition))
	return binary.BigEndian.AppendUint32(dst, id.Incarnation)
}

// ParseGroupID decodes the first GroupIDLen bytes of b, which must be there.
func ParseGroupID(b []byte) GroupID {
	var id GroupID
	copy(id.Topic[:], b[:16])
	id.Partition = int32(binary.BigEndian.Uint32(b[16:]))
	id.Incarnation = binary.BigEndian.Uint32(b[20:])
	return id
}

func (id GroupID) String() string {
	return fmt.Sprintf("%s/%d/%d", id.Topic, id.Partition, id.Incarnation)
}
