// Package site is the protocol between two sites: who may write, what a standby may acknowledge, how a standby takes over, and how the
// site that lost comes back. It is pure: no I/O, no clock, no goroutine. Whoever drives it hands in what happened and carries out the
// effects that come back; the two-site model (model_test.go) drives the same code through lost messages and lost disks.
//
// # Two machines
//
// Site is one site's role: one for each site, its Record kept by the metadata Raft group. It knows site epochs, switchovers and the
// lease, and no partition. Link is one partition's half of the shipping, where that partition is led: sender on the active site,
// receiver on the standby. Links see the role as a View, which may be old. That is safe because the partition's own log decides: what a
// link proposes is checked again when it is stored (entry.State.Admit), under the site epoch of the log. A View may make a link
// idle or its proposal void, never wrong.
//
// # Site epochs and offsets
//
// A site with index i owns the site epochs that are i modulo 4, and a promotion takes the smallest owned one above all that it has
// heard of, refused or handed out (NextOwned). So no two promotions have the same epoch. Epoch e writes offsets below (e+1)<<42 and an
// unplanned promotion begins at e<<42, so no two records have the same offset, whatever the sites knew of each other.
//
// # Shipping
//
// The active ships what its quorum has synced, from where the standby's log ends (Append). The standby appends only what continues
// its log exactly (Position), through its own Raft group, and acknowledges what its own quorum has synced (Ack). A sender that does not know
// the standby's end asks (Probe); until it knows, its lag is unknown, not 0.
//
// # Failover
//
// The standby makes a new Record durable (role active, next owned epoch), then each partition's log gets a promote entry and an epoch
// base. Only a log that holds the promote takes produces, and it takes link appends of older epochs no more. The operator either
// states that the active is down, or the active was under a lease: then the standby first makes durable that it renews no more and
// waits until the lease that it gave last has surely ended.
//
// # Switchover
//
// The active makes durable that it fences for a target epoch, owned by the standby and used once; each log gets a fence, behind which
// nothing is produced; when the standby has all in front of it, it marks the partition as drained. Marks are volatile: they name the
// target and the run (Boot) of the standby. With all marks the standby promotes itself to exactly the target. A switchover is given up
// only with the standby's durable word that it refuses the target.
//
// # Return
//
// A site that hears of a higher epoch of the other one steps down: durable, then a follow entry in each log, which makes void what was
// proposed before. Behind it the two lineages are compared; a tail that the other does not have is archived, cut (truncate-to), and the
// archive sealed, before the follow is confirmed and the link starts. A crash at any place begins again at what the log holds.
//
// A restarted active does not serve before the other site has answered a question of this very run.
package site
