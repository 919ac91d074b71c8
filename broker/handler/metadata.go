package handler

// Metadata (key 3), versions 0 to 13.
//
//	0  an empty list of topics means all       1  null means all, an empty list none; controller id
//	4  whether missing topics are created      8  authorized operations (every one: nobody is refused anything yet)
//	9  flexible; clients trust leader epochs   10 topic ids in answers
//	12 topics may be asked for by id           13 an error code for the whole answer
//
// A topic that does not exist is created where the broker and the request allow it. Kafka answers UNKNOWN_TOPIC_OR_PARTITION
// meanwhile, on which clients ask again, some of them only seconds later (AutoTopicCreationManager); here the answer first
// waits a moment for the topic to be there, which takes a few syncs, and only then says so. A partition that does not serve yet has
// LEADER_NOT_AVAILABLE, leader -1 and epoch -1: never an epoch that was not heard of. While two sites change their roles the answer waits
// until the new leaders are known (awaitLeaders).

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/partition"
	"github.com/tandembroker/tandem/replication/site"
)

const (
	metadataVersionNull = 1  // null = all topics
	metadataVersionAsks = 4  // says whether missing topics are created; before, they are
	metadataVersionIDs  = 12 // topics may be asked for by id

	// autoCreateWaitMax is how long an answer waits for topics that it has caused to be created.
	autoCreateWaitMax = 500 * time.Millisecond

	// What may be done with a topic, or the cluster, as bits of Kafka's AclOperation codes: everything that there is.
	topicOperations   = 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11
	clusterOperations = 1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12
)

func (h *Handler) metadata(ctx context.Context, c call[*kmsg.MetadataRequest]) kmsg.Response {
	if c.version < metadataVersionIDs && invalidMetadataTopics(c.req) {
		return h.refuseMetadata(c)
	}
	h.createMissing(ctx, c.req, c.version)
	h.awaitLeaders(ctx, c)
	resp := kmsg.NewPtrMetadataResponse()
	for b := range h.brokers(c.listener) {
		out := kmsg.NewMetadataResponseBroker()
		out.NodeID, out.Host, out.Port, out.Rack = b.node, b.host, b.port, b.rackPointer()
		resp.Brokers = append(resp.Brokers, out)
	}
	resp.ClusterID = text(h.clusterID())
	resp.ControllerID = h.controllerID()
	if c.req.IncludeClusterAuthorizedOperations {
		resp.AuthorizedOperations = clusterOperations
	}
	resp.Topics = []kmsg.MetadataResponseTopic{}
	image := h.controller.Image()
	if everyTopic(c) {
		for _, t := range image.Topics() {
			resp.Topics = append(resp.Topics, h.describeTopic(t, c))
		}
		return resp
	}
	h.someTopics(image, c, resp)
	return resp
}

// everyTopic says that the request is for all topics.
func everyTopic(c call[*kmsg.MetadataRequest]) bool {
	return c.req.Topics == nil || len(c.req.Topics) == 0 && c.version < metadataVersionNull
}

// createMissing begins to create the topics that the request names and nobody has, where that is wanted, and waits a moment
// for them.
func (h *Handler) createMissing(ctx context.Context, req *kmsg.MetadataRequest, version int16) {
	if !h.sites.serves() || !h.config.AutoCreateTopics || version >= metadataVersionAsks && !req.AllowAutoTopicCreation {
		return
	}
	image := h.controller.Image()
	var underWay []<-chan struct{}
	for i := range req.Topics {
		name := deref(req.Topics[i].Topic)
		if req.Topics[i].TopicID != noTopicID || controller.CheckName(name) != nil || controller.IsInternal(name) {
			continue
		}
		done := h.controller.AutoCreating(name)
		if _, ok := image.Topic(name); !ok && done == nil {
			done = h.controller.AutoCreate(name)
		}
		if done != nil {
			underWay = append(underWay, done)
		}
	}
	if len(underWay) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, autoCreateWaitMax)
	defer cancel()
	for _, done := range underWay {
		select {
		case <-done:
		case <-ctx.Done():
			return
		}
	}
}

// invalidMetadataTopics says whether a request below version 12 names a topic by id, or not at all.
func invalidMetadataTopics(req *kmsg.MetadataRequest) bool {
	for i := range req.Topics {
		if req.Topics[i].Topic == nil || req.Topics[i].TopicID != noTopicID {
			return true
		}
	}
	return false
}

