package site

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/storage/entry"
)

// Sites is how many site indexes there are: site epoch e belongs to the site with index e modulo Sites.
const Sites = 4

// epochsMax is the first site epoch that does not fit into offsets and leader epochs.
const epochsMax = 1 << entry.SiteEpochBits

// NextOwned is the smallest site epoch above the given one that belongs to the site of index.
func NextOwned(index, above uint32) uint32 {
	e := above + 1
	return e + (index+Sites-e%Sites)%Sites
}

// ProducerID is the n-th producer id of a site epoch. Two sites never give out the same one.
func ProducerID(siteEpoch uint32, n int64) int64 {
	return int64(siteEpoch)<<entry.ProducerIDBits | n
}

// Boot names one run of a site. It is random, so that an answer to an earlier run is never taken for one to this.
type Boot uint64

// PartitionID is a partition as both sites know it. A topic that was made anew under its old name has another id.
type PartitionID struct {
	Topic     uuid.UUID
	Partition int32
}

func (p PartitionID) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.Partition) }

// Position is where a log ends: what the next entry must follow.
type Position struct {
	Next  int64 // log end offset
	Epoch int32 // leader epoch of the last batch below it; -1 = the log is empty
}

func (p Position) String() string { return fmt.Sprintf("%d (leader epoch %d)", p.Next, p.Epoch) }
