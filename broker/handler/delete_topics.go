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
	// repeated: an entry before has the same name or id, and the answer to both.
	repeated bool
}

func (h *Handler) deleteTopics(ctx context.Context, c call[*kmsg.DeleteTopicsRequest]) kmsg.Response {
	ctx, cancel := deadline(ctx, c.req.TimeoutMillis)
	defer cancel()
	entries := doomedOf(c)
	switch {
	case !h.sites.serves(): // nor does it know which topics there are
		for i := range entries {
			entries[i].code, entries[i].message = codeNotController, deref(messageOf(errNotActive))
		}
	case !h.config.DeleteTopics:
		for i := range entries {
			entries[i].code, entries[i].message = codeTopicDeletionDisabled, "Topic deletion is disabled."
			if c.version < deleteTopicsVersionDisabled {
				entries[i].code = codeInvalidRequest
			}
		}
	default:
		h.resolve(entries)
		h.deleteResolved(ctx, entries)
	}
	resp := kmsg.NewPtrDeleteTopicsResponse()
	for i := range entries {
		e := &entries[i]
		if e.repeated {
			continue
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
	refuseRepeated(entries)
	image := h.controller.Image()
	supplied := map[uuid.UUID]bool{} // ids that the request has
	for i := range entries {
		e := &entries[i]
		if e.byName || e.id == noTopicID {
			continue
		}
		supplied[e.id] = true
		if e.code != codeNone {
			continue
		}
		if t, ok := image.TopicByID(e.id); ok {
			e.name = text(t.Name)
		} else {
			e.code, e.message = codeUnknownTopicID, "This server does not host this topic ID."
		}
	}
	for i := range entries {
		e := &entries[i]
		if !e.byName || e.code != codeNone {
			continue
		}
		t, ok := image.Topic(*e.name)
		switch {
		case !ok:
			e.code, e.message = codeUnknownTopicOrPartition, "This server does not host this topic-partition."
			continue
		case supplied[t.ID]: // neither is deleted, and the answer to the name stands for both
			e.code, e.message = codeInvalidRequest, "The provided topic name maps to an ID that was already supplied."
			for j := range entries {
				if other := &entries[j]; !other.byName && other.id == t.ID && other.code == codeNone {
					other.repeated, other.code = true, codeInvalidRequest
				}
			}
		}
		e.id = t.ID
	}
}

// refuseRepeated refuses entries that say too much or too little, and those whose name or id stands more than once, the first of which
// is answered.
func refuseRepeated(entries []doomed) {
	type key struct {
		name string
		id   uuid.UUID
	}
	first := map[key]int{}
	for i := range entries {
		e := &entries[i]
		switch {
		case e.byName && e.id != noTopicID:
			e.code, e.message = codeInvalidRequest, "You may not specify both topic name and topic id."
			continue
		case !e.byName && e.id == noTopicID:
			e.code, e.message = codeInvalidRequest, "Neither topic name nor id were specified."
			continue
		}
		k := key{deref(e.name), e.id}
		at, twice := first[k]
		if !twice {
			first[k] = i
			continue
		}
		e.repeated, e.code = true, codeInvalidRequest
		entries[at].code, entries[at].message = codeInvalidRequest, "Duplicate topic id."
		if e.byName {
			entries[at].message = "Duplicate topic name."
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
	for i, err := range h.change(len(ids), func() []error { return h.controller.DeleteTopics(ctx, ids) }) {
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
