package handler

// Tandem's own operator requests (key 20000), not advertised.
//
// The documents and what they mean: broker/sites/operator. An answer is there within operatorPatience: what takes longer is started, and
// asked after by other requests. Without a site it is a refusal that says so. There is no authorizer yet; one has to ask for Alter on Cluster.

import (
	"context"
	"time"

	"github.com/tandembroker/tandem/broker/server"
	"github.com/tandembroker/tandem/broker/sites/operator"
	"github.com/tandembroker/tandem/protocol/wire"
)

// DR is what the operator's requests are carried out on.
type DR = operator.DR

// operatorPatience is how long an answer may take.
const operatorPatience = 20 * time.Second

func (h *Handler) operator(ctx context.Context, r *server.Request) server.Reply {
	ctx, cancel := context.WithTimeout(ctx, operatorPatience)
	defer cancel()
	resp := operator.Serve(ctx, h.dr, r.Body.(*wire.OperatorRequest))
	if resp.Code != int16(operator.CodeDone) {
		h.logger.Info("operator request not done", "operation", r.Body.(*wire.OperatorRequest).Operation, "code", resp.Code, "reason", resp.Message)
	}
	return server.Respond(r.Header, resp)
}
