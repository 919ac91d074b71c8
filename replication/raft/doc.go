// Package raft runs many hashicorp/raft groups in one process, over one storage.Store.
//
// A proposal travels: Group.Propose numbers the command (append sequence) and hands it to hashicorp/raft; its main loop calls
// logStore.StoreLogs, which applies the void rule (entry.State.Admit), stamps offsets and leader epoch once into header and
// batches, and stores both; once a quorum has it, the machine sees the header, never the payload, and the Future completes.
//
// At format level 2 two sites write the log in turns, and the log decides whose turn it is: a link's commands are proposed while this
// broker leads (Leads), produces only while the log is its site's to write (Serving); Sites is what links see (sites.go).
//
// hashicorp/raft is used only behind guards (R1 to R16: the list of its known faults that the tests are named after):
//
//	R1  transport.go     heartbeats go through the main loop; stableStore refuses a lower term
//	R2  stable_store.go  a vote is one record: term and candidate together
//	R3  log_store.go     a failed StoreLogs ends the Raft group (and with one log dir the process); it is never tried again
//	R4  log_store.go     gaps are refused, by the same fail-stop
//	R5  options.go       heartbeat, election and lease timeouts are one figure
//	R9  verify.go        what NewRaft or the machine would panic on is looked at before: such a Raft group is not started
//	R12 transport.go     shutting one Raft group down does not close what others use; leadership is observed by a callback
//	                     that never blocks, not through NotifyCh
//	R13 fsm.go           the machine is rebuilt from its snapshot and all entries above it
//	R14 host.go          the ServerID holds the disk id
//	R15 transport.go     pre-vote is there; snapshots are taken by Host.Checkpoint only
//	R16 snapshot_store.go  an installed snapshot is refused until storage can reset a log above it
//
// Concurrency: hashicorp/raft runs three goroutines for each Raft group and one more while it leads. This package adds none
// that lasts: an election starts one that ends when the leader serves. What belongs to the main loop says so. Lock order:
// the caller's append lock, Group.mu. The main loop and the machine take Group.mu but never the caller's append lock, because
// Propose may wait for them while it holds it.
package raft
