// Package controller keeps the cluster's metadata: topics, their partitions and configs, brokers, blocks of producer ids. It is
// the machine of the metadata Raft group (docs/formats.md section 8), and it makes the partitions of this broker follow what
// the machine says.
//
// A change travels: an operation (CreateTopics, ...) is checked against the image, proposed as a command, committed, applied by
// the machine, which checks it once more (two operations may have raced), and only then acted on: partitions are created or
// deleted, and the operation waits until they lead.
//
// The machine's state is in memory, as maps; readers get an immutable Image. It is written to meta.db behind that, in the
// background and many changes to a transaction, always together with the index of the last change in it. That is safe because
// the Raft log has every change until a snapshot drops it, and a snapshot is taken only after the state behind it was written:
// after a crash the log repeats what meta.db misses, and the machine skips what it has.
//
// Data is deleted only by a committed deletion that names the topic id. Until the last partition of a deleted topic is gone
// from this broker's disks its id stays in the bucket deleting, so that a deletion goes on after a crash. Partitions on disk
// that no topic claims are kept and logged.
//
// In a pair of sites the metadata is split (docs/formats.md section 8). The active site's logical part ships as a whole image or as
// changes (LogicalImage, LogicalChanges); a standby makes its own of it (ApplyLogical): it plans the difference, with placement on its
// own brokers, and commits that, if nothing has changed meanwhile. Only the machine decides on what must never happen: another topic's
// data under a name, an older version, a deletion before its time. What goes is hidden first: its partitions get another name, and
// their data stays until PurgeHidden.
//
// Locks: Controller.mu (proposals), machine.mu, lifecycle.mu, one at a time: a command is applied under machine.mu, and the lifecycle told
// of it behind that.
package controller
