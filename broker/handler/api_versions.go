package handler

// ApiVersions (key 18), versions 0 to 4.
//
// The answer is wire's table and nothing else, so what is advertised is what is served. A version above ours is answered in
// version 0 with UNSUPPORTED_VERSION and the range of this API alone, without a look at the body (KIP-511); the client then asks
// again. No features are advertised: none is finalized, and clients switch behaviour on them.

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tandembroker/tandem/broker/server"
	"github.com/tandembroker/tandem/protocol/wire"
)

func (h *Handler) apiVersions(_ context.Context, r *server.Request) server.Reply {
	req, _ := r.Body.(*kmsg.ApiVersionsRequest) // nil for a version that is not served
	resp := wire.NewAPIVersionsResponse(r.Header.Version, req)
	h.fail("ApiVersions", resp.ErrorCode)
	return server.RespondVersion(r.Header, resp.GetVersion(), resp)
}
