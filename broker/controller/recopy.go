package controller

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/replication/site"
)

// ErrRecopy: the partition is not as it was when somebody decided to copy it anew, or this site is no standby of that site epoch.
var ErrRecopy = fmt.Errorf("controller: partition can not be copied anew")

// recopyPartition is the document of command 12: a standby drops the log of a partition and begins another one, to be copied from the active.
type recopyPartition struct {
	Topic       uuid.UUID `json:"topic"`
	Partition   int32     `json:"partition"`
	Incarnation uint32    `json:"incarnation"`    // of the log that goes; with Done, of the one that is whole
	Epoch       uint32    `json:"epoch"`          // the site epoch that is followed
	Done        bool      `json:"done,omitempty"` // the copy is whole
}

// recopying is a copy that is not whole yet.
type recopying struct {
	Epoch uint32 `json:"epoch"` // the site epoch under which the log before it was dropped
}

// Recopy drops the log of a partition at this standby, of the given incarnation, and begins another one, of the next. It returns when that is
// committed; whoever calls has archived what must not be lost. Errors: ErrRecopy, ErrNotController, ErrTimeout.
func (c *Controller) Recopy(ctx context.Context, topic uuid.UUID, partition int32, incarnation, epoch uint32) error {
	return c.recopy(ctx, recopyPartition{Topic: topic, Partition: partition, Incarnation: incarnation, Epoch: epoch})
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

func (m *machine) recopyLocked(c recopyPartition) (any, func()) {
	s, old := m.mu.site, m.mu.byID[c.Topic]
	if s == nil || s.Role.Role != site.Standby || s.Role.Epoch != c.Epoch || old == nil || c.Partition < 0 || int(c.Partition) >= len(old.Partitions) ||
		old.Partitions[c.Partition].Incarnation != c.Incarnation {
		return fmt.Errorf("%w: partition %d of topic %s, incarnation %d, under site epoch %d", ErrRecopy, c.Partition, c.Topic, c.Incarnation, c.Epoch), nil
	}
	t := *old
	t.Partitions = slices.Clone(t.Partitions)
	p := &t.Partitions[c.Partition]
	if c.Done {
		p.Recopying = nil
	} else {
		p.Incarnation++
		p.Recopying = &recopying{Epoch: c.Epoch}
	}
	m.putTopicLocked(&t)
	m.image.Store(nil)
	if c.Done {
		return nil, nil
	}
	m.logger.Warn("partition is copied anew from the active site", "topic", t.Name, "partition", c.Partition, "incarnation", p.Incarnation)
	return nil, func() { m.life.createPartition(&t, c.Partition) }
}

// RecopiedUnder is the site epoch under which this partition was begun anew, of a copy that is not whole yet; ok is false for any other.
func (p *Partition) RecopiedUnder() (epoch uint32, ok bool) {
	if p.Recopying == nil {
		return 0, false
	}
	return p.Recopying.Epoch, true
}
