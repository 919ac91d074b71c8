package partition

import (
	"fmt"
	"math"
	"time"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/entry"
)

const (
	// batchesKept is how many batches of a producer are remembered: as many as a client has in flight at most.
	// Source: Kafka ProducerStateEntry.NUM_BATCHES_TO_RETAIN.
	batchesKept = 5
	none        = -1
)

// batchRef is a committed batch of a producer.
type batchRef struct {
	firstSequence, lastSequence int32
	lastOffset                  int64
	offsetDelta                 int32
	timestamp                   int64 // ms
}

// producer is what is known of a producer id. Source: Kafka ProducerStateEntry.
type producer struct {
	id               int64
	epoch            int16      // none = nothing committed
	batches          []batchRef // committed under epoch, oldest first, at most batchesKept
	coordinatorEpoch int32
	txnFirst         int64     // first offset of its open transaction, none = no transaction
	lastTimestamp    int64     // ms
	touched          int64     // when its last batch was applied here, ms
	pending          []*Append // in flight, in the order of the log
}

// producers is the producer state of a partition: what is committed, and above it what is in flight. Not safe for concurrent
// use. Source of the rules: Kafka ProducerStateManager, ProducerAppendInfo and UnifiedLog.analyzeAndValidateProducerState.
type producers struct {
	byID    map[int64]*producer
	openTxn int // how many have an open transaction
	version uint64
}

func newProducers() *producers { return &producers{byID: map[int64]*producer{}} }

// duplicate is the answer to a batch that is there already: committed, or in flight.
type duplicate struct {
	committed *batchRef
	pending   *Append
}

// check decides about a batch of an idempotent producer: nil, nil = it is the next one. band is where it would be written
// (bandOf). Errors: ErrProducerFenced, ErrOutOfOrderSequence.
func (ps *producers) check(r *entry.Row, band int64) (*duplicate, error) {
	p := ps.byID[r.ProducerID]
	if p == nil {
		return nil, nil // nothing known of this id: any sequence, as in Kafka
	}
	epoch, lastSequence, known := p.tip()
	first, last := r.BaseSequence, record.IncrementSequence(r.BaseSequence, r.LastOffsetDelta)
	if r.ProducerEpoch == epoch {
		if d := p.find(first, last); d != nil {
			return d, nil
		}
	}
	switch {
	case r.ProducerEpoch < epoch:
		return nil, fmt.Errorf("%w: producer id %d, epoch %d, current %d", ErrProducerFenced, p.id, r.ProducerEpoch, epoch)
	case !known: // no epoch yet: any sequence
	case r.ProducerEpoch != epoch:
		if first != 0 {
			return nil, fmt.Errorf("%w: producer id %d begins epoch %d with %d", ErrOutOfOrderSequence, p.id, r.ProducerEpoch, first)
		}
	case p.mayJump(first, band):
	case int64(first) != int64(lastSequence)+1 && (first != 0 || lastSequence != math.MaxInt32):
		return nil, fmt.Errorf("%w: producer id %d, epoch %d: %d behind %d", ErrOutOfOrderSequence, p.id, epoch, first, lastSequence)
	}
	return nil, nil
}

// mayJump says whether first may come although the sequences before it are missing: they are known to be lost where another site was
// promoted since the producer wrote here. That began a band of offsets, and the first batch in it ends the licence.
func (p *producer) mayJump(first int32, band int64) bool {
	n := len(p.batches)
	if n == 0 || len(p.pending) > 0 || bandOf(p.batches[n-1].lastOffset) >= band {
		return false
	}
	missing := (int64(first) - int64(p.batches[n-1].lastSequence) - 1) & math.MaxInt32 // sequences go on at 0 behind the largest
	return missing < 1<<30
}

// tip is epoch and last sequence of the newest batch, in flight or committed; known = there is an epoch.
func (p *producer) tip() (epoch int16, lastSequence int32, known bool) {
	if n := len(p.pending); n > 0 {
		a := p.pending[n-1]
		return a.producerEpoch, a.lastSequence, true
	}
	if n := len(p.batches); n > 0 {
		return p.epoch, p.batches[n-1].lastSequence, true
	}
	return p.epoch, record.NoSequence, p.epoch != none
}

