package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/tandembroker/tandem/broker/config"
)

// Resource names what configs belong to.
type Resource struct {
	Broker bool   // a broker, else a topic
	Name   string // of the topic, or node id of the broker; "" = all brokers
}

// ConfigOp is what is to be done with one config. Source of the numbers: Kafka AlterConfigOp.OpType.
type ConfigOp int8

// The operations. Append and Subtract are for keys of type List.
const (
	SetConfig      ConfigOp = 0
	DeleteConfig   ConfigOp = 1
	AppendConfig   ConfigOp = 2
	SubtractConfig ConfigOp = 3
)

// String is Kafka's name.
func (o ConfigOp) String() string {
	switch o {
	case SetConfig:
		return "SET"
	case DeleteConfig:
		return "DELETE"
	case AppendConfig:
		return "APPEND"
	case SubtractConfig:
		return "SUBTRACT"
	}
	return strconv.Itoa(int(o))
}

// AlterConfig changes one config. Value is required except for DeleteConfig.
type AlterConfig struct {
	Name  string
	Op    ConfigOp
	Value *string
}

// Alteration changes the configs of one resource, all of them or none.
type Alteration struct {
	Resource Resource
	Configs  []AlterConfig
	Replace  bool // what is not named loses its value: AlterConfigs before KIP-339
}

// Config is the broker's configuration as of now, with what AlterConfigs has set over what it was started with. Immutable.
func (c *Controller) Config() *config.Config { return c.machine.config.Load() }

// AlterConfigs changes configs, or with validateOnly says whether it could. It returns when partitions and broker go by them, or
// when ctx ends. The result has an entry for each alteration, nil = done. Source of checks and words: Kafka's
// ConfigAdminManager and ConfigurationControlManager.
func (c *Controller) AlterConfigs(ctx context.Context, list []Alteration, validateOnly bool) []error {
	results := make([]error, len(list))
	seen := map[Resource]int{}
	for _, a := range list {
		seen[a.Resource]++
	}
	for i, a := range list {
		if seen[a.Resource] > 1 {
			results[i] = refuse(ErrInvalidRequest, "Each resource must appear at most once.")
			continue
		}
		results[i] = c.alter(ctx, a, validateOnly)
	}
	return results
}

// alter holds the turn from the look at what is there until the change is applied: a list is appended to as it is then.
func (c *Controller) alter(ctx context.Context, a Alteration, validateOnly bool) error {
	select {
	case c.altering <- struct{}{}:
		defer func() { <-c.altering }()
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrTimeout, ctx.Err())
	}
	if err := checkAlteration(a); err != nil {
		return err
	}
	var command setConfigs
	var err error
	if a.Resource.Broker {
		command, err = c.alterBroker(a)
	} else {
		command, err = c.alterTopic(a)
	}
	if err != nil || validateOnly {
		return err
	}
	c.warnIneffective(a)
	f, err := c.propose(commandSetConfigs, command)
	if err != nil {
		return err
	}
	_, err = outcome[any](ctx, f)
	if err == nil {
		c.logger.Info("configs changed", "resource", command.Resource, "name", a.Resource.Name, "keys", slices.Sorted(maps.Keys(command.Changes)))
	}
	return err
}

// checkAlteration refuses what does not depend on the resource.
func checkAlteration(a Alteration) error {
	names := map[string]bool{}
	var nulls []string
	for _, ac := range a.Configs {
		if names[ac.Name] {
			return refuse(ErrInvalidRequest, "Error due to duplicate config keys")
		}
		names[ac.Name] = true
		if ac.Op < SetConfig || ac.Op > SubtractConfig {
			return refuse(ErrInvalidRequest, "Unknown operations type %d", ac.Op)
		}
		if ac.Value == nil && ac.Op != DeleteConfig {
			nulls = append(nulls, shorten(ac.Name))
		}
	}
	if len(nulls) > 0 {
		return refuse(ErrInvalidRequest, "Null value not supported for : %s", strings.Join(nulls, ", "))
	}
	return nil
}

func (c *Controller) alterTopic(a Alteration) (setConfigs, error) {
	name := a.Resource.Name
	t, known := c.Image().Topic(name)
	var old map[string]string
	if known {
		old = t.Configs
	}
	configs, changes, err := change(a, old, config.LookupTopic)
	if err != nil {
		return setConfigs{}, err
	}
	if name == "" {
		return setConfigs{}, refuse(ErrInvalidRequest, "Default topic resources are not allowed.")
	}
	if err := CheckName(name); err != nil {
		return setConfigs{}, err
	}
	if _, err := c.Config().ParseTopic(configs); err != nil {
		return setConfigs{}, refuse(ErrInvalidConfig, "%s", err.Error())
	}
	if !known {
		return setConfigs{}, refuse(ErrUnknownTopic, "The topic '%s' does not exist.", name)
	}
	return setConfigs{Resource: topicResource(t.ID), Changes: changes}, nil
}

