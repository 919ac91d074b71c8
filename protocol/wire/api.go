package wire

import (
	"math"
	"slices"
)

const keyAPIVersions = 18

// API is one line of the table of what this broker serves.
type API struct {
	Key  int16
	Name string // as in Kafka's message definitions
	// Min and Max are the versions that ApiVersions advertises. A version is advertised only when it is honoured in full,
	// with one exception that is Kafka's own (Produce, below).
	Min, Max int16
	// AcceptMin is the lowest version that is served; a request below it closes the connection.
	AcceptMin int16
	// PreLogin: served before a login has completed on a listener that demands one.
	PreLogin bool
	// SizeMax caps the request frame, in bytes, below socket.request.max.bytes: what decodes into many small structs gets
	// less than what carries records (hazard K2).
	SizeMax int
	// ElementsMax caps how many elements all arrays of a request have together, where each costs much more than its bytes: a name
	// of three bytes takes hundreds until it is answered. 0 = as many as SizeMax lets in.
	ElementsMax int
	// ElementMemory is what handling and answering one element takes at most, in bytes, besides decoding; garbage included. 0 = it
	// is not counted.
	ElementMemory int64
}

const (
	// namesMax is far above the groups and members that are asked about at once.
	namesMax = 100_000
	// offsetsMax lets a group ask for all of 100,000 partitions, named by whatever number of topics.
	offsetsMax = 200_000
)

