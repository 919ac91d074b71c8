package operator

import (
	"time"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/storage/entry"
)

// SwitchoverOrder hands the active role over, without loss.
type SwitchoverOrder struct {
	// ID is chosen at random by who orders. The same one again is the same order, of which it tells how it stands: so it may be sent again
	// when a connection broke.
	ID     string `json:"id"`
	To     string `json:"to"`
	DryRun bool   `json:"dry_run,omitempty"`
}

// FailoverOrder takes the active role over from a site that is gone.
type FailoverOrder struct {
	ID             string `json:"id"` // as of a SwitchoverOrder
	To             string `json:"to"`
	ActiveIsDown   bool   `json:"active_is_down,omitempty"`
	AcceptDataLoss bool   `json:"accept_data_loss,omitempty"`
	DryRun         bool   `json:"dry_run,omitempty"`
}

// OrderKind is what an Order is about.
type OrderKind string

const (
	Switchover OrderKind = "switchover"
	Failover   OrderKind = "failover"
)

// OrderState is how far an Order is.
type OrderState string

const (
	Planned OrderState = "planned" // a dry run: nothing was started
	Running OrderState = "running"
	Done    OrderState = "done"
	Failed  OrderState = "failed"
	Aborted OrderState = "aborted"
)

// Order is a switchover or failover.
type Order struct {
	ID        string     `json:"id,omitempty"`
	Kind      OrderKind  `json:"kind"`
	From      string     `json:"from"`
	To        string     `json:"to"`
	State     OrderState `json:"state"`
	SiteEpoch uint32     `json:"site_epoch,omitempty"` // that the new active writes; 0 = not known yet
	Step      string     `json:"step,omitempty"`       // what it is doing, for people
	// Of Partitions, how many have gone over.
	PartitionsDone int        `json:"partitions_done"`
	Partitions     int        `json:"partitions"`
	Began          *time.Time `json:"began,omitempty"`
	Ended          *time.Time `json:"ended,omitempty"`
	Error          string     `json:"error,omitempty"` // why it failed
	Next           string     `json:"next,omitempty"`
	Plan           *Plan      `json:"plan,omitempty"`
	Report         *Report    `json:"report,omitempty"`
}

// Plan is what an order would do.
type Plan struct {
	Question     string   `json:"question"` // what the operator has to say yes to
	Notes        []string `json:"notes,omitempty"`
	RPO          *RPO     `json:"rpo,omitempty"` // of a failover
	WaitMs       int64    `json:"wait_ms"`       // for the end of the active's lease
	ActiveIsDown bool     `json:"active_is_down"`
}

// RPO is what is lost, or would be: a part that is known, and what was written after the last contact. Lags of partitions are added up in
// Records and Bytes; Ms is the longest. Unknown is null.
type RPO struct {
	Records *int64 `json:"records"`
	Bytes   *int64 `json:"bytes"`
	Ms      *int64 `json:"ms"`
	// UnknownSince: what the active site took after it is not in Records and Bytes, because nobody here knows of it. null = there is nothing
	// of that kind; together with null in Records, nothing at all is known.
	UnknownSince *time.Time `json:"unknown_since"`
}

// Lag is how far the standby is behind. A null is unknown.
type Lag struct {
	Records *int64 `json:"records"`
	Bytes   *int64 `json:"bytes"`
	Ms      *int64 `json:"ms"`
}

// Status is how the two sites stand.
type Status struct {
	Green        bool           `json:"green"`
	Reasons      []Reason       `json:"reasons"` // why it is not green; the most urgent first
	Next         string         `json:"next"`    // the next command; empty = nothing to do
	AnsweredBy   string         `json:"answered_by"`
	Sites        []SiteStatus   `json:"sites"`
	Contact      ContactStatus  `json:"contact"`
	Lag          *Lag           `json:"lag"` // of all partitions; null = unknown
	RPO          RPO            `json:"estimated_rpo"`
	Partitions   LinkCounts     `json:"partitions"`
	Topics       []TopicStatus  `json:"topics"`
	TopicsHidden int            `json:"topics_left_off"`
	Order        *Order         `json:"order"` // that is going on
	Archives     ArchiveCounts  `json:"lost_records"`
	Metadata     MetadataStatus `json:"metadata"`
}

