package handler

// CreateTopics (key 19), versions 0 to 7.
//
//	1  validate only, messages       4  -1 partitions or replicas = the broker's default (KIP-464)
//	5  flexible; partitions, replicas and configs in the answer (KIP-525)
//	7  topic ids
//
// A topic is answered when its partitions lead, or with REQUEST_TIMED_OUT at the request's timeout, and is then still created.

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/config"
	"github.com/tandembroker/tandem/broker/controller"
)

const (
	createTopicsVersionMessage = 1
	createTopicsVersionDetails = 5
)

func (h *Handler) createTopics(ctx context.Context, c call[*kmsg.CreateTopicsRequest]) kmsg.Response {
	ctx, cancel := deadline(ctx, c.req.TimeoutMillis)
	defer cancel()
	topics := make([]controller.NewTopic, len(c.req.Topics))
	for i := range c.req.Topics {
		topics[i] = newTopic(&c.req.Topics[i])
	}
	validateOnly := c.req.ValidateOnly && c.version >= 1
	resp := kmsg.NewPtrCreateTopicsResponse()
	named := map[string]bool{}
	for i, r := range h.created(ctx, topics, validateOnly) {
		if named[topics[i].Name] {
			continue // a name that comes twice has one answer
		}
		named[topics[i].Name] = true
		out := kmsg.NewCreateTopicsResponseTopic()
		out.Topic, out.ErrorCode = topics[i].Name, h.fail("CreateTopics", codeOf(r.Err))
		if r.Err != nil {
			if c.version >= createTopicsVersionMessage {
				out.ErrorMessage = messageOf(r.Err)
			}
			out.Configs = []kmsg.CreateTopicsResponseTopicConfig{}
		} else {
			h.describeCreated(r.Topic, c.version, &out)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

// created hands the topics to the controller, where this site may.
func (h *Handler) created(ctx context.Context, topics []controller.NewTopic, validateOnly bool) []controller.CreatedTopic {
	list := make([]controller.CreatedTopic, len(topics))
	errs := h.change(len(topics), func() []error {
		list = h.controller.CreateTopics(ctx, topics, validateOnly)
		errs := make([]error, len(list))
		for i := range list {
			errs[i] = list[i].Err
		}
		return errs
	})
	for i := range list {
		list[i].Err = errs[i]
	}
	return list
}

func newTopic(t *kmsg.CreateTopicsRequestTopic) controller.NewTopic {
	n := controller.NewTopic{Name: t.Topic, Partitions: t.NumPartitions, ReplicationFactor: t.ReplicationFactor}
	for _, a := range t.ReplicaAssignment {
		n.Assignments = append(n.Assignments, controller.Assignment{Partition: a.Partition, Replicas: a.Replicas})
	}
	for _, nc := range t.Configs {
		n.Configs = append(n.Configs, controller.NewConfig{Name: nc.Name, Value: nc.Value})
	}
	return n
}

func (h *Handler) describeCreated(t *controller.Topic, version int16, out *kmsg.CreateTopicsResponseTopic) {
	out.TopicID = t.ID
	if version < createTopicsVersionDetails {
		return
	}
	out.NumPartitions, out.ReplicationFactor = int32(len(t.Partitions)), int16(len(t.Partitions[0].Replicas))
	described := h.controller.Config().DescribeTopic(t.Configs)
	out.Configs = make([]kmsg.CreateTopicsResponseTopicConfig, 0, len(described))
	for i := range described {
		out.Configs = append(out.Configs, createdConfig(&described[i]))
	}
}

func createdConfig(d *config.Described) kmsg.CreateTopicsResponseTopicConfig {
	e := kmsg.NewCreateTopicsResponseTopicConfig()
	e.Name, e.Value, e.ReadOnly, e.Source, e.IsSensitive = d.Key.Name, d.Value, d.ReadOnly, int8(d.Effective), d.Sensitive
	return e
}
