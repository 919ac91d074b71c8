package partition

import (
	"context"
	"errors"
	"fmt"

	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
)

// Isolation is a fetch's isolation level, numbered as on the wire.
type Isolation int8

const (
	ReadUncommitted Isolation = 0
	ReadCommitted   Isolation = 1
)

// Special timestamps of ListOffsets. Source: Kafka ListOffsetsRequest.
const (
	LatestTimestamp                = -1
	EarliestTimestamp              = -2
	MaxTimestamp                   = -3
	EarliestLocalTimestamp         = -4
	LatestTieredTimestamp          = -5
	EarliestPendingUploadTimestamp = -6
)

// AbortedTxn is an aborted transaction that a read_committed consumer must skip.
type AbortedTxn struct {
	ProducerID  int64
	FirstOffset int64
}

// Read is the answer to a fetch of one partition.
type Read struct {
	Extent            *log.Extent // nil = no records; the receiver calls Release
	HW, LSO, LogStart int64
	Epoch             int32        // current leader epoch
	Aborted           []AbortedTxn // of read_committed only, nil otherwise
	Diverging         *EpochEnd    // where the client's log and this one part; nil = nowhere, or it did not ask
}

// EpochEnd is a leader epoch and the offset behind its last record.
type EpochEnd struct {
	Epoch int32
	End   int64
}

// Position is where a client wants to go on.
type Position struct {
	Offset       int64
	CurrentEpoch int32 // as for Read
	LastEpoch    int32 // of the record before Offset, -1 = it does not say (KIP-595)
	Follower     bool  // a replica that follows the other site's may answer (KIP-392)
}

// Len is the size of the records in bytes.
func (r *Read) Len() int64 {
	if r.Extent == nil {
		return 0
	}
	return r.Extent.Len()
}

// ReadAfter is Read for a client that may say which epoch its last record has: where that epoch ends here below the client's offset, or
// is not there, the answer is Diverging and has no records. Errors: as Read. Source: Kafka Partition.readRecords.
func (p *Partition) ReadAfter(at Position, bytesMax int64, isolation Isolation, atLeastOne bool) (Read, error) {
	r := Read{HW: none, LSO: none, LogStart: none, Epoch: none}
	current, err := p.checkRead(at.CurrentEpoch, at.Follower)
	if r.Epoch = current; err != nil {
		return r, err
	}
	if p.astray(at.Offset) {
		return r, ErrNotLeader
	}
	if at.LastEpoch < 0 {
		return p.read(r, at.Offset, bytesMax, isolation, atLeastOne)
	}
	epoch, end := p.epochEnd(current, at.LastEpoch)
	start, hw, lso, _ := p.Offsets()
	if epoch < 0 || at.Offset < start {
		return r, fmt.Errorf("%w: %d behind a record of epoch %d", ErrOffsetOutOfRange, at.Offset, at.LastEpoch)
	}
	if epoch < at.LastEpoch || end < at.Offset {
		r.LogStart, r.HW, r.LSO, r.Diverging = start, hw, lso, &EpochEnd{epoch, end}
		return r, nil
	}
	return p.read(r, at.Offset, bytesMax, isolation, atLeastOne)
}

// Read returns whole batches from the one that holds offset on, up to bytesMax bytes, below the high watermark, or the last
// stable offset for ReadCommitted. atLeastOne gives the first batch even where it is larger than bytesMax. currentEpoch is the
// leader epoch that the client knows, -1 = it does not say. On an error the offsets of Read are set as far as known. Errors:
// ErrOffsetOutOfRange, ErrNotLeader, ErrFencedEpoch, ErrUnknownEpoch, ErrStorage.
func (p *Partition) Read(offset, bytesMax int64, isolation Isolation, currentEpoch int32, atLeastOne bool) (Read, error) {
	r := Read{HW: none, LSO: none, LogStart: none, Epoch: none}
	epoch, err := p.checkEpoch(currentEpoch)
	r.Epoch = epoch
	if err != nil {
		return r, err
	}
	return p.read(r, offset, bytesMax, isolation, atLeastOne)
}

// read is Read once the epoch is checked. An offset in the gap of a promotion that nothing was written behind is one that the log
// will pass: there is nothing to read yet.
func (p *Partition) read(r Read, offset, bytesMax int64, isolation Isolation, atLeastOne bool) (Read, error) {
	var end int64
	r.LogStart, r.HW, r.LSO, end = p.Offsets()
	if offset < r.LogStart || offset > end && offset > p.nextWrite() {
		if p.astray(offset) { // the log was cut since the epoch was checked
			return r, ErrNotLeader
		}
		return r, fmt.Errorf("%w: %d, the log is %d to %d", ErrOffsetOutOfRange, offset, r.LogStart, end)
	}
	limit := r.HW
	if isolation == ReadCommitted {
		limit = r.LSO
		r.Aborted = []AbortedTxn{}
	}
	if offset >= limit {
		return r, nil
	}
	if bytesMax <= 0 && !atLeastOne {
		return r, nil
	}
	for {
		extent, err := p.log.Read(offset, bytesMax, limit, atLeastOne)
		if err != nil {
			return r, p.readError(err)
		}
		if extent.Len() == 0 { // too large a batch: null instead of none, as in Kafka (ReplicaManager.readFromLog, firstEntryIncomplete)
			extent.Release()
			r.Aborted = nil
			return r, nil
		}
		if isolation == ReadCommitted {
			txns, ok := p.log.AbortedOf(&extent, offset)
			if !ok { // compacted meanwhile
				extent.Release()
				continue
			}
			r.Aborted = abortedTxns(txns)
		}
		r.Extent = &extent
		return r, nil
	}
}

