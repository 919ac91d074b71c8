package config

// honouredBrokerKeys are the keys of Kafka that do here what they do in Kafka.
var honouredBrokerKeys = []string{
	"advertised.listeners", "auto.create.topics.enable", "broker.id", "broker.rack", "compression.gzip.level",
	"compression.lz4.level", "compression.type", "compression.zstd.level", "connections.max.idle.ms",
	"controller.listener.names", "default.replication.factor", "delete.topic.enable", "fetch.max.bytes",
	"group.initial.rebalance.delay.ms", "group.max.session.timeout.ms", "group.max.size", "group.min.session.timeout.ms",
	"inter.broker.listener.name", "listener.security.protocol.map", "listeners",
	"log.cleaner.backoff.ms", "log.cleaner.dedupe.buffer.size", "log.cleaner.delete.retention.ms", "log.cleaner.enable",
	"log.cleaner.io.buffer.load.factor", "log.cleaner.io.buffer.size", "log.cleaner.io.max.bytes.per.second",
	"log.cleaner.max.compaction.lag.ms", "log.cleaner.min.cleanable.ratio",
	"log.cleaner.min.compaction.lag.ms", "log.cleaner.threads", "log.cleanup.policy", "log.dir", "log.dirs", "log.index.interval.bytes", "log.index.size.max.bytes", "log.message.timestamp.after.max.ms",
	"log.message.timestamp.before.max.ms", "log.message.timestamp.type", "log.retention.bytes",
	"log.retention.check.interval.ms", "log.retention.hours", "log.retention.minutes", "log.retention.ms",
	"log.roll.hours", "log.roll.jitter.hours", "log.roll.jitter.ms", "log.roll.ms", "log.segment.bytes", "max.connections", "max.connections.per.ip",
	"max.decompressed.message.bytes", "max.incremental.fetch.session.cache.slots", "max.request.partition.size.limit", "message.max.bytes", "metadata.log.dir", "min.insync.replicas", "node.id",
	"num.partitions", "offset.metadata.max.bytes", "offsets.commit.timeout.ms", "offsets.retention.check.interval.ms",
	"offsets.retention.minutes", "offsets.topic.num.partitions", "offsets.topic.replication.factor", "offsets.topic.segment.bytes",
	"producer.id.expiration.ms", "queued.max.request.bytes", "security.inter.broker.protocol",
	"socket.receive.buffer.bytes", "socket.request.max.bytes", "socket.send.buffer.bytes",
}

// meaninglessBrokerKeys belong to parts that Tandem does not have. A star at the end stands for any rest.
var meaninglessBrokerKeys = []string{
	"process.roles", "controller.quorum.*", "controller.socket.timeout.ms", "controller.performance.*",
	"sasl.mechanism.controller.protocol", "initial.broker.registration.timeout.ms", "broker.heartbeat.interval.ms",
	"broker.session.timeout.ms", "metadata.log.max.*", "metadata.log.segment.*", "metadata.max.*", "internal.metadata.*",
	"unstable.*", "server.max.startup.time.ms", "early.start.listeners",
	"num.io.threads", "num.network.threads", "num.replica.alter.log.dirs.threads", "background.threads",
	"num.recovery.threads.per.data.dir", "num.replica.fetchers", "replica.*", "fetch.purgatory.*", "producer.purgatory.*",
	"delete.records.purgatory.*", "share.fetch.purgatory.*", "group.coordinator.threads",
	"group.coordinator.background.threads", "share.coordinator.threads",
	"metric.reporters", "kafka.metrics.*", "metrics.*", "log.flush.*", "log.preallocate", "log.initial.task.delay.ms",
	"security.providers",
}

// refusedBrokerKeys guard something: a broker that went on without them would let in what its operator meant to keep out, or
// read secrets where it should have resolved them.
var refusedBrokerKeys = []string{
	"authorizer.class.name", "config.providers", "create.topic.policy.class.name", "alter.config.policy.class.name",
	"client.quota.callback.class", "principal.builder.class", "remote.log.storage.system.enable",
}

// honouredTopicKeys are the topic keys that do here what they do in Kafka. All others are accepted, checked, stored and shown.
var honouredTopicKeys = []string{
	"cleanup.policy", "compression.gzip.level", "compression.lz4.level", "compression.type", "compression.zstd.level",
	"delete.retention.ms", "dr.max.lag.ms", "dr.mode", "index.interval.bytes", "internal.segment.bytes", "max.compaction.lag.ms",
	"max.decompressed.message.bytes", "max.message.bytes", "message.timestamp.after.max.ms",
	"message.timestamp.before.max.ms", "message.timestamp.type", "min.cleanable.dirty.ratio", "min.compaction.lag.ms",
	"min.insync.replicas", "retention.bytes", "retention.ms", "segment.bytes", "segment.index.bytes", "segment.jitter.ms",
	"segment.ms",
}

// meaninglessTopicKeys have no meaning here: segments are removed at once, and their readers keep the file open; records are
// synced before they are acknowledged (or by write.caching's rules); segments grow as they are written; Raft elects no leader
// that lacks records; replication is not by Fetch and has no throttles; nothing is tiered; there are no share groups.
var meaninglessTopicKeys = []string{
	"errors.deadletterqueue.group.enable", "file.delete.delay.ms", "flush.messages", "flush.ms",
	"follower.replication.throttled.replicas", "leader.replication.throttled.replicas", "local.retention.bytes",
	"local.retention.ms", "preallocate", "remote.*", "unclean.leader.election.enable",
}

// restartKeys can be changed at run time in Kafka, and need a restart here.
var restartKeys = []string{"listeners", "listener.security.protocol.map"}

// openPrefixes begin keys whose rest the operator chooses; what stands behind the prefix is not checked.
var openPrefixes = []string{"listener.name.", "config.providers.", "rsm.config.", "rlmm.config."}

// families are keys that say the same thing; the first that is set counts, as in Kafka.
var families = [][]string{
	{"node.id", "broker.id"},
	{"log.dirs", "log.dir"},
	{"log.retention.ms", "log.retention.minutes", "log.retention.hours"},
	{"log.roll.ms", "log.roll.hours"},
	{"log.roll.jitter.ms", "log.roll.jitter.hours"},
}

// jvmVariables are what Kafka's own start scripts and images read from the environment; none of them is a key.
var jvmVariables = map[string]bool{
	"KAFKA_VERSION": true, "KAFKA_HEAP_OPTS": true, "KAFKA_LOG4J_OPTS": true, "KAFKA_OPTS": true, "KAFKA_JMX_OPTS": true,
	"KAFKA_JVM_PERFORMANCE_OPTS": true, "KAFKA_GC_LOG_OPTS": true, "KAFKA_LOG4J_ROOT_LOGLEVEL": true,
	"KAFKA_LOG4J_LOGGERS": true, "KAFKA_TOOLS_LOG4J_LOGLEVEL": true, "KAFKA_JMX_HOSTNAME": true, "KAFKA_JMX_PORT": true,
}
