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

// siteKeys are the keys of two sites. All of them need site.name.
var siteKeys = []Key{
	{Name: siteName, Type: String, Null: true, Effect: Honoured,
		Doc: "The name of the site that this broker belongs to, 1 to 64 letters, digits, dots, - and _. It is the site's rack as well, unless broker.rack says otherwise: consumers with this client.rack read here. Without it the broker belongs to no pair of sites."},
	{Name: "site.role", Type: String, Null: true, OneOf: []string{"active", "standby"}, Effect: Honoured,
		Doc: "The role that the site begins with, at its first start. From then on the sites know, and it is ignored with a line in the log."},
	{Name: "site.index", Type: Int, Null: true, Min: "0", Max: "3", Effect: Honoured,
		Doc: "Which site epochs belong to the site: those that are the index modulo 4. The two sites need different ones. Without it, a site that begins as active has 0, one that begins as standby 1. Ignored after the first start."},
	{Name: siteListener, Type: String, Default: "SITE", Effect: Honoured,
		Doc: "Which of listeners is for the other site. It is no listener for clients. A site without one only dials. The name stands in listener.security.protocol.map (SSL, which is the default for it, or PLAINTEXT) and in listener.name.<name>.ssl.*, with mutual TLS and PEM alone."},
	{Name: sitePeers, Type: List, Null: true, Effect: Honoured,
		Doc: "Brokers of the other site to dial, each NAME@host:port with the other site's name. A site without any waits to be dialled."},
	{Name: "dr.mode", Type: String, Default: "async", OneOf: []string{"async", "bounded"}, Effect: Honoured,
		Doc: "The default of the topic key dr.mode. async: producers never wait for the other site. bounded: a produce is held, then refused, while the lag exceeds dr.max.lag.ms."},
	{Name: "dr.max.lag.ms", Type: Long, Default: "10000", Min: "1", Effect: Honoured,
		Doc: "The default of the topic key dr.max.lag.ms: the lag that dr.mode=bounded keeps to."},
	{Name: "dr.fence.after.ms", Type: Long, Default: "0", Min: "1000", OrElse: "0", Effect: Honoured,
		Doc: "The lease of an active site: it acknowledges nothing once it has not heard of the other site for so long, and the other may take over by waiting. 0 = none."},
	{Name: "dr.failover.silence.max.ms", Type: Long, Default: "60000", Min: "0", Effect: Honoured,
		Doc: "A failover to a standby that has not heard of the active site for longer needs --accept-data-loss."},
	{Name: "dr.delete.delay.ms", Type: Long, Default: "86400000", Min: "0", Effect: Honoured,
		Doc: "How long the data of a topic that was deleted is kept at both sites, and at a site that lost a failover that of a topic which only it had. Until then a deletion can be undone. 0 = it goes at once."},
	{Name: "dr.retention.hold.bytes", Type: Long, Default: "10737418240", Min: "0", Effect: Honoured,
		Doc: "How many bytes retention holds back, all partitions of a broker together, because the other site does not have them. Beyond that they go, and the link has a gap."},
	{Name: "dr.topics.include", Type: List, Default: ".*", Effect: Honoured,
		Doc: "Which topics ship: regular expressions (RE2) for whole names. __consumer_offsets and __transaction_state always do."},
	{Name: "dr.topics.exclude", Type: List, Default: "", Effect: Honoured,
		Doc: "Which topics do not ship although dr.topics.include has them: regular expressions (RE2) for whole names."},
	{Name: "dr.throttle.bytes.per.second", Type: Long, Default: "-1", Min: "1024", OrElse: "-1", Effect: Honoured,
		Doc: "How much a broker sends to the other site, in bytes a second. -1 = as much as goes."},
	{Name: "dr.compression", Type: String, Default: "none", OneOf: []string{"none", "zstd"}, Effect: Honoured,
		Doc: "How what goes between the sites is compressed on its way. Record batches are what they were on arrival."},
}

// tandemTopicKeys are the topic keys that Kafka has none for.
var tandemTopicKeys = []Key{
	{Name: "write.caching", Type: Boolean, Default: "false", Dynamic: true, Effect: Honoured,
		Synonyms: []Synonym{{"write.caching", 1}},
		Doc:      "Acknowledge records of this topic once a quorum has them in its page caches, before they are synced to disk: a power loss may take the last of them, an end of the process does not."},
	{Name: "dr.mode", Type: String, Default: "async", OneOf: []string{"async", "bounded"}, Synonyms: []Synonym{{"dr.mode", 1}},
		Doc: "async: producers never wait for the other site. bounded: a produce is held, then refused, while the lag exceeds dr.max.lag.ms."},
	{Name: "dr.max.lag.ms", Type: Long, Default: "10000", Min: "1", Synonyms: []Synonym{{"dr.max.lag.ms", 1}},
		Doc: "The lag that dr.mode=bounded keeps to."},
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
