package group

import (
	"errors"
	"fmt"
	"time"

	"github.com/tandembroker/tandem/protocol/record"
)

// loadRetry is after what time a partition that could not be read is tried again.
const loadRetry = 10 * time.Second

// replay gathers what the records of a partition say. The last record of a key counts.
type replay struct {
	offsets offsetMap
	groups  map[string][]byte // last value of each; nil = none
	names   map[string]string // one string for all of the same topic or group
	records int
	skipped int
	reason  error // of the first that was skipped
	at      int64 // where it was
}

func newReplay() *replay {
	return &replay{offsets: newOffsetMap(), groups: map[string][]byte{}, names: map[string]string{}}
}

func (r *replay) skip(offset int64, err error) {
	if r.skipped++; r.reason == nil {
		r.reason, r.at = err, offset
	}
}

func (r *replay) name(b []byte) string {
	if s, ok := r.names[string(b)]; ok {
		return s
	}
	s := string(b)
	r.names[s] = s
	return s
}

// batches takes in whole batches and returns the offset behind them. What is damaged or of somebody else is counted and left
// out. Errors: what follows cannot be found.
func (r *replay) batches(b []byte) (next int64, err error) {
	for len(b) > 0 {
		batch, rest, err := record.Next(b)
		if err != nil {
			return 0, err
		}
		next, b = batch.LastOffset()+1, rest
		switch {
		case batch.IsControl():
		case batch.IsTransactional():
			r.skip(batch.BaseOffset(), fmt.Errorf("%w: of a transaction", errForeign))
		default:
			err := batch.CheckCRC()
			if err == nil {
				err = batch.Each(0, func(rec record.Record) error {
					r.record(&rec)
					return nil
				})
			}
			if err != nil {
				r.skip(batch.BaseOffset(), err)
			}
		}
	}
	return next, nil
}

func (r *replay) record(rec *record.Record) {
	r.records++
	key, err := readKey(rec.Key)
	if err != nil {
		r.skip(rec.Offset, err)
		return
	}
	if !key.offset {
		if rec.Value == nil {
			delete(r.groups, string(key.group))
			return
		}
		r.groups[r.name(key.group)] = append([]byte(nil), rec.Value...)
		return
	}
	if rec.Value == nil {
		r.offsets.remove(string(key.group), TopicPartition{Topic: string(key.topic), Partition: key.partition})
		return
	}
	c, err := readOffset(rec.Value)
	if err != nil {
		r.skip(rec.Offset, err)
		return
	}
	r.offsets.put(r.name(key.group), TopicPartition{Topic: r.name(key.topic), Partition: key.partition}, c)
}

// load reads the shard's partition. It ends early when the shard is closed.
func (s *shard) load() {
	began := s.c.opts.Now()
	r, err := s.replay()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.c.opts.Now()
	if s.mu.state != shardLoading {
		return // closed meanwhile
	}
	if err != nil {
		s.c.logger.Error("partition of group offsets could not be read", "partition", s.id, "epoch", s.epoch, "err", err)
		s.mu.state, s.mu.retry = shardFailed, now.Add(loadRetry)
		s.c.kick()
		return
	}
	s.adoptLocked(r, now)
	took := now.Sub(began)
	s.c.loadTime.Add(int64(took))
	if r.skipped > 0 {
		s.c.logger.Warn("records of group offsets left out", "partition", s.id, "count", r.skipped, "first", r.at, "reason", r.reason)
	}
	if r.records > 0 {
		s.c.logger.Info("group offsets loaded", "partition", s.id, "epoch", s.epoch, "records", r.records,
			"groups", len(s.mu.groups.byID), "offsets", s.mu.offsets.count, "took", took)
	}
}

// replay reads the log from its start to the high watermark that this leadership began with.
func (s *shard) replay() (*replay, error) {
	r := newReplay()
	offset, end := s.log.bounds()
	for offset < end {
		if s.closed() {
			return nil, ErrNotCoordinator
		}
		b, err := s.log.read(offset, s.epoch)
		if err != nil {
			return nil, err
		}
		if len(b) == 0 {
			break // compaction has taken what was behind
		}
		next, err := r.batches(b)
		if err != nil {
			return nil, fmt.Errorf("batch behind offset %d: %w", offset, err)
		}
		if next <= offset {
			return nil, fmt.Errorf("batches behind offset %d end at %d: %w", offset, next, errMalformed)
		}
		offset = next
	}
	return r, nil
}

func (s *shard) closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.state != shardLoading
}

// adoptLocked makes what was read the shard's state.
func (s *shard) adoptLocked(r *replay, now time.Time) {
	for id, value := range r.groups {
		g, err := readGroup(id, value)
		if err != nil {
			r.skip(-1, errors.Join(fmt.Errorf("group %q", id), err))
			continue
		}
		s.mu.groups.adopt(g)
		s.mu.groups.takeOver(g, now)
	}
	for id := range r.offsets.groups {
		s.mu.groups.findOrCreate(id, now) // committed by name only, and never by a member
	}
	s.mu.offsets = r.offsets
	s.mu.state = shardActive
	s.mu.groups.loaded(now)
	for _, topic := range s.mu.deleted {
		s.forgetTopicLocked(topic)
	}
	s.mu.deleted = nil
	s.forgetUnknownLocked()
	s.rearmLocked()
}
