package site

import "github.com/tandembroker/tandem/storage/entry"

// Effect is what a step asks its driver to do, in the order of the slice.
type Effect interface{ effect() }

// Send hands a message to the network. It may be dropped.
type Send struct{ Message Message }

// Store makes Record durable in the metadata Raft group, then answers with Stored, or with NotStored. There is one at a time.
type Store struct{ Record Record }

// Propose appends an entry to the partition's Raft group, with the term and append sequence of this leadership. The driver answers with
// Settled when it is stored, as itself or as a void. Proposals are stored in the order in which they come.
type Propose struct {
	Header  entry.Header
	Payload []byte // owned by the driver from here on
}

// Ship reads batches that a quorum has synced, from From.Next on, and sends them as an Append with From as Prev; then answers with
// Shipped. Nothing is read above the durable end that the step was given.
type Ship struct {
	Epoch uint32
	From  Position
}

// ArchiveTail copies the log from From on into a lost-records archive that is staged under Cut, syncs it, and answers with Archived.
// An archive that was staged before is first settled, as in SealArchive with LogCut.
type ArchiveTail struct {
	Cut    entry.Cut // the truncate-to that will follow
	LogCut entry.Cut // the newest one in the log
}

// SealArchive settles a staged archive: it counts, for good, if it was staged under LogCut, the newest truncate-to of the log; otherwise
// its records were never cut, and it is removed. The driver answers with Sealed when that is durable, also where nothing was staged.
type SealArchive struct{ LogCut entry.Cut }

// Recopy has this site archive what the log holds from From on, or from where it starts, drop the log as a whole, and begin another one of a
// higher incarnation in its place, with a link of its own: nothing ties the log to the active's, since retention has passed where they part.
type Recopy struct {
	Epoch uint32 // that is followed
	From  int64
}

// MarkDrained tells the Site that the standby has all in front of the fence.
type MarkDrained struct{ Mark Drained }

// Halt tells the operator that the link has stopped for good, and why.
type Halt struct{ Reason HaltReason }

func (Send) effect()        {}
func (Store) effect()       {}
func (Propose) effect()     {}
func (Ship) effect()        {}
func (ArchiveTail) effect() {}
func (SealArchive) effect() {}
func (Recopy) effect()      {}
func (MarkDrained) effect() {}
func (Halt) effect()        {}

// Input is something that happened to a Site.
type Input interface{ input() }

// Tick passes a little time: a Hello is due.
type Tick struct{}

// Received is a message of the other site.
type Received struct{ Message Message }

// Stored says that the Record of the last Store is durable.
type Stored struct{}

// NotStored says that the Record of the last Store is surely not durable, and never will be: the metadata has refused a promotion by a switchover,
// since it knows of a partition that is not whole.
type NotStored struct{}

// Partitions is the set of partitions that the switchover to Target must have drained: all that the active fences for it. It holds for no
// other target: between two switchovers partitions come and go. Target 0 takes it away.
type Partitions struct {
	Target uint32
	IDs    []PartitionID
}

// Drained is a mark of a link: nothing in front of the fence for Target is missing here.
type Drained struct {
	Partition PartitionID
	Target    uint32
	Boot      Boot
}

// Met says which index the other site has.
type Met struct{ Index uint32 }

// Failover is the operator's order to take over. Without the claim the site may only wait for the end of a lease.
type Failover struct{ ActiveIsDown bool }

// AbortFailover ends the wait for the end of a lease.
type AbortFailover struct{}

// Switchover is the operator's order to hand over to the standby.
type Switchover struct{}

// AbortSwitchover asks the standby to refuse the target, until the fence is gone or the run ends.
type AbortSwitchover struct{}

// SelfPromote is the way out of a band of offsets that is nearly full.
type SelfPromote struct{}

func (Tick) input()            {}
func (Received) input()        {}
func (Stored) input()          {}
func (NotStored) input()       {}
func (Partitions) input()      {}
func (Drained) input()         {}
func (Met) input()             {}
func (Failover) input()        {}
func (AbortFailover) input()   {}
func (Switchover) input()      {}
func (AbortSwitchover) input() {}
func (SelfPromote) input()     {}

// LinkInput is something that happened to a Link.
type LinkInput interface{ linkInput() }

// LogMoved says that the log, its durable end or the View has changed.
type LogMoved struct{}

// Settled says that a proposal was stored: admitted, or as a void for a reason.
type Settled struct {
	Kind   entry.Kind
	Reason entry.VoidReason
}

// Shipped says that an Append was sent that ends at End.
type Shipped struct {
	Epoch uint32
	End   Position
}

// Archived says that the ArchiveTail with this Cut is durable.
type Archived struct {
	Cut   entry.Cut
	Epoch int32 // leader epoch of the last batch that stays; -1 = none stays
}

// Sealed says that a SealArchive is durable.
type Sealed struct{}

func (Tick) linkInput()     {}
func (Received) linkInput() {}
func (LogMoved) linkInput() {}
func (Settled) linkInput()  {}
func (Shipped) linkInput()  {}
func (Archived) linkInput() {}
func (Sealed) linkInput()   {}
