// Package storage owns a broker's data directories: one Store with the shared journal, meta.db and the segments of all Raft
// groups (docs/formats.md sections 4 to 7).
//
// An append travels: Group.Append writes each payload to the partition's segment (log.Append), puts one record per entry into
// the journal (journal.Append), and returns when what the durability class asks for is synced. A payload up to InlineMax rides
// inside its journal record as well, so that only the journal is synced; a larger one is referred to, and its segment is
// synced in parallel with the journal.
//
// A checkpoint makes the segments durable, puts one small snapshot per Raft group into meta.db, and drops the journal files
// that nothing above a snapshot needs. Open does the reverse: it reads the checkpoints, replays the journal's headers to find
// which entries of each Raft group survive, and makes the segments agree with them (recover.go).
//
// A truncate-to (format level 2, two sites) takes records that are committed: truncation.go. It too is a record of the journal first,
// which a start finishes.
//
// Lock order: Group.write, Group.save, Group.mu, Store.mu. No I/O happens under the last two.
package storage
