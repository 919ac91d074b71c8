// Package journal is the broker-wide write-ahead log of all Raft groups: github.com/tidwall/wal in its binary format, behind a
// guard that makes it safe. docs/formats.md section 5 is the byte layout.
//
// # Who does what
//
// Append and Do queue records. The owner takes what is queued (bounded in bytes and records), frames it, hands it to the library
// in one WriteBatch, and syncs when a ticket in the batch waits for that; while a sync runs, further requests queue, so that
// one sync serves all of them. The owner is whoever holds Journal.duty: as a rule the owner goroutine, but a Do that finds
// nobody on duty stores one batch itself, which spares a lone appender two wake-ups. Writing the next batch while a sync runs was tried and is slower: it splits the
// appenders into two halves that each wait for a sync of their own (100 appenders of 1 KiB, 2 cores: 50 records a sync and
// 40,000 to 155,000 appends/s, against 95 and 120,000 to 255,000 one after the other). Nobody else calls the library, and
// nobody ever reads through it: its reads race with each other and trust bytes that no checksum covers.
//
// # Files
//
// The library never rolls by itself here (its segment size is set out of reach). The owner rolls between two batches: close
// (the library syncs the old file), create the next file under the name of its first sequence (it must not exist, so nothing is
// truncated by accident), sync the folder, open the library again on the empty file. So everything in older files is durable
// before a newer one holds a byte, and the library keeps nothing of older files in memory. Open does the same: it always
// continues in an empty file. The library parses the last file only, and that one is empty: it never meets bytes of an earlier
// run, and a damaged file stays where it is, as evidence, until the checkpoint has passed it (then it is renamed to
// NAME.damaged instead of being unlinked; the library passes over such names). It is scanned again at each start, with the
// same result.
//
// # The mark
//
// Each record carries the mark: all records up to that sequence, and the by-reference payloads of those that are not of class
// cached, were on disk when the record was framed. A payload holds the mark until PayloadSynced. Records that nobody waits for
// are synced within ten MarkIntervals; an idle journal writes a mark record within MarkInterval of its last sync, so that the mark
// covers everything. Damage above the mark is what a power loss leaves of a batch that nobody was promised; damage at or below
// it is corruption. What was synced in the last MarkInterval before a power loss and is damaged as well cannot be told from a
// torn tail, in this journal as in any other.
//
// # Opening
//
// Open first unlinks what lies below FirstKept, then scans all files (scan.go), finds the newest mark, cuts the journal at the
// first damage above it (repair.go), and reports the damage below it with the Raft groups that it hurts (damage.go). After a
// damaged frame the scan looks for the next header that is whole, so that later records are not lost. Records above the mark
// are written and synced once more before they are given to anybody: a process that was killed leaves them in the page cache,
// and one that stopped at a failed sync leaves pages there that are clean and not on the disk.
//
// All in front of the last file is on disk, wherever the mark is, and damage there is never cut. A journal that ends below its mark
// has lost all up to there; it goes on behind the mark, in a new file (survey.finish). Whose records these were the journal itself
// cannot say: who opens it knows where each Raft group ended (Tails, Options.TailsKnown).
//
// A journal payload is chosen by clients, who could put bytes that look like journal records into it. They are only looked at
// when a record's header and length are both destroyed; then, of all chains of records that are found, the one that reaches the
// end of the file is believed.
//
// Of a record and the one behind it whose checksums all hold but whose chain does not, the later one is reported: nothing tells
// which of the two is the wrong one.
//
// Records of a Raft group that were written behind damage prove the group whole in it (Damage.Whole). That is true because a
// Raft group that may be hurt goes offline, and writes nothing until it is rebuilt.
//
// # Failing
//
// The first failed write, sync, create, unlink or folder sync fails every ticket, calls OnFatal once, and nothing is written
// ever after: a failed write leaves the library's memory and its file different, and after a failed sync the kernel may call
// pages clean that are not on the disk.
package journal
