package handler

// DeleteTopics (key 20), versions 0 to 6.
//
//	3  TOPIC_DELETION_DISABLED, INVALID_REQUEST before     4  flexible
//	5  messages                                            6  by name or by id
//
// A topic is gone for clients when this is answered; its data goes in the background.

import (
	"context"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	deleteTopicsVersionDisabled = 3
	deleteTopicsVersionMessage  = 5
	deleteTopicsVersionIDs      = 6
)

// doomed is one entry of a request.
type doomed struct {
	name    *string
	id      uuid.UUID // of the request, or found by name; zero = none
	byName  bool
	code    int16
	message string
}

func (h *Handler) deleteTopics(ctx context.Context, c call[*kmsg.DeleteTopicsRequest]) kmsg.Response {
	ctx, cancel := deadline(ctx, c.req.TimeoutMillis)
	defer cancel()
	entries := doomedOf(c)
	if !h.config.DeleteTopics {
		for i := range entries {
			entries[i].code, entries[i].message = codeTopicDeletionDisabled, "Topic deletion is disabled."
			if c.version < deleteTopicsVersionDisabled {
				entries[i].code = codeInvalidRequest
			}
		}
	} else {
		h.resolve(entries)
		h.deleteResolved(ctx, entries)
	}
	resp := kmsg.NewPtrDeleteTopicsResponse()
	answered := map[string]bool{}
	for i := range entries {
		e := &entries[i]
		if e.byName && e.code == codeInvalidRequest && e.id != noTopicID { // named more than once: answered once, as in Kafka
			if answered[*e.name] {
				continue
			}
			answered[*e.name] = true
		}
		out := kmsg.NewDeleteTopicsResponseTopic()
		out.Topic, out.TopicID, out.ErrorCode = e.name, e.id, h.fail("DeleteTopics", e.code)
		if e.message != "" && c.version >= deleteTopicsVersionMessage {
			out.ErrorMessage = text(e.message)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func doomedOf(c call[*kmsg.DeleteTopicsRequest]) []doomed {
	var entries []doomed
	if c.version < deleteTopicsVersionIDs {
		for _, name := range c.req.TopicNames {
			entries = append(entries, doomed{name: text(name), byName: true})
		}
		return entries
	}
	for _, t := range c.req.Topics {
		entries = append(entries, doomed{name: t.Topic, id: t.TopicID, byName: t.Topic != nil})
	}
	return entries
}

// resolve gives each entry its id and name, or an error. Source: ControllerApis.deleteTopics.
func (h *Handler) resolve(entries []doomed) {
	image := h.controller.Image()
	for i := range entries {
		e := &entries[i]
		switch {
		case e.byName && e.id != noTopicID:
			e.code, e.message = codeInvalidRequest, "You may not specify both topic name and topic id."
		case !e.byName && e.id == noTopicID:
			e.code, e.message = codeInvalidRequest, "Neither topic name nor id were specified."
		case e.byName:
			if t, ok := image.Topic(*e.name); ok {
				e.id = t.ID
			} else {
				e.code, e.message = codeUnknownTopicOrPartition, "This server does not host this topic-partition."
			}
		default:
			if t, ok := image.TopicByID(e.id); ok {
				e.name = text(t.Name)
			} else {
				e.code, e.message = codeUnknownTopicID, "This server does not host this topic ID."
			}
		}
	}
	seen := map[uuid.UUID]int{}
	for i := range entries {
		if entries[i].code == codeNone {
			seen[entries[i].id]++
		}
	}
	for i := range entries {
		if e := &entries[i]; e.code == codeNone && seen[e.id] > 1 {
			e.code, e.message = codeInvalidRequest, "The provided topic name or id maps to a topic that was named more than once."
		}
	}
}

func (h *Handler) deleteResolved(ctx context.Context, entries []doomed) {
	var ids []uuid.UUID
	var at []int
	for i := range entries {
		if entries[i].code == codeNone {
			ids, at = append(ids, entries[i].id), append(at, i)
		}
	}
	for i, err := range h.controller.DeleteTopics(ctx, ids) {
		e := &entries[at[i]]
		if e.code = codeOf(err); err == nil {
			continue
		}
		if e.code == codeUnknownTopicID && e.byName { // somebody else was faster
			e.code = codeUnknownTopicOrPartition
		}
		e.message = deref(messageOf(err))
	}
}
