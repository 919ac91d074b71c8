package controller

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/replication/site"
)

// ErrRecopy: the partition is not as it was when somebody decided to copy it anew, or this site is no standby of that site epoch.
var ErrRecopy = errors.New("controller: partition can not be copied anew")

// recopyPartition is the document of command 12: a standby drops the log of a partition and begins another one, to be copied from the active.
type recopyPartition struct {
	Topic       uuid.UUID `json:"topic"`
	Partition   int32     `json:"partition"`
	Incarnation uint32    `json:"incarnation"`       // that the metadata has of the partition
	Dropped     uint32    `json:"dropped,omitempty"` // that of the log that goes, which may be an earlier one: the topic came back while it was deleted
	Epoch       uint32    `json:"epoch"`             // the site epoch that is followed
	Done        bool      `json:"done,omitempty"`    // the copy of that incarnation is whole
}

// recopying is a copy that is not whole yet.
type recopying struct {
	Epoch   uint32 `json:"epoch"`   // the site epoch under which the log before it was dropped
	Dropped uint32 `json:"dropped"` // the incarnation of that log
}

// Recopy drops the log of a partition at this standby, whose incarnation is dropped, and begins another one, of an incarnation that no log of this
// site has had. incarnation is what the metadata has of the partition. It returns when that is committed; whoever calls has archived what must
// not be lost. Errors: ErrRecopy, ErrNotController, ErrTimeout.
func (c *Controller) Recopy(ctx context.Context, topic uuid.UUID, partition int32, incarnation, dropped, epoch uint32) error {
	return c.recopy(ctx, recopyPartition{Topic: topic, Partition: partition, Incarnation: incarnation, Dropped: dropped, Epoch: epoch})
}

// Recopied notes that the copy is whole. Errors: as Recopy.
func (c *Controller) Recopied(ctx context.Context, topic uuid.UUID, partition int32, incarnation, epoch uint32) error {
	return c.recopy(ctx, recopyPartition{Topic: topic, Partition: partition, Incarnation: incarnation, Epoch: epoch, Done: true})
}

func (c *Controller) recopy(ctx context.Context, command recopyPartition) error {
	f, err := c.propose(commandRecopy, command)
	if err != nil {
		return err
	}
	_, err = outcome[any](ctx, f)
	return err
}

// Settle returns when all that was proposed before is applied, or never will be. Errors: ErrNotController, ErrTimeout.
func (c *Controller) Settle(ctx context.Context) error {
	f, err := c.propose(commandPurgeTopics, purgeTopics{}) // which takes nothing
	if err != nil {
		return err
	}
	_, err = outcome[int](ctx, f)
	return err
}

func (m *machine) recopyLocked(c recopyPartition) (any, func()) {
	s, old := m.mu.site, m.mu.byID[c.Topic]
	if s == nil || s.Role.Role != site.Standby || s.Role.Epoch != c.Epoch || old == nil || !old.Has(c.Partition) ||
		old.Partitions[c.Partition].Incarnation != c.Incarnation {
		return fmt.Errorf("%w: partition %d of topic %s, incarnation %d, under site epoch %d", ErrRecopy, c.Partition, c.Topic, c.Incarnation, c.Epoch), nil
	}
	t := *old
	t.Partitions = slices.Clone(t.Partitions)
	p := &t.Partitions[c.Partition]
	switch {
	case c.Done:
		p.Recopying = nil
	case p.Recopying != nil && c.Dropped != p.Incarnation:
		return fmt.Errorf("%w: the log before is not deleted yet", ErrRecopy), nil
	case s.Revision <= uint64(max(c.Incarnation, c.Dropped)) || s.Revision > math.MaxUint32:
		return fmt.Errorf("%w: incarnation %d of the log, %d of the partition, the record's revision is %d", ErrRecopy, c.Dropped, c.Incarnation, s.Revision), nil
	default:
		// As of any partition that a standby makes: above all that were, and used up with the revision.
		p.Incarnation = uint32(s.Revision)
		p.Recopying = &recopying{Epoch: c.Epoch, Dropped: c.Dropped}
		next := *s
		m.putSiteLocked(&next)
	}
	m.putTopicLocked(&t)
	m.image.Store(nil)
	if c.Done {
		return nil, nil
	}
	m.logger.Warn("partition is copied anew from the active site", "topic", t.Name, "partition", c.Partition, "incarnation", p.Incarnation)
	return nil, func() { m.life.createPartition(&t, c.Partition) }
}

// RecopiedFrom is the incarnation of the log before this one, and the site epoch under which it was dropped, of a partition that is being copied
// anew; ok is false for any other.
func (p *Partition) RecopiedFrom() (dropped, epoch uint32, ok bool) {
	if p.Recopying == nil {
		return 0, 0, false
	}
	return p.Recopying.Dropped, p.Recopying.Epoch, true
}

// DroppedLog is a log that is gone, or about to be deleted, because its partition is copied anew.
type DroppedLog struct {
	Topic       string
	ID          uuid.UUID
	Partition   int32
	Incarnation uint32
	Epoch       uint32 // the site epoch under which it was dropped
}

// DroppedLogs lists the logs before those whose copies are not whole yet, in no order, also of topics and partitions that are set aside.
func (c *Controller) DroppedLogs() (all []DroppedLog) {
	m := c.machine
	m.mu.Lock()
	defer m.mu.Unlock()
	add := func(t *Topic) {
		for i, p := range t.all() {
			if dropped, epoch, ok := p.RecopiedFrom(); ok {
				all = append(all, DroppedLog{t.Name, t.ID, int32(i), dropped, epoch})
			}
		}
	}
	for _, t := range m.mu.byID {
		add(t)
	}
	for _, h := range m.mu.hidden {
		add(h.topic)
	}
	return all
}
