package controller

import (
	"context"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/replication/raft"
)

// DeleteTopics deletes topics by id. It returns when that is committed: clients no longer see them, and their data goes in the
// background. The result has an entry for each id, nil = deleted.
func (c *Controller) DeleteTopics(ctx context.Context, ids []uuid.UUID) []error {
	results := make([]error, len(ids))
	futures := make([]*raft.Future, len(ids))
	image := c.Image()
	for i, id := range ids {
		t, ok := image.TopicByID(id)
		if !ok {
			results[i] = refuse(ErrUnknownTopicID, "This server does not host this topic ID.")
			continue
		}
		futures[i], results[i] = c.propose(commandDeleteTopic, deleteTopic{ID: id, EpochFloor: c.nextFloor(t), Hidden: c.hideAt()})
	}
	for i, f := range futures {
		if f != nil {
			_, results[i] = outcome[*Topic](ctx, f)
		}
	}
	return results
}

// nextFloor is above every leader epoch that clients may have seen of t. The epoch of a partition that is not here is not known;
// its topic then gives what the others say.
func (c *Controller) nextFloor(t *Topic) int32 {
	floor := t.EpochFloor + 1
	for i := range t.Partitions {
		if p, ok := c.life.partitions.Get(t.Name, int32(i)); ok && p.TopicID() == t.ID {
			floor = max(floor, p.EpochMax(t.EpochFloor)+1)
		}
	}
	return floor
}
