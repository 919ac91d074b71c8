// Package group is the coordinator of consumer groups: who is in which group, which of the members' partitions are whose, and
// how far they have read.
//
// # Membership
//
// The classic protocol of Kafka: the members of a group come together (JoinGroup), one of them, the leader, assigns the
// partitions, and each asks for its own (SyncGroup). The broker does not know what an assignment means. A group goes through
//
//	Empty -> PreparingRebalance -> CompletingRebalance -> Stable
//
// and back to PreparingRebalance whenever a member comes, leaves, fails, or offers something else; each time round is a
// generation. The rules are those of Kafka's ClassicGroup and GroupMetadataManager (4.x), in membership.go, join.go, rebalance.go,
// sync.go and heartbeat.go, which do no I/O, start no goroutine and ask no clock: every call comes with the time, what is to be
// stored goes to a recordLog, and what is to happen later into timers, one heap for all members of a shard. An answer that has to
// wait is a function that is called later.
//
// Where the rules differ from Kafka's, a client sees no other error codes, only fewer lost answers:
//
//   - A JoinGroup or SyncGroup that the same member sends again, on another connection, ends the earlier one with
//     REBALANCE_IN_PROGRESS; Kafka never answers that. A member that is removed while it waits for its assignment is told
//     UNKNOWN_MEMBER_ID; Kafka lets it wait for its request timeout.
//   - While the assignment of a generation is being stored, a second one from the leader is not stored too: what is in memory and
//     what is in the log would differ.
//   - A protocol that a member offers twice counts once.
//   - There are limits: on ids given out and not used in one group, on the memory that all members and such ids take, and on what
//     waits for the log in all shards. Beyond them it is COORDINATOR_NOT_AVAILABLE. A client id or group instance id that is too
//     long for a member id to be made of it is INVALID_REQUEST.
//   - A generation has a site epoch above its counter (docs/formats.md, section 1).
//
// A group of an earlier site epoch begins anew: its members are unknown, its offsets stay (takeOver in membership.go).
//
// A Stable group, its members, and its assignments are one record. It is written before the members learn their assignment, so a
// broker that starts anew goes on with the last Stable generation: members that send heartbeats notice nothing.
//
// # Offsets and the log
//
// Groups and offsets are in __consumer_offsets, in Kafka's own records (records.go). A shard (shard.go) is what one partition of it
// holds while this broker leads it; another leadership makes another shard, which reads the log from its start (load.go). What
// changes is written first and counted when it is committed, so memory is at any time what a reader of the log would find. One
// append is under way for each shard; what comes meanwhile goes together into the next batch, in the order in which it came.
//
// What is removed (remove.go: OffsetDelete, DeleteGroups, expiry, deleted topics) takes into account what is still on its way into
// the log. Offsets of topics that the metadata does not have are removed when a partition has been read: the broker stopped between
// the deletion and its tombstones. Kafka leaves those until they expire.
//
// One goroutine (run.go) follows leadership, runs the timers of all shards and expires offsets. Besides it there is one for each
// shard that writes or is being read, and no other. The shard's lock comes before those of its partition; answers are given, and
// recordLog's done functions run, under it.
package group
