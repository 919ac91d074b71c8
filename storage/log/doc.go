// Package log keeps one partition's record batches in Apache Kafka's own on-disk layout (docs/formats.md section 4). It knows
// nothing of Raft: its caller says where the log ends after a restart, and which offsets may be read.
//
// # Files
//
// <base offset>.log holds batches back to back and is the only truth. .index and .timeindex are caches in memory and on disk:
// they grow in memory with each append and are written by Flush and Close, entries behind entries that are never changed in
// place. The time index is synced before the offset index, so that every offset entry that survives a power loss has its time
// entries. What they miss is found again by walking the .log from the last offset entry; entries are checked against the batch
// that they point to before they are used. leader-epoch-checkpoint, .txnindex and .snapshot are written by Flush and by their
// own calls.
//
// # Durability
//
// Append writes, Sync makes durable: segments that were rolled meanwhile and the folder's new names included. The first failed
// write, sync or truncation is final: everything that would write afterwards returns ErrFailed, because a second fdatasync may
// succeed without the pages that the first one lost.
//
// # Start
//
// Open believes everything below Checkpoint.End. Verify and Recover take the entries of the journal above it: each payload
// has a recorded place, a payload by reference must be there already (its CRC tells), an inline one is written there, and all
// behind the last one is cut off. Recover can crash and run again, because every step has the same result each time. Bytes
// that no append of this process wrote have their CRC, epoch and order of offsets checked once before they are first served.
//
// # Readers and truncation
//
// Extent is a range of a segment file and holds the file open, so retention may unlink it meanwhile. Truncate only ever takes
// what Raft has not committed; extents below the high watermark never see it. An extent that reaches behind the cut (a replica's
// read) makes Truncate seal the segment: the file gets shorter, the next append begins a new segment, and the bytes are never
// written again. The holder of such an extent gets io.ErrUnexpectedEOF or a short sendfile, never other bytes in their place.
//
// # Concurrency
//
// A Log is safe for concurrent use and starts no goroutine. Lock order: cleaning, write, files, syncing, segment.loading, mu. mu is never
// held across I/O.
package log
