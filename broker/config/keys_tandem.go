package config

// tandemBrokerKeys are the keys that Kafka has none for.
var tandemBrokerKeys = []Key{
	{Name: "admin.listener", Type: String, Default: "127.0.0.1:9644", Effect: Honoured,
		Doc: "Where /metrics, /livez, /readyz and /debug/pprof are served, host:port. Port 0 takes a free port. Empty turns it off. Where the default is taken, a free port of the same host is used and logged."},
	{Name: "cluster.id", Type: String, Null: true, Effect: Honoured,
		Doc: "The cluster id of a new data directory, 22 characters of base64url as kafka-storage random-uuid prints them; one is made up when it is not set. A data directory of another cluster is refused. CLUSTER_ID in the environment does the same, as in the Kafka images."},
	{Name: "write.caching", Type: Boolean, Default: "false", Dynamic: true, Effect: Honoured,
		Doc: "The default of the topic key write.caching: acknowledge records before they are synced to disk."},
	{Name: "journal.inline.max.bytes", Type: Int, Default: "16384", Min: "0", Max: "16777216", Effect: Honoured,
		Doc: "Record batches up to this size are written into the journal and copied to their segment without a sync of their own; larger ones are synced in their segment, beside the journal."},
	{Name: "journal.segment.bytes", Type: Int, Default: "4194304", Min: "1048576", Max: "1073741824", Effect: Honoured,
		Doc: "The journal starts a new file after this many bytes."},
	{Name: "checkpoint.bytes", Type: Long, Default: "67108864", Min: "1048576", Effect: Honoured,
		Doc: "A checkpoint is due after this many bytes of journal; it bounds what a restart reads."},
	{Name: "checkpoint.payload.bytes", Type: Long, Default: "536870912", Min: "1048576", Effect: Honoured,
		Doc: "A checkpoint is due after this many bytes of batches larger than journal.inline.max.bytes; a restart verifies that many."},
	{Name: "checkpoint.interval.ms", Type: Long, Default: "60000", Min: "100", Effect: Honoured,
		Doc: "A checkpoint is due this long after the first write since the last one."},
	{Name: "disk.reserve.bytes", Type: Long, Default: "134217728", Min: "0", Effect: Honoured,
		Doc: "Below this many free bytes writes are refused until there is room again; reads, deletes and retention go on. At most a quarter of the disk is kept so. 0 turns the reserve off."},
	{Name: "disk.ballast.bytes", Type: Long, Default: "67108864", Min: "0", Effect: Honoured,
		Doc: "Size of the file that keeps room for the journal and recovery on a full disk; at most a sixteenth of the disk. 0 means none."},
	{Name: "decode.memory.max.bytes", Type: Long, Default: "268435456", Min: "16777216", Effect: Honoured,
		Doc: "How much memory the decoding of requests other than Produce may take at a time; further ones wait."},
	{Name: "memory.limit.bytes", Type: Long, Default: "-1", Min: "16777216", OrElse: "-1", Effect: Honoured,
		Doc: "Soft limit of the memory that the Go runtime uses (GOMEMLIMIT, which wins where it is set). -1: three quarters of what the machine or its cgroup has."},
	{Name: "logger.level", Type: String, Default: "info", OneOf: []string{"debug", "info", "warn", "error"}, FoldCase: true, Effect: Honoured,
		Doc: "The least severe log lines that are written."},
	{Name: "logger.format", Type: String, Default: "text", OneOf: []string{"text", "json"}, FoldCase: true, Effect: Honoured,
		Doc: "The form of log lines."},
}

// tandemTopicKeys are the topic keys that Kafka has none for.
var tandemTopicKeys = []Key{
	{Name: "write.caching", Type: Boolean, Default: "false", Dynamic: true, Effect: Honoured,
		Synonyms: []Synonym{{"write.caching", 1}},
		Doc:      "Acknowledge records of this topic once a quorum has them in its page caches, before they are synced to disk: a power loss may take the last of them, an end of the process does not."},
}

// tandemDefaults replace Kafka's defaults where `tandem serve` needs no file and binds only the loopback interface, where Kafka's
// "unlimited" would let clients take all memory or all file descriptors, and where a fixed socket buffer of 100 KiB keeps the
// kernel from fitting it to the connection.
var tandemDefaults = map[string]string{
	"node.id":                     "1",
	"log.dirs":                    "./tandem-data",
	"listeners":                   "PLAINTEXT://127.0.0.1:9092",
	"max.connections":             "16384",
	"queued.max.request.bytes":    "268435456",
	"socket.receive.buffer.bytes": "-1",
	"socket.send.buffer.bytes":    "-1",
}
