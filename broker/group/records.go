package group

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What __consumer_offsets holds is Kafka's: the key's version says what the record is about. Source: CoordinatorRecordType,
// OffsetCommitKey, GroupMetadataKey.
const (
	keyOffsetOld = 0
	keyOffset    = 1
	keyGroup     = 2
	// offsetRecordVersion is the version of OffsetCommitValue that Kafka 4.x writes; offsetRecordExpires the one with a time of its
	// own to expire at. Source: GroupCoordinatorRecordHelpers.offsetCommitValueVersion.
	offsetRecordVersion = 3
	offsetRecordExpires = 1
	// stringMax is the longest string in these records, whose length is an int16.
	stringMax = math.MaxInt16
)

var (
	errForeign   = errors.New("group: a record of another kind")
	errMalformed = errors.New("group: malformed record")
	errTooLong   = fmt.Errorf("%w: a name is longer than %d bytes", ErrCommitTooLarge, stringMax)
)

// keyValue is one record; nil value = tombstone.
type keyValue struct{ key, value []byte }

// size is what the record takes in a batch, at most.
func (kv *keyValue) size() int { return len(kv.key) + len(kv.value) + recordOverhead }

// committed is an offset as the log has it.
type committed struct {
	offset      int64
	commitMs    int64
	expireMs    int64 // -1 = by the broker's retention
	leaderEpoch int32 // -1 = unknown
	metadata    string
}

// offsetKeyBytes is the key of an offset's record.
func offsetKeyBytes(group string, tp TopicPartition) []byte {
	b := make([]byte, 0, 10+len(group)+len(tp.Topic))
	b = binary.BigEndian.AppendUint16(b, keyOffset)
	b = appendShort(b, group)
	b = appendShort(b, tp.Topic)
	return binary.BigEndian.AppendUint32(b, uint32(tp.Partition))
}

// groupKeyBytes is the key of a group's record.
func groupKeyBytes(group string) []byte {
	b := make([]byte, 0, 4+len(group))
	b = binary.BigEndian.AppendUint16(b, keyGroup)
	return appendShort(b, group)
}

func appendShort(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// offsetRecord is the record of an offset. Errors: ErrCommitTooLarge.
func offsetRecord(group string, tp TopicPartition, c *committed) (keyValue, error) {
	if len(group) > stringMax || len(tp.Topic) > stringMax || len(c.metadata) > stringMax {
		return keyValue{}, errTooLong
	}
	v := kmsg.NewOffsetCommitValue()
	v.Version = offsetRecordVersion
	if c.expireMs >= 0 {
		v.Version = offsetRecordExpires
	}
	v.Offset, v.LeaderEpoch, v.Metadata = c.offset, c.leaderEpoch, c.metadata
	v.CommitTimestamp, v.ExpireTimestamp = c.commitMs, c.expireMs
	return keyValue{key: offsetKeyBytes(group, tp), value: v.AppendTo(nil)}, nil
}

// groupRecord is the record of a group; nil = its tombstone. Errors: ErrCommitTooLarge.
func groupRecord(id string, v *kmsg.GroupMetadataValue) (keyValue, error) {
	if len(id) > stringMax {
		return keyValue{}, errTooLong
	}
	kv := keyValue{key: groupKeyBytes(id)}
	if v == nil {
		return kv, nil
	}
	longest := max(len(v.ProtocolType), shortLen(v.Protocol), shortLen(v.Leader))
	for i := range v.Members {
		m := &v.Members[i]
		longest = max(longest, len(m.MemberID), len(m.ClientID), len(m.ClientHost), shortLen(m.InstanceID))
	}
	if longest > stringMax {
		return keyValue{}, errTooLong
	}
	kv.value = v.AppendTo(nil)
	return kv, nil
}

func shortLen(s *string) int {
	if s == nil {
		return 0
	}
	return len(*s)
}

// recordKey is the key of a record; its slices are those of the key.
type recordKey struct {
	offset    bool // of an offset, else of a group
	group     []byte
	topic     []byte
	partition int32
}

// readKey reads a key. Errors: errForeign, errMalformed.
func readKey(b []byte) (recordKey, error) {
	if len(b) < 2 {
		return recordKey{}, errMalformed
	}
	version := int16(binary.BigEndian.Uint16(b))
	var k recordKey
	var ok bool
	switch version {
	case keyOffsetOld, keyOffset:
		k.offset = true
		if k.group, b, ok = cutShort(b[2:]); ok {
			k.topic, b, ok = cutShort(b)
		}
		if !ok || len(b) != 4 {
			return recordKey{}, errMalformed
		}
		k.partition = int32(binary.BigEndian.Uint32(b))
		if k.partition < 0 || len(k.topic) == 0 {
			return recordKey{}, errMalformed
		}
	case keyGroup:
		if k.group, b, ok = cutShort(b[2:]); !ok || len(b) != 0 {
			return recordKey{}, errMalformed
		}
	default:
		return recordKey{}, fmt.Errorf("%w: key version %d", errForeign, version)
	}
	return k, nil
}

func cutShort(b []byte) (s, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(int16(binary.BigEndian.Uint16(b)))
	if n < 0 || len(b)-2 < n {
		return nil, nil, false
	}
	return b[2 : 2+n], b[2+n:], true
}

// readOffset reads the value of an offset's record. Nothing of b is kept. Errors: errMalformed.
func readOffset(b []byte) (committed, error) {
	if len(b) < 2 || int16(binary.BigEndian.Uint16(b)) < 0 {
		return committed{}, errMalformed
	}
	var v kmsg.OffsetCommitValue
	if err := v.ReadFrom(b); err != nil {
		return committed{}, fmt.Errorf("%w: %w", errMalformed, err)
	}
	c := committed{offset: v.Offset, commitMs: v.CommitTimestamp, expireMs: -1, leaderEpoch: -1, metadata: v.Metadata}
	switch {
	case v.Version == offsetRecordExpires:
		c.expireMs = max(v.ExpireTimestamp, -1)
	case v.Version >= offsetRecordVersion:
		c.leaderEpoch = max(v.LeaderEpoch, -1)
	}
	return c, nil
}

// readGroup reads the value of a group's record. Errors: errMalformed.
func readGroup(id string, b []byte) (*group, error) {
	if len(b) < 2 || int16(binary.BigEndian.Uint16(b)) < 0 {
		return nil, errMalformed
	}
	v := kmsg.NewGroupMetadataValue()
	if err := v.ReadFrom(b); err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return restoreGroup(id, &v)
}

// newCommitted is what a request commits at now.
func newCommitted(r *CommitRequest, o *Commit, now time.Time) committed {
	c := committed{offset: o.Offset, commitMs: now.UnixMilli(), expireMs: -1, leaderEpoch: max(o.LeaderEpoch, -1), metadata: o.Metadata}
	if r.RetentionMs >= 0 {
		c.expireMs = c.commitMs + min(r.RetentionMs, math.MaxInt64-c.commitMs)
		c.leaderEpoch = -1 // the record's version has no room for it
	}
	return c
}

var noTopic uuid.UUID
