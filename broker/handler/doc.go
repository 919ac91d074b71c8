// Package handler answers Kafka's requests: one file for each API, whose head says which versions, and what they do.
//
// The table in dispatch.go maps API keys to functions. It and protocol/wire's table, which is what ApiVersions tells clients,
// name the same APIs; a test holds them together. Errors of the rooms below get their Kafka codes in one place, codes.go.
//
// A Handler holds no state of its own. Everything in it is safe for concurrent use: requests of one connection come in order,
// those of different connections at the same time.
//
// Source of behaviour and of the sentences in answers: Apache Kafka 4.3, KafkaApis, ReplicaManager, ControllerApis.
package handler
