// Package meta is meta.db: the identity of a data directory, the checkpoints of its Raft groups and of the journal, and the
// state of the metadata Raft group (docs/formats.md section 6).
//
// It is a bbolt file. bbolt keeps no page checksums, so every value carries its own CRC and version, values are copied out of
// every transaction, and after an unclean stop the whole file is checked before it is opened: with damaged pages bbolt panics
// or is killed by a signal, so the check belongs into a child process (Options.Check). Whether the stop was clean is read by
// Peek, which walks the pages itself and believes nothing.
//
// Concurrency: a DB is safe for concurrent use; writes are serialised by bbolt and cost two fdatasyncs each, so callers combine
// what they can into one Commit. The first failed write is reported by every later one; its owner ends the process.
package meta
