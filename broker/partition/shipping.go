package partition

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/replication/raft"
	"github.com/tandembroker/tandem/replication/site"
	"github.com/tandembroker/tandem/storage/archive"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
)

// Shipped is a partition as its link to the other site sees it (sites.Replica), kept apart so that its methods are not the Partition's.
type Shipped struct {
	p    *Partition
	born uint32
	// dropped is the cut under which what the log before this one held is archived, where the partition was begun anew; Offset 0 = it was not.
	dropped entry.Cut
}

// Shipped is the partition for a link. born is the site epoch in which it was created.
func (p *Partition) Shipped(born uint32) Shipped { return Shipped{p: p, born: born} }

// paired says that the partition may have a link to another site.
func (p *Partition) paired() bool { return p.manager.options.Archives != nil }

// ID implements sites.Replica.
func (s Shipped) ID() site.PartitionID {
	return site.PartitionID{Topic: s.p.id.Topic, Partition: s.p.id.Partition}
}

// Topic implements sites.Replica.
func (s Shipped) Topic() string { return s.p.Topic() }

// Log implements sites.Replica.
func (s Shipped) Log() any { return s.p }

// LogView implements sites.Replica.
func (s Shipped) LogView() (site.LogView, bool) {
	if s.p.usable() != nil {
		return site.LogView{}, false
	}
	v := s.p.group.Sites()
	return site.LogView{Term: v.Term, Tip: v.Tip, Durable: v.Durable, Lineage: &v.Lineage, Born: s.born,
		Purged: s.p.purged.Load(), Log: s.p.id.Incarnation, Floor: s.p.floor, Epochs: s.p}, v.Term != 0
}

// Wrote implements site.Epochs. Where the epochs of the log were gathered from batches that compaction has left, an epoch may seem to begin later than it
// did: what they say against it has to be in the batch.
func (p *Partition) Wrote(offset int64, epoch int32) bool {
	if known := p.log.EpochAt(offset); known < 0 || known == epoch {
		return true
	}
	rows, _, err := Shipped{p: p}.ReadShipped(offset, p.log.LogEnd(), 1, fresh)
	return err != nil || len(rows) == 0 || offset < rows[0].BaseOffset || rows[0].LeaderEpoch == epoch
}

// Watch implements sites.Replica. There is one watcher.
func (s Shipped) Watch(changed func()) (cancel func()) {
	if s.p.group == nil {
		return func() {}
	}
	s.p.group.OnChange(changed)
	return func() { s.p.group.OnChange(nil) }
}

// Propose implements sites.Replica.
func (s Shipped) Propose(h entry.Header, payload []byte, release func(), settled func(entry.VoidReason, error)) {
	p := s.p
	if err := p.usable(); err != nil {
		release()
		settled(entry.Admitted, err)
		return
	}
	tell := &settling{settled: settled, temper: p.manager.temper, begin: p.manager.options.Now()}
	if c := p.config.Load(); h.Kind == entry.Data {
		h.Class = class(c)
		if c.Compact {
			tell.compacted = len(payload)
		}
	}
	p.append.Lock()
	defer p.append.Unlock()
	p.group.ProposeFor(&h, payload, release, tell)
}

// settling tells once what became of a link's proposal (raft.Observer).
type settling struct {
	settled func(entry.VoidReason, error)
	told    atomic.Bool

	temper    *temper
	begin     time.Time
	compacted int // bytes, where the topic is compacted; else 0
}

// ProposalStored implements raft.Observer.
func (s *settling) ProposalStored() { s.tell(entry.Admitted, nil) }

// ProposalDone implements raft.Observer.
func (s *settling) ProposalDone(err error) {
	if err == nil {
		s.temper.appended(s.begin, s.compacted)
	}
	var void *raft.VoidError
	if errors.As(err, &void) {
		s.tell(void.Reason, nil)
		return
	}
	s.tell(entry.Admitted, err)
}

func (s *settling) tell(reason entry.VoidReason, err error) {
	if !s.told.Swap(true) {
		s.settled(reason, err)
	}
}

