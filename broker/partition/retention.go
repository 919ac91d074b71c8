package partition

import (
	"context"
	"errors"
	"time"

	"github.com/tandembroker/tandem/storage/entry"
)

// Retain takes one step of retention by time and size: it moves the log start offset by a log-start entry, so that every
// replica and every restart sees it at the same place, and removes whole segments that nothing needs any more. It returns how
// many segments went. On a log that follows another site's it only removes: the log start is shipped. Errors: ErrNotLeader, ErrStorage.
func (p *Partition) Retain(ctx context.Context, now time.Time) (segments int, err error) {
	_, err = p.checkEpoch(none)
	follows := errors.Is(err, ErrNotLeader) && p.role() == entry.Following
	if err == nil {
		err = p.expire(ctx, now)
	} else {
		p.holding(0)
	}
	if err != nil && !follows {
		return 0, err
	}
	// A restart applies the entries above the durable snapshot again, and verifies their payloads: only what lies below both
	// that snapshot's end and its log start offset is needed by nothing.
	snap, _ := p.group.Storage().Snapshot()
	below := min(snap.LogStart, p.group.Storage().RetainFrom())
	if p.paired() { // the last batch says where the log ends: it ships, also where all is deleted
		below = min(below, p.hw.Load()-1)
	}
	segments, err = p.log.DeleteBelow(below)
	if err != nil {
		return segments, translate(err)
	}
	return segments, nil
}

// expire moves the log start offset past what is too old or too much.
func (p *Partition) expire(ctx context.Context, now time.Time) error {
	c := p.config.Load()
	if !c.Delete {
		return nil
	}
	start, ok := p.log.Expired(now.UnixMilli(), c.RetentionMs, c.RetentionBytes, p.hw.Load())
	if !ok {
		start = p.logStart.Load()
	}
	if start = p.hold(start); start <= p.logStart.Load() {
		return nil
	}
	return p.proposeLogStart(ctx, entry.LogStartBody(start))
}

// expireProducers forgets producers that have not written for long. A log that follows another site's keeps them: their batches come
// when the link brings them, and who is forgotten there could write them a second time here, once this site has taken over.
func (p *Partition) expireProducers(now time.Time, after time.Duration) int {
	if p.role() == entry.Following {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.producers.expire(now, after)
}

// Size is what the partition's segments take, bytes.
func (p *Partition) Size() int64 {
	if p.log == nil {
		return 0
	}
	return p.log.Size()
}
