package partition

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/entry"
	"github.com/tandembroker/tandem/storage/log"
)

// The state of a partition in its Raft group's snapshot (docs/formats.md section 9):
//
//	0   1  version = 1, or 2 where something was deleted on purpose in a pair of sites
//	1   7  reserved
//	8   8  high watermark behind the snapshot
//	16  8  offset of the producer snapshot file, -1 = no producers
//	24  4  count of producers that follow
//	28     each: producer id i64, epoch i16, count of batches u16, and each batch: last sequence i32, offset delta i32,
//	       last offset i64, timestamp i64; oldest first
//	..  8  version 2 only: the offset below which all was deleted on purpose
//
// What follows are the batches before the last one, of producers that wrote lately: Kafka's file holds only the last one, so
// that a client with several batches in flight over a restart is told OUT_OF_ORDER_SEQUENCE_NUMBER for what it has written.
const (
	stateVersion   = 1
	statePurged    = 2
	stateHeader    = 28
	recentLen      = 12
	recentBatch    = 24
	recentFor      = 15 * time.Minute // clients give up on a batch after two minutes (delivery.timeout.ms)
	recentCountMax = 10_000           // producers; the newest file still has all of them
)

// state is the decoded form.
type state struct {
	hw, producerOffset int64
	purged             int64 // 0 = nothing
	recent             []recentBatches
}

type recentBatches struct {
	id      int64
	epoch   int16
	batches []batchRef
}

func (s *state) encode() []byte {
	size := stateHeader
	for i := range s.recent {
		size += recentLen + recentBatch*len(s.recent[i].batches)
	}
	b := make([]byte, 8, size)
	b[0] = stateVersion
	b = binary.BigEndian.AppendUint64(b, uint64(s.hw))
	b = binary.BigEndian.AppendUint64(b, uint64(s.producerOffset))
	b = binary.BigEndian.AppendUint32(b, uint32(len(s.recent)))
	for i := range s.recent {
		r := &s.recent[i]
		b = binary.BigEndian.AppendUint64(b, uint64(r.id))
		b = binary.BigEndian.AppendUint16(b, uint16(r.epoch))
		b = binary.BigEndian.AppendUint16(b, uint16(len(r.batches)))
		for _, batch := range r.batches {
			b = binary.BigEndian.AppendUint32(b, uint32(batch.lastSequence))
			b = binary.BigEndian.AppendUint32(b, uint32(batch.offsetDelta))
			b = binary.BigEndian.AppendUint64(b, uint64(batch.lastOffset))
			b = binary.BigEndian.AppendUint64(b, uint64(batch.timestamp))
		}
	}
	if s.purged > 0 {
		b[0] = statePurged
		b = binary.BigEndian.AppendUint64(b, uint64(s.purged))
	}
	return b
}

var errState = errors.New("partition: state in the snapshot does not decode")

func (s *state) decode(b []byte) error {
	if len(b) < stateHeader || b[0] != stateVersion && b[0] != statePurged {
		return fmt.Errorf("%w: %d bytes, versions up to %d are known", errState, len(b), statePurged)
	}
	version := b[0]
	s.hw, s.producerOffset = int64(binary.BigEndian.Uint64(b[8:])), int64(binary.BigEndian.Uint64(b[16:]))
	if s.hw < 0 || s.producerOffset < none {
		return fmt.Errorf("%w: high watermark %d, producers at %d", errState, s.hw, s.producerOffset)
	}
	count := binary.BigEndian.Uint32(b[24:])
	b = b[stateHeader:]
	for range count {
		if len(b) < recentLen {
			return fmt.Errorf("%w: truncated", errState)
		}
		r := recentBatches{id: int64(binary.BigEndian.Uint64(b)), epoch: int16(binary.BigEndian.Uint16(b[8:]))}
		n := int(binary.BigEndian.Uint16(b[10:]))
		b = b[recentLen:]
		if n >= batchesKept || len(b) < n*recentBatch {
			return fmt.Errorf("%w: %d batches of producer id %d", errState, n, r.id)
		}
		for range n {
			batch := batchRef{
				lastSequence: int32(binary.BigEndian.Uint32(b)), offsetDelta: int32(binary.BigEndian.Uint32(b[4:])),
				lastOffset: int64(binary.BigEndian.Uint64(b[8:])), timestamp: int64(binary.BigEndian.Uint64(b[16:])),
			}
			batch.firstSequence = decrementSequence(batch.lastSequence, batch.offsetDelta)
			r.batches = append(r.batches, batch)
			b = b[recentBatch:]
		}
		s.recent = append(s.recent, r)
	}
	if version == statePurged {
		if len(b) < 8 || int64(binary.BigEndian.Uint64(b)) <= 0 {
			return fmt.Errorf("%w: what was deleted on purpose", errState)
		}
		s.purged, b = int64(binary.BigEndian.Uint64(b)), b[8:]
	}
	if len(b) != 0 {
		return fmt.Errorf("%w: %d bytes behind it", errState, len(b))
	}
	return nil
}

