package config

const removedDoc = "Removed in Apache Kafka 4."

// removedKeys are keys of Kafka 2 and 3 that Kafka 4 no longer has. Files that were migrated still carry them, so they are
// known, and mean nothing.
var removedKeys = []string{
	"advertised.host.name", "advertised.port", "auto.include.jmx.reporter", "broker.id.generation.enable",
	"control.plane.listener.name", "controlled.shutdown.max.retries", "controlled.shutdown.retry.backoff.ms",
	"delegation.token.master.key", "eligible.leader.replicas.enable", "group.coordinator.new.enable", "group.share.enable",
	"group.share.max.groups", "host.name", "inter.broker.protocol.version", "leader.imbalance.per.broker.percentage",
	"log.message.downconversion.enable", "log.message.format.version", "log.message.timestamp.difference.max.ms",
	"metadata.log.segment.min.bytes", "offsets.commit.required.acks", "password.encoder.cipher.algorithm",
	"password.encoder.iterations", "password.encoder.key.length", "password.encoder.keyfactory.algorithm",
	"password.encoder.old.secret", "password.encoder.secret", "port", "quota.consumer.default", "quota.producer.default",
	"reserved.broker.max.id", "zookeeper.clientCnxnSocket", "zookeeper.connect", "zookeeper.connection.timeout.ms",
	"zookeeper.max.in.flight.requests", "zookeeper.metadata.migration.enable",
	"zookeeper.metadata.migration.min.batch.size", "zookeeper.session.timeout.ms", "zookeeper.set.acl",
	"zookeeper.ssl.cipher.suites", "zookeeper.ssl.client.enable", "zookeeper.ssl.crl.enable",
	"zookeeper.ssl.enabled.protocols", "zookeeper.ssl.endpoint.identification.algorithm", "zookeeper.ssl.keystore.location",
	"zookeeper.ssl.keystore.password", "zookeeper.ssl.keystore.type", "zookeeper.ssl.ocsp.enable", "zookeeper.ssl.protocol",
	"zookeeper.ssl.truststore.location", "zookeeper.ssl.truststore.password", "zookeeper.ssl.truststore.type",
	"zookeeper.sync.time.ms",
}

// removedTopicKeys are topic keys that Kafka 4 no longer has; Kafka 4 refuses them in CreateTopics, and so does Tandem.
// They are listed so that the answer can say so.
var removedTopicKeys = []string{
	"message.downconversion.enable", "message.format.version", "message.timestamp.difference.max.ms",
}
