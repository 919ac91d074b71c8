package site

import (
	"time"

	"github.com/tandembroker/tandem/storage/entry"
)

// Message is what one site sends to the other. Messages may be lost, doubled, late and out of order.
type Message interface{ message() }

// Hello is sent by each Site once a tick.
type Hello struct {
	Role  Role
	Epoch uint32
	Boot  Boot          // of the sender
	Sent  time.Duration // clock of the sender; comes back with the answer, and means nothing to anybody else
}

// Greeting answers a Hello.
type Greeting struct {
	Role    Role
	Epoch   uint32
	Boot    Boot // of the sender
	Nonce   Boot // Boot of the Hello
	Sent    time.Duration
	Failing bool // the sender is taking over: this is no confirmation of anybody's role
	Renews  bool // the lease of the site that said hello is renewed
	Leased  bool // the sender is an active that acknowledges only under a lease
}

// Refuse asks the standby to give its word that it will not promote itself to Target by switchover. It is sent again once a tick.
type Refuse struct{ Target uint32 }

// Refused gives that word. It is durable.
type Refused struct{ Target uint32 }

// Append ships batches that continue a log which ends at Prev. Rows and Payload as in a stored entry, stamped by the active.
type Append struct {
	Partition PartitionID
	Epoch     uint32
	Prev      Position
	// Metadata is the n of the version of the logical metadata, under Epoch, that was in force for the topic when these batches were read, or
	// before: a standby that has an older one does not take them yet.
	Metadata uint64
	Rows     []entry.Row
	Payload  []byte // owned by the message
}

// Probe asks the standby where its log ends, and whether anything is on its way into it.
type Probe struct {
	Partition PartitionID
	Epoch     uint32
}

// Ack says where the durable log of the standby ends.
type Ack struct {
	Partition PartitionID
	Epoch     uint32
	Boot      Boot // of the standby
	End       Position
	LogStart  int64 // of the standby's log
	// Log is the incarnation of the standby's log: a higher one is another log, begun anew, of which the earlier ones say nothing.
	Log      uint32
	Rejected bool // an Append did not continue the log, or nothing is under way when it is asked: ship again from End
}

// LogStart says where the active's durable log starts. It is said again until an Ack shows that the standby's has got there.
type LogStart struct {
	Partition PartitionID
	Epoch     uint32
	Offset    int64
}

// Drain says that all in front of the partition's fence is at the standby, if that ends at End.
type Drain struct {
	Partition PartitionID
	Epoch     uint32
	Target    uint32
	End       Position
	Next      int64 // where a planned promotion goes on
	Boot      Boot  // the run of the standby that this is said to
}

// Compare asks the active for the lineage of a partition, by a log that has stopped taking anything else.
type Compare struct {
	Partition PartitionID
	Epoch     uint32
}

// Compared is the answer, of the durable log that includes the promote of Epoch.
type Compared struct {
	Partition PartitionID
	Epoch     uint32
	Lineage   entry.Lineage
}

func (Hello) message()    {}
func (Greeting) message() {}
func (Refuse) message()   {}
func (Refused) message()  {}
func (Append) message()   {}
func (Probe) message()    {}
func (Ack) message()      {}
func (LogStart) message() {}
func (Drain) message()    {}
func (Compare) message()  {}
func (Compared) message() {}
