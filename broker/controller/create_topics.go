package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tandembroker/tandem/broker/config"
	"github.com/tandembroker/tandem/replication/raft"
)

// partitionsPerRequestMax is how many partitions one request may create. Source: ReplicationControlManager
// .MAX_PARTITIONS_PER_BATCH.
const partitionsPerRequestMax = 10_000

// NewTopic is a topic to create.
type NewTopic struct {
	Name              string
	Partitions        int32 // -1 = the broker's default, or as Assignments say
	ReplicationFactor int16 // -1 = the broker's default, or as Assignments say
	Assignments       []Assignment
	Configs           []NewConfig
}

// Assignment puts a partition on brokers, preferred leader first.
type Assignment struct {
	Partition int32
	Replicas  []int32
}

// NewConfig is one config of a new topic; nil is what Kafka refuses.
type NewConfig struct {
	Name  string
	Value *string
}

// CreatedTopic is the outcome for one topic of a request.
type CreatedTopic struct {
	Topic *Topic // set on success and on ErrTimeout; with an id of nobody where it was only validated
	Err   error
}

// CreateTopics creates topics, or with validateOnly says whether it could. It returns when their partitions lead, or when ctx
// ends: those under way then have ErrTimeout, and will be there soon. The result has an entry for each topic, in order. Source
// of checks and words: Kafka's ControllerApis and ReplicationControlManager.
func (c *Controller) CreateTopics(ctx context.Context, topics []NewTopic, validateOnly bool) []CreatedTopic {
	results := make([]CreatedTopic, len(topics))
	futures := make([]*raft.Future, len(topics))
	image := c.Image()
	seen := map[string]int{}
	total := 0
	for _, t := range topics {
		seen[t.Name]++
		total += max(len(t.Assignments), int(t.Partitions), 1)
	}
	for i, t := range topics {
		r := &results[i]
		if seen[t.Name] > 1 {
			r.Err = refuse(ErrInvalidRequest, "Duplicate topic name.")
			continue
		}
		if total > partitionsPerRequestMax {
			r.Err = refuse(ErrPolicy, "Excessively large number of partitions per request.")
			continue
		}
		var command createTopic
		if r.Topic, command, r.Err = c.plan(image, t); r.Err != nil {
			continue
		}
		if validateOnly { // Kafka answers an id that the topic could have
			r.Topic.ID, r.Err = c.newTopicID()
			continue
		}
		futures[i], r.Err = c.proposeTopic(command)
	}
	for i, f := range futures {
		if f != nil {
			results[i] = c.created(ctx, f, results[i].Topic)
		}
	}
	return results
}

// plan checks a new topic and places its partitions.
func (c *Controller) plan(image *Image, t NewTopic) (*Topic, createTopic, error) {
	if err := checkNewName(image, t.Name); err != nil {
		return nil, createTopic{}, err
	}
	configs, parsed, err := c.checkConfigs(t.Name, t.Configs) // before the numbers, as in Kafka
	if err != nil {
		return nil, createTopic{}, err
	}
	placements, err := c.place(image, t)
	if err != nil {
		return nil, createTopic{}, err
	}
	topic := &Topic{Name: t.Name, Configs: configs, Config: parsed, Partitions: c.machine.partitions(t.Name, placements)}
	return topic, createTopic{Name: t.Name, Partitions: placements, Configs: configs}, nil
}

func checkNewName(image *Image, name string) error {
	if name == metadataTopic {
		return refuse(ErrInvalidRequest, "Creation of internal topic %s is prohibited.", metadataTopic)
	}
	if _, ok := image.Topic(name); ok {
		return refuse(ErrTopicExists, "Topic '%s' already exists.", name)
	}
	if err := CheckName(name); err != nil {
		return err
	}
	if other, ok := image.collides(name); ok {
		return refuse(ErrInvalidTopic, "Topic '%s' collides with existing topic: %s", name, other)
	}
	return nil
}

// place decides where the partitions of a new topic live.
func (c *Controller) place(image *Image, t NewTopic) ([]placement, error) {
	if len(t.Assignments) > 0 {
		return c.placeManually(image, t)
	}
	if t.ReplicationFactor < -1 || t.ReplicationFactor == 0 {
		return nil, refuse(ErrInvalidReplicationFactor, "Replication factor must be larger than 0, or -1 to use the default value.")
	}
	if t.Partitions < -1 || t.Partitions == 0 {
		return nil, refuse(ErrInvalidPartitions, "Number of partitions was set to an invalid non-positive value.")
	}
	count, factor := t.Partitions, int32(t.ReplicationFactor)
	if count == -1 {
		count = c.opts.Config.NumPartitions
	}
	if factor == -1 {
		factor = c.opts.Config.DefaultReplicationFactor
	}
	if count > partitionsPerRequestMax {
		return nil, refuse(ErrPolicy, "Excessively large number of partitions per request.")
	}
	return c.spread(image, int(count), int(factor))
}