func (c *Controller) alterBroker(a Alteration) (setConfigs, error) {
	node := c.opts.Host.Store().Identity().NodeID
	if name := a.Resource.Name; name != "" {
		id, err := strconv.ParseInt(name, 10, 32)
		if err != nil {
			return setConfigs{}, refuse(ErrInvalidRequest, "Node id must be an integer, but it is: %s", shorten(name))
		}
		if int32(id) != node {
			return setConfigs{}, refuse(ErrInvalidRequest, "Unexpected broker id, expected %d, but received %s", node, shorten(name))
		}
		a.Resource.Name = strconv.Itoa(int(node))
	}
	resource := brokerResource(a.Resource.Name)
	configs, changes, err := change(a, c.machine.brokerConfigs(resource), config.Lookup)
	if err != nil {
		return setConfigs{}, err
	}
	d := config.Dynamic{Cluster: c.machine.brokerConfigs(clusterResource), Broker: c.machine.brokerConfigs(brokerResource(strconv.Itoa(int(node))))}
	if resource == clusterResource {
		d.Cluster = configs
	} else {
		d.Broker = configs
	}
	if _, err := c.machine.base.With(d); err != nil {
		var bad *config.DynamicError
		if errors.As(err, &bad) && bad.Unknown {
			return setConfigs{}, refuse(ErrInvalidConfig, "%s", err.Error())
		}
		return setConfigs{}, refuse(ErrInvalidRequest, "%s", err.Error())
	}
	return setConfigs{Resource: resource, Changes: changes}, nil
}

// change applies an alteration to the configs of a resource: what they are then, and the difference, nil = no value any more.
func change(a Alteration, old map[string]string, lookup func(string) (*config.Key, bool)) (configs map[string]string, changes map[string]*string, err error) {
	configs, changes = map[string]string{}, map[string]*string{}
	maps.Copy(configs, old)
	if a.Replace {
		for name := range old {
			changes[name] = nil
		}
		clear(configs)
	}
	for _, ac := range a.Configs {
		var value string
		switch ac.Op {
		case DeleteConfig:
			delete(configs, ac.Name)
			if _, had := old[ac.Name]; had {
				changes[ac.Name] = nil
			}
			continue
		case SetConfig:
			value = *ac.Value
		default:
			key, ok := lookup(ac.Name)
			if ok && key.Type != config.List {
				return nil, nil, refuse(ErrInvalidConfig, "Can't %s to key %s because its type is not LIST.", ac.Op, shorten(ac.Name))
			}
			if !ok {
				return nil, nil, refuse(ErrInvalidConfig, "Unknown config name: %s", shorten(ac.Name))
			}
			value = changeList(key, configs, ac)
		}
		configs[ac.Name], changes[ac.Name] = value, &value
	}
	return configs, changes, nil
}

// changeList adds elements that are not there, or takes elements away. A key without a value starts from its default.
func changeList(key *config.Key, configs map[string]string, ac AlterConfig) string {
	current, ok := configs[ac.Name]
	if !ok {
		current = key.Default
	}
	items := config.SplitList(current)
	for _, item := range strings.Split(*ac.Value, ",") { // an empty element is one: the value is then refused
		at := slices.Index(items, item)
		switch {
		case ac.Op == AppendConfig && at < 0:
			items = append(items, item)
		case ac.Op == SubtractConfig && at >= 0:
			items = slices.Delete(items, at, at+1)
		}
	}
	return strings.Join(items, ",")
}

// warnIneffective says in the log which of the values that are set do nothing here.
func (c *Controller) warnIneffective(a Alteration) {
	lookup, resource := config.LookupTopic, "topic"
	if a.Resource.Broker {
		lookup, resource = config.Lookup, "broker"
	}
	var names []string
	for _, ac := range a.Configs {
		if ac.Op != DeleteConfig {
			names = append(names, ac.Name)
		}
	}
	if names = config.Ineffective(names, lookup); len(names) > 0 {
		c.logger.Warn("these configs are stored and have no effect here", resource, a.Resource.Name, "keys", names)
	}
}

// The names of resources in commands and in meta.db (docs/formats.md section 8).
const (
	topicResourcePrefix  = "topic:"
	brokerResourcePrefix = "broker:"
	clusterResource      = brokerResourcePrefix // the defaults of all brokers
)

func topicResource(id uuid.UUID) string { return topicResourcePrefix + id.String() }

func brokerResource(node string) string { return brokerResourcePrefix + node }
