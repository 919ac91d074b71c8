// Package entry is the format of a Raft command in a partition's log, and the rule that decides whether it may be appended.
//
// A command is a header (this package, docs/formats.md section 3) that hashicorp/raft carries as Log.Data, and a payload of
// record batches that never passes through it. State holds what the rule reads; Admit and Advance are pure, so that the
// two-site model (replication/site) runs the very code that production runs. sites.go has the rules that two sites add, which are in
// force from format level 2 on; Lineage is the log's history by site epochs.
package entry
