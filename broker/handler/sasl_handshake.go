package handler

// SaslHandshake (key 17), versions 0 and 1, which differ in what follows a handshake that was good.
//
// No listener demands a login, and a client that tries one must learn that: ILLEGAL_SASL_STATE and no mechanism, as Kafka answers on
// such a listener. Where the API is missing, Java's clients wait until they time out. Source: KafkaApis.handleSaslHandshakeRequest.

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (h *Handler) saslHandshake(context.Context, call[*kmsg.SASLHandshakeRequest]) kmsg.Response {
	resp := kmsg.NewPtrSASLHandshakeResponse()
	resp.ErrorCode, resp.SupportedMechanisms = h.fail("SaslHandshake", codeIllegalSASLState), []string{}
	return resp
}