// readError notes a damaged file once, and translates.
func (p *Partition) readError(err error) error {
	if errors.Is(err, log.ErrCorrupt) {
		p.manager.options.Logger.Error("partition is damaged", "topic", p.Topic(), "partition", p.id.Partition, "err", err)
	}
	return translate(err)
}

// ListOffset answers ListOffsets for a time in ms or one of the special timestamps: offset and timestamp are -1 where there
// is none, epoch is that of the record at the offset. Errors: as Read, and ErrOffsetNotAvailable.
// Source: Kafka Partition.fetchOffsetForTimestamp.
func (p *Partition) ListOffset(ts int64, isolation Isolation, currentEpoch int32) (offset, timestamp int64, epoch int32, err error) {
	current, err := p.checkEpoch(currentEpoch)
	if err != nil {
		return none, none, none, err
	}
	start, hw, lso, _ := p.Offsets()
	limit := hw
	if isolation == ReadCommitted {
		limit = lso
	}
	switch ts {
	case LatestTimestamp:
		return limit, none, current, nil
	case EarliestTimestamp, EarliestLocalTimestamp: // the same without tiered storage
		return start, none, p.epochAt(start, hw, current), nil
	case LatestTieredTimestamp, EarliestPendingUploadTimestamp: // nothing is tiered
		return none, none, none, nil
	}
	var found bool
	if ts == MaxTimestamp {
		offset, timestamp, epoch, found, err = p.log.MaxTimestamp(limit)
	} else {
		offset, timestamp, epoch, found, err = p.log.OffsetForTimestamp(ts, limit)
	}
	if err != nil {
		return none, none, none, p.readError(err)
	}
	if !found {
		return none, none, none, nil
	}
	return offset, timestamp, epoch, nil
}

// epochAt is the leader epoch of the record at offset, or of the next one that will be written.
func (p *Partition) epochAt(offset, hw int64, current int32) int32 {
	if offset >= hw {
		return current
	}
	return p.log.EpochAt(offset)
}

// EpochEnd answers OffsetForLeaderEpoch: the largest epoch at or below the requested one, and where it ended; -1, -1 for one
// that is unknown. Errors: as Read. Source: Kafka Partition.lastOffsetForLeaderEpoch.
func (p *Partition) EpochEnd(currentEpoch, epoch int32) (int32, int64, error) {
	current, err := p.checkEpoch(currentEpoch)
	if err != nil {
		return none, none, err
	}
	found, end := p.epochEnd(current, epoch)
	return found, end, nil
}

// epochEnd is EpochEnd where the newest epoch is current. The gap of a promotion belongs to the epochs before it: they end where it
// goes on, so that no client takes what the other site had beyond for cut off.
func (p *Partition) epochEnd(current, epoch int32) (int32, int64) {
	if epoch < 0 || epoch > current {
		return none, none
	}
	end := p.nextWrite()
	if epoch == current { // it may have no record yet, so that the log does not know it
		return current, end
	}
	if found, end, ok := p.strangeEnd(epoch); ok {
		return found, end
	}
	last := p.log.LastEpoch()
	found, offset := p.log.EndOffsetForEpoch(epoch, end)
	switch {
	case found != none:
		return found, offset
	case last != none:
		// Nothing was written in that epoch or since. Kafka notes the current epoch when a leadership begins, so that an earlier
		// one always ends somewhere; told that it is unknown, clients reset their positions.
		return last, end
	}
	return epoch, end
}

// DeleteRecords makes offset the log start offset (-1 = the high watermark) and returns the log start offset then. It
// returns when that is committed. Errors: ErrOffsetOutOfRange above the high watermark, ErrPolicy, ErrNotLeader, ErrStorage.
func (p *Partition) DeleteRecords(ctx context.Context, offset int64) (int64, error) {
	if _, err := p.checkEpoch(none); err != nil {
		return none, err
	}
	if c := p.config.Load(); c.Compact && !c.Delete { // a topic without any policy lets it
		return none, ErrPolicy
	}
	hw := p.hw.Load()
	if offset == none {
		offset = hw
	}
	if offset < 0 || offset > hw {
		return none, fmt.Errorf("%w: %d, the high watermark is %d", ErrOffsetOutOfRange, offset, hw)
	}
	// Of a pair of sites it is noted that this was wanted, also where retention was faster: it is no gap for the other site.
	body := entry.LogStartBody(offset)
	if p.paired() {
		body = entry.PurgeBody(offset)
	}
	if offset > p.logStart.Load() || p.paired() && offset > p.purged.Load() {
		if err := p.proposeLogStart(ctx, body); err != nil {
			return none, err
		}
	}
	return p.logStart.Load(), nil
}

// proposeLogStart writes a log-start entry and waits until it is applied.
func (p *Partition) proposeLogStart(ctx context.Context, body []byte) error {
	h := &entry.Header{Kind: entry.LogStart, Body: body}
	p.append.Lock()
	f := p.group.Propose(h, nil, nil)
	p.append.Unlock()
	result, err := f.Wait(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		return translate(err)
	}
	if err, ok := result.(error); ok {
		return err
	}
	return nil
}
