// Package archive keeps the records that a returning site had and the other site has not: the tail of a log, copied before the log
// is cut. docs/formats.md section 12 has the layout.
//
// # When an archive counts
//
// Its records are in the log until the truncate-to is in the log, and nowhere else from then on. Stage copies them under the
// (site epoch, offset) of the truncate-to that will follow; Seal is told the newest truncate-to of the log, at whatever time, and by
// that alone decides whether what is staged was cut, and counts, or was not, and goes. So a crash at any place leaves one of two
// states: the log without the cut and perhaps an archive that will be removed, or the log with the cut and an archive that is
// whole and will be sealed, if it is not already.
//
// Where a site has more brokers than one, an archive is on the disk of the broker that led the log then. It has to be settled there
// before another truncate-to of its partition is stored; Staged says what is not settled.
//
// # Durability
//
// Bytes are synced before the folder is renamed to staged, and each rename is synced before the call returns. After a failed sync
// nothing is believed: a copy begins anew in new files, and the folder is read and synced again before anything is made of it.
//
// # Reading
//
// A Reader first walks all batches once and checks them, since what became of a transaction is told by a marker behind its records.
// Damage is named by file and position and does not hide the batches around it.
//
// # Concurrency
//
// Archives is safe for concurrent use and starts no goroutine. Copying runs without the lock; renames and syncs of the folder run
// under it, to be one after the other. Calls for one partition must not overlap; one that would is refused with ErrBusy.
package archive
