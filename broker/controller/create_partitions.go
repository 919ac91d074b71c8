package controller

import (
	"context"
	"fmt"

	"github.com/tandembroker/tandem/replication/raft"
)

// MorePartitions asks for a topic to have more partitions.
type MorePartitions struct {
	Topic       string
	Count       int32     // in all
	Assignments [][]int32 // replicas of each new one; nil = the controller places them
}

// CreatePartitions adds partitions to topics, or with validateOnly says whether it could. It returns when they lead, or when
// ctx ends. The result has an entry for each topic, nil = done.
func (c *Controller) CreatePartitions(ctx context.Context, topics []MorePartitions, validateOnly bool) []error {
	results := make([]error, len(topics))
	futures := make([]*raft.Future, len(topics))
	image := c.Image()
	seen := map[string]int{}
	for _, t := range topics {
		seen[t.Topic]++
	}
	for i, t := range topics {
		if seen[t.Topic] > 1 {
			results[i] = refuse(ErrInvalidRequest, "Duplicate topic name.")
			continue
		}
		var command createPartitions
		if command, results[i] = c.planMore(image, t); results[i] != nil || validateOnly {
			continue
		}
		incarnation := c.incarnation()
		for k := range command.Added {
			command.Added[k].Incarnation = incarnation
		}
		futures[i], results[i] = c.propose(commandCreatePartitions, command)
	}
	for i, f := range futures {
		if f != nil {
			results[i] = c.added(ctx, f)
		}
	}
	return results
}

// incarnation is one that no partition of this site has had which has gone since. Partitions alone go, without their topic, only where another
// active was followed, which changes the record.
func (c *Controller) incarnation() uint32 {
	m := c.machine
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.site == nil {
		return 0
	}
	return uint32(m.mu.site.Revision)
}

func (c *Controller) planMore(image *Image, t MorePartitions) (createPartitions, error) {
	topic, ok := image.Topic(t.Topic)
	if !ok {
		return createPartitions{}, refuse(ErrUnknownTopic, "")
	}
	have := int32(len(topic.Partitions))
	switch {
	case t.Count == have:
		return createPartitions{}, refuse(ErrInvalidPartitions, "Topic already has %d partition(s).", have)
	case t.Count < have:
		return createPartitions{}, refuse(ErrInvalidPartitions, "The topic %s currently has %d partition(s); %d would not be an increase.", t.Topic, have, t.Count)
	case t.Count-have > partitionsPerRequestMax:
		return createPartitions{}, refuse(ErrPolicy, "Excessively large number of additional partitions per request.")
	}
	added := int(t.Count - have)
	command := createPartitions{ID: topic.ID, First: have}
	factor := len(topic.Partitions[0].Replicas)
	if t.Assignments == nil {
		var err error
		command.Added, err = c.spread(image, added, factor)
		return command, err
	}
	if len(t.Assignments) != added {
		return createPartitions{}, refuse(ErrInvalidAssignment, "Attempted to add %d additional partition(s), but only %d assignment(s) were specified.", added, len(t.Assignments))
	}
	for _, replicas := range t.Assignments {
		p, err := c.assign(image, replicas, factor)
		if err != nil {
			return createPartitions{}, err
		}
		command.Added = append(command.Added, p)
	}
	return command, nil
}

func (c *Controller) added(ctx context.Context, f *raft.Future) error {
	t, err := outcome[*Topic](ctx, f)
	if err != nil {
		return err
	}
	c.logger.Info("partitions added", "topic", t.Name, "id", t.ID.String(), "partitions", len(t.Partitions))
	if err := c.life.await(ctx, t, 0); err != nil {
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return nil
}
