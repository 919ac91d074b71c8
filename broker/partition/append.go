package partition

import (
	"errors"
	"fmt"
	"time"

	"github.com/tandembroker/tandem/protocol/record"
	"github.com/tandembroker/tandem/replication/raft"
	"github.com/tandembroker/tandem/storage/entry"
)

// Appended is where a batch went.
type Appended struct {
	BaseOffset      int64
	LogAppendTimeMs int64 // -1 on topics with CreateTime; of a duplicate, the timestamp of the batch (UnifiedLog.append)
	LogStartOffset  int64
}

// Append is a batch on its way into the log. Safe for concurrent use.
type Append struct {
	partition *Partition
	future    *raft.Future // nil when it was answered at once
	header    entry.Header
	row       [1]entry.Row

	producerID                  int64 // none = not idempotent
	producerEpoch               int16
	firstSequence, lastSequence int32
	appendTimeMs                int64
	begin                       time.Time // when it was proposed
	compacted                   int       // bytes, where the topic is compacted; else 0

	answer Appended // without a future
	err    error
}

var closedChannel = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Done is closed when the batch is committed and readable, or has failed: acks=all.
func (a *Append) Done() <-chan struct{} {
	if a.future == nil {
		return closedChannel
	}
	return a.future.Done()
}

// Stored is closed when the leader has stored the batch, or it has failed: acks=1.
func (a *Append) Stored() <-chan struct{} {
	if a.future == nil {
		return closedChannel
	}
	return a.future.Stored()
}

// Result is where the batch went, or why it did not. Valid once Done or Stored is closed; what was only stored can still be
// undone by a failover.
func (a *Append) Result() (Appended, error) {
	if a.future == nil {
		return a.answer, a.err
	}
	select {
	case <-a.future.Done():
		if err := a.future.Err(); err != nil {
			return Appended{BaseOffset: none, LogAppendTimeMs: none, LogStartOffset: none}, translate(err)
		}
	default:
	}
	return Appended{BaseOffset: a.row[0].BaseOffset, LogAppendTimeMs: a.appendTimeMs, LogStartOffset: a.partition.logStart.Load()}, nil
}

// Append proposes batch, which ValidateProduce has passed with this partition's Limits, and returns at once, unless very many
// are in flight. batch is the partition's from now on (timestamp, offset and epoch are written into it) until release is
// called, exactly once. A duplicate of a batch in flight is answered with it; one of the last five committed batches of its
// producer is answered with the offset that it got then. Errors come from Result.
func (p *Partition) Append(batch record.Batch, release func()) *Append {
	return p.AppendIn(none, batch, release)
}

// AppendIn is Append in one leadership: ErrNotLeader, and nothing is written, when the leader epoch is another by now. It is for
// those who hold in memory what the log says. none = in any leadership.
func (p *Partition) AppendIn(epoch int32, batch record.Batch, release func()) *Append {
	a := &Append{partition: p, producerID: none, appendTimeMs: none}
	if err := p.writable(); err != nil {
		p.Refused(batch)
		return a.refuse(err, release)
	}
	c := p.config.Load()
	if c.LogAppendTime {
		a.appendTimeMs = p.manager.options.Now().UnixMilli()
		batch.SetLogAppendTime(a.appendTimeMs)
	}
	if err := a.describe(batch, class(c)); err != nil {
		return a.refuse(err, release)
	}
	p.append.Lock()
	defer p.append.Unlock()
	term, current, ok := p.group.Serving()
	if !ok || epoch != none && epoch != current {
		p.Refused(batch)
		return a.refuse(ErrNotLeader, release)
	}
	if p.Fenced() { // a void for each batch would only fill the journal
		p.Refused(batch)
		return a.refuse(ErrNotLeader, release)
	}
	a.header.ValidatedTerm = term // before the checks: they hold in this leadership only
	if p.group.Draining() {
		p.Refused(batch)
		return a.refuse(errDraining, release)
	}
	if a.producerID != none {
		if answer, err := p.admit(a); answer != nil || err != nil {
			if err != nil && p.group.Draining() {
				err = errDraining // its predecessor was lost while it was checked
			}
			if answer == nil {
				return a.refuse(err, release)
			}
			release()
			return answer
		}
	}
	a.begin = p.manager.options.Now()
	if c.Compact {
		a.compacted = len(batch)
	}
	a.future = p.group.ProposeFor(&a.header, batch, release, a)
	return a
}