// Snapshot implements raft.Machine.
func (m machine) Snapshot() ([]byte, error) {
	encode, err := m.SnapshotLater()
	if err != nil {
		return nil, err
	}
	return encode()
}

// SnapshotLater implements raft.LateSnapshotter: the producers are copied now, and written beside Apply. A file is written
// only when they have changed since the last one.
func (m machine) SnapshotLater() (func() ([]byte, error), error) {
	p := m.p
	p.mu.Lock()
	defer p.mu.Unlock()
	ps := p.mu.producers
	st := state{hw: p.hw.Load(), producerOffset: p.mu.savedOffset, purged: p.purged.Load(), recent: ps.recent(p.manager.options.Now())}
	if ps.version == p.mu.saved {
		return func() ([]byte, error) { return st.encode(), nil }, nil
	}
	entries, version, cuts := ps.encode(), ps.version, p.mu.cuts
	return func() ([]byte, error) {
		p.saving.Lock()
		defer p.saving.Unlock()
		p.mu.Lock()
		stale := p.mu.cuts != cuts
		p.mu.Unlock()
		if stale { // the file would speak of records that are gone, and storage would not take the snapshot
			return nil, errCut
		}
		st.producerOffset = none
		if len(entries) > 0 {
			st.producerOffset = st.hw
			if err := p.log.WriteProducerSnapshot(st.hw, entries); err != nil {
				return nil, err
			}
		}
		p.mu.Lock()
		p.mu.saved, p.mu.savedOffset = version, st.producerOffset
		p.mu.Unlock()
		return st.encode(), nil
	}, nil
}

var errCut = errors.New("partition: the log was truncated below the snapshot")

// recent copies the batches before the last one of producers that wrote lately.
func (ps *producers) recent(now time.Time) []recentBatches {
	var out []recentBatches
	for _, p := range ps.byID {
		n := len(p.batches)
		if n < 2 || now.UnixMilli()-p.touched > recentFor.Milliseconds() || len(out) == recentCountMax {
			continue
		}
		out = append(out, recentBatches{id: p.id, epoch: p.epoch, batches: slices.Clone(p.batches[:n-1])})
	}
	slices.SortFunc(out, func(a, b recentBatches) int { return cmp.Compare(a.id, b.id) })
	return out
}

// addRecent puts batches before the last one, which decodeProducers has set.
func (ps *producers) addRecent(recent []recentBatches, now time.Time) {
	for _, r := range recent {
		p := ps.byID[r.id]
		if p == nil || p.epoch != r.epoch || len(p.batches) != 1 || len(r.batches) == 0 ||
			r.batches[len(r.batches)-1].lastOffset >= p.batches[0].lastOffset {
			continue
		}
		p.batches = append(r.batches, p.batches[0])
		p.touched = now.UnixMilli()
	}
}

// encode copies what is committed, ordered by id.
func (ps *producers) encode() []log.ProducerEntry {
	entries := make([]log.ProducerEntry, 0, len(ps.byID))
	for _, p := range ps.byID {
		if p.epoch == none && p.txnFirst == none {
			continue // only in flight
		}
		e := log.ProducerEntry{
			ProducerID: p.id, ProducerEpoch: p.epoch, LastSequence: none, LastOffset: none, Timestamp: p.lastTimestamp,
			CoordinatorEpoch: p.coordinatorEpoch, TxnFirstOffset: p.txnFirst,
		}
		if n := len(p.batches); n > 0 {
			b := &p.batches[n-1]
			e.LastSequence, e.LastOffset, e.OffsetDelta = b.lastSequence, b.lastOffset, b.offsetDelta
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b log.ProducerEntry) int { return cmp.Compare(a.ProducerID, b.ProducerID) })
	return entries
}

// decodeProducers is the reverse of encode. As in Kafka, only the last batch of each producer is in the file.
func decodeProducers(entries []log.ProducerEntry) *producers {
	ps := newProducers()
	for i := range entries {
		e := &entries[i]
		p := ps.get(e.ProducerID)
		p.epoch, p.coordinatorEpoch, p.lastTimestamp, p.txnFirst = e.ProducerEpoch, e.CoordinatorEpoch, e.Timestamp, e.TxnFirstOffset
		if p.txnFirst != none {
			ps.openTxn++
		}
		if e.LastSequence >= 0 {
			p.batches = append(p.batches, batchRef{
				firstSequence: decrementSequence(e.LastSequence, e.OffsetDelta), lastSequence: e.LastSequence,
				lastOffset: e.LastOffset, offsetDelta: e.OffsetDelta, timestamp: e.Timestamp,
			})
		}
	}
	return ps
}

