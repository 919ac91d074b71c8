package partition

import (
	"fmt"
	"math"
	"time"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/storage/entry"
)

const (
	// refusedFor is how long a refused batch is waited for. A client that knows of the refusal begins again with that batch, in the same
	// producer epoch, or goes on in another epoch; what it had sent behind it by then comes within the time that the answer takes.
	refusedFor = 10 * time.Second
	// refusedMax bounds the producers that are remembered by a partition.
	refusedMax = 4096
)

// errBehindRefused is a batch behind one that was refused.
var errBehindRefused = fmt.Errorf("%w: an earlier batch of the producer was refused, and has not come again", ErrNotLeader)

// refusals are the first sequences of idempotent batches that were refused for a reason that passes, as that nobody led the partition at that
// moment. A client has more batches on their way by then, and the reason may be gone when these come. Where any sequence is taken, of a
// producer that is not known or that may jump, the next one would be written without the refused one, and librdkafka takes it for
// written too, without asking: a broker that had it not would have refused what is behind it. Not safe for concurrent use.
type refusals map[int64]refusal

type refusal struct {
	epoch int16
	first int32
	at    time.Time
}

// note remembers a refused batch; the earliest one counts.
func (rs refusals) note(id int64, epoch int16, first int32, now time.Time) {
	if old, ok := rs[id]; ok && old.epoch == epoch && now.Sub(old.at) < refusedFor && behind(first, old.first) {
		first = old.first
	}
	if _, ok := rs[id]; !ok && len(rs) >= refusedMax {
		rs.shrink(now)
	}
	rs[id] = refusal{epoch, first, now}
}

// shrink makes room: of those that are over, or of any one.
func (rs refusals) shrink(now time.Time) {
	for id, r := range rs {
		if now.Sub(r.at) >= refusedFor {
			delete(rs, id)
		}
	}
	for id := range rs {
		if len(rs) < refusedMax {
			return
		}
		delete(rs, id)
	}
}

// pass says whether a batch may be written: not where an earlier one was refused and has not come again.
func (rs refusals) pass(row *entry.Row, now time.Time) bool {
	if len(rs) == 0 {
		return true
	}
	r, ok := rs[row.ProducerID]
	if ok && r.epoch == row.ProducerEpoch && now.Sub(r.at) < refusedFor && behind(row.BaseSequence, r.first) {
		return false
	}
	delete(rs, row.ProducerID)
	return true
}

// came takes in a committed batch. What was refused may have come again at the other site and from there, and is not waited for then.
func (rs refusals) came(row *entry.Row) {
	r, ok := rs[row.ProducerID]
	if !ok || row.BaseSequence < 0 {
		return
	}
	last := record.IncrementSequence(row.BaseSequence, row.LastOffsetDelta)
	if row.ProducerEpoch > r.epoch || row.ProducerEpoch == r.epoch && !behind(r.first, last) {
		delete(rs, row.ProducerID)
	}
}

// behind says that sequence a comes after b; sequences go on at 0 behind the largest.
func behind(a, b int32) bool {
	return a != b && (int64(a)-int64(b))&math.MaxInt32 < 1<<30
}

// Refused notes that a batch is refused for a reason that passes, before it was handed in: what its producer sends behind it waits until it
// comes again (errBehindRefused). Append does so by itself.
func (p *Partition) Refused(batch record.Batch) {
	if batch.IsControl() || !batch.HasProducerID() {
		return
	}
	now := p.manager.options.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.refusals.note(batch.ProducerID(), batch.ProducerEpoch(), batch.BaseSequence(), now)
}