var errDraining = fmt.Errorf("%w: an earlier batch was lost", ErrRetriable)

func (a *Append) refuse(err error, release func()) *Append {
	a.err = err
	a.answer = Appended{BaseOffset: none, LogAppendTimeMs: none, LogStartOffset: none}
	release()
	return a
}

// describe fills in header and row of a proposal.
func (a *Append) describe(b record.Batch, class entry.Class) error {
	r := &a.row[0]
	var err error
	if *r, err = entry.RowOf(b); err != nil {
		return err
	}
	r.BaseOffset, r.LastOffset, r.LeaderEpoch = none, none, none
	if !b.IsControl() && b.HasProducerID() {
		a.producerID, a.producerEpoch = r.ProducerID, r.ProducerEpoch
		a.firstSequence, a.lastSequence = b.BaseSequence(), b.LastSequence()
	}
	a.header = entry.Header{Kind: entry.Data, Class: class, PayloadLength: r.Length, Rows: a.row[:]}
	return nil
}

// admit checks an idempotent batch and notes it as in flight; or answers it as a duplicate. Called under the append lock.
func (p *Partition) admit(a *Append) (*Append, error) {
	band, now := p.writeBand(), p.manager.options.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	d, err := p.mu.producers.check(&a.row[0], band)
	if !errors.Is(err, ErrProducerFenced) && !p.mu.refusals.pass(&a.row[0], now) && d == nil {
		return nil, errBehindRefused
	}
	switch {
	case err != nil:
		return nil, err
	case d == nil:
		p.mu.producers.begin(a.producerID, a)
		return nil, nil
	case d.pending != nil:
		return d.pending, nil
	}
	a.answer = Appended{
		BaseOffset: d.committed.lastOffset - int64(d.committed.offsetDelta), LogStartOffset: p.logStart.Load(),
		LogAppendTimeMs: d.committed.timestamp, // whatever the topic's type of timestamps, as in Kafka
	}
	return a, nil
}

// ProposalStored implements raft.Observer.
func (a *Append) ProposalStored() {}

// ProposalDone implements raft.Observer: what was not committed must not count for the next batch of the producer.
func (a *Append) ProposalDone(err error) {
	if err == nil {
		a.partition.manager.temper.appended(a.begin, a.compacted)
	}
	if err == nil || a.producerID == none {
		return
	}
	p := a.partition
	now := p.manager.options.Now()
	p.mu.Lock()
	p.mu.producers.end(a.producerID, a)
	p.mu.refusals.note(a.producerID, a.producerEpoch, a.firstSequence, now)
	p.mu.Unlock()
}

// writable says why nothing may be proposed, before anything is.
func (p *Partition) writable() error {
	if err := p.usable(); err != nil {
		return err
	}
	if !p.group.Ready() {
		return ErrNotLeader
	}
	if err := p.manager.host.Store().Writable(); err != nil {
		return translate(err)
	}
	return nil
}

// usable says why the partition's data can not be used.
func (p *Partition) usable() error {
	if p.opened != nil {
		return fmt.Errorf("%w: %w", ErrStorage, p.opened)
	}
	if p.closed.Load() {
		return errors.Join(ErrNotLeader, ErrUnknown)
	}
	if err := p.group.Offline(); err != nil {
		return fmt.Errorf("%w: %w", ErrStorage, err)
	}
	return nil
}