// MetadataStatus is whether the standby has the active's topics and configs. Versions are "site epoch.n"; null = unknown.
type MetadataStatus struct {
	Current bool     `json:"current"` // the versions are known and the same, and the sites in contact
	Active  *string  `json:"active"`
	Standby *string  `json:"standby"`
	LeftOut []string `json:"left_out,omitempty"` // topics that are not shipped: the standby has others of their names
}

// Reason is why the sites are not green.
type Reason struct {
	Code string `json:"code"`
	Text string `json:"text"`
	Next string `json:"next"` // the way out
}

// SiteStatus is one site's role.
type SiteStatus struct {
	Name      string `json:"name"` // "" = unknown
	Role      string `json:"role"` // active, standby, unknown
	SiteEpoch uint32 `json:"site_epoch"`
	Serving   bool   `json:"serving"`
	State     string `json:"state"` // for people
}

// ContactStatus is how the sites are connected.
type ContactStatus struct {
	Connected bool       `json:"connected"`
	Last      *time.Time `json:"last"`       // null = not known
	SilenceMs *int64     `json:"silence_ms"` // since Last
}

// LinkCounts are how many partitions' links are in a state.
type LinkCounts struct {
	All     int `json:"all"`
	Halted  int `json:"halted"`
	Copying int `json:"copying"` // their first copy is not finished
	Unled   int `json:"unled"`   // no broker leads them
}

// TopicStatus is how one topic stands.
type TopicStatus struct {
	Topic      string `json:"topic"`
	Partitions int    `json:"partitions"`
	Halted     int    `json:"halted"`
	Lag        *Lag   `json:"lag"`
}

// ArchiveCounts are how many archives of lost records there are.
type ArchiveCounts struct {
	Archives int   `json:"archives"`
	Bytes    int64 `json:"bytes"`
}

// History is what has happened to the roles.
type History struct {
	Events []Event `json:"events"`
}

// Event is one change of the roles.
type Event struct {
	At        time.Time `json:"at"`
	Site      string    `json:"site"` // whose role has changed
	What      string    `json:"what"` // joined, switchover, failover, aborted, followed, promoted itself
	From      string    `json:"from,omitempty"`
	SiteEpoch uint32    `json:"site_epoch"`
	Report    *Report   `json:"report,omitempty"`
}

// LostList describes archives of lost records.
type LostList struct {
	Archives []LostArchive `json:"archives"`
	// Missing says whose archives are not among them, and why; empty = none.
	Missing string `json:"missing,omitempty"`
}

// LostArchive is one archive.
type LostArchive struct {
	ID          string    `json:"id"`
	Site        string    `json:"site"` // on whose disk it lies
	Node        int32     `json:"node"`
	Topic       string    `json:"topic"`
	Partition   int32     `json:"partition"`
	SiteEpoch   uint32    `json:"site_epoch"` // under which its records were written
	FirstOffset int64     `json:"first_offset"`
	LastOffset  int64     `json:"last_offset"`
	Records     int64     `json:"records"`
	Bytes       int64     `json:"bytes"`
	Archived    time.Time `json:"archived"`
	Damage      string    `json:"damage,omitempty"`
}

// LostPlace is a place in an archive.
type LostPlace struct {
	Site   string `json:"site"`
	Node   int32  `json:"node"`
	ID     string `json:"id"`
	Offset int64  `json:"offset"` // from the record with this offset on
	Byte   int64  `json:"byte"`   // from this byte of its line on
}

// LostPage is a part of an archive: lines of JSON, each a LostRecord.
type LostPage struct {
	Next   *LostPlace `json:"next"`             // null = it ends here
	Damage string     `json:"damage,omitempty"` // what could not be read of the archive; on the last page
	Lines  []byte     `json:"-"`                // goes as the answer's data; the first and the last line may be parts of one
}

// LostRecord is a record of an archive.
type LostRecord struct {
	Topic     string       `json:"topic"`
	Partition int32        `json:"partition"`
	Offset    int64        `json:"offset"`
	Timestamp int64        `json:"timestamp"` // ms
	Key       []byte       `json:"key"`       // base64; null = none
	Value     []byte       `json:"value"`
	Headers   []LostHeader `json:"headers"`
	// Transaction is none, committed, aborted or undecided. Its markers are no records.
	Transaction string `json:"transaction"`
}

