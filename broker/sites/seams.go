package sites

import (
	"context"

	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
)

// Replica is a partition of this broker, as its link sees it. Safe for concurrent use.
type Replica interface {
	ID() site.PartitionID
	Topic() string
	// Log names the log: all Replicas of it say the same, comparable, and those of no other one.
	Log() any
	// LogView is what the link may know of the log; ok is false where this broker does not lead the partition. Its Lineage must not be
	// changed.
	LogView() (view site.LogView, ok bool)
	// Propose hands an entry to the partition's Raft group, behind those handed in before. settled is called once: with what the log made
	// of it, or with an error when that is not known here. release is called once, when payload is not needed any more; nil = no payload.
	Propose(h entry.Header, payload []byte, release func(), settled func(entry.VoidReason, error))
	// TakeShipped returns whole batches that begin at or above offset and end at or below end, with a row for each: at most bytesMax bytes,
	// but at least one batch where there is any, and at most entry.RowsMax. Rows are the caller's. Either stored is where the bytes are, until it
	// is released, or they are in what alloc has returned for n of them, or for more, which is asked once at most.
	TakeShipped(offset, end int64, bytesMax int, alloc func(n int) []byte) (rows []entry.Row, payload []byte, stored *log.Extent, err error)
	// ReadShipped is TakeShipped for who needs the bytes themselves.
	ReadShipped(offset, end int64, bytesMax int, alloc func(n int) []byte) ([]entry.Row, []byte, error)
	// MakeDurable has written to disk what is committed and nobody waits for; it may wait for that. Without it data of write.caching would
	// be shipped only when its file is synced for another reason.
	MakeDurable() error
	// Watch has changed called whenever LogView may have changed; it must not wait, and is not called by Watch
	// itself. There is one at a time. cancel ends that.
	Watch(changed func()) (cancel func())
	// ArchiveTail and SealArchive are what site.ArchiveTail and site.SealArchive ask for. epoch is the leader epoch of the last batch below
	// the cut, -1 = there is none.
	ArchiveTail(ctx context.Context, cut, logCut entry.Cut) (epoch int32, err error)
	SealArchive(ctx context.Context, logCut entry.Cut) error
}

// Network carries messages to the other site. Safe for concurrent use.
type Network interface {
	// Send never waits. done is called once, when m was written or dropped, with what it was; nil = nobody asks.
	Send(m site.Message, done func(sent bool))
	// Connected says whether there is anybody to send to.
	Connected() bool
}

// Records keeps the site's Record. Safe for concurrent use.
type Records interface {
	// StoreSite makes rec durable in the metadata Raft group.
	StoreSite(ctx context.Context, rec site.Record) error
}
