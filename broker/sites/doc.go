// Package sites runs the protocol of replication/site in a broker: it gives the site's role and the partitions' links their inputs
// and the time, and carries out what they ask for. The rules are all in replication/site and storage/entry; here are the goroutines, the
// network and the disk.
//
// # Parts
//
// A Driver has one role (role.go), which keeps the site's Record in the metadata Raft group, and a link for each partition of this broker
// that is shipped (link.go). Links are stepped by a few workers; one link is always stepped by the same one, so its inputs keep their order
// and nothing of it needs a lock but the list of what came in. A link lives as long as this broker leads its partition; the next leader's
// finds all that it must know in the log.
//
// # What waits for whom
//
// Nothing that the log, the Raft group or the network calls here ever waits: it puts an input on a list. A worker may wait for the disk
// when it reads what is shipped, and for the Raft group when too many proposals are in flight; what it does not take in that time stays on
// the lists, whose payloads the transport's credit bounds.
//
// Locks: Pair.ordering, orders.mu, then role.mu, Driver.mu, remote.mu or history.mu; runner.mu last. No callback of a user is called under them.
// Pair.ordering, Pair.lost and drops.mu order what waits, for the other site, the disk, or a commit, and are held across that.
package sites