// ReadShipped implements sites.Replica.
func (s Shipped) ReadShipped(offset, end int64, bytesMax int, alloc func(n int) []byte) ([]entry.Row, []byte, error) {
	extent, err := s.p.log.Read(offset, int64(bytesMax), end, true)
	if err != nil {
		return nil, nil, s.p.readError(err)
	}
	defer extent.Release()
	return readShipped(&extent, alloc)
}

// TakeShipped implements sites.Replica.
func (s Shipped) TakeShipped(offset, end int64, bytesMax int, alloc func(n int) []byte) (rows []entry.Row, payload []byte, stored *log.Extent, err error) {
	extent, err := s.p.log.Read(offset, int64(bytesMax), end, true)
	if err != nil {
		return nil, nil, nil, s.p.readError(err)
	}
	if rows, ok := rowsWithin(&extent); ok {
		return rows, nil, &extent, nil
	}
	defer extent.Release()
	rows, payload, err = readShipped(&extent, alloc)
	return rows, payload, nil, err
}

// storedBatchMin is from which average size on batches are shipped from their file: reading the header of each takes one system call, sending the
// file one more, and both together must cost less than copying them twice and a checksum over them.
const storedBatchMin = 16 << 10

// rowsWithin reads the rows of an extent without its records; ok is false where to read all of it is better, or cannot be spared.
func rowsWithin(extent *log.Extent) (rows []entry.Row, ok bool) {
	var header [record.HeaderLen]byte
	for pos := int64(0); pos < extent.Len(); {
		if int64(len(rows))*storedBatchMin > pos {
			return nil, false
		}
		if n, _ := extent.ReadAt(header[:], pos); n < len(header) {
			return nil, false // reading all of it says why
		}
		row, ok := entry.RowOfHeader(header[:])
		if !ok || int64(row.Length) > extent.Len()-pos {
			return nil, false
		}
		row.Pos = uint32(pos)
		rows, pos = append(rows, row), pos+int64(row.Length)
	}
	return rows, len(rows) > 0 && extent.Len() >= storedBatchMin*int64(len(rows))
}

func readShipped(extent *log.Extent, alloc func(n int) []byte) ([]entry.Row, []byte, error) {
	payload := alloc(int(extent.Len()))
	if err := extent.ReadInto(payload); err != nil {
		return nil, nil, translate(err)
	}
	rows, n, err := entry.RowsOf(payload)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	return rows, payload[:n], nil
}

// MakeDurable implements sites.Replica.
func (s Shipped) MakeDurable() error {
	if err := s.p.usable(); err != nil {
		return err
	}
	return translate(s.p.group.MakeDurable())
}

// ArchiveTail implements sites.Replica.
func (s Shipped) ArchiveTail(ctx context.Context, cut, logCut entry.Cut) (epoch int32, err error) {
	p := s.p
	if err := s.withdraw(); err != nil {
		return none, err
	}
	end := p.log.LogEnd()
	if cut.Offset > 0 {
		epoch = p.log.EpochAt(cut.Offset - 1)
	} else {
		epoch = none
	}
	_, err = p.manager.options.Archives.Stage(ctx, archive.Tail{
		Partition: s.archived(), Cut: cut, LogCut: logCut, End: end,
		Reason: fmt.Sprintf("the other site was promoted to site epoch %d without them", cut.SiteEpoch),
		Read: func(_ context.Context, offset int64) ([]byte, error) {
			_, payload, err := s.ReadShipped(offset, end, archiveReadBytes, fresh)
			return payload, err
		},
	})
	return epoch, err
}

// fresh is an alloc of ReadShipped for what is copied rarely.
func fresh(n int) []byte { return make([]byte, n) }

// archiveReadBytes is how much of a tail is copied at once.
const archiveReadBytes = 1 << 20

// SealArchive implements sites.Replica.
func (s Shipped) SealArchive(_ context.Context, logCut entry.Cut) error {
	if err := s.withdraw(); err != nil { // as in ArchiveTail
		return err
	}
	return s.p.manager.options.Archives.Seal(s.archived(), logCut)
}

func (s Shipped) archived() archive.Partition {
	return s.p.archivedAs(s.p.Topic())
}