// decrementSequence is the reverse of record.IncrementSequence.
func decrementSequence(sequence, n int32) int32 {
	if sequence < n {
		return int32(int64(sequence) - int64(n) + (1 << 31))
	}
	return sequence - n
}

// Restore implements raft.Machine.
func (m machine) Restore(b []byte) error {
	p := m.p
	var st state
	if err := st.decode(b); err != nil {
		return err
	}
	start, end := p.log.LogStart(), p.log.LogEnd()
	truncated := false
	if sg, ok := p.manager.host.Store().Group(p.id); ok {
		_, _, truncated = sg.Truncated()
	}
	if truncated { // by an entry that will be applied again, and puts all of this right
		st.hw, st.producerOffset = max(start, min(st.hw, end)), none
	}
	if st.hw > end || st.hw < start {
		return fmt.Errorf("partition: high watermark %d, the log is %d to %d", st.hw, start, end)
	}
	ps := newProducers()
	if st.producerOffset != none {
		entries, err := p.log.ReadProducerSnapshot(st.producerOffset)
		if err == nil {
			ps = decodeProducers(entries)
			ps.addRecent(st.recent, p.manager.options.Now())
		} else {
			p.manager.options.Logger.Warn("producer snapshot unusable, reading the log", "topic", p.Topic(),
				"partition", p.id.Partition, "offset", st.producerOffset, "err", err)
			if ps, err = p.rebuildProducers(newProducers(), p.log.LogStart(), st.hw); err != nil {
				return err
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.producers, p.mu.saved, p.mu.savedOffset = ps, 0, st.producerOffset
	p.purged.Store(st.purged)
	p.setOffsetsLocked(st.hw)
	return nil
}

// setOffsetsLocked sets what is readable before anything is applied.
func (p *Partition) setOffsetsLocked(hw int64) {
	lso, unstable := p.mu.producers.firstUnstable()
	if !unstable {
		lso = hw
	}
	p.logStart.Store(p.log.LogStart())
	p.hw.Store(hw)
	p.lso.Store(lso)
}

// rebuildStep is how many bytes of the log are read at once.
const rebuildStep = 1 << 20

// producersBelow is the producer state of a log that ends at end: from the newest file below, and the batches behind that.
func (p *Partition) producersBelow(end int64) (*producers, error) {
	offsets, err := p.log.ProducerSnapshots()
	if err != nil {
		return nil, err
	}
	start := p.log.LogStart()
	for _, offset := range slices.Backward(offsets) {
		if offset > end || offset < start {
			continue
		}
		entries, err := p.log.ReadProducerSnapshot(offset)
		if err == nil {
			return p.rebuildProducers(decodeProducers(entries), offset, end)
		}
		p.manager.options.Logger.Warn("producer snapshot unusable", "topic", p.Topic(), "partition", p.id.Partition, "offset", offset, "err", err)
	}
	return p.rebuildProducers(newProducers(), start, end)
}

// rebuildProducers moves ps, the producer state below offset, to end by the batches themselves.
func (p *Partition) rebuildProducers(ps *producers, offset, end int64) (*producers, error) {
	for offset < end {
		extent, err := p.log.Read(offset, rebuildStep, end, true)
		if err != nil {
			return nil, err
		}
		b, err := extent.ReadAll()
		extent.Release()
		if err != nil {
			return nil, err
		}
		if len(b) == 0 {
			break
		}
		for len(b) > 0 {
			batch, rest, err := record.Next(b)
			if err != nil {
				return nil, err
			}
			row, err := entry.RowOf(batch)
			if err != nil {
				return nil, err
			}
			ps.apply(nil, &row, 0)
			offset, b = row.LastOffset+1, rest
		}
	}
	ps.version++
	return ps, nil
}

// noteAborted puts an aborted transaction into the index that read_committed fetches use.
func (p *Partition) noteAborted(t completedTxn) {
	if t.lastOffset >= p.log.LogEnd() {
		return // applied again behind a restart, and truncated meanwhile
	}
	lso, unstable := p.mu.producers.firstUnstable()
	if !unstable {
		lso = t.lastOffset + 1
	}
	err := p.log.AppendAborted(log.AbortedTxn{
		ProducerID: t.producerID, FirstOffset: t.firstOffset, LastOffset: t.lastOffset, LastStableOffset: lso,
	})
	if err != nil {
		p.manager.options.Logger.Error("aborted transaction not indexed", "topic", p.Topic(), "partition", p.id.Partition, "err", err)
	}
}

// abortedTxns is what a fetch tells of aborted transactions.
func abortedTxns(txns []log.AbortedTxn) []AbortedTxn {
	out := []AbortedTxn{}
	for _, t := range txns {
		out = append(out, AbortedTxn{ProducerID: t.ProducerID, FirstOffset: t.FirstOffset})
	}
	return out
}
