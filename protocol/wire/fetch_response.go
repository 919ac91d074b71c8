package wire

import (
	"encoding/binary"
	"fmt"
	"math"
)

const (
	fetchVersionMin       = 4
	fetchVersionMax       = 18
	fetchVersionLogStart  = 5  // log start offset
	fetchVersionSession   = 7  // error code and session id
	fetchVersionReplica   = 11 // preferred read replica
	fetchVersionFlexible  = 12 // compact fields, tags
	fetchVersionTopicID   = 13 // topic id instead of the name
	fetchVersionEndpoints = 16 // node endpoints, KIP-951

	tagDivergingEpoch = 0
	tagCurrentLeader  = 1
	tagNodeEndpoints  = 0
)

// FetchResponse is a Fetch response whose records stay where they are: the response knows only their lengths, and Encode
// gives the bytes around them.
type FetchResponse struct {
	ThrottleMs    int32
	ErrorCode     int16
	SessionID     int32 // 0 = no session
	Topics        []FetchTopic
	NodeEndpoints []NodeEndpoint // of the leaders named in CurrentLeader; sent from version 16
}

// FetchTopic is one topic of a FetchResponse.
type FetchTopic struct {
	Topic      string   // sent up to version 12
	TopicID    [16]byte // sent from version 13
	Partitions []FetchPartition
}

// FetchPartition is one partition of a FetchResponse. Start from NewFetchPartition: 0 is a meaningful value of most fields.
type FetchPartition struct {
	Partition            int32
	ErrorCode            int16
	HighWatermark        int64
	LastStableOffset     int64
	LogStartOffset       int64
	DivergingEpoch       *EpochEndOffset // nil = not sent
	CurrentLeader        *LeaderEpoch    // nil = not sent
	Aborted              []AbortedTransaction
	AbortedNull          bool  // read_uncommitted: the list is null, not empty
	PreferredReadReplica int32 // -1 = none
	RecordsBytes         int64 // length of the records that the caller splices in; 0 = empty, never null
}

// EpochEndOffset tells a fetcher where its log diverges (KIP-595).
type EpochEndOffset struct {
	Epoch     int32
	EndOffset int64
}

// LeaderEpoch names a partition's leader (KIP-951).
type LeaderEpoch struct{ LeaderID, Epoch int32 }

// NodeEndpoint is where a broker listens; an empty Rack is sent as null.
type NodeEndpoint struct {
	NodeID int32
	Host   string
	Port   int32
	Rack   string
}

// AbortedTransaction is a transaction whose records a read_committed consumer skips.
type AbortedTransaction struct{ ProducerID, FirstOffset int64 }

// NewFetchPartition returns a partition with Kafka's defaults: offsets unknown (-1), aborted transactions null, no preferred
// replica, no records. With an error code it is what Kafka answers for that error (FetchResponse.partitionResponse).
func NewFetchPartition(partition int32, errorCode int16) FetchPartition {
	return FetchPartition{
		Partition: partition, ErrorCode: errorCode,
		HighWatermark: -1, LastStableOffset: -1, LogStartOffset: -1,
		AbortedNull: true, PreferredReadReplica: -1,
	}
}

// FetchFrame is an encoded FetchResponse: Chunks[0], the records of Splices[0], Chunks[1], ..., Chunks[len(Splices)]. The first
// chunk begins with the frame's size, which includes the records. Partitions without records have no splice.
type FetchFrame struct {
	Chunks  [][]byte
	Splices []Splice
	Size    int64 // bytes of the whole frame, size prefix and records included
}

// Splice names the partition whose records come between two chunks.
type Splice struct {
	Topic, Partition int // indexes into FetchResponse.Topics and FetchTopic.Partitions
	Bytes            int64

	position int // where the records go among the bytes around them
}

// Encode gives the frame of a version from 4 to 18. The memory taken does not depend on the records. It fails on a version
// out of range, on a negative or too large RecordsBytes, and on a frame above what its int32 size can say: errors of the
// caller.
func (r *FetchResponse) Encode(version int16, correlationID int32) (*FetchFrame, error) {
	if version < fetchVersionMin || version > fetchVersionMax {
		return nil, fmt.Errorf("fetch response version %d: %w", version, ErrUnsupportedVersion)
	}
	e := fetchEncoder{encoder: encoder{flexible: version >= fetchVersionFlexible}, version: version}
	e.dst = make([]byte, 0, r.sizeHint())
	e.int32(0) // size, below
	e.int32(correlationID)
	e.emptyTags() // response header version 1
	e.int32(r.ThrottleMs)
	if version >= fetchVersionSession {
		e.int16(r.ErrorCode)
		e.int32(r.SessionID)
	}
	e.arrayLen(len(r.Topics))
	for t := range r.Topics {
		if err := e.topic(t, &r.Topics[t]); err != nil {
			return nil, err
		}
	}
	e.endpoints(r.NodeEndpoints)
	return e.frame()
}

