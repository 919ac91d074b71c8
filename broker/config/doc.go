// Package config reads what `tandem serve` is told: Kafka's own key names with Kafka's meaning, and a few of ours where Kafka
// has none.
//
// There is one table of keys (Lookup, LookupTopic): the generated list of an Apache Kafka release (keys_kafka.go), ours
// (keys_tandem.go), the keys that Kafka had before (keys_removed.go), and what each does here (effects.go). Loading,
// validation and DescribeConfigs read that table and nothing else.
//
// A value comes from, lowest first: the table's default, the file, the environment (KAFKA_LOG_DIRS as in the Kafka images),
// --set. Where several keys say the same thing (log.retention.ms, .minutes, .hours), Kafka's order decides within one source,
// and a higher source beats a lower one whichever spelling it uses.
//
// The package does no I/O of its own: the file, the environment and the host name are given to Load. A Config is never
// changed after Load returned it and is safe for concurrent use.
package config