// apis is the only place that says which of Kafka's APIs and versions exist: a new line here makes the frame reader, the header parser,
// ApiVersions and the dispatcher know the API. Its requests are checked by schema_table.go, which already has all of Kafka's.
var apis = [...]API{
	// Produce 0-2 are advertised and refused: librdkafka before 2.11 turns compression off for a broker that does not list
	// them (KAFKA-18659; ApiKeys.PRODUCE_API_VERSIONS_RESPONSE_MIN_VERSION). 13 brings topic ids.
	{Key: 0, Name: "Produce", Min: 0, Max: 12, AcceptMin: 3, SizeMax: math.MaxInt32},
	{Key: 1, Name: "Fetch", Min: 4, Max: 18, AcceptMin: 4, SizeMax: 8 << 20},
	{Key: 2, Name: "ListOffsets", Min: 1, Max: 11, AcceptMin: 1, SizeMax: 4 << 20}, // never 0, which means something else
	{Key: 3, Name: "Metadata", Min: 0, Max: 13, AcceptMin: 0, SizeMax: 4 << 20},
	// Version 10 of these two brings topic ids.
	{Key: 8, Name: "OffsetCommit", Min: 2, Max: 9, AcceptMin: 2, SizeMax: 8 << 20, ElementsMax: offsetsMax, ElementMemory: 340},
	{Key: 9, Name: "OffsetFetch", Min: 1, Max: 9, AcceptMin: 1, SizeMax: 4 << 20, ElementsMax: offsetsMax, ElementMemory: 400},
	{Key: 10, Name: "FindCoordinator", Min: 0, Max: 5, AcceptMin: 0, SizeMax: 4 << 20, ElementsMax: namesMax, ElementMemory: 210},
	{Key: 11, Name: "JoinGroup", Min: 0, Max: 9, AcceptMin: 0, SizeMax: 8 << 20},
	{Key: 12, Name: "Heartbeat", Min: 0, Max: 4, AcceptMin: 0, SizeMax: 128 << 10},
	{Key: 13, Name: "LeaveGroup", Min: 0, Max: 5, AcceptMin: 0, SizeMax: 4 << 20, ElementsMax: namesMax, ElementMemory: 150},
	{Key: 14, Name: "SyncGroup", Min: 0, Max: 5, AcceptMin: 0, SizeMax: 32 << 20}, // the leader's has all assignments
	{Key: 15, Name: "DescribeGroups", Min: 0, Max: 6, AcceptMin: 0, SizeMax: 4 << 20, ElementsMax: namesMax, ElementMemory: 620},
	{Key: 16, Name: "ListGroups", Min: 0, Max: 5, AcceptMin: 0, SizeMax: 128 << 10},
	{Key: 17, Name: "SaslHandshake", Min: 0, Max: 1, AcceptMin: 0, SizeMax: PreLoginSizeMax},
	{Key: keyAPIVersions, Name: "ApiVersions", Min: 0, Max: 4, AcceptMin: 0, PreLogin: true, SizeMax: PreLoginSizeMax},
	{Key: 19, Name: "CreateTopics", Min: 0, Max: 7, AcceptMin: 0, SizeMax: 4 << 20},
	{Key: 20, Name: "DeleteTopics", Min: 0, Max: 6, AcceptMin: 0, SizeMax: 4 << 20},
	{Key: 21, Name: "DeleteRecords", Min: 0, Max: 2, AcceptMin: 0, SizeMax: 4 << 20},
	{Key: 22, Name: "InitProducerId", Min: 0, Max: 5, AcceptMin: 0, SizeMax: 128 << 10},
	{Key: 23, Name: "OffsetForLeaderEpoch", Min: 2, Max: 4, AcceptMin: 2, SizeMax: 4 << 20},
	{Key: 29, Name: "DescribeAcls", Min: 1, Max: 3, AcceptMin: 1, SizeMax: 128 << 10},
	{Key: 30, Name: "CreateAcls", Min: 1, Max: 3, AcceptMin: 1, SizeMax: 4 << 20},
	{Key: 31, Name: "DeleteAcls", Min: 1, Max: 3, AcceptMin: 1, SizeMax: 4 << 20},
	{Key: 32, Name: "DescribeConfigs", Min: 1, Max: 4, AcceptMin: 1, SizeMax: 4 << 20},
	{Key: 33, Name: "AlterConfigs", Min: 0, Max: 2, AcceptMin: 0, SizeMax: 4 << 20},
	{Key: 35, Name: "DescribeLogDirs", Min: 1, Max: 4, AcceptMin: 1, SizeMax: 4 << 20},
	{Key: 37, Name: "CreatePartitions", Min: 0, Max: 3, AcceptMin: 0, SizeMax: 4 << 20},
	{Key: 42, Name: "DeleteGroups", Min: 0, Max: 2, AcceptMin: 0, SizeMax: 4 << 20, ElementsMax: namesMax, ElementMemory: 210},
	{Key: 44, Name: "IncrementalAlterConfigs", Min: 0, Max: 1, AcceptMin: 0, SizeMax: 4 << 20},
	{Key: 47, Name: "OffsetDelete", Min: 0, Max: 0, AcceptMin: 0, SizeMax: 4 << 20, ElementsMax: offsetsMax, ElementMemory: 60},
	{Key: 60, Name: "DescribeCluster", Min: 0, Max: 2, AcceptMin: 0, SizeMax: 128 << 10},
	{Key: 75, Name: "DescribeTopicPartitions", Min: 0, Max: 0, AcceptMin: 0, SizeMax: 4 << 20},
}

// APIs returns the table of what is advertised, ordered by key. The slice is the caller's.
func APIs() []API { return slices.Clone(apis[:]) }

// Lookup returns the API of a key, and false when it is not served. It knows Tandem's own APIs too.
func Lookup(key int16) (API, bool) {
	if key >= KeyOperator {
		i := slices.IndexFunc(ownAPIs[:], func(a API) bool { return a.Key == key })
		if i < 0 {
			return API{}, false
		}
		return ownAPIs[i], true
	}
	i, ok := slices.BinarySearchFunc(apis[:], key, func(a API, key int16) int { return int(a.Key) - int(key) })
	if !ok {
		return API{}, false
	}
	return apis[i], true
}

// Serves reports whether requests of this version are answered with more than an error.
func (a API) Serves(version int16) bool { return version >= a.AcceptMin && version <= a.Max }

// flexible reports whether a version has compact fields and tag sections, and so a header with tags. It answers for versions
// above Max too: the header of a newer ApiVersions request must be read.
func (a API) flexible(version int16) bool {
	s := schemaFor(a.Key)
	return s != nil && version >= s.flexible
}