// find looks among the last batches of the tip's epoch, as many as Kafka remembers.
func (p *producer) find(first, last int32) *duplicate {
	epoch, _, _ := p.tip()
	left := batchesKept
	for i := len(p.pending) - 1; i >= 0 && left > 0; i-- {
		a := p.pending[i]
		if a.producerEpoch != epoch {
			return nil
		}
		if a.firstSequence == first && a.lastSequence == last {
			return &duplicate{pending: a}
		}
		left--
	}
	if p.epoch != epoch {
		return nil
	}
	for i := len(p.batches) - 1; i >= 0 && left > 0; i-- {
		if b := &p.batches[i]; b.firstSequence == first && b.lastSequence == last {
			return &duplicate{committed: b}
		}
		left--
	}
	return nil
}

func (ps *producers) get(id int64) *producer {
	p := ps.byID[id]
	if p == nil {
		p = &producer{id: id, epoch: none, coordinatorEpoch: none, txnFirst: none, lastTimestamp: none}
		ps.byID[id] = p
	}
	return p
}

// begin notes that a is in flight.
func (ps *producers) begin(id int64, a *Append) {
	p := ps.get(id)
	p.pending = append(p.pending, a)
}

// end notes that a is not in flight any more; what was committed of it, apply has taken over.
func (ps *producers) end(id int64, a *Append) {
	p := ps.byID[id]
	if p == nil {
		return
	}
	for i, other := range p.pending {
		if other == a {
			copy(p.pending[i:], p.pending[i+1:])
			p.pending[len(p.pending)-1] = nil
			p.pending = p.pending[:len(p.pending)-1]
			break
		}
	}
	if len(p.pending) == 0 && p.epoch == none && p.txnFirst == none {
		delete(ps.byID, id)
	}
}

// completedTxn is a transaction that a marker ended.
type completedTxn struct {
	producerID  int64
	firstOffset int64
	lastOffset  int64 // of the marker
	aborted     bool
}

// apply takes in a committed batch. h is the header that it came with: it tells an append in flight from one of an earlier
// leadership.
func (ps *producers) apply(h *entry.Header, r *entry.Row, nowMs int64) (done completedTxn, ok bool) {
	if r.ProducerID < 0 {
		return done, false
	}
	ps.version++
	p := ps.get(r.ProducerID)
	if len(p.pending) > 0 && &p.pending[0].header == h {
		copy(p.pending, p.pending[1:])
		p.pending[len(p.pending)-1] = nil
		p.pending = p.pending[:len(p.pending)-1]
	}
	if p.epoch != r.ProducerEpoch {
		p.epoch, p.batches = r.ProducerEpoch, p.batches[:0]
	}
	p.lastTimestamp, p.touched = r.MaxTimestamp, nowMs
	if r.ControlType >= 0 {
		p.coordinatorEpoch = r.CoordinatorEpoch
		if p.txnFirst == none {
			return done, false
		}
		done = completedTxn{producerID: p.id, firstOffset: p.txnFirst, lastOffset: r.LastOffset, aborted: r.ControlType == 0}
		p.txnFirst = none
		ps.openTxn--
		return done, true
	}
	if len(p.batches) == batchesKept {
		copy(p.batches, p.batches[1:])
		p.batches = p.batches[:batchesKept-1]
	}
	p.batches = append(p.batches, batchRef{
		firstSequence: r.BaseSequence, lastSequence: record.IncrementSequence(r.BaseSequence, r.LastOffsetDelta),
		lastOffset: r.LastOffset, offsetDelta: r.LastOffsetDelta, timestamp: r.MaxTimestamp,
	})
	if r.Attributes&attributeTransactional != 0 && p.txnFirst == none {
		p.txnFirst = r.BaseOffset
		ps.openTxn++
	}
	return done, false
}

// Attribute bits of a record batch.
const attributeTransactional = 1 << 4

// firstUnstable is the first offset of the oldest open transaction.
func (ps *producers) firstUnstable() (int64, bool) {
	if ps.openTxn == 0 {
		return 0, false
	}
	first := int64(math.MaxInt64)
	for _, p := range ps.byID {
		if p.txnFirst != none {
			first = min(first, p.txnFirst)
		}
	}
	return first, true
}

// expire forgets who has not written for longer than after and has nothing open. Kafka goes by the timestamp of the last
// batch alone (isProducerExpired), and so forgets at once a producer that writes old records; here the clock counts as well.
func (ps *producers) expire(now time.Time, after time.Duration) (count int) {
	for id, p := range ps.byID {
		if p.txnFirst == none && len(p.pending) == 0 && now.UnixMilli()-max(p.lastTimestamp, p.touched) >= after.Milliseconds() {
			delete(ps.byID, id)
			count++
		}
	}
	if count > 0 {
		ps.version++
	}
	return count
}
