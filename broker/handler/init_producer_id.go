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

// producerIDWaitMax bounds the wait for a block of ids; clients try again.
const producerIDWaitMax = 10 * time.Second

// initProducerIDOrClose closes the connection behind an answer of a site that does not serve, once the grace period is over: librdkafka
// asks any broker that it is connected to, and as long as that is this one alone, it asks no other.
func (h *Handler) initProducerIDOrClose(ctx context.Context, r *server.Request) server.Reply {
	reply := simple((*Handler).initProducerID)(h, ctx, r)
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

func (h *Handler) initProducerID(ctx context.Context, c call[*kmsg.InitProducerIDRequest]) kmsg.Response {
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
	if !h.sites.leads() {
		// Not NOT_COORDINATOR: without a transactional id Java looks for the coordinator of null then.
		resp.ErrorCode = h.fail("InitProducerId", codeCoordinatorLoadInProgress)
		return resp
	}
	ctx, cancel := context.WithTimeout(ctx, producerIDWaitMax)
	defer cancel()
	id, err := h.controller.ProducerID(ctx)
	switch {
	case err == nil:
		resp.ProducerID, resp.ProducerEpoch = id, 0
	case errors.Is(err, controller.ErrNotController), errors.Is(err, controller.ErrTimeout):
		resp.ErrorCode = codeCoordinatorLoadInProgress // Kafka's answer while it has no block of ids; clients try again
	default:
		resp.ErrorCode = codeOf(err)
	}
	h.fail("InitProducerId", resp.ErrorCode)
	return resp
}