// refuseMetadata answers every topic with INVALID_REQUEST, and nothing else. Source: MetadataRequest.getErrorResponse.
func (h *Handler) refuseMetadata(c call[*kmsg.MetadataRequest]) kmsg.Response {
	resp := kmsg.NewPtrMetadataResponse()
	resp.Brokers, resp.ControllerID = []kmsg.MetadataResponseBroker{}, -1
	for _, t := range c.req.Topics {
		out := missing(codeInvalidRequest, text(deref(t.Topic)), t.TopicID)
		h.fail("Metadata", out.ErrorCode)
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

// someTopics answers the topics that the request names, each once. As in Kafka, a request that has ids is answered for the ids.
func (h *Handler) someTopics(image *controller.Image, c call[*kmsg.MetadataRequest], resp *kmsg.MetadataResponse) {
	names, ids := map[string]struct{}{}, map[uuid.UUID]struct{}{}
	byID := false
	for i := range c.req.Topics {
		byID = byID || c.req.Topics[i].TopicID != noTopicID
	}
	for i := range c.req.Topics {
		t := &c.req.Topics[i]
		if byID {
			if _, done := ids[t.TopicID]; done || t.TopicID == noTopicID {
				continue
			}
			ids[t.TopicID] = struct{}{}
			if topic, ok := image.TopicByID(t.TopicID); ok {
				resp.Topics = append(resp.Topics, h.describeTopic(topic, c))
			} else {
				resp.Topics = append(resp.Topics, missing(h.fail("Metadata", codeUnknownTopicID), nil, t.TopicID))
			}
			continue
		}
		name := deref(t.Topic)
		if _, done := names[name]; done {
			continue
		}
		names[name] = struct{}{}
		if topic, ok := image.Topic(name); ok {
			resp.Topics = append(resp.Topics, h.describeTopic(topic, c))
		} else {
			out := h.missingTopic(name)
			if c.req.IncludeTopicAuthorizedOperations {
				out.AuthorizedOperations = topicOperations
			}
			resp.Topics = append(resp.Topics, out)
		}
	}
}

// missingTopic answers a name that no topic has.
func (h *Handler) missingTopic(name string) kmsg.MetadataResponseTopic {
	return missing(h.fail("Metadata", h.missingCode(name)), text(name), noTopicID)
}

// missingCode is why a name that no topic has is not described.
func (h *Handler) missingCode(name string) int16 {
	if controller.CheckName(name) != nil {
		return codeInvalidTopic
	}
	return codeUnknownTopicOrPartition
}

func missing(code int16, name *string, id [16]byte) kmsg.MetadataResponseTopic {
	out := kmsg.NewMetadataResponseTopic()
	out.ErrorCode, out.Topic, out.TopicID = code, name, id
	out.Partitions = []kmsg.MetadataResponseTopicPartition{}
	return out
}

func (h *Handler) describeTopic(t *controller.Topic, c call[*kmsg.MetadataRequest]) kmsg.MetadataResponseTopic {
	out := kmsg.NewMetadataResponseTopic()
	out.Topic, out.TopicID, out.IsInternal = text(t.Name), t.ID, controller.IsInternal(t.Name)
	if c.req.IncludeTopicAuthorizedOperations {
		out.AuthorizedOperations = topicOperations
	}
	out.Partitions = make([]kmsg.MetadataResponseTopicPartition, len(t.Partitions))
	for i := range t.Partitions {
		p := &out.Partitions[i]
		*p = kmsg.NewMetadataResponseTopicPartition()
		at := h.placement(t, int32(i))
		p.Partition, p.Replicas, p.ISR, p.OfflineReplicas, p.ErrorCode = int32(i), at.replicas, at.isr, at.offline, at.code
		p.Leader, p.LeaderEpoch = at.leader, at.epoch
	}
	return out
}

// placement is where a partition is.
type placement struct {
	leader, epoch          int32
	replicas, isr, offline []int32
	code                   int16
}

// placement says who leads a partition, and which of its replicas are in sync and which are not there. The other site's replica is
// in sync while that site has all that may be read.
func (h *Handler) placement(t *controller.Topic, id int32) placement {
	if !h.sites.leads() {
		return h.awayPlacement(t, id)
	}
	own := t.Partitions[id].Replicas
	at := placement{leader: -1, epoch: noEpoch, replicas: own, isr: []int32{}, offline: []int32{}, code: codeLeaderNotAvailable}
	p := h.find(t, id)
	switch {
	case p == nil:
		return at
	case p.Offline() != nil:
		at.offline = own
		return at
	}
	at.isr = own
	if leader, epoch := p.Leader(), p.Epoch(); leader >= 0 && epoch >= 0 && h.leads(p, leader) {
		at.leader, at.epoch, at.code = leader, epoch, codeNone
	}
	away := site.PartitionID{Topic: t.ID, Partition: id}
	if node := h.sites.replica(t.Name, away); node >= 0 {
		at.replicas = append(slices.Clone(own), node)
		if _, hw, _, _ := p.Offsets(); h.sites.InSync(away, hw) {
			at.isr = at.replicas
		}
	}
	return at
}

// leads says whether clients can be sent to the broker that leads the Raft group of p. Of a pair of sites this one may lead the group of
// a log that it does not serve yet.
func (h *Handler) leads(p *partition.Partition, leader int32) bool {
	return h.sites == nil || leader != h.identity.NodeID || p.Ready()
}

// awayPlacement is the placement of a partition that is led at the other site.
func (h *Handler) awayPlacement(t *controller.Topic, id int32) placement {
	own := t.Partitions[id].Replicas
	at := placement{leader: -1, epoch: noEpoch, replicas: own, isr: own, offline: []int32{}, code: codeLeaderNotAvailable}
	if p := h.find(t, id); p == nil || p.Offline() != nil {
		at.isr, at.offline = []int32{}, own
	}
	away := site.PartitionID{Topic: t.ID, Partition: id}
	node := h.sites.replica(t.Name, away)
	if node < 0 {
		return at
	}
	at.replicas, at.isr = append([]int32{node}, own...), append([]int32{node}, at.isr...)
	if leader, epoch := h.sites.Leader(away); leader == node && epoch >= 0 {
		at.leader, at.epoch, at.code = leader, epoch, codeNone
	}
	return at
}
