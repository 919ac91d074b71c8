package handler

// FindCoordinator (key 10), versions 0 to 5.
//
//	1  type of the key: 0 group, 1 transaction     3  flexible
//	4  several keys, each with its answer; before, one      5  a new error of transactions (KIP-890)
//
// The first request for a group creates __consumer_offsets. There is no transaction coordinator, and clients must not wait for one:
// a transactional id gets an error that they report, with the reason as its message. Which one that is depends on the version, for
// none serves all: librdkafka, which speaks versions up to 2, asks again every 500 ms for ever on any but
// TRANSACTIONAL_ID_AUTHORIZATION_FAILED (rd_kafka_txn_handle_FindCoordinator) and shows the message with it; Java shows the message
// with any but that one (TransactionManager.FindCoordinatorHandler), and speaks versions from 4 on since release 3.0.

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	findVersionBatch       = 4
	coordinatorGroup       = 0
	coordinatorTransaction = 1
)

// noTransactions is the message to a transactional producer.
const noTransactions = "This broker has no transactions: take transactional.id out of the producer's configuration."

func (h *Handler) findCoordinator(_ context.Context, c call[*kmsg.FindCoordinatorRequest]) kmsg.Response {
	resp := kmsg.NewPtrFindCoordinatorResponse()
	if c.req.CoordinatorType == coordinatorTransaction {
		h.refuseTransactions(c, resp)
		return resp
	}
	if c.version < findVersionBatch {
		code, at := h.coordinator(c.listener, c.req.CoordinatorType, c.req.CoordinatorKey)
		resp.ErrorCode, resp.ErrorMessage = code, text(findMessages[code])
		resp.NodeID, resp.Host, resp.Port = at.node, at.host, at.port
		return resp
	}
	resp.Coordinators = make([]kmsg.FindCoordinatorResponseCoordinator, 0, len(c.req.CoordinatorKeys))
	none := text("") // one for all
	for _, key := range c.req.CoordinatorKeys {
		out := kmsg.NewFindCoordinatorResponseCoordinator()
		out.Key, out.ErrorMessage = key, none
		code, at := h.coordinator(c.listener, c.req.CoordinatorType, key)
		out.ErrorCode, out.NodeID, out.Host, out.Port = code, at.node, at.host, at.port
		resp.Coordinators = append(resp.Coordinators, out)
	}
	return resp
}

// refuseTransactions answers a transactional producer.
func (h *Handler) refuseTransactions(c call[*kmsg.FindCoordinatorRequest], resp *kmsg.FindCoordinatorResponse) {
	nobody, message := int32(-1), text(noTransactions)
	if c.version < findVersionBatch {
		resp.ErrorCode, resp.ErrorMessage = h.fail("FindCoordinator", codeTxnIDForbidden), message
		resp.NodeID, resp.Port = nobody, nobody
		return
	}
	for _, key := range c.req.CoordinatorKeys {
		out := kmsg.NewFindCoordinatorResponseCoordinator()
		out.Key, out.NodeID, out.Port = key, nobody, nobody
		out.ErrorCode, out.ErrorMessage = h.fail("FindCoordinator", codeInvalidRequest), message
		resp.Coordinators = append(resp.Coordinators, out)
	}
}

// findMessages go with the codes in versions 1 to 3. Source: FindCoordinatorResponse.prepareOldResponse.
var findMessages = map[int16]string{
	codeNone:                    "NONE",
	codeCoordinatorNotAvailable: "The coordinator is not available.",
	codeInvalidRequest: "This most likely occurs because of a request being malformed by the client library or the message was" +
		" sent to an incompatible broker. See the broker logs for more details.",
}

// coordinator is the broker that coordinates a group.
func (h *Handler) coordinator(listener string, kind int8, key string) (code int16, at brokerEndpoint) {
	nobody := brokerEndpoint{node: -1, port: -1}
	if kind != coordinatorGroup { // no type that Kafka has, or one of a coordinator that is not here
		return h.fail("FindCoordinator", codeInvalidRequest), nobody
	}
	if !h.sites.leads() {
		if at, ok := h.awayCoordinator(listener, key); ok {
			return codeNone, at
		}
		return h.fail("FindCoordinator", codeCoordinatorNotAvailable), nobody
	}
	node, err := h.offsets.Locate(key)
	if err != nil {
		return h.fail("FindCoordinator", codeOf(err)), nobody
	}
	for b := range h.brokers(listener) {
		if b.node == node {
			return codeNone, b
		}
	}
	return h.fail("FindCoordinator", codeCoordinatorNotAvailable), nobody
}
