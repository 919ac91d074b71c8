// Package handler answers Kafka's requests: one file for each API, whose head says which versions, and what they do.
//
// The table in dispatch.go maps API keys to functions. It and protocol/wire's table, which is what ApiVersions tells clients,
// name the same APIs; a test holds them together. Errors of the rooms below get their Kafka codes in one place, codes.go.
//
// A Handler holds no state of its own. Everything in it is safe for concurrent use: requests of one connection come in order,
// those of different connections at the same time.
//
// # Two sites
//
// Where this broker is of a pair of sites (Options.Sites, sites.go), both are one cluster to clients: the metadata lists the brokers of both,
// leaders, coordinators and the controller are those of the site that serves. What another site must do is refused here with the error on
// which Kafka's clients look for the right broker: NOT_LEADER_OR_FOLLOWER (with the leader, KIP-951), NOT_COORDINATOR, NOT_CONTROLLER. An
// answer that calls something safe asks Sites.MayAcknowledge as it leaves.
//
// Source of behaviour and of the sentences in answers: Apache Kafka 4.3, KafkaApis, ReplicaManager, ControllerApis.
package handler
