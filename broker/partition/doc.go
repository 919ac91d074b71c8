// Package partition is a partition as Kafka's clients know it: append, read, offsets, idempotent producers, high watermark.
//
// Append checks a batch under the partition's append lock (producer id, epoch and sequence against what is committed and what
// is in flight), and proposes it to the partition's Raft group; the order of that lock is the order of the log. When the entry
// is committed, Apply, which sees headers only, moves the high watermark, the producer state and the aborted transactions, and
// wakes waiting fetches. Nothing at or above the high watermark is ever read.
//
// What a restart needs comes from the Raft group's snapshot (the high watermark behind it, and the name of the producer
// snapshot file) and from the headers of the entries above it, which are applied again.
//
// Lock order: Partition.append, Partition.mu. Apply takes mu only, because an append may wait for the Raft group, and so for
// Apply, while it holds the append lock.
package partition
