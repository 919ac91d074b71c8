package handler

// InitProducerId (key 22), versions 0 to 5, without transactions.
//
// A null transactional id gets a producer id that nobody ever had, with epoch 0, whatever the request says about an old one; so
// does Kafka (TransactionCoordinator.handleInitProducerId). An empty one is INVALID_REQUEST, as in Kafka. Any other gets
// UNSUPPORTED_VERSION until there is a transaction coordinator: Kafka would answer NOT_COORDINATOR or COORDINATOR_NOT_AVAILABLE,
// on which clients try again for ever; this one they report. Most do not come this far, since FindCoordinator refuses a
// transactional id. A producer id without its epoch, or an epoch without its id, is INVALID_REQUEST.

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/controller"
	"github.com/tandembroker/tandem/broker/server"
)

// producerIDWaitMax bounds the wait for a block of ids, awayProducerIDWaitMax that for one of the other site; clients try again.
const (
	producerIDWaitMax     = 10 * time.Second
	awayProducerIDWaitMax = 2 * time.Second
)

// initProducerIDOrClose closes the connection behind an answer without an id, of a site that does not serve, once the grace period is over:
// librdkafka asks any broker that it is connected to, and as long as that is this one alone, it asks no other.
func (h *Handler) initProducerIDOrClose(ctx context.Context, r *server.Request) server.Reply {
	var given bool
	reply := simple(func(h *Handler, ctx context.Context, c call[*kmsg.InitProducerIDRequest]) kmsg.Response {
		resp := h.initProducerID(ctx, c)
		given = resp.ErrorCode == codeNone
		return resp
	})(h, ctx, r)
	if given {
		return reply
	}
	if err := h.sites.outlasted(); err != nil {
		return lastReply{reply, err}
	}
	return reply
}

// lastReply is sent, and then the connection is closed.
type lastReply struct {
	server.Reply
	err error // wraps server.ErrClose
}

// Send implements server.Reply.
func (r lastReply) Send(w *server.Writer) error {
	if err := r.Reply.Send(w); err != nil {
		return err
	}
	return r.err
}

func (h *Handler) initProducerID(ctx context.Context, c call[*kmsg.InitProducerIDRequest]) *kmsg.InitProducerIDResponse {
	resp := kmsg.NewPtrInitProducerIDResponse()
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	if id := c.req.TransactionalID; id != nil {
		resp.ErrorCode = codeUnsupportedVersion
		if *id == "" {
			resp.ErrorCode = codeInvalidRequest
		}
		h.fail("InitProducerId", resp.ErrorCode)
		return resp
	}
	if (c.req.ProducerID == -1) != (c.req.ProducerEpoch == -1) {
		resp.ErrorCode = h.fail("InitProducerId", codeInvalidRequest)
		return resp
	}
	ids, wait := h.controller.ProducerID, producerIDWaitMax
	if !h.sites.leads() {
		ids, wait = h.sites.ProducerID, awayProducerIDWaitMax
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	id, err := ids(ctx)
	switch {
	case err == nil:
		resp.ProducerID, resp.ProducerEpoch = id, 0
	case errors.Is(err, controller.ErrNotController), errors.Is(err, controller.ErrTimeout):
		// Kafka's answer while it has no block of ids; clients try again. Not NOT_COORDINATOR: without a transactional id Java looks for the
		// coordinator of null then.
		resp.ErrorCode = codeCoordinatorLoadInProgress
	default:
		resp.ErrorCode = codeOf(err)
	}
	h.fail("InitProducerId", resp.ErrorCode)
	return resp
}