// LostHeader is a header of a record.
type LostHeader struct {
	Key   string `json:"key"`
	Value []byte `json:"value"`
}

// VerifyOrder begins to compare the sites; no topic = all that ship.
type VerifyOrder struct {
	ID     string   `json:"id"` // as of a SwitchoverOrder
	Topics []string `json:"topics,omitempty"`
}

// Verification is how a comparison of the two sites stands.
type Verification struct {
	ID             string      `json:"id"`
	State          OrderState  `json:"state"`
	Partitions     int         `json:"partitions"`
	PartitionsDone int         `json:"partitions_done"`
	Batches        int64       `json:"batches"` // compared
	Bytes          int64       `json:"bytes"`
	Skipped        []string    `json:"skipped,omitempty"` // what could not be compared, and why
	NotCompared    int         `json:"not_compared"`      // partitions that one of the sites does not have to compare now
	Difference     *Difference `json:"difference"`        // the first one; null = none was found
	Error          string      `json:"error,omitempty"`
}

// Difference is where two sites differ.
type Difference struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"` // the first at which they differ
	Here      string `json:"here"`   // what the site that compared has there
	There     string `json:"there"`
}

// VerifyRange asks a site for the checksum of the batches of a partition whose base offset is in [From, To).
type VerifyRange struct {
	TopicID   uuid.UUID `json:"topic_id"`
	Partition int32     `json:"partition"`
	From      int64     `json:"from"`
	To        int64     `json:"to"`
	// BytesMax ends the range earlier: behind the batch that reaches it. 0 = it is not ended.
	BytesMax int64 `json:"bytes_max,omitempty"`
	// Each asks for a line about each batch, of 1,000 at most.
	Each bool `json:"each,omitempty"`
}

// VerifySum answers a VerifyRange.
type VerifySum struct {
	// Start and End are the log's: batches below Start are gone, those at or above End are not durable yet. Nothing outside is compared.
	Start int64 `json:"start"`
	End   int64 `json:"end"`
	// Busy is why the log cannot be compared now; empty = it can.
	Busy string `json:"busy,omitempty"`

	To      int64         `json:"to"` // where the range was ended
	Batches int64         `json:"batches"`
	Bytes   int64         `json:"bytes"`
	SHA256  []byte        `json:"sha256"` // of each batch base offset, last offset, leader epoch, length (i64, i64, i32, u32) and bytes
	Each    []VerifyBatch `json:"each,omitempty"`
}

// VerifyBatch is what is told of one batch.
type VerifyBatch struct {
	Base   int64  `json:"base"`
	Last   int64  `json:"last"`
	Epoch  int32  `json:"epoch"`
	Length uint32 `json:"length"`
	SHA256 []byte `json:"sha256"`
}

// RecopyOrder has a partition copied anew.
type RecopyOrder struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	DryRun    bool   `json:"dry_run,omitempty"`
}

// Recopied is what becomes of a RecopyOrder.
type Recopied struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Site      string `json:"site"` // the standby, which drops its log
	// What the standby holds in [From, End) the active does not have: it is archived. From = End: nothing.
	From     int64  `json:"archived_from"`
	End      int64  `json:"archived_to"`
	Question string `json:"question"` // what the operator has to say yes to
	Begun    bool   `json:"begun"`    // the log is dropped, and the copy begun
}

// LineageQuestion asks an active for the lineage of a partition.
type LineageQuestion struct {
	TopicID   uuid.UUID `json:"topic_id"`
	Partition int32     `json:"partition"`
	Epoch     *int32    `json:"epoch,omitempty"` // a leader epoch of the standby's log
}

// LineageAnswer is the history of its durable log.
type LineageAnswer struct {
	Lineage entry.Lineage `json:"lineage"`
	Found   *EpochEnd     `json:"found,omitempty"` // for Epoch; nil = it was not asked for
}

// ProducerIDs is a block of producer ids that nobody ever had, and that is given to nobody else.
type ProducerIDs struct {
	First int64 `json:"first"`
	Count int64 `json:"count"`
}

// EpochEnd is the largest leader epoch of a log at or below another one, and the offset where it ends; -1, -1 = unknown.
type EpochEnd struct {
	Epoch int32 `json:"epoch"`
	End   int64 `json:"end"`
}
