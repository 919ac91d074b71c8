package config

// honouredBrokerKeys are the keys of Kafka that do here what they do in Kafka.
var honouredBrokerKeys = []string{
	"advertised.listeners", "auto.create.topics.enable", "broker.id", "broker.rack", "connections.max.idle.ms",
	"controller.listener.names", "default.replication.factor", "delete.topic.enable", "fetch.max.bytes",
	"inter.broker.listener.name", "listener.security.protocol.map", "listeners", "log.cleanup.policy", "log.dir",
	"log.dirs", "log.index.interval.bytes", "log.index.size.max.bytes", "log.message.timestamp.after.max.ms",
	"log.message.timestamp.before.max.ms", "log.message.timestamp.type", "log.retention.bytes",
	"log.retention.check.interval.ms", "log.retention.hours", "log.retention.minutes", "log.retention.ms",
	"log.roll.hours", "log.roll.ms", "log.segment.bytes", "max.connections", "max.connections.per.ip",
	"max.decompressed.message.bytes", "message.max.bytes", "metadata.log.dir", "node.id", "num.partitions",
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

// honouredTopicKeys are the topic keys that do here what they do in Kafka; of cleanup.policy, compact keeps everything. The
// others are accepted, checked, stored and shown, and do nothing yet.
var honouredTopicKeys = []string{
	"cleanup.policy", "index.interval.bytes", "internal.segment.bytes", "max.decompressed.message.bytes",
	"max.message.bytes", "message.timestamp.after.max.ms", "message.timestamp.before.max.ms", "message.timestamp.type",
	"retention.bytes", "retention.ms", "segment.bytes", "segment.index.bytes", "segment.ms",
}

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