// sizeHint is about how many bytes surround the records: one allocation instead of several.
func (r *FetchResponse) sizeHint() int {
	n := 64 + 64*len(r.NodeEndpoints)
	for i := range r.Topics {
		t := &r.Topics[i]
		n += 32 + len(t.Topic) + 80*len(t.Partitions)
		for j := range t.Partitions {
			n += 17 * len(t.Partitions[j].Aborted)
		}
	}
	return n
}

// fetchEncoder writes the bytes around the records and notes where those come.
type fetchEncoder struct {
	encoder
	version int16
	splices []Splice
	records int64 // bytes of all splices
}

func (e *fetchEncoder) topic(index int, t *FetchTopic) error {
	if e.version >= fetchVersionTopicID {
		e.dst = append(e.dst, t.TopicID[:]...)
	} else {
		e.string(t.Topic)
	}
	e.arrayLen(len(t.Partitions))
	for i := range t.Partitions {
		p := &t.Partitions[i]
		e.partition(p)
		if p.RecordsBytes < 0 || p.RecordsBytes > math.MaxInt32-1 {
			return fmt.Errorf("fetch response: topic %d partition %d: records of %d bytes", index, p.Partition, p.RecordsBytes)
		}
		e.bytesLen(int(p.RecordsBytes))
		if p.RecordsBytes > 0 {
			e.splices = append(e.splices, Splice{Topic: index, Partition: i, Bytes: p.RecordsBytes, position: len(e.dst)})
			e.records += p.RecordsBytes
		}
		e.partitionTags(p)
	}
	e.emptyTags()
	return nil
}

// partition writes the fields in front of the records.
func (e *fetchEncoder) partition(p *FetchPartition) {
	e.int32(p.Partition)
	e.int16(p.ErrorCode)
	e.int64(p.HighWatermark)
	e.int64(p.LastStableOffset)
	if e.version >= fetchVersionLogStart {
		e.int64(p.LogStartOffset)
	}
	if p.AbortedNull {
		e.nullArray()
	} else {
		e.arrayLen(len(p.Aborted))
		for _, a := range p.Aborted {
			e.int64(a.ProducerID)
			e.int64(a.FirstOffset)
			e.emptyTags()
		}
	}
	if e.version >= fetchVersionReplica {
		e.int32(p.PreferredReadReplica)
	}
}

func (e *fetchEncoder) partitionTags(p *FetchPartition) {
	if !e.flexible {
		return
	}
	var count uint32
	if p.DivergingEpoch != nil {
		count++
	}
	if p.CurrentLeader != nil {
		count++
	}
	e.uvarint(count)
	if d := p.DivergingEpoch; d != nil {
		e.uvarint(tagDivergingEpoch)
		e.uvarint(4 + 8 + 1)
		e.int32(d.Epoch)
		e.int64(d.EndOffset)
		e.emptyTags()
	}
	if l := p.CurrentLeader; l != nil {
		e.uvarint(tagCurrentLeader)
		e.uvarint(4 + 4 + 1)
		e.int32(l.LeaderID)
		e.int32(l.Epoch)
		e.emptyTags()
	}
}

// endpoints writes the response's own tag section.
func (e *fetchEncoder) endpoints(nodes []NodeEndpoint) {
	if e.version < fetchVersionEndpoints || len(nodes) == 0 {
		e.emptyTags()
		return
	}
	content := encoder{flexible: true}
	content.arrayLen(len(nodes))
	for _, n := range nodes {
		content.int32(n.NodeID)
		content.string(n.Host)
		content.int32(n.Port)
		if n.Rack == "" {
			content.uvarint(0)
		} else {
			content.string(n.Rack)
		}
		content.emptyTags()
	}
	e.uvarint(1)
	e.uvarint(tagNodeEndpoints)
	e.uvarint(uint32(len(content.dst)))
	e.dst = append(e.dst, content.dst...)
}

// frame fills in the size and cuts the bytes at the splices.
func (e *fetchEncoder) frame() (*FetchFrame, error) {
	f := &FetchFrame{Splices: e.splices, Size: int64(len(e.dst)) + e.records}
	if f.Size-framePrefix > math.MaxInt32 {
		return nil, fmt.Errorf("fetch response of %d bytes: %w", f.Size, ErrFrameSize)
	}
	binary.BigEndian.PutUint32(e.dst, uint32(f.Size-framePrefix))
	f.Chunks = make([][]byte, 0, len(e.splices)+1)
	start := 0
	for _, s := range e.splices {
		f.Chunks = append(f.Chunks, e.dst[start:s.position:s.position])
		start = s.position
	}
	f.Chunks = append(f.Chunks, e.dst[start:])
	return f, nil
}