// spread gives each of count new partitions factor replicas, the leaders in turn over all brokers.
func (c *Controller) spread(image *Image, count, factor int) ([]placement, error) {
	brokers := image.Brokers()
	if factor > len(brokers) {
		return nil, refuse(ErrInvalidReplicationFactor,
			"Unable to replicate the partition %d time(s): The target replication factor of %d cannot be reached because only %d broker(s) are registered.",
			factor, factor, len(brokers))
	}
	placements := make([]placement, count)
	for i := range placements {
		for j := range factor {
			server, err := c.server(brokers[(i+j)%len(brokers)].Node)
			if err != nil {
				return nil, err
			}
			placements[i].Servers = append(placements[i].Servers, server)
		}
	}
	return placements, nil
}

func (c *Controller) placeManually(image *Image, t NewTopic) ([]placement, error) {
	if t.ReplicationFactor != -1 {
		return nil, refuse(ErrInvalidRequest, "A manual partition assignment was specified, but replication factor was not set to -1.")
	}
	if t.Partitions != -1 {
		return nil, refuse(ErrInvalidRequest, "A manual partition assignment was specified, but numPartitions was not set to -1.")
	}
	sorted := slices.SortedFunc(slices.Values(t.Assignments), func(a, b Assignment) int { return cmp.Compare(a.Partition, b.Partition) })
	factor := -1
	var placements []placement
	for i, a := range sorted {
		if i > 0 && sorted[i-1].Partition == a.Partition {
			return nil, refuse(ErrInvalidAssignment, "Found multiple manual partition assignments for partition %d", a.Partition)
		}
		if a.Partition != int32(i) {
			return nil, refuse(ErrInvalidAssignment, "partitions should be a consecutive 0-based integer sequence")
		}
		p, err := c.assign(image, a.Replicas, factor)
		if err != nil {
			return nil, err
		}
		factor = len(a.Replicas)
		placements = append(placements, p)
	}
	return placements, nil
}

// assign checks a manual assignment of one partition; factor is what the partitions before have, -1 = none.
func (c *Controller) assign(image *Image, replicas []int32, factor int) (placement, error) {
	if len(replicas) == 0 {
		return placement{}, refuse(ErrInvalidAssignment, "The manual partition assignment includes an empty replica list.")
	}
	known := map[int32]bool{}
	for _, b := range image.Brokers() {
		known[b.Node] = true
	}
	var p placement
	seen := map[int32]bool{}
	for _, node := range replicas {
		if !known[node] {
			return placement{}, refuse(ErrInvalidAssignment, "The manual partition assignment includes broker %d, but no such broker is registered.", node)
		}
		if seen[node] {
			return placement{}, refuse(ErrInvalidAssignment, "The manual partition assignment includes the broker %d more than once.", node)
		}
		seen[node] = true
		server, err := c.server(node)
		if err != nil {
			return placement{}, err
		}
		p.Servers = append(p.Servers, server)
	}
	if factor != -1 && len(replicas) != factor {
		return placement{}, refuse(ErrInvalidAssignment,
			"The manual partition assignment includes a partition with %d replica(s), but this is not consistent with previous partitions, which have %d replica(s).",
			len(replicas), factor)
	}
	return p, nil
}

// server is the ServerID of a registered broker.
func (c *Controller) server(node int32) (string, error) {
	b, ok := c.machine.broker(node)
	if !ok || len(b.Disks) == 0 {
		return "", fmt.Errorf("%w: broker %d is not registered", ErrInvalidAssignment, node)
	}
	return raft.ServerID(node, b.Disks[0]), nil
}

func (c *Controller) checkConfigs(topic string, list []NewConfig) (map[string]string, config.Topic, error) {
	configs := make(map[string]string, len(list))
	for _, nc := range list {
		if nc.Value == nil {
			return nil, config.Topic{}, refuse(ErrInvalidConfig, "Null value not supported for topic configs: %s", shorten(nc.Name))
		}
		configs[nc.Name] = *nc.Value
	}
	parsed, err := c.Config().ParseTopic(configs)
	if err != nil {
		return nil, config.Topic{}, refuse(ErrInvalidConfig, "%s", err.Error())
	}
	if names := config.Ineffective(slices.Collect(maps.Keys(configs)), config.LookupTopic); len(names) > 0 {
		c.logger.Warn("these configs are stored and have no effect here", "topic", topic, "keys", names)
	}
	return configs, parsed, nil
}

func (c *Controller) proposeTopic(command createTopic) (*raft.Future, error) {
	id, err := c.newTopicID()
	if err != nil {
		return nil, fmt.Errorf("controller: topic id: %w", err)
	}
	command.ID, command.EpochFloor = id, c.machine.floor(command.Name)
	return c.propose(commandCreateTopic, command)
}

// created waits for a proposed topic and its partitions.
func (c *Controller) created(ctx context.Context, f *raft.Future, planned *Topic) CreatedTopic {
	t, err := outcome[*Topic](ctx, f)
	if err != nil {
		r := CreatedTopic{Err: err}
		if errors.Is(err, ErrTimeout) {
			r.Topic = planned
		}
		return r
	}
	c.logger.Info("topic created", "topic", t.Name, "id", t.ID.String(), "partitions", len(t.Partitions),
		"configs", slices.Sorted(maps.Keys(t.Configs)))
	if err := c.life.await(ctx, t, 0); err != nil {
		return CreatedTopic{Topic: t, Err: fmt.Errorf("%w: %w", ErrTimeout, err)}
	}
	return CreatedTopic{Topic: t}
}
